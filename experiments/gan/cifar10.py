"""CIFAR-10, drawn by a network: five published recipes.

    dlresearch train
    --config=experiments/cnn/cifar10.py:speedrun94,data_dir=DIR --workdir=runs/cifar
    dlresearch train
    --config=experiments/gan/cifar10.py:sngan,data_dir=DIR,extractor=runs/cifar
    --workdir=runs/sngan

Made for an accelerator; on a laptop, `check`, `benchmark` and `--config.duration="100 steps"` show
that it works. Published, as the Frechet distance in features of Inception-v3 between 50,000
generated and the 50,000 training images (PyTorch-StudioGAN, README, CIFAR-10 table):

- dcgan: 48.3 after 200,000 steps (Radford et al. 2016, arXiv:1511.06434), without classes
- sngan: 9.0 after 100,000 steps (Miyato et al. 2018, arXiv:1802.05957), conditional by projection
- biggan: 4.2 after 100,000 steps (Brock et al. 2019, arXiv:1809.11096)
- stylegan2: 3.8 after 200,000 steps (Karras et al. 2020, arXiv:1912.04958)
- stylegan2_ada: 2.3 after 1,000,000 steps; 2.42 conditional in the paper (Karras et al. 2020,
  arXiv:2006.06676)

To compare with these, give the file of Inception's weights as `extractor` (docs/gan.md); the
features of a classifier of your own have another scale. No recipe has been run to its end here.
"""

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg,
        recipe=Choice("sngan", "dcgan", "biggan", "stylegan2", "stylegan2_ada"),
        steps=None,
        seed=0,
        data_dir=None,
        extractor="pixels",
    )
    config = default_config()
    config.seed = args.seed
    config.batch_size = 64
    steps = RECIPES[args.recipe](config)
    config.duration = f"{steps if args.steps is None else args.steps} steps"

    train = component("tfds", dataset="cifar10", split="train", data_dir=args.data_dir)
    test = component("tfds", dataset="cifar10", split="test", data_dir=args.data_dir)
    config.data.source = train
    config.data.placement = "resident"
    config.data.augmentations = (component("flip"),)

    config.evaluators.samples = dict(name="samples", source=test, every="5%")
    config.evaluators.held_out = dict(
        name="discriminator", source=test, every="10%", batch_size=500
    )
    config.evaluators.quality = dict(
        name="sample_quality",
        source=train,
        extractor=args.extractor,
        floor=test,
        every="25%",
        batch_size=500,
    )
    config.evaluators.neighbours = dict(
        name="nearest_neighbours", source=train, floor=test, every="100%", batch_size=500
    )
    if args.recipe != "dcgan":  # which knows no classes
        config.evaluators.score = dict(
            name="classification_accuracy_score",
            source=test,
            train=train,
            every="100%",
            batch_size=500,
            widths=(64, 128, 256),
            steps=5000,
        )
    config.log.every = "100 steps"
    config.checkpoint.every = "5%"
    return config


def dcgan(config):
    config.task = component(
        "gan",
        discriminator=component("dcgan_discriminator"),
        conditional=False,
        latent=100,
        repeats=2,
    )
    config.model = component("dcgan_generator")
    adam(config, 2e-4, 0.5, 0.999)
    return 200_000


def sngan(config):
    config.task = component(
        "gan",
        discriminator=component("resnet_discriminator"),
        conditional=True,
        latent=128,
        loss="hinge",
        repeats=5,
    )
    config.model = component("resnet_generator")
    adam(config, 2e-4, 0.5, 0.999)
    return 100_000


def biggan(config):
    config.task = component(
        "gan",
        discriminator=component("biggan_discriminator"),
        conditional=True,
        latent=80,
        loss="hinge",
        repeats=5,
        average_half_life=443_600,  # a decay of 0.9999 a step
        average_ramp=0.5,
    )
    config.model = component("biggan_generator")
    adam(config, 2e-4, 0.5, 0.999)
    return 100_000


def stylegan2(config):
    config.task = component(
        "gan",
        discriminator=component("stylegan2_discriminator", architecture="plain", group_size=32),
        conditional=True,
        latent=512,
        r1=0.01,
        penalty_every=16,
        average_half_life=500_000,
        average_ramp=0.05,
    )
    config.model = component("stylegan2_generator", mapping_layers=2, style_mixing=0.0)
    adam(config, 2.5e-3, 0.0, 0.99)
    return 200_000


def stylegan2_ada(config):
    stylegan2(config)
    config.task.ada = "bgc"
    return 1_000_000


def adam(config, learning_rate, b1, b2):
    config.optimizer.learning_rate = learning_rate
    config.optimizer.b1 = b1
    config.optimizer.b2 = b2


RECIPES = {
    "dcgan": dcgan,
    "sngan": sngan,
    "biggan": biggan,
    "stylegan2": stylegan2,
    "stylegan2_ada": stylegan2_ada,
}
