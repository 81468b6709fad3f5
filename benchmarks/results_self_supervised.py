"""The tables of what networks learn without labels, for `results.py`: a method is a row."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Metrics of an experiment's evaluators, and what a table calls them; a share is shown in per cent.
COLUMNS = {
    "probe/accuracy": "online probe %",
    "linear/accuracy": "linear probe %",
    "knn/accuracy": "kNN %",
    "few/accuracy_1_percent": "1 % of labels",
    "few/accuracy_10_percent": "10 % of labels",
    "few/accuracy_5_shot": "5 shots",
    "test/accuracy": "accuracy %",
    "masked/accuracy": "masked tokens %",
    "spread/deviation": "deviation",
    "spread/effective_rank": "rank",
}
_NUMBERS = ("spread/deviation", "spread/effective_rank")


def tables(folders: list[Path], busy: tuple[str, ...]) -> Iterator[str]:
    """A table for each experiment file, of all its variants.

    Args:
      folders: `docs/results/self_supervised/EXPERIMENT-VARIANT`.
      busy: beginnings of the names of those whose seconds say little.
    """
    experiments: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        experiments[folder.name.partition("-")[0]].append(folder)
    for experiment, variants in experiments.items():
        yield f"## `experiments/self_supervised/{experiment}.py`"
        yield ""
        rows = [(folder, _runs(folder)) for folder in variants]
        used = [name for name in COLUMNS if any(name in runs[0]["metrics"] for _, runs in rows)]
        order = used[1] if len(used) > 1 else used[0]
        rows.sort(key=lambda row: -_mean(row[1], order))
        titles = " | ".join(COLUMNS[name] for name in used)
        yield f"| variant | {titles} | seeds | steps | seconds a run |"
        yield f"|---|{'---|' * len(used)}---|---|---|"
        for folder, runs in rows:
            cells = [_cell(runs, name) for name in used]
            seconds = f"{statistics.mean(run['wall_seconds'] for run in runs):.0f}"
            if f"{folder.parent.name}/{folder.name}".startswith(busy):
                seconds += " (busy)"
            variant = folder.name.partition("-")[2] or "default"
            steps = ", ".join(sorted({f"{run['step']:,}" for run in runs}))
            seeds = ", ".join(str(run["seed"]) for run in runs)
            yield f"| {variant} | {' | '.join(cells)} | {seeds} | {steps} | {seconds} |"
        yield ""
        last = rows[0][1][0]
        devices = ", ".join(sorted({run["device"] for _, runs in rows for run in runs}))
        yield f"Mean ± standard deviation over seeds; {devices}. How the first run was measured:"
        yield ""
        for evaluator, about in last.get("about", {}).items():
            yield f"- {evaluator}: {about}"
        yield ""


def _runs(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def _mean(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.mean(run["metrics"].get(name, 0.0) for run in runs)


def _cell(runs: list[dict[str, Any]], name: str) -> str:
    values = [run["metrics"][name] for run in runs if name in run["metrics"]]
    if not values:
        return ""
    scale, form = (1, "{:.2f}") if name in _NUMBERS else (100, "{:.1f}")
    text = form.format(scale * statistics.mean(values))
    if len(values) > 1:
        text += f" ± {form.format(scale * statistics.stdev(values))}"
    return text
