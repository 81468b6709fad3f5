"""ImageNet-1k without labels: SimCLR, BYOL, DINO and MAE.

    dlresearch train --config=experiments/self_supervised/imagenet.py:dino,path=DIR \
        --workdir=runs/dino
    dlresearch check --config=experiments/self_supervised/imagenet.py:mae,synthetic --devices=8

`path` is a folder with train/CLASS/*.JPEG and val/CLASS/*.JPEG; without it TFDS's imagenet2012 is
read from `data_dir`. `synthetic` makes noise that lies on the device, to measure speed without
data. docs/data.md says how to prepare either. What was published, and we have not run:

    method    network         epochs   batch   linear        source
    simclr    ResNet-50       1000     4096    69.1 %        Chen et al. 2020, arXiv:2002.05709
    byol      ResNet-50       1000     4096    74.0-74.5 %   Grill et al. 2020, deepmind-research
    dino      ViT-S/16        800      1024    77.0 %        Caron et al. 2021, arXiv:2104.14294
    mae       ViT-B/16        800      4096    fine-tuned 83.6 % (1,600 epochs), He et al. 2021

Views are made on the device; the host decodes images and cuts them to 256 pixels, of which a crop
takes its part, where the originals crop from the full photograph. DINO's weight decay does not rise
over the run, and its ViT has fixed positions and no stochastic depth.
"""

from dlresearch.config import Choice, arguments, component, default_config
from dlresearch.data.view_recipes import views


def get_config(arg=""):
    args = arguments(
        arg,
        method=Choice("simclr", "byol", "dino", "mae"),
        path=None,
        data_dir=None,
        synthetic=False,
        size=224,
        epochs=None,
        seed=0,
    )
    config = default_config()
    config.seed = args.seed
    config.precision = "bfloat16"
    METHODS[args.method](config, args.size)
    if args.epochs is not None:
        config.duration = f"{args.epochs} epochs"

    size = (args.size * 8 // 7,) * 2
    if args.synthetic:
        train = component("synthetic", length=1024, image=(*size, 3), num_classes=1000)
        test = component("synthetic", length=1024, image=(*size, 3), num_classes=1000, seed=1)
        config.data.placement = "resident"
    else:
        if args.path is not None:
            train = component("image_folder", path=f"{args.path}/train")
            test = component("image_folder", path=f"{args.path}/val")
        else:
            tfds = dict(dataset="imagenet2012", data_dir=args.data_dir)
            train = component("tfds", split="train", **tfds)
            test = component("tfds", split="validation", **tfds)
        config.data.transforms = (
            component("resize_shorter", size=size[0]),
            component("centre_crop", size=size),
        )
        config.data.workers = 8
        config.data.prefetch = 8
    config.data.source = train
    config.data.preprocess = (
        # Means and standard deviations of the training pixels, by channel.
        component("normalise", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    probe = dict(parameters=("probe/.*",), learning_rate=0.1, schedule=component("cosine"))
    config.optimizer.groups = {"probe": component("sgd", **probe)}
    shared = dict(source=test, batch_size=512, every="100%")
    if not args.synthetic:
        shared["transforms"] = (
            *config.data.transforms,
            component("centre_crop", size=(args.size,) * 2),
        )
    else:
        shared["source"] = component(
            "synthetic", length=1024, image=(args.size, args.size, 3), num_classes=1000, seed=1
        )
    config.evaluators.probe = dict(shared, name="classification", every="5%", top_k=5)
    if not args.synthetic:
        config.evaluators.knn = dict(shared, name="knn", train=train, k=20, temperature=0.07)
        config.evaluators.linear = dict(shared, name="linear_probe", train=train)
    config.evaluators.spread = dict(shared, name="representation")
    config.checkpoint.every = "1%"
    config.log.every = "100 steps"
    return config


def simclr(config, size):
    """Appendix B.6 and section 2.2: LARS, 0.3 for each 256 images, 10 epochs of warm-up."""
    config.duration = "1000 epochs"
    config.batch_size = 4096
    config.model = component("resnet", depth=50)
    config.task = component("simclr", temperature=0.1, projector=(2048, 128))
    config.data.views = views("simclr", size=size)
    config.optimizer = lars(0.3 * config.batch_size / 256, 1e-6)


def byol(config, size):
    """Section 3.3: LARS, 0.2 for each 256 images, 10 epochs of warm-up."""
    config.duration = "1000 epochs"
    config.batch_size = 4096
    config.model = component("resnet", depth=50)
    config.task = component("byol", momentum=0.996)
    config.data.views = views("byol", size=size)
    config.optimizer = lars(0.2 * config.batch_size / 256, 1.5e-6)


def lars(learning_rate, weight_decay):
    return component(
        "lars",
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=component("cosine", warmup="10 epochs"),
    )


def dino(config, size):
    """Section 3.2 and the authors' command for ViT-S/16 (facebookresearch/dino)."""
    config.duration = "800 epochs"
    config.batch_size = 1024
    config.model = component("vit", size="small", patch_size=16, positions="sincos")
    config.task = component("dino", momentum=0.996, teacher_warmup=30 / 800)
    config.data.views = views("dino", size=size, local_size=size * 96 // 224 // 16 * 16)
    config.optimizer = component(
        "adamw",
        learning_rate=5e-4 * config.batch_size / 256,
        weight_decay=0.04,
        clip_norm=3.0,
        schedule=component("cosine", warmup="10 epochs"),
    )


def mae(config, size):
    """Appendix A.1, table 8."""
    config.duration = "800 epochs"
    config.batch_size = 4096
    config.model = component("vit", size="base", patch_size=16, positions="sincos")
    config.task = component("mae")
    config.data.views = views("mae", size=size)
    config.optimizer = component(
        "adamw",
        learning_rate=1.5e-4 * config.batch_size / 256,
        b2=0.95,
        weight_decay=0.05,
        schedule=component("cosine", warmup="40 epochs"),
    )


METHODS = {"simclr": simclr, "byol": byol, "dino": dino, "mae": mae}
