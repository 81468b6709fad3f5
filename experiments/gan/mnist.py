"""MNIST, drawn by a network: three recipes, with classes or without.

    dlresearch train --config=experiments/cnn/mnist.py:data_dir=DIR --workdir=runs/mnist
    dlresearch train
    --config=experiments/gan/mnist.py:data_dir=DIR,extractor=runs/mnist --workdir=runs/gan-mnist
    dlresearch generate --workdir=runs/gan-mnist --label=7 --count=20

`dcgan` (the default): a convolutional generator and discriminator (Radford et al. 2016,
arXiv:1511.06434) without batch norm in the latter, and a lazy zero-centred penalty instead.
`wgan_gp`: a critic with a gradient penalty, updated five times a step (Gulrajani et al. 2017,
arXiv:1704.00028). `sngan`: residual networks, the discriminator with spectral norm, and the hinge
loss (Miyato et al. 2018, arXiv:1802.05957). `conditional=False` does without classes.

The first command trains the classifier whose features the figures of `quality` are of; without an
`extractor` they are of pixels. `score` trains a classifier on generated digits alone and tests it
on real ones. What the recipes reach, and how long it takes, is in docs/results.md.
"""

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg,
        recipe=Choice("dcgan", "wgan_gp", "sngan"),
        steps=10_000,
        conditional=True,
        seed=0,
        data_dir=None,
        extractor="pixels",
    )
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.steps} steps"
    config.batch_size = 64
    widths = (64, 128)
    if args.recipe == "sngan":
        discriminator = component(
            "resnet_discriminator", widths=widths, last_widths=(128,), spectral=True
        )
        config.model = component("resnet_generator", widths=(128, 128, 64))
        own = dict(loss="hinge")
    else:
        norm = "none" if args.recipe == "dcgan" else "layer"
        discriminator = component("dcgan_discriminator", widths=widths, norm=norm)
        config.model = component("dcgan_generator", widths=(128, 64))
        own = dict(r1=1.0, penalty_every=16)
        if args.recipe == "wgan_gp":
            own = dict(loss="wasserstein", gradient_penalty=10.0, repeats=5)
    config.task = component(
        "gan",
        discriminator=discriminator,
        conditional=args.conditional,
        latent=64,
        average_half_life=1e4,
        average_ramp=0.1,
        **own,
    )

    train = component("tfds", dataset="mnist", split="train", data_dir=args.data_dir)
    test = component("tfds", dataset="mnist", split="test", data_dir=args.data_dir)
    config.data.source = train
    config.data.placement = "resident"

    config.optimizer.learning_rate = 1e-3 if args.recipe == "dcgan" else 2e-4
    config.optimizer.b1 = 0.0 if args.recipe == "sngan" else 0.5
    config.optimizer.b2 = 0.9 if args.recipe == "sngan" else 0.99
    config.optimizer.schedule = component("linear")

    config.evaluators.samples = dict(name="samples", source=test, every="10%")
    config.evaluators.held_out = dict(
        name="discriminator", source=test, every="25%", batch_size=500
    )
    config.evaluators.quality = dict(
        name="sample_quality",
        source=test,
        extractor=args.extractor,
        floor=train,
        every="50%",
        batch_size=500,
    )
    if args.conditional:
        config.evaluators.score = dict(
            name="classification_accuracy_score",
            source=test,
            train=train,
            every="100%",
            batch_size=500,
        )
    config.evaluators.neighbours = dict(
        name="nearest_neighbours", source=train, every="100%", batch_size=500
    )
    config.log.every = "1%"
    return config
