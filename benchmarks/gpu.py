"""The figures that need a GPU, all of them, in one call.

    python benchmarks/gpu.py --out=docs/results/gpu.json --data_dir=DIR
    python benchmarks/gpu.py --small --out=/tmp/small/gpu.json     the same at a size for CPU, as a
    proof

A figure is a `dlresearch benchmark` of one config, or the ratio of two; a track adds its own to
`FIGURES`. Accuracies come from real data, the TFDS sets in DIR, by `MEASUREMENTS`, which are taken
in the order of their worth. `--budget=SECONDS` stops in time; what was not reached, or not seen to
its end, is named. `--only=TEXT` takes those whose name has the text. Figures that are not measured
again stay in the file, so that it can be filled bit by bit. The table in docs/results.md says on
which device each was measured.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
SMALL = flags.DEFINE_bool("small", False, "Tiny inputs and few calls, to prove the script on CPU.")
ONLY = flags.DEFINE_string("only", "", "Figures whose name holds this text.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of TFDS sets; TFDS's own by default.")
SEEDS = flags.DEFINE_integer("seeds", 50, "Runs of the speed run.", lower_bound=2)

BUDGET = flags.DEFINE_float("budget", None, "Seconds in all; None has no end.", lower_bound=1.0)

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
_SMALL_RUN = _SMALL | {
    "duration": "2 steps",
    "evaluators.test.source": "synthetic(image=(32,32,3), length=20)",
    "evaluators.test.batch_size": "20",
}
_TINY_NETWORK = (("model.blocks", "1,1"), ("model.width", "4"))
_IMAGENET = "experiments/cnn/imagenet.py:synthetic,batch_size=256"
_SNGAN = "experiments/gan/cifar10.py:sngan"
_GAN_FIGURES = {
    "images a second": (
        "examples_per_second",
        "images/s, batch 64, 5 discriminator updates a step",
    ),
    "step": ("step_milliseconds_median", "ms, batch 64, 5 discriminator updates"),
}
_IMAGENET_FIGURES = {
    "images a second": ("examples_per_second", "images/s, batch 256, 224 x 224"),
    "utilisation": ("utilisation", "of the peak in bfloat16"),
    "step": ("step_milliseconds_median", "ms, batch 256"),
    "compilation": ("compile_seconds", "s"),
}


@dataclass(frozen=True)
class Figure:
    """One number: `field` of a benchmark, or its ratio to that of the same with `against`."""

    name: str
    what: str
    config: str
    overrides: dict[str, str]
    field: str = "examples_per_second"
    against: dict[str, str] | None = None
    small: tuple[tuple[str, str], ...] = ()  # further settings of the proof


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
    *(
        Figure(
            f"imagenet resnet50 bfloat16: {name}",
            what,
            _IMAGENET,
            {"evaluators": "{}"},
            field,
            small=_TINY_NETWORK,
        )
        for name, (field, what) in _IMAGENET_FIGURES.items()
    ),
    *(
        Figure(
            f"cifar10 sngan float32: {name}",
            what,
            _SNGAN,
            {"evaluators": "{}", "data.source": _CIFAR["data.source"]},
            field,
            small=(
                ("model.widths", "4,4,4,4"),
                ("task.discriminator.widths", "4,4"),
                ("task.discriminator.last_widths", "4,4"),
                ("task.repeats", "1"),
            ),
        )
        for name, (field, what) in _GAN_FIGURES.items()
    ),
)


Row = tuple[str, dict[str, Any]]


def rows_of(figure: Figure) -> Iterator[Row]:
    measured = benchmark(figure, {})
    value = measured[figure.field]
    if figure.against is not None:
        value /= benchmark(figure, figure.against)[figure.field]
    yield figure.name, {"value": value, "what": figure.what, "device": measured["device"]}


def benchmark(figure: Figure, overrides: dict[str, str]) -> dict:
    small = _SMALL | dict(figure.small) if SMALL.value else {}
    settings = figure.overrides | overrides | small
    return _measured(figure.config, tuple(settings.items()))


@cache  # several figures may be of one measurement
def _measured(config: str, settings: tuple[tuple[str, str], ...]) -> dict:
    """In a process of its own, as a peak of memory is that of a process."""
    output = _call(
        *("-m", "dlresearch.benchmark", f"--config={config}", "--json"),
        f"--calls={3 if SMALL.value else 100}",
        *(f"--config.{path}={value}" for path, value in settings),
    )
    return json.loads(output.splitlines()[-1])


def speedrun(name: str) -> Iterator[Row]:
    """Mean accuracy over many seeds, and what a run takes; one process, compiled once."""
    settings = {"precision": "bfloat16"}
    if SMALL.value:
        settings |= _SMALL_RUN | {"model.widths": "4,8,8"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "speedrun.json"
        _call(
            *("benchmarks/speedrun.py", f"--out={out}", f"--config={_cifar('speedrun94')}"),
            f"--seeds={2 if SMALL.value else SEEDS.value}",
            *(f"--set={path}={value}" for path, value in settings.items()),
        )
        measured = json.loads(out.read_text())
    runs = f"{len(measured['seconds'])} runs, bfloat16"
    for row, value, what in (
        ("accuracy", 100 * measured["mean"], f"%, mean of {runs}"),
        ("standard error of the accuracy", 100 * measured["standard_error"], f"%, {runs}"),
        ("seconds a run", measured["seconds_median"], f"median of {runs}, compiled before"),
        ("seconds of training", measured["training_seconds_median"], f"median of {runs}"),
        ("compilation", measured["compile_seconds"], "s"),
        ("utilisation", measured["utilisation"], "of the peak in bfloat16, in training"),
    ):
        if value is not None:
            yield f"{name}: {row}", {"value": value, "what": what, "device": measured["device"]}


def resnet18(name: str) -> Iterator[Row]:
    """One run to its end."""
    small = _SMALL_RUN | dict(_TINY_NETWORK)
    return whole_run(name, "cnn", "resnet18", {"accuracy": "test/accuracy"}, small)


def pretrained(name: str, method: str) -> Iterator[Row]:
    """One run to its end of a method that learns without labels."""
    small = {
        "batch_size": "8",
        "duration": "2 steps",
        "data.source": _SMALL["data.source"],
        "evaluators.knn.k": "5",
        "evaluators.linear.epochs": "1",
        **dict(_TINY_NETWORK),
    }
    for evaluator in ("probe", "knn", "linear", "spread"):
        small[f"evaluators.{evaluator}.source"] = "synthetic(image=(32,32,3), length=20)"
        small[f"evaluators.{evaluator}.batch_size"] = "20"
    for evaluator in ("knn", "linear"):
        small[f"evaluators.{evaluator}.train"] = _SMALL["data.source"]
    metrics = {f"accuracy of {each}": f"{each}/accuracy" for each in ("knn", "linear", "probe")}
    return whole_run(name, "self_supervised", method, metrics, small)


def whole_run(
    name: str, track: str, variant: str, metrics: dict[str, str], small: dict[str, str]
) -> Iterator[Row]:
    """A run of CIFAR-10 by the trainer; its result.json goes where docs/results.md finds it.

    Args:
      metrics: those that are shares, by what they are called here.
      small: settings of the proof.
    """
    settings = {"precision": "bfloat16"} | (small if SMALL.value else {})
    with tempfile.TemporaryDirectory() as folder:
        _call(
            *("-m", "dlresearch.train", f"--workdir={folder}"),
            f"--config={_cifar(variant, track)}",
            *(f"--config.{path}={value}" for path, value in settings.items()),
        )
        result = json.loads((Path(folder) / "result.json").read_text())
        if not SMALL.value:
            to = Path(OUT.value).parent / f"{track}/cifar10-{variant}/seed0.json"
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder) / "result.json", to)
    what = f"%, 1 run, {result['step']:,} steps, bfloat16"
    device = {"device": result["device"]}
    for row, metric in metrics.items():
        value = 100 * result["metrics"][metric]
        yield f"{name}: {row}", {"value": value, "what": what} | device
    yield f"{name}: seconds", {"value": result["wall_seconds"], "what": "with compilation"} | device


def augmentations(name: str) -> Iterator[Row]:
    """Their own table, in a file beside the one of these figures."""
    fast = ("--rounds=1", "--seconds=0.001") if SMALL.value else ("--more=32",)
    out = Path(OUT.value).parent / "augmentations-gpu.json"
    _call("benchmarks/augmentations.py", f"--out={out}", *fast)
    measured = json.loads(out.read_text())
    speed = statistics.median(
        speeds["224 x 224"] for speeds in measured["images_per_second"].values()
    )
    what = "images/s at 224 x 224, median over the catalogue"
    yield name, {"value": speed, "what": what, "device": measured["device"]}


def recurrent(name: str) -> Iterator[Row]:
    """An LSTM language model by cuDNN, by our scan and by Flax; on CPU without cuDNN."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "recurrent.json"
        small = ("--small", "--steps=2") if SMALL.value else ("--steps=50",)
        _call("benchmarks/recurrent.py", "--gpu", f"--out={out}", *small)
        measured = json.loads(out.read_text())
    device = {"device": measured["device"]}
    size = "{layers} x {width}, batch {batch}, {steps} steps".format(**measured)
    for backend, values in measured["milliseconds"].items():
        what = f"ms a step, {size}, float32"
        yield f"{name}: {backend}", {"value": statistics.median(values), "what": what} | device
    first = next(iter(measured["milliseconds"]))
    for other, ratio in measured["speed_over"].items():
        yield f"{name}: {first} over {other}", {"value": ratio, "what": "speed"} | device


def gan(name: str) -> Iterator[Row]:
    """A step of DCGAN and of StyleGAN2 beside PyTorch, where it finds the GPU; on CPU at tiny
    size.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "gan.json"
        small = ("--small", "--steps=2") if SMALL.value else ("--gpu", "--steps=64")
        _call("benchmarks/gan.py", f"--out={out}", *small)
        measured = json.loads(out.read_text())
    device = {"device": measured["device"]}
    for network, figures in measured["networks"].items():
        for who, values in figures["milliseconds"].items():
            what = f"ms a step, batch {figures['batch']}, float32"
            row = {"value": statistics.median(values), "what": what}
            yield f"{name}, {network}: {who}", row | device
        for who, ratio in figures["speed_over"].items():
            row = {"value": ratio, "what": "speed"}
            yield f"{name}, {network}: dlresearch over {who}", row | device


def views(name: str) -> Iterator[Row]:
    """A step of SimCLR, and what its views take of it; beside PyTorch where it finds the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "views.json"
        small = ("--small", "--steps=2") if SMALL.value else ("--gpu", "--steps=50")
        _call("benchmarks/views.py", f"--out={out}", *small)
        measured = json.loads(out.read_text())
    device = {"device": measured["device"]}
    for who, values in measured["images_per_second"].items():
        what = f"images/s, batch {measured['batch']}, two views, float32"
        yield f"{name}: {who}", {"value": statistics.median(values), "what": what} | device
    for who, share in measured["share_of_views"].items():
        yield f"{name}: views of {who}", {"value": share, "what": "of the time of a step"} | device
    for who, ratio in measured["speed_over"].items():
        yield f"{name}: dlresearch over {who}", {"value": ratio, "what": "speed"} | device


def vectorised(name: str) -> Iterator[Row]:
    """Sixteen seeds of the digits experiment in one process, and in one each."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vectorised.json"
        small = ("--seeds=2", "--networks=mlp") if SMALL.value else ()
        _call("benchmarks/vectorised.py", f"--out={out}", *small)
        measured = json.loads(out.read_text())
    device = {"device": measured["device"]}
    for network, figures in measured["networks"].items():
        seconds = {way: of["full_cache"] for way, of in figures["seconds"].items()}
        for way, value in seconds.items():
            what = f"s, {measured['seeds']} seeds, programs compiled before"
            yield f"{name}, {network}: {way}", {"value": value, "what": what} | device
        ratio = seconds["one_after_another"] / seconds["vectorised"]
        row = {"value": ratio, "what": "times as long one after another"}
        yield f"{name}, {network}: gain", row | device


def correctness(name: str) -> Iterator[Row]:
    """Steps of an experiment of each track on the GPU, beside the same steps on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "correctness.json"
        _call("benchmarks/correctness.py", f"--out={out}")
        measured = json.loads(out.read_text())
    what = f"of the way that parameters move in {measured['steps']} steps, float32"
    for experiment, difference in measured["difference"].items():
        row = {"value": difference, "what": what, "device": measured["device"]}
        yield f"{name}: {experiment}", row


def _figures(text: str) -> dict[str, Callable[[str], Iterator[Row]]]:
    """The figures whose name begins so."""
    return {
        figure.name: lambda _, figure=figure: rows_of(figure)
        for figure in FIGURES
        if figure.name.startswith(text)
    }


# By worth: the first are taken first.
MEASUREMENTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "difference from the CPU": correctness,
    "cifar10 speedrun94": speedrun,
    **_figures("imagenet resnet50"),
    "lstm language model": recurrent,
    "simclr step": views,
    **_figures("cifar10 sngan"),
    **_figures("cost of deterministic"),
    "gan step": gan,
    "cifar10 resnet18": resnet18,
    "augmentations": augmentations,
    **_figures(""),
    "many runs in one process": vectorised,
    "cifar10 simclr": partial(pretrained, method="simclr"),
    "cifar10 byol": partial(pretrained, method="byol"),
}


def _cifar(variant: str, track: str = "cnn") -> str:
    where = f",data_dir={DATA_DIR.value}" if DATA_DIR.value else ""
    return f"experiments/{track}/cifar10.py:{variant}{where}"


def _call(*arguments: str) -> str:
    """Return what `python ...` prints. Raises Failed with its last words, and OutOfTime."""
    left = None if _deadline is None else _deadline - time.monotonic()
    try:
        outcome = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=left
        )
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    if outcome.returncode:
        raise Failed(f"{' '.join(arguments)}: {' '.join(outcome.stderr.split()[-60:])}")
    return outcome.stdout


class Failed(Exception):
    """A measurement that came to no end."""


class OutOfTime(Exception):
    """The budget was used up while something was measured."""


_deadline: float | None = None


def main(_: list[str]) -> None:
    global _deadline
    _deadline = None if BUDGET.value is None else time.monotonic() + BUDGET.value
    platform = _call("-c", "import jax; print(jax.default_backend())").strip()
    if platform == "cpu" and not SMALL.value:
        raise SystemExit("no GPU here; --small proves the script")
    out, failed = Path(OUT.value).resolve(), []
    flags.FLAGS.out = str(out)  # commands run in the root of the repository
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(out.read_text()) if out.exists() else {}
    wanted = [name for name in MEASUREMENTS if ONLY.value in name]
    for number, name in enumerate(wanted):
        measure = MEASUREMENTS[name]
        try:
            for row, figure in measure(name):
                figures[row] = figure
                print(f"{row}: {figure['value']:.4g} {figure['what']}", flush=True)
        except Failed as error:  # the time on a GPU is dear: the others are still measured
            failed.append(name)
            print(f"{name}: FAILED: {error}", flush=True)
        except OutOfTime:
            print(f"out of time in: {'; '.join(wanted[number:])}", flush=True)
            break
        out.write_text(json.dumps(figures, indent=2) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    app.run(main)
