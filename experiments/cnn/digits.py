"""Handwritten digits, 8x8, that come with scikit-learn: the first run on a new machine.

    dlresearch train --config=experiments/cnn/digits.py --workdir=runs/digits

1,797 images, a fifth of them held out; a convolutional network of two stages. The measured accuracy
and time are in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, epochs=30, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 64
    config.model = component("convnet", widths=(32, 64), convs_per_stage=2)

    config.data.source = component("digits", split="train")
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise", mean=(0.3,), std=(0.37,)),)
    config.data.augmentations = (component("shifted_crop", padding=1, mode="zeros"),)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("cosine", warmup="5%")

    config.evaluators.test = dict(
        name="classification",
        source=component("digits", split="test"),
        every="5 epochs",
        batch_size=360,
    )
    config.checkpoint.best = "test/accuracy"
    config.checkpoint.every = "5 epochs"
    config.log.every = "2 epochs"
    return config
