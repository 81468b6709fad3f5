r"""Accuracy and seconds of a run over many seeds, in one process that compiles once.

    python benchmarks/speedrun.py --out=94.json \
        --config=experiments/cnn/cifar10.py:speedrun94,data_dir=DIR --set=precision=bfloat16

A run is timed from the making of its parameters to the last evaluation, with the examples on the
device, and without records and checkpoints; one run before them, whose time does not count, warms
up. `benchmarks/gpu.py` is the way to the figures in docs/results.md.
"""

import json
import statistics
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
CONFIG = flags.DEFINE_string("config", "experiments/cnn/cifar10.py:speedrun94", "What to run.")
SEEDS = flags.DEFINE_integer("seeds", 50, "Runs.", lower_bound=2)
SET = flags.DEFINE_multi_string("set", [], "Settings of the config, PATH=VALUE.")
METRIC = flags.DEFINE_string("metric", "test/accuracy", "What is reported of a run.")


class Runs:
    """Runs of an experiment with any seed, which share compiled programs and examples in memory."""

    def __init__(self, experiment: Any, metric: str):
        from dlresearch.data import ArraySource, load_all
        from dlresearch.models import jaxpr_flops
        from dlresearch.training import Setup
        from dlresearch.training.call import jit_call

        self.setup, self.metric = Setup(experiment), metric
        setup = self.setup
        if experiment.data.placement != "resident":
            raise SystemExit("config.data.placement: a run is timed with resident examples only")
        # Decoded once, not once a seed.
        setup.source = ArraySource(load_all(setup.source, setup.transforms), setup.metadata)
        setup.transforms = ()
        self.evaluation = setup.evaluations[metric.split("/")[0]]
        feed = self.feed_of(0)
        began = time.perf_counter()
        state = setup.initial_state(feed)
        self.calls, self.flops = {}, 0.0
        for steps in set(self.plan()):
            several = self.feed_of(0).take(steps)
            call = jit_call(setup.step, feed.pick, steps, setup.abstract_state)
            traced = call.trace(state, feed.resident, several)
            self.calls[steps] = traced.lower().compile()
            self.flops += self.plan().count(steps) * jaxpr_flops(traced.jaxpr)
        self.compile_seconds = time.perf_counter() - began

    def plan(self) -> list[int]:
        """Return the number of steps of each call."""
        several, total = self.setup.steps_per_call, self.setup.schedule.total
        return [several] * (total // several) + [1] * (total % several)

    def feed_of(self, seed: int):
        """The examples in the order of a seed."""
        from dlresearch.data import TrainingOrder

        setup = self.setup
        setup.order = TrainingOrder(len(setup.source), seed, setup.examples_per_step)
        feed = setup.make_feed()
        feed.start(0)
        return feed

    def run(self, seed: int) -> tuple[float, float, float]:
        """The metric, seconds in all, and those of them before evaluation."""
        from dlresearch.training.loop import CALLS_AHEAD

        feed = self.feed_of(seed)
        jax.block_until_ready(feed.resident)
        began = time.perf_counter()
        state, ahead = self.setup.initial_state(feed, seed), deque()
        for steps in self.plan():
            state, recorded = self.calls[steps](state, feed.resident, feed.take(steps))
            ahead.append(recorded.finite_steps)
            if len(ahead) > CALLS_AHEAD:
                ahead.popleft().block_until_ready()
        jax.block_until_ready(state)
        trained = time.perf_counter() - began
        variables = self.setup.evaluation_variables(state.variables)
        outcome = self.evaluation.run(self.setup.predict, variables)
        return outcome.metrics[self.metric], time.perf_counter() - began, trained


def figures(runs: Runs, seeds: int) -> Iterator[tuple[str, Any]]:
    from dlresearch.hardware import peak_flops
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
