"""Makes docs/results.md from the files that real runs left in docs/results/.

    python benchmarks/results.py

A run's own result.json lies at docs/results/TRACK/EXPERIMENT/NAME.json, beside it its metrics.jsonl
where the table of evaluations is wanted; all files of a folder are seeds of one experiment. What
the other benchmarks measured lies beside the tracks.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from results_search import against_a_grid, networks
from results_self_supervised import tables

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"

# What others reached, with where it stands; by folder of docs/results.
REFERENCES = {
    "cnn/cifar10-speedrun94": (
        "94.01 %, mean of 200 runs: the same recipe in PyTorch (KellerJordan/cifar10-airbench)"
    ),
    "cnn/mnist": "99.17 to 99.25 %: Flax's MNIST example, 10 epochs (google/flax, examples/mnist)",
    "rnn/jsb": "8.45: LSTM; 8.10: TCN (Bai et al. 2018, arXiv:1803.01271, table 1)",
    "rnn/multi30k-gru": (
        "bleu_lowercase 28.3: GRU with attention; 36.5: Transformer (bentrevett/pytorch-seq2seq);"
        " 33.5: LSTM, subwords (huggingface.co/msarmi9/multi30k)"
    ),
    "rnn/ptb-small": "perplexity 115: two LSTM layers of 200 (Zaremba et al. 2014)",
    "rnn/tiny_shakespeare-gru": "loss 1.88: a Transformer, 3 min of a CPU (karpathy/nanoGPT)",
    "rnn/tiny_shakespeare-lstm": "loss 1.88: a Transformer, 3 min of a CPU (karpathy/nanoGPT)",
    "rnn/tiny_shakespeare-large": (
        "loss 1.4697: a Transformer, best of a run, 3 min of an A100 (karpathy/nanoGPT)"
    ),
    "tabular/house_prices-wide": (
        "0.4985: tuned MLP, mean of 15 seeds, other split and no category"
        " (yandex-research/rtdl-revisiting-models)"
    ),
}
GENERATED = "gan"
"""The track whose runs have a table each."""
SEARCHED = "search"
"""The track of networks that a search found, which have a table of their own."""
UNLABELLED = "self_supervised"
"""The track whose experiments have a table each."""
_PERCENT = ("accuracy", "balanced_accuracy", "frame_accuracy", "exact")
_COUNTS = ("examples", "tokens", "frames")  # of what an evaluator has seen
# Runs that shared the cores with other work, so that their seconds say little.
BUSY = (
    "cnn/cifar10-speedrun94",
    "gan/mnist",
    "rnn/forecast",
    "rnn/jsb",
    "rnn/multi30k-gru",
    "rnn/ptb-small",
    "rnn/python_docs",
    "rnn/tiny_shakespeare-gru",
    "rnn/tiny_shakespeare-mingru",
    "self_supervised/mnist",
)


def main() -> None:
    (ROOT / "docs/results.md").write_text(page())


def page() -> str:
    """The whole page."""
    lines = [
        "# Results",
        "",
        "Made by `benchmarks/results.py` from the files in `docs/results/`; nothing in it is",
        "typed by hand. Figures are of the final step, never the best over the run. With several",
        "seeds: mean ± standard deviation (lowest to highest).",
        "",
        *_experiments(),
        *_generated(),
        *tables([folder for folder in _folders() if folder.parent.name == UNLABELLED], BUSY),
        *networks([folder for folder in _folders() if folder.parent.name == SEARCHED]),
        *against_a_grid(_read("hyperparameter-search.json")),
        *_curves(),
        *_overhead(),
        *_survival(),
        *_faults(),
        *_augmentations(),
        *_resnet50(),
        *_recurrent(),
        *_gan(),
        *_views(),
        *_search(),
        *_vectorised(),
        *_gpu(),
    ]
    return "\n".join(lines) + "\n"


def _folders() -> list[Path]:
    return sorted({path.parent for path in RESULTS.glob("*/*/*.json")})


def _name(folder: Path) -> str:
    return str(folder.relative_to(RESULTS))


def _experiments() -> Iterator[str]:
    yield "## Experiments"
    yield ""
    yield "| experiment | test | seeds | steps | seconds a run | device | reference |"
    yield "|---|---|---|---|---|---|---|"
    for folder in _folders():
        if folder.parent.name in (GENERATED, SEARCHED, UNLABELLED):
            continue
        runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        steps, devices = ({str(run[key]) for run in runs} for key in ("step", "device"))
        seconds = [run["wall_seconds"] for run in runs]
        cells = [
            _link(folder),
            _metrics([run["metrics"] for run in runs]),
            ", ".join(str(run["seed"]) for run in runs),
            ", ".join(sorted(steps)),
            _spread(seconds, "{:.0f}") + (" (busy)" if _name(folder).startswith(BUSY) else ""),
            ", ".join(sorted(devices)),
            REFERENCES.get(_name(folder), ""),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "(busy): other work shared the cores."
    yield ""


def _generated() -> Iterator[str]:
    """What generated examples are like; beside each figure what real ones have, where measured."""
    for folder in _folders():
        if folder.parent.name != GENERATED:
            continue
        runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        yield f"## {_link(folder)}"
        yield ""
        seeds = ", ".join(str(run["seed"]) for run in runs)
        seconds = _spread([run["wall_seconds"] for run in runs], "{:.0f}")
        busy = ", while other work shared the cores" if _name(folder).startswith(BUSY) else ""
        yield (
            f"Seeds {seeds}; {runs[0]['step']:,} steps; {seconds} seconds"
            f" a run in all{busy}; {runs[0]['device']}."
        )
        yield ""
        yield "| figure | generated | other real examples |"
        yield "|---|---|---|"
        names = [name for name in runs[0]["metrics"] if not name.startswith("train/")]
        for name in names:
            evaluator, metric = name.split("/")
            if metric.startswith("floor_") or metric == "samples":
                continue
            floor = f"{evaluator}/floor_{metric}"
            cells = [
                _spread([run["metrics"][each] for run in runs], "{:.4f}") if each in names else ""
                for each in (name, floor)
            ]
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
        for evaluator, about in runs[0].get("about", {}).items():
            yield f"- {evaluator}: {about}"
        yield ""


def _link(folder: Path) -> str:
    experiment, _, variant = folder.name.partition("-")
    path = f"experiments/{folder.parent.name}/{experiment}.py"
    return f"`{path}{':' + variant if variant else ''}`"


def _metrics(runs: list[dict[str, float]]) -> str:
    names = [name for name in runs[0] if not name.startswith("train/")]
    names.sort(key=lambda name: not name.startswith("test/"))  # the others behind it
    parts = []
    for name in names:
        evaluator, metric = name.split("/")
        if metric in _left_out({other.split("/")[1] for other in names}):
            continue
        place = "" if evaluator == "test" else f" of {evaluator}"
        values = [run[name] for run in runs]
        if metric in _PERCENT:
            percent = _spread([100 * value for value in values], "{:.2f}")
            parts.append(f"{metric}{place} {percent} %")
        else:
            parts.append(f"{metric}{place} {_spread(values, '{:.4f}')}")
    counts = [name for name in names if name.split("/")[1] in _COUNTS]
    if counts:
        parts[-1] += f" ({runs[0][counts[0]]:,.0f} {counts[0].split('/')[1]})"
    return ", ".join(parts)


def _left_out(metrics: set[str]) -> set[str]:
    """What says little beside the others."""
    left_out = {*_COUNTS, "loss"}
    if "perplexity" in metrics:
        left_out.add("accuracy")
    if metrics & {"perplexity", "bleu"} == {"perplexity"}:
        left_out.remove("loss")
    return left_out


def _spread(values: list[float], form: str) -> str:
    if len(values) == 1:
        return form.format(values[0])
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(mean)} ± {form.format(deviation)} ({low} to {high})"


def _curves() -> Iterator[str]:
    for path in sorted(RESULTS.glob("*/*/*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        metric = next(name for row in rows for name in row if name.endswith("/accuracy"))
        metric = metric if not metric.startswith("train/") else "test/accuracy"
        points = [(row["step"], row[metric]) for row in rows if metric in row]
        yield f"## {_link(path.parent)}, `{metric}` over the run"
        yield ""
        yield f"| step | {' | '.join(str(step) for step, _ in points)} |"
        yield f"|---|{'---|' * len(points)}"
        yield f"| % | {' | '.join(f'{100 * value:.1f}' for _, value in points)} |"
        yield ""


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def _overhead() -> Iterator[str]:
    yield "## Overhead of the loop"
    yield ""
    figures = _read("overhead.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/overhead.py`."
    else:
        yield (
            f"{figures['overhead_microseconds_median']} microseconds a step: with a model of one"
            f" tiny layer, the trainer takes {statistics.median(figures['loop_microseconds']):.0f}"
            f" microseconds a step and bare calls of the same compiled step"
            f" {statistics.median(figures['bare_step_microseconds']):.0f} (medians of"
            f" {len(figures['loop_microseconds'])}, {figures['steps']:,} steps each;"
            f" {figures['device']}; `benchmarks/overhead.py`)."
        )
    yield ""


def _survival() -> Iterator[str]:
    yield "## Killed and resumed"
    yield ""
    figures = _read("survival.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/survival.py`."
        yield ""
        return
    yield (
        "A run with averages and accumulation on is killed at random instants and started again"
        " with the same command; its last checkpoint and its metrics.jsonl are compared with those"
        f" of a run that was left alone ({figures['device']}; `benchmarks/survival.py`)."
    )
    yield ""
    yield "| task | signal | how the processes ended | equal arrays | metrics.jsonl | steps twice |"
    yield "|---|---|---|---|---|---|"
    for task, outcome in figures.items():
        if task == "device":
            continue
        for workdir, signal in (("killed", "SIGKILL"), ("stopped", "SIGTERM")):
            same = outcome["identical"][workdir]
            ends = "; ".join(f"{count} x {end}" for end, count in outcome["ends"][workdir].items())
            yield (
                f"| {task} | {signal} | {ends} | {same['arrays']} of {same['of']} |"
                f" {'identical' if same['metrics'] else 'DIFFERENT'} | {same['steps_twice']} |"
            )
    yield ""


def _faults() -> Iterator[str]:
    yield "## When one of several processes fails"
    yield ""
    figures = _read("faults.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/faults.py`."
        yield ""
        return
    yield (
        "Local processes train one run, and something happens to one of them; seconds until the"
        " last one has ended, with `--heartbeat_timeout"
        f"={figures['heartbeat_timeout']}` and, for the hang,"
        f" `--stall_timeout={figures['stall_timeout']}`"
        f" ({figures['device']}; `benchmarks/faults.py`). A negative status is a signal: -9 is"
        " SIGKILL, -6 the end that JAX makes of a process whose peers are silent."
    )
    yield ""
    yield "| what happens | seconds | exit statuses | what is said | the same command |"
    yield "|---|---|---|---|---|"
    for name, outcome in figures["scenarios"].items():
        resumed = {None: "", True: f"resumes from step {outcome['step']}", False: "FAILS"}
        yield (
            f"| {name} | {outcome['seconds']:.1f} | {', '.join(map(str, outcome['statuses']))} |"
            f" {outcome['said']} | {resumed[outcome['resumed']]} |"
        )
    yield ""


def _augmentations() -> Iterator[str]:
    yield "## Augmentations"
    yield ""
    measured = [each for name in ("", "-gpu") if (each := _read(f"augmentations{name}.json"))]
    if not measured:
        yield "Not measured yet: `python benchmarks/augmentations.py`."
        yield ""
        return
    yield (
        "Images a second of each alone, uint8 with three channels, medians"
        " (`benchmarks/augmentations.py`)."
    )
    yield ""
    columns = [
        (figures, size, f"{size}, batch {batch:,}; {figures['device']}")
        for figures in measured
        for size, batch in figures["batch"].items()
    ]
    yield f"| augmentation | {' | '.join(title for *_, title in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name in measured[0]["images_per_second"]:
        speeds = [
            figures["images_per_second"].get(name, {}).get(size) for figures, size, _ in columns
        ]
        cells = ["" if speed is None else f"{speed:,}" for speed in speeds]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""
    for figures in measured:
        if figures["note"]:
            yield f"{figures['device']}: {figures['note']}."
            yield ""


def _resnet50() -> Iterator[str]:
    yield "## ResNet-50 beside PyTorch"
    yield ""
    figures = _read("resnet50-cpu.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/resnet50.py`."
        yield ""
        return
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    yield (
        f"Images a second of a training step in float32, {figures['batch']} images of"
        f" {figures['size']} x {figures['size']}, medians of"
        f" {len(figures['images_per_second'])} rounds in turn; {figures['device']}; {versions},"
        f" network of {figures['torch_network']} (`benchmarks/resnet50.py`)."
    )
    yield ""
    yield "| | images/s |"
    yield "|---|---|"
    yield f"| dlresearch | {statistics.median(figures['images_per_second']):.2f} |"
    for name, speeds in figures["torch_images_per_second"].items():
        yield f"| PyTorch, {name} | {statistics.median(speeds):.2f} |"
    yield f"| dlresearch over PyTorch, {figures['torch_format']} | {figures['ratio_median']:.2f} |"
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def _search() -> Iterator[str]:
    yield "## Beam search"
    yield ""
    figures = _read("search.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/search.py`."
        yield ""
        return
    yield (
        f"{figures['sentences']:,} test sentences of Multi30k, translated by the last checkpoint of"
        " `experiments/rnn/multi30k.py:gru`. Worse alone: sentences for which the beam ends with a"
        " lower score than greedy search. What greedy search found is then taken; worse: sentences"
        " that have a lower score all the same"
        f" ({figures['device']}; `benchmarks/search.py`)."
    )
    yield ""
    yield "| beam | bleu_lowercase | mean score | sentences a second | worse alone | worse |"
    yield "|---|---|---|---|---|---|"
    for row in figures["searches"]:
        cells = [
            f"{row['beam']}",
            f"{row['bleu_lowercase']:.2f}",
            f"{row['mean_score']:.4f}",
            f"{row['sentences_per_second']:.0f}",
            f"{row['worse']}",
            f"{row['worse_kept']}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _recurrent() -> Iterator[str]:
    yield "## An LSTM language model beside Flax and PyTorch"
    yield ""
    figures = _read("recurrent-cpu.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/recurrent.py`."
        yield ""
        return
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    rounds = len(next(iter(figures["milliseconds"].values())))
    yield (
        f"Milliseconds of a training step in float32: {figures['layers']} layers of"
        f" {figures['width']}, {figures['vocabulary']:,} tokens, {figures['batch']} rows of"
        f" {figures['steps']} steps, medians of {rounds} rounds in turn; {figures['device']};"
        f" {versions} (`benchmarks/recurrent.py`)."
    )
    yield ""
    yield "| | ms a step | speed of dlresearch over it |"
    yield "|---|---|---|"
    for name, values in figures["milliseconds"].items():
        ratio = figures["speed_over"].get(name)
        cell = "" if ratio is None else f"{ratio:.2f}"
        yield f"| {name} | {statistics.median(values):.0f} | {cell} |"
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def _gan() -> Iterator[str]:
    yield "## Adversarial networks beside PyTorch"
    yield ""
    figures = _read("gan-cpu.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/gan.py`."
        yield ""
        return
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    yield (
        "Milliseconds of a training step in float32, an update of the discriminator and one of the"
        " generator, StyleGAN2 with R1 in every 16th: medians of rounds in turn of"
        f" {figures['steps_a_round']} steps; {figures['device']}; {versions} (`benchmarks/gan.py`)."
    )
    yield ""
    yield "| network | batch | parameters | | ms a step | speed of dlresearch over it |"
    yield "|---|---|---|---|---|---|"
    for network, measured in figures["networks"].items():
        first = f"{network} | {measured['batch']} | {measured['parameters']:,}"
        for name, values in measured["milliseconds"].items():
            ratio = measured["speed_over"].get(name)
            cell = "" if ratio is None else f"{ratio:.2f}"
            yield f"| {first} | {name} | {statistics.median(values):.1f} | {cell} |"
            first = " | | "
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def _vectorised() -> Iterator[str]:
    yield "## Many runs in one process"
    yield ""
    figures = _read("vectorised.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/vectorised.py`."
        yield ""
        return
    yield (
        f"Seconds for {figures['seeds']} seeds of `experiments/cnn/digits.py`, with its"
        " convolutional network and with a dense one: whole commands, with an empty cache of"
        " compiled programs and with a full one; in brackets, how often as long as vectorised"
        f" ({figures['device']}; `benchmarks/vectorised.py`)."
    )
    yield ""
    yield "| network | cache | vectorised | one process a run | two of them at a time |"
    yield "|---|---|---|---|---|"
    ways = "vectorised", "one_after_another", "two_at_a_time"
    for network, of in figures["networks"].items():
        for cache in ("empty_cache", "full_cache"):
            seconds = [of["seconds"][way][cache] for way in ways]
            others = [f"{each:.0f} ({each / seconds[0]:.1f})" for each in seconds[1:]]
            cells = [network, cache.removesuffix("_cache"), f"{seconds[0]:.0f}", *others]
            yield f"| {' | '.join(cells)} |"
    yield ""
    for network, of in figures["networks"].items():
        steps, found = of["step_milliseconds"], of["accuracy"]
        grouped = ""
        if "together_grouped" in steps:
            grouped = f", {steps['together_grouped']:.2f} with grouped convolutions"
        mean = {way: f"{100 * found[way][0]:.2f} ± {100 * found[way][1]:.2f}" for way in ways[:2]}
        yield (
            f"- {network}: a step takes {steps['alone']:.2f} ms alone, and {steps['together']:.2f}"
            f" ms a run in all of them together{grouped}; test accuracy {mean[ways[0]]} %"
            f" vectorised, {mean[ways[1]]} % in processes of their own."
        )
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def _views() -> Iterator[str]:
    figures = _read("views-cpu.json")
    if figures is None:
        return
    yield "## Views for self-supervised learning beside PyTorch"
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    rounds = len(next(iter(figures["images_per_second"].values())))
    yield (
        "Images a second of a training step of SimCLR in float32, two views of each image:"
        f" {figures['batch']} images of {figures['size']} x {figures['size']}, a ResNet-18 of width"
        f" {figures['width']}, {figures['parameters']:,} parameters. Ours makes the views on the"
        " device, in the step; in PyTorch torchvision makes them one by one in"
        f" {figures['cores']} processes. Medians of {rounds} rounds in turn of"
        f" {figures['steps_a_round']} steps; {figures['device']}; {versions}"
        " (`benchmarks/views.py`)."
    )
    yield ""
    yield "| | images/s | part of a step that views take | speed of dlresearch over it |"
    yield "|---|---|---|---|"
    for name, speeds in figures["images_per_second"].items():
        share, ratio = (figures[key].get(name) for key in ("share_of_views", "speed_over"))
        cells = [
            name,
            f"{statistics.median(speeds):.0f}",
            "" if share is None else f"{100 * share:.0f} %",
            "" if ratio is None else f"{ratio:.2f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def _gpu() -> Iterator[str]:
    yield "## On a GPU"
    yield ""
    figures = _read("gpu.json")
    if figures is None:
        yield "Not measured yet: `python benchmarks/gpu.py` on a machine that has one."
        return
    yield "| figure | value | | device |"
    yield "|---|---|---|---|"
    for name, figure in figures.items():
        yield f"| {name} | {figure['value']:.4g} | {figure['what']} | {figure['device']} |"


if __name__ == "__main__":
    main()
