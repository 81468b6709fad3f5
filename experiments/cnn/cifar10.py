"""CIFAR-10 with a plain convolutional network: no residuals, no tricks.

    dlresearch train --config=experiments/cnn/cifar10.py:data_dir=DIR --workdir=runs/cifar10

DIR is the folder of TFDS sets; without it, TFDS's own default. What it reaches, in how many epochs
and how long, is in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, epochs=10, seed=0, data_dir=None)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.model = component("convnet", widths=(32, 64, 128), convs_per_stage=1)

    config.data.source = component("tfds", dataset="cifar10", split="train", data_dir=args.data_dir)
    config.data.placement = "resident"
    config.data.preprocess = (
        # Means and standard deviations of the training pixels, by channel.
        component("normalise", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    )
    config.data.augmentations = (component("flip"), component("shifted_crop", padding=4))

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("one_cycle")

    config.evaluators.test = dict(
        name="classification",
        source=component("tfds", dataset="cifar10", split="test", data_dir=args.data_dir),
        every="1 epoch",
        at_start=True,
        batch_size=500,
    )
    config.checkpoint.every = "1 epoch"
    config.log.every = "100 steps"
    return config
