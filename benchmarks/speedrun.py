r"""Accuracy and seconds of a run over many seeds, in one process that compiles once.

    python benchmarks/speedrun.py --out=94.json \
        --config=experiments/cnn/cifar10.py:speedrun94,data_dir=DIR --set=precision=bfloat16

A run is timed from the making of its parameters to the last evaluation, with the examples on the
device, and without records and checkpoints; one run before them, whose time does not count, warms
up. `benchmarks/gpu.py` is the way to the figures in docs/results.md.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from many_seeds import Runs

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
CONFIG = flags.DEFINE_string("config", "experiments/cnn/cifar10.py:speedrun94", "What to run.")
SEEDS = flags.DEFINE_integer("seeds", 50, "Runs.", lower_bound=2)
SET = flags.DEFINE_multi_string("set", [], "Settings of the config, PATH=VALUE.")
METRIC = flags.DEFINE_string("metric", "test/accuracy", "What is reported of a run.")


def figures(runs: Runs, seeds: int) -> Iterator[tuple[str, Any]]:
    from dlresearch.training.console import peak_flops
    from dlresearch.training.workdir import device_name

    _, first, _ = runs.run(0)
    metrics, seconds, trained = zip(*(runs.run(seed) for seed in range(seeds)), strict=True)
    yield "device", device_name()
    yield "config", CONFIG.value
    yield "steps", runs.setup.schedule.total
    # The evaluation is compiled in the first run.
    compiling = runs.compile_seconds + first - statistics.median(seconds)
    yield "compile_seconds", round(compiling, 2)
    yield METRIC.value, [round(metric, 6) for metric in metrics]
    yield "mean", statistics.mean(metrics)
    yield "standard_error", statistics.stdev(metrics) / seeds**0.5
    yield "seconds", [round(value, 4) for value in seconds]
    yield "seconds_median", statistics.median(seconds)
    yield "training_seconds_median", statistics.median(trained)
    rate = runs.flops / statistics.median(trained)
    yield "teraflops", rate / 1e12
    peaks = [peak_flops(device.device_kind) for device in jax.devices()]
    yield "utilisation", rate / sum(p for p in peaks if p) if all(peaks) else None


def main(_: list[str]) -> None:
    from dlresearch.config import load, validate

    settings = [tuple(text.split("=", 1)) for text in SET.value]
    config = load(CONFIG.value, settings)
    evaluator = METRIC.value.split("/")[0]
    with config.unlocked():  # others would only read their examples
        config.evaluators = {evaluator: config.evaluators[evaluator]}
    runs = Runs(validate(config), METRIC.value)
    measured = dict(figures(runs, SEEDS.value))
    Path(OUT.value).write_text(json.dumps(measured, indent=2) + "\n")
    print(json.dumps(measured))


if __name__ == "__main__":
    app.run(main)
