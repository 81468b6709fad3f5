"""CIFAR-10 without labels, with a ResNet-18: every method.

    dlresearch train --config=experiments/self_supervised/cifar10.py:byol,data_dir=DIR \
        --workdir=runs/byol

By default 200 epochs in batches of 512, with the settings of lightly's benchmark as far as it has
the method, and a kNN (k = 200, T = 0.1) on the test images at the end. `long` has solo-learn's:
1,000 epochs in batches of 256. What others report (lightly that of the best epoch):

    method          lightly kNN, 200 epochs    solo-learn linear, 1,000 epochs
    simclr          0.848 (87 min, A6000)      90.74
    byol            0.868                      92.58
    moco_v2         0.847                      92.94
    nnclr           0.815                      91.88
    swav            0.842                      89.17
    barlow_twins    0.819                      92.10
    dino            0.813                      89.52
    simsiam         0.764                      90.51
    moco_v3, vicreg, supervised_contrastive    93.10, 92.07, 93.82

from https://docs.lightly.ai and https://github.com/vturrisi/solo-learn. We have run none to its
end; what we measured is in docs/results.md. What differs: batch norm goes by the whole batch, where
theirs goes by parts of it in MoCo; SwAV has no queue in `long`. On CPU add
--config.precision=float32.
"""

from dlresearch.config import Choice, arguments, component, default_config
from dlresearch.data.view_recipes import views

METHODS = (
    "simclr",
    "supervised_contrastive",
    "moco_v2",
    "moco_v3",
    "byol",
    "simsiam",
    "barlow_twins",
    "vicreg",
    "swav",
    "dino",
    "nnclr",
    "mae",
)


def get_config(arg=""):
    args = arguments(arg, method=Choice(*METHODS), long=False, epochs=None, seed=0, data_dir=None)
    config = default_config()
    config.seed = args.seed
    config.precision = "bfloat16"
    config.model = component("resnet", depth=18, stem="cifar")

    def cifar10(split):
        return component("tfds", dataset="cifar10", split=split, data_dir=args.data_dir)

    config.data.source = cifar10("train")
    config.data.placement = "resident"
    config.data.preprocess = (
        # Means and standard deviations of the training pixels, by channel.
        component("normalise", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    )
    (of_solo_learn if args.long else of_lightly)(config, args.method)
    if args.epochs is not None:
        config.duration = f"{args.epochs} epochs"
    if args.method == "mae":
        masked(config)
    probe = dict(parameters=("probe/.*",), learning_rate=0.1, schedule=component("cosine"))
    config.optimizer.groups = {"probe": component("sgd", **probe)}

    test = dict(source=cifar10("test"), batch_size=500, every="100%")
    config.evaluators.probe = dict(test, name="classification", every="10%")
    config.evaluators.knn = dict(test, name="knn", train=cifar10("train"), k=200, temperature=0.1)
    config.evaluators.linear = dict(test, name="linear_probe", train=cifar10("train"))
    config.evaluators.spread = dict(test, name="representation")
    config.checkpoint.every = "5%"
    config.log.every = "1 epoch"
    return config


def of_lightly(config, method):
    """Settings of lightly's benchmark, docs/source/getting_started/benchmarks/cifar10_benchmark.py;
    for methods that it lacks, those of a relative.
    """
    config.duration = "200 epochs"
    config.batch_size = 512
    pair = dict(projector=(2048, 256), predictor=(4096, 256))
    own = {
        "simclr": dict(projector=(512, 128)),
        "supervised_contrastive": dict(projector=(512, 128)),
        "moco_v2": dict(
            temperature=0.1, momentum=0.99, queue=8192, symmetric=True, projector=(512, 128)
        ),
        "moco_v3": dict(temperature=0.2, momentum=0.99, **pair),
        "byol": dict(momentum=0.99, projector=(1024, 256), predictor=(1024, 256)),
        "simsiam": dict(projector=(2048, 2048), predictor=(512, 2048)),
        "barlow_twins": dict(projector=(2048, 2048)),
        "vicreg": dict(projector=(2048, 2048)),
        "swav": dict(prototypes=512, projector=(512, 128)),
        "dino": dict(outputs=2048, hidden=(2048,), head_norm=True, momentum=0.99),
        "nnclr": dict(queue=8192, **pair),
        "mae": {},
    }
    config.task = component(method, **own[method])
    config.data.views = views("simclr", size=32, strength=0.5, blur=0.0)
    # Their loss for BYOL is a mean of cosines, whose slope is a quarter of that of the paper's; and
    # their rate for SimSiam is not scaled.
    slope = 4 if method == "byol" else 1
    times = 1 if method == "simsiam" else config.batch_size / 128
    config.optimizer = component(
        "sgd",
        learning_rate=0.06 * times / slope,
        weight_decay=5e-4 * slope,
        decay_patterns=(".*",),
        schedule=component("cosine"),
    )
    if method == "swav":
        config.data.views = views("swav", size=32, local_count=0, strength=0.5, blur=0.0)
        config.optimizer = component(
            "adam",
            learning_rate=1e-3 * config.batch_size / 128,
            weight_decay=1e-6,
            decay_patterns=(".*",),
            schedule=component("cosine"),
        )
    if method == "dino":
        config.data.views = views("dino", size=32, local_count=0, blur=0.0)


def of_solo_learn(config, method):
    """Settings of solo-learn, scripts/pretrain/cifar."""
    config.duration = "1000 epochs"
    config.batch_size = 256
    large = dict(projector=(4096, 256), predictor=(4096, 256))
    # Recipe of the views, rate, weight decay, arguments of the task.
    own = {
        "simclr": ("cifar_simclr", 0.4, 1e-4, dict(temperature=0.2, projector=(2048, 256))),
        "supervised_contrastive": (
            "cifar_simclr",
            0.4,
            1e-5,
            dict(temperature=0.2, projector=(2048, 256)),
        ),
        "moco_v2": (
            "cifar",
            0.3,
            1e-4,
            dict(
                queue=32768,
                momentum=0.99,
                last_momentum=0.999,
                symmetric=True,
                projector=(2048, 256),
            ),
        ),
        "moco_v3": ("cifar", 0.3, 1e-6, dict(temperature=0.2, momentum=0.99, **large)),
        "byol": ("cifar", 1.0, 1e-5, dict(momentum=0.99, **large)),
        "simsiam": (
            "cifar",
            0.5,
            1e-5,
            dict(projector=(2048, 2048), predictor=(512, 2048)),
        ),
        "barlow_twins": ("cifar", 0.3, 1e-4, dict(projector=(2048, 2048), scale=0.1)),
        "vicreg": ("cifar_vicreg", 0.3, 1e-4, dict(projector=(2048, 2048))),
        "swav": ("cifar_simclr", 0.6, 1e-6, dict(prototypes=3000, projector=(2048, 128))),
        "dino": (
            "cifar",
            0.3,
            1e-6,
            dict(outputs=4096, hidden=(2048, 2048), head_norm=True, momentum=0.9995),
        ),
        "nnclr": (
            "cifar",
            0.4,
            1e-5,
            dict(temperature=0.2, queue=65536, projector=(2048, 256), predictor=(4096, 256)),
        ),
        "mae": ("mae", 2e-4, 0.05, {}),
    }
    recipe, rate, decay, arguments = own[method]
    config.task = component(method, **arguments)
    config.data.views = views(recipe, size=32)
    shared = dict(
        learning_rate=rate, weight_decay=decay, schedule=component("cosine", warmup="10 epochs")
    )
    if method in ("moco_v2", "simsiam", "supervised_contrastive"):
        config.optimizer = component("sgd", **shared)
    else:
        config.optimizer = component("lars", trust_coefficient=0.02, clip=True, **shared)


def masked(config):
    """A small vision transformer on patches of 4x4 pixels, as solo-learn has it."""
    config.model = component("vit", size="small", patch_size=4)
    config.task = component("mae")
    config.data.views = views("mae", size=32)
    config.optimizer = component(
        "adamw",
        learning_rate=2e-4 * config.batch_size / 256,
        b2=0.95,
        weight_decay=0.05,
        schedule=component("cosine", warmup="10 epochs"),
    )
