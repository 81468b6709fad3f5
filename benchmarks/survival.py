"""Kill a run again and again, and see whether it ends as one that was left alone.

    python benchmarks/survival.py --out=docs/results/survival.json

For classification and regression, with averages and accumulation on: one run that is left alone,
one that is killed with SIGKILL at random instants, from start-up to the last save, and one that
gets SIGTERM at random instants. The last two are started again with the same command after each
signal. Compared are all arrays of the last checkpoint (parameters, optimizer state, averages), and
metrics.jsonl byte by byte.
"""

import collections
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
KILLS = flags.DEFINE_integer("kills", 20, "Times a run is killed.")
TERMS = flags.DEFINE_integer("terms", 10, "Times a run gets SIGTERM.")
STEPS = flags.DEFINE_integer("steps", 4000, "Steps of the run.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax has much to say
    from dlresearch.training.workdir import device_name
    from helpers.training.small_runs import classification_config, regression_config

    figures = {}
    for name, make in {
        "classification": classification_config,
        "regression": regression_config,
    }.items():
        config = make()
        config.duration = f"{STEPS.value} steps"
        config.checkpoint.every = "5 steps"  # often, so that many signals come while it saves
        folder = Path(tempfile.mkdtemp())
        try:
            figures[name] = survive(config, folder, random.Random(0))
        finally:
            shutil.rmtree(folder)
        print(name, figures[name], flush=True)
    Path(OUT.value).write_text(json.dumps({"device": device_name(), **figures}, indent=2) + "\n")


def survive(config, folder: Path, instants: random.Random) -> dict:
    from helpers.training.small_runs import final_state, start, write_config

    path = write_config(config, folder / "config.json")
    # Without the cache of compiled programs, so that compiling takes as long as in a first run.
    no_cache = "--compilation_cache="
    began = time.monotonic()
    alone = start(path, folder / "alone", no_cache)
    assert alone.stdout is not None
    start_up = next(time.monotonic() - began for line in alone.stdout if " step " in line)
    output, _ = alone.communicate()
    assert alone.returncode == 0, output

    ends: dict[str, collections.Counter] = {}
    for workdir, number, times in (
        ("killed", signal.SIGKILL, KILLS.value),
        ("stopped", signal.SIGTERM, TERMS.value),
    ):
        ends[workdir] = collections.Counter()
        for _ in range(times):
            process = start(path, folder / workdir, no_cache)
            # Not before its handlers are there: Python itself takes 0.1 s to start.
            time.sleep(instants.uniform(0.2, 2 * start_up))
            process.send_signal(number)
            output, _ = process.communicate()
            ends[workdir][end_of(folder / workdir, process.returncode, output)] += 1
        final = start(path, folder / workdir, no_cache)
        output, _ = final.communicate()
        assert final.returncode == 0, output

    expected = final_state(folder / "alone")
    metrics = (folder / "alone/metrics.jsonl").read_bytes()
    identical = {}
    for workdir in ("killed", "stopped"):
        actual = final_state(folder / workdir)
        identical[workdir] = {
            "arrays": sum(np.array_equal(expected[leaf], actual[leaf]) for leaf in expected),
            "of": len(expected),
            "metrics": (folder / workdir / "metrics.jsonl").read_bytes() == metrics,
            "steps_twice": steps_twice(folder / workdir / "metrics.jsonl"),
        }
    return {
        "seconds_to_first_record": round(start_up, 1),
        "ends": {workdir: dict(counts) for workdir, counts in ends.items()},
        "identical": identical,
    }


def end_of(workdir: Path, exit_status: int, output: str) -> str:
    """How a process ended: `killed`, or what it was doing, its exit status, and what it saved."""
    if exit_status == -signal.SIGKILL:
        return "killed"
    if not (workdir / "result.json").exists():
        return f"exit {exit_status}, no result"
    result = json.loads((workdir / "result.json").read_text())
    saved = (workdir / "checkpoints" / str(result["step"])).is_dir()
    during = re.search(r"during ([a-z-]+)", output)
    return (
        f"{f'during {during[1]}: ' if during else ''}{result['status']}, exit {exit_status},"
        f" step {'saved' if saved else 'NOT SAVED'}"
    )


def steps_twice(path: Path) -> int:
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    return len(steps) - len(set(steps))


if __name__ == "__main__":
    app.run(main)
