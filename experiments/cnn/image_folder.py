"""Any folder of class folders: DIR/train/CLASS/*.png and DIR/test/CLASS/*.png.

    dlresearch train --config=experiments/cnn/image_folder.py:path=DIR --workdir=runs/folder

Images are scaled to `size` x `size`; `channels=1` reads them grey. Shown in docs/results.md on 253
brain scans, tumour or none; a demonstration, not for medical use.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, path="data", size=64, channels=3, epochs=40, batch_size=32, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = args.batch_size
    config.model = component("convnet", widths=(16, 32, 64, 64), convs_per_stage=1, dropout=0.3)

    source = dict(channels=args.channels, size=(args.size, args.size))
    config.data.source = component("image_folder", path=f"{args.path}/train", **source)
    config.data.placement = "streamed"
    config.data.preprocess = (component("normalise"),)
    config.data.augmentations = (
        component("flip"),
        component("shifted_crop", padding=args.size // 8),
    )

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("cosine", warmup="10%")

    config.evaluators.test = dict(
        name="classification",
        source=component("image_folder", path=f"{args.path}/test", **source),
        every="10 epochs",
    )
    config.log.every = "5 epochs"
    return config
