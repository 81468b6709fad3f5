"""Forecasting a made-up series that needs no download: the first recurrent run on numbers.

    dlresearch train --config=experiments/rnn/forecast.py --workdir=runs/forecast

4,000 hourly steps of two waves, a trend and noise that no model can foresee; from windows of two
days the next six hours. The last fifth is held out. A `path` and a `target` column take a CSV file
instead. `test/relative_mae` is the error over that of repeating the last day. What it reaches is in
docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, path="", target="", window=48, horizon=6, season=24, epochs=10, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 64
    config.task = component("forecasting")
    config.model = component("recurrent_forecaster", width=64)

    windows = dict(window=args.window, horizon=args.horizon)
    name = "series" if args.path else "waves"
    series = dict(path=args.path, target=args.target, **windows) if args.path else windows
    config.data.source = component(name, split="train", **series)
    config.data.placement = "resident"

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="5%")

    config.evaluators.test = dict(
        name="forecasting",
        season=args.season,
        source=component(name, split="test", **series),
        every="2 epochs",
        batch_size=256,
    )
    config.log.every = "1 epochs"
    return config
