"""Three training steps of an experiment of each track, on the accelerator and on the CPU beside it.

    python benchmarks/correctness.py --out=correctness.json

Both start from the same state, in float32 with the highest precision of matrix products. What is
compared is how far parameters moved: the length of the difference of the two moves, over the length
of the move. Without an accelerator the CPU is compared with itself.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from dlresearch.config import load, validate
from dlresearch.training.call import jit_call
from dlresearch.training.setup import Setup
from dlresearch.training.workdir import device_name

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)

ROOT = Path(__file__).parents[1]
STEPS = 3
_PLAIN = {"precision": "float32", "steps_per_call": "1"}
CASES: Mapping[str, Mapping[str, str]] = {
    "cnn/digits.py": {},
    "rnn/dates.py": {"data.source.count": "1000"},
    "gan/digits.py": {},
    "self_supervised/digits.py": {},
}


def main(_: list[str]) -> None:
    jax.config.update("jax_default_matmul_precision", "highest")
    cpu, device = jax.devices("cpu")[:1], jax.devices()[:1]
    differences = {}
    for name, settings in CASES.items():
        overrides = tuple((_PLAIN | dict(settings)).items())
        config = validate(load(f"{ROOT}/experiments/{name}", overrides))
        start, expected = moved(Setup(config, cpu))
        _, found = moved(Setup(config, device), start)
        differences[name] = length_of(found, expected) / length_of(expected)
        print(f"{name}: {differences[name]:.2g}", flush=True)
    figures = {"device": device_name(), "steps": STEPS, "difference": differences}
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")


def moved(setup: Setup, start: Any = None) -> tuple[Any, Any]:
    """The first state, and by how much parameters moved from there, both on the host.

    Args:
      start: the first state; None draws it.
    """
    feed = setup.make_feed()
    feed.start(0)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, setup.abstract_state)
    state = setup.initial_state(feed) if start is None else jax.device_put(start, shardings)
    start = jax.tree.map(np.asarray, state)
    for number in range(STEPS):
        step = partial(setup.step, due=setup.due(number))
        call = jit_call(step, feed.pick, 1, setup.abstract_state)
        state, _ = call(state, feed.resident, feed.take(1))
    feed.close()
    params = jax.tree.map(np.asarray, state.variables.params)
    return start, jax.tree.map(lambda new, old: new - old, params, start.variables.params)


def length_of(tree: Any, without: Any = None) -> float:
    """The Euclidean length of all arrays together, of their difference from others if given."""
    if without is not None:
        tree = jax.tree.map(lambda one, other: one - other, tree, without)
    squares = (np.sum(np.square(each, dtype=np.float64)) for each in jax.tree.leaves(tree))
    return float(np.sqrt(sum(squares)))


if __name__ == "__main__":
    app.run(main)
