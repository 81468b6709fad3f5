"""House prices in California, 1990 census: regression on a table with gaps and a category.

    dlresearch train --config=experiments/tabular/house_prices.py:path=housing.csv
    --workdir=runs/houses dlresearch train
    --config=experiments/tabular/house_prices.py:wide,path=housing.csv --workdir=...

`housing.csv` (20,640 rows; the copy with `ocean_proximity`, from github.com/ageron/handson-ml2).
Prices are in units of 100,000 dollars; a fifth of the rows is held out. `plain` has ten inputs,
hidden layers of 16 and 8, and one output; `wide` takes categories one by one and quantiles of the
numbers.
Reference: RMSE 0.4985 for a tuned MLP, the mean over 15 seeds on another split and without the
category (Gorishniy et al. 2021, arXiv:2106.11959, as published in
github.com/yandex-research/rtdl-revisiting-models). What these reach is in docs/results.md.
"""

from dlresearch.config import Choice, arguments, component, default_config

# From the coast to the country; an order, so that one number can hold it.
OCEAN_PROXIMITY = ("ISLAND", "NEAR BAY", "NEAR OCEAN", "<1H OCEAN", "INLAND")


def get_config(arg=""):
    args = arguments(arg, variant=Choice("plain", "wide"), path="housing.csv", epochs=60, seed=0)
    wide = args.variant == "wide"
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.task = component("regression")
    config.model = (
        component("mlp", hidden=(512, 256, 256), dropout=0.1)
        if wide
        else component("mlp", hidden=(16, 8))
    )

    table = dict(path=args.path, target="median_house_value", target_scale=1e-5)
    if wide:
        table |= dict(normalisation="quantile")
    else:
        table |= dict(ordinal=dict(ocean_proximity=OCEAN_PROXIMITY))
    config.data.source = component("table", split="train", **table)
    config.data.placement = "resident"

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3 if wide else 5e-3
    config.optimizer.weight_decay = 1e-2 if wide else 0.0
    config.optimizer.schedule = component("cosine", warmup="2%")
    config.average.decay = 0.999

    config.evaluators.test = dict(
        name="regression",
        source=component("table", split="test", **table),
        every="10 epochs",
        batch_size=1024,
    )
    config.log.every = "5 epochs"
    return config
