"""The figures that need a GPU, all of them, in one call.

    python benchmarks/gpu.py --out=docs/results/gpu.json
    python benchmarks/gpu.py --small --out=/tmp/small.json     the same at a size for CPU, as a
    proof

A figure is a `dlresearch benchmark` of one config, or the ratio of two. A track adds its own to
`FIGURES`. The table in docs/results.md says for each whether it was measured, and on which device.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
SMALL = flags.DEFINE_bool("small", False, "Tiny inputs and few calls, to prove the script on CPU.")

ROOT = Path(__file__).parents[1]
_CIFAR = {
    "data.source": "synthetic(image=(32,32,3), length=50000)",
    "evaluators": "{}",
    "batch_size": "1024",
}
_SMALL = {"batch_size": "8", "data.source": "synthetic(image=(32,32,3), length=64)"}


@dataclass(frozen=True)
class Figure:
    """One number: `field` of a benchmark, or its ratio to that of the same with `against`."""

    name: str
    what: str
    config: str
    overrides: dict[str, str]
    field: str = "examples_per_second"
    against: dict[str, str] | None = None


FIGURES = (
    Figure("cifar10 plain float32", "images/s, batch 1,024", "experiments/cnn/cifar10.py", _CIFAR),
    Figure(
        "cifar10 plain bfloat16",
        "images/s, batch 1,024",
        "experiments/cnn/cifar10.py",
        _CIFAR | {"precision": "bfloat16"},
    ),
    Figure(
        "cost of deterministic operations",
        "step time over that without",
        "experiments/cnn/cifar10.py",
        _CIFAR | {"deterministic": "true"},
        field="step_milliseconds_median",
        against={"deterministic": "false"},
    ),
    Figure(
        "steps in one dispatch",
        "images/s with 10 steps a call over 1, batch 64",
        "experiments/cnn/cifar10.py",
        _CIFAR | {"steps_per_call": "10", "batch_size": "64"},
        against={"steps_per_call": "1"},
    ),
)


def benchmark(figure: Figure, overrides: dict[str, str]) -> dict:
    settings = figure.overrides | overrides | (_SMALL if SMALL.value else {})
    command = [
        sys.executable,
        "-m",
        "dlresearch.benchmark",
        f"--config={figure.config}",
        "--json",
        f"--calls={3 if SMALL.value else 100}",
        *(f"--config.{path}={value}" for path, value in settings.items()),
    ]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if outcome.returncode:
        raise SystemExit(f"{figure.name}: {outcome.stderr.strip()}")
    return json.loads(outcome.stdout.splitlines()[-1])


def main(_: list[str]) -> None:
    figures = {}
    for figure in FIGURES:
        measured = benchmark(figure, {})
        if "cpu" in measured["device"].lower() and not SMALL.value:
            raise SystemExit(f"{measured['device']}: no GPU here; --small proves the script")
        value = measured[figure.field]
        if figure.against is not None:
            value /= benchmark(figure, figure.against)[figure.field]
        figures[figure.name] = {"value": value, "what": figure.what, "device": measured["device"]}
        print(f"{figure.name}: {value:.4g} {figure.what}", flush=True)
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
