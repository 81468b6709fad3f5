"""Brain scans, tumour or none: a network from scratch, or fine-tuned from one for CIFAR-10.

    dlresearch train --config=experiments/cnn/cifar10.py --workdir=runs/cifar10
    dlresearch train --config=experiments/cnn/tumour.py:finetuned,start=runs/cifar10,path=DIR
    --workdir=runs/tumour-finetuned
    dlresearch train --config=experiments/cnn/tumour.py:scratch,path=DIR --workdir=runs/tumour

DIR holds train/CLASS/*.png and test/CLASS/*.png. Grey images are read as three equal channels and
normalised as CIFAR-10 was, so that the network fits. What the two reach on 253 scans, after the
same number of epochs, is in docs/results.md; a demonstration, not for medical use.
"""

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg,
        variant=Choice("scratch", "finetuned"),
        start="runs/cifar10",
        path="data",
        size=64,
        epochs=40,
        rate=2e-3,
        seed=0,
    )
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 32
    config.model = component("convnet", widths=(32, 64, 128), convs_per_stage=1)
    if args.variant == "finetuned":
        config.start_from.path = args.start
        config.start_from.skip = ("model/Dense_0/.*",)  # ten classes there, two here

    source = dict(channels=3, size=(args.size, args.size))
    config.data.source = component("image_folder", path=f"{args.path}/train", **source)
    config.data.placement = "streamed"
    config.data.preprocess = (
        component("normalise", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    )
    config.data.augmentations = (
        component("flip"),
        component("shifted_crop", padding=args.size // 8),
    )

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = args.rate
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("cosine", warmup="10%")

    config.evaluators.test = dict(
        name="classification",
        source=component("image_folder", path=f"{args.path}/test", **source),
        every="10 epochs",
        at_start=True,
    )
    config.log.every = "5 epochs"
    return config
