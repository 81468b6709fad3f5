"""Fashion-MNIST, drawn by a network.

    dlresearch train --config=experiments/cnn/fashion_mnist.py:data_dir=DIR --workdir=runs/fashion
    dlresearch train
    --config=experiments/gan/fashion_mnist.py:data_dir=DIR,extractor=runs/fashion
    --workdir=runs/gan-fashion

A conditional DCGAN (Radford et al. 2016, arXiv:1511.06434) twice as wide as the one for MNIST,
without batch norm in the discriminator, and a lazy zero-centred penalty instead. Clothes differ
more in texture than in outline, so look at `recall` beside `precision`. We have not run this one,
so there is no figure of ours.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, steps=20_000, conditional=True, seed=0, data_dir=None, extractor="pixels")
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.steps} steps"
    config.batch_size = 64
    config.task = component(
        "gan",
        discriminator=component("dcgan_discriminator", widths=(128, 256), norm="none"),
        conditional=args.conditional,
        latent=100,
        r1=1.0,
        penalty_every=16,
        average_half_life=1e4,
        average_ramp=0.1,
    )
    config.model = component("dcgan_generator", widths=(256, 128))

    tfds = dict(dataset="fashion_mnist", data_dir=args.data_dir)
    train = component("tfds", split="train", **tfds)
    test = component("tfds", split="test", **tfds)
    config.data.source = train
    config.data.placement = "resident"
    config.data.augmentations = (component("flip"),)

    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.5
    config.optimizer.b2 = 0.99
    config.optimizer.schedule = component("linear")

    config.evaluators.samples = dict(name="samples", source=test, every="10%")
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
    config.log.every = "1%"
    return config
