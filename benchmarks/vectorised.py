"""Sixteen seeds of the digits experiment: in one process, or in one each.

    python benchmarks/vectorised.py --out=docs/results/vectorised.json

The whole commands are timed, from their start to their end, first with an empty cache of compiled
programs and then with the one that leaves. On an idle machine; some 20 minutes on two cores.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
SEEDS = flags.DEFINE_integer("seeds", 16, "How many runs.")
NOTE = flags.DEFINE_string("note", "", "What else is to be said, such as other work beside it.")
NETWORKS = flags.DEFINE_list("networks", ["convnet", "mlp"], "Which of them.")
_ROOT = Path(__file__).parents[1]
_EXPERIMENT = _ROOT / "experiments/cnn/digits.py"
_OVERRIDES = {"convnet": [], "mlp": [["model", "mlp(hidden=(128,))"]]}
_AT_ONCE = {"one_after_another": 1, "two_at_a_time": 2}


def command(module: str, network: str, folder: Path, cache: Path, *flags: str) -> None:
    """A verb on the experiment with one of the networks."""
    settings = [f"--config.{path}={value}" for path, value in _OVERRIDES[network]]
    files = f"--config={_EXPERIMENT}", f"--workdir={folder}", f"--compilation_cache={cache}"
    subprocess.run(
        [sys.executable, "-m", f"dlresearch.{module}", *files, *settings, *flags],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def vectorised(network: str, folder: Path, cache: Path) -> None:
    """All seeds in one process."""
    points = [
        {"folder": str(folder / str(seed)), "overrides": [["seed", str(seed)]]}
        for seed in range(SEEDS.value)
    ]
    folder.mkdir()
    (folder / "points.json").write_text(json.dumps(points))
    command("train_vectorised", network, folder, cache, f"--points={folder / 'points.json'}")


def processes(at_once: int) -> Callable[[str, Path, Path], None]:
    """A process for each seed, so many of them at a time."""

    def run(network: str, folder: Path, cache: Path) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            list(
                pool.map(
                    lambda seed: command(
                        "train", network, folder / str(seed), cache, f"--config.seed={seed}"
                    ),
                    range(SEEDS.value),
                )
            )

    return run


def timed(way: Callable[[str, Path, Path], None], network: str) -> tuple[list[float], list[float]]:
    """Seconds with an empty cache and with a full one; the accuracy of each seed."""
    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary) / "runs", Path(temporary) / "cache"
        for _ in range(2):
            shutil.rmtree(folder, ignore_errors=True)
            began = time.perf_counter()
            way(network, folder, cache)
            seconds.append(round(time.perf_counter() - began, 1))
        results = [folder / str(seed) / "result.json" for seed in range(SEEDS.value)]
        metrics = [json.loads(path.read_text())["metrics"] for path in results]
    return seconds, [each["test/accuracy"] for each in metrics]


def step_milliseconds(network: str) -> dict[str, float]:
    """Of a step of one run: alone, and of all together by the two ways to convolve them."""
    from dlresearch.config import load, validate
    from dlresearch.training.vectorised import Together, lockstep

    def milliseconds(count: int) -> float:
        overrides = [(path, value) for path, value in _OVERRIDES[network]]
        seeds = range(count)
        settings = [[*overrides, ("seed", str(seed))] for seed in seeds]
        together = Together([validate(load(str(_EXPERIMENT), each)) for each in settings])
        state, resident = together.initial_state(), together.feeds[0].resident
        taken = together.take(1)
        call = together.compile(together.kind(0, 1), state, taken).call
        rounds, steps = [], max(3, 48 // count)
        for _ in range(6):
            began = time.perf_counter()
            for _ in range(steps):
                state, _ = call(state, resident, taken)
            jax.block_until_ready(state)
            rounds.append((time.perf_counter() - began) / steps / count)
        return round(1e3 * statistics.median(rounds[1:]), 3)

    figures = {"alone": milliseconds(1), "together": milliseconds(SEEDS.value)}
    if network == "convnet" and jax.default_backend() == "cpu":
        with mock.patch.object(lockstep, "_one_by_one", lambda operation: operation):
            figures["together_grouped"] = milliseconds(SEEDS.value)
    return figures


def main(_: list[str]) -> None:
    from dlresearch.training.workdir import device_name

    networks: dict[str, Any] = {}
    for network in NETWORKS.value:
        ways = {"vectorised": vectorised} | {
            name: processes(at_once) for name, at_once in _AT_ONCE.items()
        }
        figures: dict[str, Any] = {"seconds": {}, "accuracy": {}}
        for name, way in ways.items():
            (cold, warm), accuracies = timed(way, network)
            figures["seconds"][name] = {"empty_cache": cold, "full_cache": warm}
            figures["accuracy"][name] = [
                round(float(each), 5) for each in (np.mean(accuracies), np.std(accuracies, ddof=1))
            ]
            print(network, name, cold, warm, figures["accuracy"][name], flush=True)
        figures["step_milliseconds"] = step_milliseconds(network)
        print(network, figures["step_milliseconds"], flush=True)
        networks[network] = figures
    figures = {
        "device": device_name(),
        "note": NOTE.value,
        "seeds": SEEDS.value,
        "networks": networks,
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
