"""Fashion-MNIST with a wide residual network, WRN-16-4.

    dlresearch train --config=experiments/cnn/fashion_mnist.py:data_dir=DIR --workdir=runs/fashion

DIR is the folder of TFDS sets; without it, TFDS's own default. `python -m dlresearch.data.prepare`
makes one. Made for an accelerator.

Published on the 10,000 test images (README of zalandoresearch/fashion-mnist), all with flips and
crops: WRN-40-4 96.7 %, WRN-28-10 with random erasing 96.3 %, ResNet-18 94.9 %, and two convolutions
92.5 to 93.4 %. We have not run this one, so there is no figure of ours.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, epochs=40, seed=0, data_dir=None)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.model = component("wide_resnet", depth=16, widen=4)

    tfds = dict(dataset="fashion_mnist", data_dir=args.data_dir)
    config.data.source = component("tfds", split="train", **tfds)
    config.data.placement = "resident"
    # Mean and standard deviation of the training pixels.
    config.data.preprocess = (component("normalise", mean=(0.2860,), std=(0.3530,)),)
    config.data.augmentations = (
        component("flip"),
        component("shifted_crop", padding=4, mode="zeros"),
    )

    config.optimizer.name = "sgd"
    config.optimizer.nesterov = True
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 5e-4
    config.optimizer.schedule = component("cosine", warmup="1 epoch")

    config.evaluators.test = dict(
        name="classification",
        source=component("tfds", split="test", **tfds),
        every="1 epoch",
        batch_size=500,
    )
    config.checkpoint.every = "1 epoch"
    config.log.every = "100 steps"
    return config
