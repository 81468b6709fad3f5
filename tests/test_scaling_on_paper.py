"""What the trainer's step sends on a mesh is what a count by hand gives, and the page says so."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.processes import ROOT, environment

WIDTH, CLASSES, PIXELS, ROWS = 64, 10, 64, 16
MLP = {
    "model": f"mlp(hidden=({WIDTH},), norm='batch')",
    "batch_size": str(ROWS),
    "evaluators": "{}",
    "checkpoint.best": "None",
    "average.decay": "0.0",
    "data.placement": "streamed",
    "mesh.fsdp_min_size": str(WIDTH * PIXELS),  # the first kernel
}


def figures_of(folder: Path, **mesh: int) -> dict:
    overrides = MLP | {f"mesh.{axis}": str(size) for axis, size in mesh.items()}
    case = {"config": "experiments/cnn/digits.py", "overrides": overrides, "devices": 8}
    out = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/scaling_case.py", json.dumps(case), str(out)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert "refused" not in figures, figures
    return figures


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> dict:
    return figures_of(tmp_path_factory.mktemp("data"), data=8)


@pytest.mark.slow
def test_copies_send_their_gradients_and_batch_statistics(copies):
    assert copies["mesh"] == {"data": 8}
    # Kernel, scale and bias of the normalisation, kernel and bias of the head.
    parameters = PIXELS * WIDTH + 2 * WIDTH + WIDTH * CLASSES + CLASSES
    assert copies["parameters"] == parameters
    # Forward the sums of values and of squares; backward, beside the gradients of scale and bias,
    # one for the mean. Loss and accuracy.
    numbers = parameters + 3 * WIDTH + 2
    for program in copies["programs"].values():
        assert program["bytes"] == 2 * 7 / 8 * 4 * numbers
    # Three times as much arithmetic as forward, but for the gradient of the pixels.
    forward = 2 * ROWS * (PIXELS * WIDTH + WIDTH * CLASSES)
    assert copies["flops"] == (3 * forward - 2 * ROWS * PIXELS * WIDTH) / 8


@pytest.mark.slow
def test_split_parameters_are_gathered_and_their_gradients_kept_in_parts(copies, tmp_path):
    split = figures_of(tmp_path, data=1, fsdp=8)["programs"]["partitioned"]
    gather, norms = 7 / 8 * 4 * PIXELS * WIDTH, 2 * (2 * 7 / 8 * 4)
    assert split["kinds"]["all-gather"] == {"collectives": 1, "bytes": gather}
    # Its gradient is a sum of which each device keeps a part.
    (kept,) = (sent for kind, sent in split["kinds"].items() if "part is kept" in kind)
    assert kept == {"collectives": 1, "bytes": 2 * gather}
    assert split["bytes_if_scattered"] == split["bytes"] - gather
    # The norms of gradients and of parameters are sums over the parts.
    assert split["bytes"] == copies["programs"]["partitioned"]["bytes"] + gather + norms


# --- the page -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases() -> dict:
    return json.loads((ROOT / "docs/results/scaling.json").read_text())["cases"]


def resnet50_channels() -> int:
    """Of all its normalisations (He et al. 2016, arXiv:1512.03385, table 1)."""
    stages = {64: 3, 128: 4, 256: 6, 512: 3}
    return 64 + sum(blocks * (2 + 4) * width + 4 * width for width, blocks in stages.items())


@pytest.mark.parametrize("devices", [8, 64, 512])
def test_copies_of_resnet50_send_what_is_counted_by_hand(cases, devices):
    case = cases[f"ResNet-50, data={devices}"]
    channels, head = resnet50_channels(), 2048 * 1000 + 1000
    convolutions = case["parameters"] - 2 * channels - head
    assert case["parameters"] == 25_557_032 and channels == 26_560
    # Kernels are read, and their gradients added up, in bfloat16; the rest is float32. Five sums of
    # each channel, two of them the gradients of scale and bias; loss and accuracy.
    size = 2 * convolutions + 4 * (head + 5 * channels + 2)
    program = case["programs"]["partitioned"]
    assert program["bytes"] == pytest.approx(2 * (devices - 1) / devices * size, rel=1e-12)
    assert case["batch"] == 128 * devices


def test_the_page_is_made_from_the_figures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = runpy.run_path(str(ROOT / "benchmarks/scaling_page.py"))["page"]()
    assert (ROOT / "docs/scaling.md").read_text() == page
    assert "{" not in page  # nothing was left to fill in
