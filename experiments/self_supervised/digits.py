"""Quick start of self-supervised learning: scikit-learn's 8x8 digits, half a minute on a CPU.

    dlresearch train --config=experiments/self_supervised/digits.py --workdir=runs/digits

No download: the digits come with scikit-learn. `knn` and `linear` classify held-out digits by what
was learned without labels, `at_start` by the untrained network; the pictures are in
runs/digits/artifacts. What it reaches is in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config
from dlresearch.data.view_recipes import views


def get_config(arg=""):
    args = arguments(arg, epochs=60, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.model = component("convnet", widths=(32, 64), convs_per_stage=1)
    config.task = component("simclr", temperature=0.2, projector=(128, 64))

    train = component("digits", split="train")
    test = component("digits", split="test")
    config.data.source = train
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    config.data.views = views("digits", size=8)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = component("cosine", warmup="10%")
    config.optimizer.groups.probe = component(
        "adam", parameters=("probe/.*",), learning_rate=3e-2, schedule=component("cosine")
    )

    shared = dict(source=test, batch_size=359, every="100%")
    config.evaluators.probe = dict(shared, name="classification", every="10%")
    config.evaluators.knn = dict(shared, name="knn", train=train, k=20, at_start=True)
    config.evaluators.linear = dict(shared, name="linear_probe", train=train, at_start=True)
    config.evaluators.few = dict(shared, name="few_shot", train=train, at_start=True)
    config.evaluators.spread = dict(shared, name="representation", at_start=True)
    config.evaluators.views = dict(shared, name="views")
    config.evaluators.neighbours = dict(shared, name="feature_neighbours", train=train)
    config.evaluators.map = dict(shared, name="feature_map")
    config.log.every = "5%"
    return config
