"""MNIST without labels: every method, on a small network.

    dlresearch train --workdir=runs/byol \
        --config=experiments/self_supervised/mnist.py:byol,data_dir=DIR

Methods are those of `METHODS` below. `supervised` trains the same network with labels, `random` not
at all; `mae` has a transformer, and `random_vit` that one untrained. `probe` follows the online
probe; at the end `linear` and `knn` classify by frozen features with 10,000 labels, `few` with a
share of them, and `spread` tells how features are spread. What each reaches, and how long it takes,
is in docs/results.md.

    dlresearch train --workdir=runs/tuned \
    --config=experiments/self_supervised/mnist.py:supervised,labels=0.01,start=runs/byol,data_dir=DIR

fine-tunes what was learned with a share of the labels; without `start`, it learns from scratch.
"""

from dlresearch.config import Choice, arguments, component, default_config
from dlresearch.data.view_recipes import views

PROJECTOR = dict(projector=(256, 64))
PREDICTOR = dict(**PROJECTOR, predictor=(256, 64))
METHODS = {
    "simclr": dict(temperature=0.2, **PROJECTOR),
    "supervised_contrastive": dict(temperature=0.2, **PROJECTOR),
    "moco_v2": dict(queue=4096, momentum=0.99, **PROJECTOR),
    "moco_v3": dict(temperature=0.2, momentum=0.99, **PREDICTOR),
    "byol": dict(momentum=0.99, **PREDICTOR),
    "simsiam": dict(projector=(256, 256), predictor=(64, 256)),
    "barlow_twins": dict(projector=(256, 256)),
    "vicreg": dict(projector=(256, 256)),
    "swav": dict(prototypes=100, prototypes_frozen=0.05, **PROJECTOR),
    "dino": dict(
        outputs=256,
        hidden=(256,),
        bottleneck=64,
        head_norm=True,
        momentum=0.99,
        last_layer_frozen=0.05,
    ),
    "nnclr": dict(queue=4096, **PREDICTOR),
    "mae": dict(norm_pix_loss=False, decoder_width=32, decoder_depth=1, decoder_heads=4),
    "supervised": {},
    "random": dict(temperature=0.2, **PROJECTOR),
}
METHODS["random_vit"] = METHODS["mae"]


def get_config(arg=""):
    args = arguments(
        arg,
        method=Choice(*METHODS),
        steps=None,
        seed=0,
        labels=1.0,
        start=None,
        data_dir=None,
    )
    config = default_config()
    config.seed = args.seed
    steps = 800 if args.method == "mae" else 400
    config.duration = f"{args.steps or steps} steps"
    config.batch_size = 256
    config.model = component("convnet", widths=(16, 32, 64), convs_per_stage=1)
    other = {"supervised": "classification", "random": "simclr", "random_vit": "mae"}
    config.task = component(other.get(args.method, args.method), **METHODS[args.method])

    def mnist(split):
        return component("tfds", dataset="mnist", split=split, data_dir=args.data_dir)

    config.data.source = mnist("train")
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise", mean=(0.1307,), std=(0.3081,)),)
    pipelines = views("digits")

    if args.method in ("mae", "random_vit"):
        pipelines = {}  # hidden patches are change enough
        config.model = component(
            "vit", width=64, depth=3, heads=4, patch_size=4, pool="mean", positions="sincos"
        )
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = component("cosine", warmup="10%")
    if args.method == "supervised":
        config.data.augmentations = pipelines["first"]
    else:
        config.data.views = pipelines
        config.optimizer.groups.probe = component(
            "adam",
            parameters=("probe/.*",),
            learning_rate=3e-2,
            schedule=component("cosine"),
        )
    if args.method.startswith("random"):
        config.duration = "1 steps"
        config.optimizer.learning_rate = 0.0
    if args.labels < 1:
        config.data.source = component(
            "subset", of=mnist("train"), share=args.labels, seed=args.seed
        )
    config.start_from.path = args.start

    config.log.every = "5%"
    test = dict(source=mnist("test"), batch_size=500, every="100%")
    few = mnist("train[:10000]")
    own = "test" if args.method == "supervised" else "probe"
    config.evaluators[own] = dict(test, name="classification", every="25%")
    if args.labels < 1:
        return config
    config.evaluators.linear = dict(test, name="linear_probe", train=few)
    config.evaluators.knn = dict(test, name="knn", train=few, k=20)
    config.evaluators.few = dict(test, name="few_shot", train=few)
    config.evaluators.spread = dict(test, name="representation")
    return config
