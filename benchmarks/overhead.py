"""What the loop costs around the jitted step: with a model of one tiny layer, there is little else.

    python benchmarks/overhead.py --out=docs/results/overhead.json

Times the whole trainer (`dlresearch.training.train`, with records, a checkpoint and all else that a
run does) over many steps and over few; their difference by step leaves out what a run costs once.
From that goes what bare calls of the same compiled step cost.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
from absl import app, flags, logging

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
STEPS = flags.DEFINE_integer("steps", 20_000, "Steps of a long run; a short one has 2,000.")
REPEATS = flags.DEFINE_integer("repeats", 5, "How often all is timed; the median counts.")
_FEW = 2_000


def tiny_setup(steps: int):
    from dlresearch.config import component, default_config, validate
    from dlresearch.training import Setup

    config = default_config()
    config.duration = steps
    config.batch_size = 8
    config.model = component("mlp", hidden=())
    config.data.source = component("synthetic", image=(2, 2, 1), length=1024)
    config.data.placement = "resident"
    config.optimizer.name = "sgd"
    config.checkpoint.every = steps
    config.log.every = 1000
    return Setup(validate(config))


def loop_seconds(steps: int) -> float:
    from dlresearch.training import open_workdir, train

    setup = tiny_setup(steps)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train(setup, open_workdir(folder))
        return time.perf_counter() - began


def bare_seconds(steps: int) -> float:
    """So many calls of the compiled step with the same examples, nothing around them."""
    from dlresearch.training.call import make_call

    setup = tiny_setup(steps)
    feed = setup.make_feed()
    feed.start(0)
    state, taken = setup.initial_state(feed), feed.take(1)
    call = jax.jit(make_call(setup.step, feed.pick, 1), donate_argnums=0)
    compiled = call.lower(state, feed.resident, taken).compile()
    state, _ = compiled(state, feed.resident, taken)
    began = time.perf_counter()
    for _ in range(steps):
        state, _ = compiled(state, feed.resident, taken)
    jax.block_until_ready(state)
    return time.perf_counter() - began


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax has much to say
    from dlresearch.training.workdir import device_name

    loops, bares = [], []
    loop_seconds(_FEW)  # imports, and what is slow only the first time
    for _ in range(REPEATS.value):
        many, few = loop_seconds(STEPS.value), loop_seconds(_FEW)
        loops.append(1e6 * (many - few) / (STEPS.value - _FEW))
        bares.append(1e6 * bare_seconds(STEPS.value) / STEPS.value)
        print(f"loop {loops[-1]:.1f} us, bare step {bares[-1]:.1f} us", flush=True)
    figures = {
        "device": device_name(),
        "steps": STEPS.value,
        "loop_microseconds": [round(value, 1) for value in loops],
        "bare_step_microseconds": [round(value, 1) for value in bares],
        "overhead_microseconds_median": round(
            statistics.median(loop - bare for loop, bare in zip(loops, bares, strict=True)), 1
        ),
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
