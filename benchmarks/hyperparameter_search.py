"""Does Bayesian search reach the best of a grid with a third of its trials?

    python benchmarks/hyperparameter_search.py --out=docs/results/hyperparameter-search.json

A perceptron learns the digits of experiments/search/digits.py: three quarters of the training
images, judged by the loss on the others. First a grid of learning rates and weight decays, then
searches in the same box by the search of `python -m launch sweep`, each repeated with other seeds
of its draws. The seed of training is the same everywhere, so that a setting has one loss. As only
two numbers change, the runs are calls of one compiled program; what a step does is the trainer's.
"""

import itertools
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import app, flags, logging

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
REPEATS = flags.DEFINE_integer("repeats", 5, "Searches of each kind.", lower_bound=1)
TRIALS = flags.DEFINE_integer("trials", 12, "Runs of a search.", lower_bound=1)
NOTE = flags.DEFINE_string("note", "", "What else the machine did.")

EXPERIMENT = "experiments/search/digits.py:epochs=20"
MODEL = ("--config.model=mlp(hidden=(64,))",)
METRIC = "validation/loss"
GRID = "optimizer.learning_rate=log(1e-4, 1e-1, 6); optimizer.weight_decay=log(1e-3, 10, 6)"
SPACE = (
    "optimizer.learning_rate=loguniform(1e-4, 1e-1); optimizer.weight_decay=loguniform(1e-3, 10)"
)


class Objective:
    """The loss of a run, given its learning rate and weight decay: compiled once."""

    def __init__(self, experiment: Any):
        import jax

        from dlresearch.config import Component, build
        from dlresearch.patterns import match_mask
        from dlresearch.training import Setup
        from dlresearch.training.step import PlayerOptimizer, make_step

        setup = Setup(experiment)
        feed = setup.make_feed()
        feed.start(0)
        options, own = experiment.optimizer, setup.optimizers["model"]
        start = setup.initial_state(feed)
        mask = match_mask(options.decay_patterns, start.variables.params["model"], "config")
        taken, resident = feed.take(setup.schedule.total), feed.resident

        @jax.jit
        def learn(state: Any, learning_rate: Any, weight_decay: Any) -> Any:
            def rate(step: Any) -> Any:
                return learning_rate * (own.learning_rate(step) / options.learning_rate)

            transformation = build(
                Component(options.name, **options.arguments),
                "optimizer",
                "config.optimizer",
                learning_rate=rate,
                weight_decay=weight_decay,
                decay_mask=mask,
            )
            optimizers = {"model": PlayerOptimizer(transformation, rate, options.clip_norm)}
            _, step = make_step(
                setup.task, replace(setup._step_options(None), optimizers=optimizers)
            )
            state, _ = jax.lax.scan(
                lambda state, some: (step(state, feed.pick(resident, some)), None), state, taken
            )
            return state.variables

        self._learn, self._start, self._setup = learn, start, setup
        self._evaluation = setup.evaluations[METRIC.split("/")[0]]

    def __call__(self, learning_rate: float, weight_decay: float) -> float:
        variables = self._learn(self._start, learning_rate, weight_decay)
        return float(self._evaluation.run(self._setup.predict, variables).metrics[METRIC])

    @property
    def steps(self) -> int:
        """Of a run."""
        return self._setup.schedule.total


def search(kind: str, seed: int, objective: Objective, base: tuple[str, ...]) -> list[float]:
    """The losses of the runs of one search, in order."""
    from launch.sweeps.check import Checker
    from launch.sweeps.grammar import space
    from launch.sweeps.points import Point, Sweep
    from launch.sweeps.pool import Pool
    from launch.sweeps.samplers import SearchOptions
    from launch.sweeps.search import Search

    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        options = SearchOptions(kind, TRIALS.value, METRIC, "minimize", seed=seed)
        sweep = Sweep(base, (), options.record(SPACE))
        chosen = Search(Path(folder), sweep, space([SPACE]), options, Checker(base))

        def start(point: Point) -> None:
            losses.append(objective(*(float(text) for _, text in point.overrides)))
            (runs / point.name).mkdir(parents=True)
            result = {"status": "completed", "metrics": {METRIC: losses[-1]}}
            (runs / point.name / "result.json").write_text(json.dumps(result))

        def state(point: Point) -> str:
            return "completed" if (runs / point.name).exists() else "unstarted"

        for point, ended in Pool(start, state, 1, poll_seconds=0).run(chosen.points()):
            chosen.tell(point, ended)
    return losses


def main(_: list[str]) -> None:
    from dlresearch.training.workdir import device_name
    from launch.sweeps.check import Checker
    from launch.sweeps.grammar import grid
    from launch.sweeps.points import points_of

    logging.set_verbosity(logging.FATAL)
    base = ("dlresearch", "train", f"--config={EXPERIMENT}", *MODEL)
    points = points_of(grid([GRID]))
    checker = Checker(base)
    checker.check_points(points)
    objective = Objective(checker.experiment(points[0]))
    began = time.perf_counter()
    losses = [objective(*(float(text) for _, text in point.overrides)) for point in points]
    best = min(losses)
    print(f"grid: {best:.4f} at {points[losses.index(best)]}", flush=True)
    searches: dict[str, list[dict[str, Any]]] = {}
    for kind, seed in itertools.product(("bayesian", "halton", "random"), range(REPEATS.value)):
        found = search(kind, seed, objective, base)
        reached = [i for i, loss in enumerate(found, start=1) if loss <= best]
        row = {"best": min(found), "over_grid": min(found) / best, "losses": found}
        searches.setdefault(kind, []).append({**row, "reached_at": reached[0] if reached else None})
        print(kind, seed, f"{min(found):.4f}", row["over_grid"], reached[:1], flush=True)
    content = {
        "steps": objective.steps,
        "trials": TRIALS.value,
        "grid": {
            "runs": [
                {**dict(point.overrides), "loss": loss}
                for point, loss in zip(points, losses, strict=True)
            ],
            "best": best,
            "median": statistics.median(losses),
        },
        "searches": searches,
        "seconds": round(time.perf_counter() - began),
        "device": device_name(),
        "note": NOTE.value,
    }
    Path(OUT.value).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
