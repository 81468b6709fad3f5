"""Handwritten digits of 8 x 8 pixels, drawn by a network: the quick start for adversarial networks.

    dlresearch train --config=experiments/gan/digits.py --workdir=runs/gan-digits
    dlresearch generate --workdir=runs/gan-digits --label=7 --count=20

The data comes with scikit-learn; nothing is downloaded. A conditional DCGAN (Radford et al. 2016,
arXiv:1511.06434) of two stages with a zero-centred penalty on real images. Look at
`artifacts/samples/STEP/grid.png`, where each row is a class, and at `film.png`. Figures of
`quality` compare pixels with the held-out digits, beside what other real digits have. What this
reaches, and how long it takes, is in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, steps=2500, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.steps} steps"
    config.batch_size = 64
    config.task = component(
        "gan",
        discriminator=component("resnet_discriminator", widths=(64,), last_widths=(64,)),
        conditional=True,
        latent=32,
        r1=0.2,
        average_half_life=1e4,
        average_ramp=0.1,
    )
    config.model = component("dcgan_generator", widths=(128, 64))

    config.data.source = component("digits", split="train")
    config.data.placement = "resident"

    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.5
    config.optimizer.b2 = 0.99

    test = component("digits", split="test")
    config.evaluators.samples = dict(name="samples", source=test, every="10%", scale=4)
    config.evaluators.quality = dict(
        name="sample_quality",
        source=test,
        every="50%",
        floor=component("digits", split="train"),
    )
    config.evaluators.score = dict(
        name="classification_accuracy_score",
        source=test,
        train=component("digits", split="train"),
        every="100%",
    )
    config.log.every = "5%"
    return config
