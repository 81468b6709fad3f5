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
from functools import cache
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
# About 15 GiB of temporaries in float32.
_WIDE = _CIFAR | {
    "batch_size": "4096",
    "model": "convnet(widths=(64,128,256), convs_per_stage=3)",
}
_SAVINGS = {
    "all activations kept": {},
    "remat=dots": {"remat": "dots"},
    "remat=blocks": {"remat": "blocks"},
    "accumulate=4": {"accumulate": "4"},
    "accumulate=4, remat=dots": {"accumulate": "4", "remat": "dots"},
}
_COSTS = {
    "step": ("step_milliseconds_median", "ms"),
    "peak memory": ("peak_memory_gib", "GiB"),
    "estimated memory": ("estimated_memory_gib", "GiB"),
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
    *(
        Figure(
            f"wide cifar10, {saving}: {cost}",
            f"{unit}, batch 4,096",
            "experiments/cnn/cifar10.py",
            _WIDE | overrides,
            field,
        )
        for saving, overrides in _SAVINGS.items()
        for cost, (field, unit) in _COSTS.items()
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
    return _measured(figure.config, tuple(settings.items()))


@cache  # several figures may be of one measurement
def _measured(config: str, settings: tuple[tuple[str, str], ...]) -> dict:
    """In a process of its own, as a peak of memory is that of a process."""
    command = [
        sys.executable,
        "-m",
        "dlresearch.benchmark",
        f"--config={config}",
        "--json",
        f"--calls={3 if SMALL.value else 100}",
        *(f"--config.{path}={value}" for path, value in settings),
    ]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if outcome.returncode:
        raise SystemExit(f"{config} with {dict(settings)}: {outcome.stderr.strip()}")
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
