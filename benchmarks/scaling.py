"""Scaling on paper: what devices that are not there would send each other in a training step.

    python benchmarks/scaling.py --out=docs/results/scaling.json
    python benchmarks/scaling.py --out=docs/results/scaling.json --tpu
    python benchmarks/scaling_page.py

Lowers and compiles the trainer's own step of real experiments, of shapes alone, for 8 to 512
devices, and counts the collectives of the program. Takes a CPU and some minutes. What is in the
file is not computed again, so that it can be filled bit by bit; `--only=TEXT` takes the cases whose
name has the text, also where they are there. With `--tpu` the compiler is that of the TPU, for v5e;
that takes the package `libtpu`, and no TPU. The last command makes docs/scaling.md.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
ONLY = flags.DEFINE_string("only", "", "Cases whose name holds this text, also those done before.")
TPU = flags.DEFINE_bool("tpu", False, "Compile for TPU v5e, by its own compiler.")
TIMEOUT = flags.DEFINE_float("timeout", 600.0, "Seconds for each case; what takes longer is noted.")

ROOT = Path(__file__).parents[1]
HOST = 8
DEVICES = (8, 64, 512)
TOPOLOGIES = {8: "v5e:2x4", 64: "v5e:8x8"}
_COMMON = {"evaluators": "{}", "data.placement": "streamed", "precision": "bfloat16"}
# The batch is that of one device. {text} is a text with the vocabulary of Penn Treebank.
EXPERIMENTS: Mapping[str, tuple[str, int, Mapping[str, str]]] = {
    "ResNet-50": ("experiments/cnn/imagenet.py:synthetic", 128, {}),
    # 1,150 units, as in the paper, can be split in 2 only; 1,152 in 128.
    "AWD-LSTM": ("experiments/rnn/ptb.py:awd,path={text},suffix=", 80, {"model.width": "1152"}),
}


def main(_: list[str]) -> None:
    out = Path(OUT.value)
    figures = json.loads(out.read_text()) if out.exists() else {}
    names = ("jax", "jaxlib") + (("libtpu",) if TPU.value else ())
    figures.setdefault("versions", {}).update({name: version(name) for name in names})
    cases = figures.setdefault("cases", {})
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder))
        for name, case in all_cases(folder):
            key = f"{name}, TPU" if TPU.value else name
            if ONLY.value not in key or (key in cases and not ONLY.value):
                continue
            if TPU.value:
                case["tpu"] = TOPOLOGIES[case["devices"]]
            cases[key] = {**case_facts(name, case), **compiled(case, Path(folder))}
            print(f"{key}: {said(cases[key])}", flush=True)
            # After each, as the next one may take long.
            order = sorted(cases, key=lambda key: (cases[key]["devices"], key))
            figures["cases"] = {key: cases[key] for key in order}
            out.write_text(json.dumps(figures, indent=1) + "\n")


def all_cases(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the settings of each."""
    for devices in DEVICES:
        if TPU.value and devices not in TOPOLOGIES:
            continue
        for model, (config, batch, settings) in EXPERIMENTS.items():
            for mesh in meshes(devices):
                arranged = " x ".join(f"{axis}={size}" for axis, size in mesh.items() if size > 1)
                overrides = {**_COMMON, **settings, "batch_size": str(batch * devices)}
                if "{text}" in config:
                    overrides["data.source.streams"] = overrides["batch_size"]
                overrides |= {f"mesh.{axis}": str(size) for axis, size in mesh.items()}
                yield (
                    f"{model}, {arranged}",
                    {
                        "config": config.format(text=folder),
                        "overrides": overrides,
                        "devices": devices,
                    },
                )


def meshes(devices: int) -> Iterator[dict[str, int]]:
    """Copies; all of the parameters split over all devices; split over those of a host; and layers
    split over those of a host.
    """
    yield {"data": devices, "fsdp": 1, "tensor": 1}
    yield {"data": 1, "fsdp": devices, "tensor": 1}
    if devices > HOST:
        yield {"data": devices // HOST, "fsdp": HOST, "tensor": 1}
    yield {"data": devices // HOST, "fsdp": 1, "tensor": HOST}


def case_facts(name: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """What is known before anything is compiled."""
    model, arranged = name.split(", ")
    return {"model": model, "arranged": arranged, "devices": case["devices"]}


def compiled(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `scaling_case.py` says, or that it took too long."""
    out = folder / "figures.json"
    began = time.monotonic()
    command = [sys.executable, str(ROOT / "benchmarks/scaling_case.py"), json.dumps(case), str(out)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT.value
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {TIMEOUT.value:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        taken = time.monotonic() - began
        return {"failed": f"status {done.returncode} after {taken:.0f} s: {last[:300]}"}
    return json.loads(out.read_text())


def said(figures: Mapping[str, Any]) -> str:
    """A line for the console."""
    if "programs" not in figures:
        return figures.get("refused") or figures["failed"]
    sizes = ", ".join(
        f"{program['bytes'] / 1e6:,.1f} MB in {program['collectives']:,} collectives {name}"
        for name, program in figures["programs"].items()
    )
    return f"{sizes}; {figures['seconds']} s"


def write_text(folder: Path) -> None:
    """A text of 10,000 different words with the end of the line, as Penn Treebank's has; what it
    says changes no shape.
    """
    words = ["<unk>", *(f"word{number}" for number in range(9998))]
    lines = [" ".join(words[start : start + 25]) for start in range(0, len(words), 25)]
    text = "\n".join(lines) + "\n"
    # Two windows of 70 for each of the streams of the largest mesh.
    least = 2 * 70 * EXPERIMENTS["AWD-LSTM"][1] * max(DEVICES)
    (folder / "ptb.train.txt").write_text(text * (least // len(words) + 1))


if __name__ == "__main__":
    app.run(main)
