"""What searches found, for `results.py`."""

import json
import runpy
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_NAMES = {"bayesian": "Bayesian", "halton": "Halton", "random": "random"}


def against_a_grid(figures: dict[str, Any] | None) -> Iterator[str]:
    """How often searches reach the best of a grid with fewer runs."""
    yield "## Search beside a grid"
    yield ""
    if figures is None:
        yield "Not measured yet: `python benchmarks/hyperparameter_search.py`."
        yield ""
        return
    grid, trials = figures["grid"], figures["trials"]
    repeats = len(next(iter(figures["searches"].values())))
    yield (
        f"A perceptron learns the digits in {figures['steps']} steps. The best of a grid of"
        f" {len(grid['runs'])} learning rates and weight decays has a validation loss of"
        f" {grid['best']:.4f} (its median: {grid['median']:.4f}). Searches of {trials} runs in the"
        f" same box, {repeats} of each kind with other draws, the seed of training the same"
        f" everywhere ({figures['device']}; `benchmarks/hyperparameter_search.py`)."
    )
    yield ""
    yield (
        "| search | reaches the grid's best | within 10 % of it | best loss over the grid's: mean,"
        " median, worst |"
    )
    yield "|---|---|---|---|"
    for kind, repeated in figures["searches"].items():
        ratios = [each["over_grid"] for each in repeated]
        count = len(ratios)
        yield (
            f"| {_NAMES[kind]}, {trials} runs"
            f" | {sum(ratio <= 1 for ratio in ratios)} of {count}"
            f" | {sum(ratio <= 1.1 for ratio in ratios)} of {count}"
            f" | {statistics.mean(ratios):.2f}, {statistics.median(ratios):.2f},"
            f" {max(ratios):.2f} |"
        )
    yield ""
    if figures["note"]:
        yield f"{figures['note']}."
        yield ""


def networks(folders: list[Path]) -> Iterator[str]:
    """The networks of `experiments/search/digits.py` that were judged by the test set.

    Args:
      folders: `docs/results/search/digits-VARIANT`.
    """
    if not folders:
        return
    yield "## Networks found by search"
    yield ""
    yield (
        "`experiments/search/digits.py`: with `test` alone, the network of"
        " `experiments/cnn/digits.py`. What the searches were, and how networks were chosen by"
        " training images alone, is in"
        " [docs/launch/sweeps.md](launch/sweeps.md#architecture-search); then the test set was read"
        " once for each row, all of which are here."
    )
    yield ""
    yield "| arguments | parameters | seeds | accuracy % | loss | images read wrong |"
    yield "|---|---|---|---|---|---|"
    counts = {folder: _parameters(folder.name.partition("-")[2]) for folder in folders}
    for folder in sorted(folders, key=lambda each: (-counts[each], each.name)):
        runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        metrics = [run["metrics"] for run in runs]
        wrong = [round((1 - each["test/accuracy"]) * each["test/examples"]) for each in metrics]
        cells = [
            f"`{folder.name.partition('-')[2]}`",
            f"{counts[folder]:,}",
            ", ".join(str(run["seed"]) for run in runs),
            _spread([100 * each["test/accuracy"] for each in metrics], 2),
            _spread([each["test/loss"] for each in metrics], 4),
            f"{', '.join(map(str, wrong))} of {metrics[0]['test/examples']:.0f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _parameters(variant: str) -> int:
    from dlresearch.config import load

    file = _ROOT / "experiments/search/digits.py"
    model: Any = load(f"{file}:{variant}").model
    count = runpy.run_path(str(file))["parameters"]
    return count(model.widths, model.convs_per_stage, model.kernel_size, model.head)


def _spread(values: list[float], digits: int) -> str:
    mean, deviation, low, high = (
        f"{value:.{digits}f}"
        for value in (statistics.mean(values), statistics.stdev(values), min(values), max(values))
    )
    return f"{mean} ± {deviation} ({low} to {high})"
