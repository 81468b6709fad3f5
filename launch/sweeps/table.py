"""What came of a sweep: SWEEP/results.csv with everything, SWEEP/results.md to read."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlresearch.errors import UserError, suggest
from launch.plan import write_at_once
from launch.run_folder import RunFolder
from launch.sweeps.grammar import Overrides
from launch.sweeps.points import Point

SEED = "seed"
_COUNTS = ("examples", "tokens", "frames", "samples")  # what an evaluator has seen, no result
_PERCENT = ("accuracy", "exact")  # and names that end so


@dataclass(frozen=True)
class Row:
    """A run: what it changed and what came of it."""

    point: Point
    state: str
    step: int | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def group(self) -> Overrides:
        """What it shares with the runs of other seeds."""
        return tuple(pair for pair in self.point.overrides if pair[0].lstrip(":") != SEED)


_Team = tuple[Overrides, Sequence[Row]]


def rows_of(folder: Path, points: Sequence[Point], state: Callable[[Point], str]) -> list[Row]:
    """A row for each point of the sweep in a folder; final metrics where a run has ended."""
    rows = []
    for each in points:
        result = RunFolder(folder / "runs" / each.name).result() or {}
        metrics = {
            name: float(value)
            for name, value in result.get("metrics", {}).items()
            if isinstance(value, int | float)
        }
        rows.append(Row(each, state(each), result.get("step"), result.get("wall_seconds"), metrics))
    return rows


def write_tables(
    folder: Path, rows: Sequence[Row], objective: str | None = None, direction: str = "maximize"
) -> None:
    """SWEEP/results.csv and SWEEP/results.md.

    Raises:
      UserError: runs are complete and none has a metric called `objective`.
    """
    write_at_once(folder / "results.csv", csv_text(rows))
    write_at_once(folder / "results.md", "\n".join(markdown(rows, objective, direction)) + "\n")


def csv_text(rows: Sequence[Row]) -> str:
    """One line a run, numbers as they were recorded."""
    keys, metrics = _keys(rows), _metrics(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["index", "run", *keys, "state", "step", "seconds", *metrics])
    for row in rows:
        overrides = dict(row.point.overrides)
        writer.writerow(
            [
                row.point.index,
                row.point.name,
                *(overrides.get(key, "") for key in keys),
                row.state,
                *("" if value is None else value for value in (row.step, row.seconds)),
                *(row.metrics.get(name, "") for name in metrics),
            ]
        )
    return out.getvalue()


def markdown(rows: Sequence[Row], objective: str | None, direction: str) -> Iterator[str]:
    """How far the sweep is, its best run, a table over the seeds where they are swept, all runs.

    Raises:
      UserError: runs are complete and none has a metric called `objective`.
    """
    done = [row for row in rows if row.state == "completed"]
    check_objective(done, objective)
    others = [f"{count} {state}" for state, count in _count(rows).items() if state != "completed"]
    yield f"# {len(done)} of {len(rows)} done{': ' * bool(others)}{', '.join(others)}"
    yield ""
    groups = _groups(done)
    seeds = any(row.group != row.point.overrides for row in rows)
    if objective is not None:
        teams = list(groups.items()) if seeds else [(row.point.overrides, [row]) for row in done]
        if best := _best(teams, objective, direction):
            yield f"Best by `{objective}` ({direction}): {best}"
            yield ""
    if seeds:
        yield from _seeds(groups, _shown(rows, objective))
    yield from _runs(rows, _shown(rows, objective))


def check_objective(done: Sequence[Row], objective: str | None) -> None:
    """That some run has it.

    Raises:
      UserError: there are runs, and none has.
    """
    metrics = _metrics(done)
    if objective is not None and done and objective not in metrics:
        raise UserError(f"--objective={objective}: no run has it; {suggest(objective, metrics)}")


# --- what is in it ------------------------------------------------------------------------------


def _keys(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key, _ in row.point.overrides))


def _metrics(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def _shown(rows: Sequence[Row], objective: str | None) -> list[str]:
    """The objective and what evaluations found; the csv has the rest."""
    names = [
        name
        for name in _metrics(rows)
        if not name.startswith("train/") and name.rsplit("/")[-1] not in _COUNTS
    ]
    return list(dict.fromkeys([*([objective] if objective else []), *names]))


def _count(rows: Sequence[Row]) -> dict[str, int]:
    states = [row.state for row in rows]
    return {state: states.count(state) for state in sorted(set(states))}


def _groups(rows: Sequence[Row]) -> dict[Overrides, list[Row]]:
    groups: dict[Overrides, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def _best(teams: Sequence[_Team], objective: str, direction: str) -> str | None:
    """The run, or the runs of several seeds by their mean; the first one of equal ones."""
    sign = -1 if direction == "maximize" else 1
    scored = [
        (sign * statistics.mean(values), group, members)
        for group, members in teams
        if (values := _values(members, objective))
    ]
    if not scored:
        return None
    _, group, members = min(scored, key=lambda each: each[0])
    told = ", ".join(f"`{key}={text}`" for key, text in group) or "the experiment as it is"
    names = ", ".join(f"`{row.point.name}`" for row in members)
    return f"{told}; {_spread(objective, _values(members, objective))}; {names}"


def _values(rows: Sequence[Row], name: str) -> list[float]:
    values = [row.metrics[name] for row in rows if name in row.metrics]
    return [value for value in values if math.isfinite(value)]


# --- how it looks -------------------------------------------------------------------------------


def _seeds(groups: Mapping[Overrides, Sequence[Row]], shown: Sequence[str]) -> Iterator[str]:
    keys = list(dict.fromkeys(key for group in groups for key, _ in group))
    yield "## Over the seeds"
    yield ""
    yield "Mean ± standard deviation (lowest to highest) of the runs that are done."
    yield ""
    yield _line([*keys, "n", *shown])
    yield "|---" * (len(keys) + 1 + len(shown)) + "|"
    for group, members in groups.items():
        texts = [_spread(name, _values(members, name)) for name in shown]
        yield _line([*(dict(group).get(key, "") for key in keys), str(len(members)), *texts])
    yield ""


def _runs(rows: Sequence[Row], shown: Sequence[str]) -> Iterator[str]:
    keys = _keys(rows)
    yield "## Runs"
    yield ""
    yield _line(["run", *keys, "state", "step", "seconds", *shown])
    yield "|---" * (len(keys) + 4 + len(shown)) + "|"
    for row in rows:
        overrides = dict(row.point.overrides)
        yield _line(
            [
                row.point.name,
                *(overrides.get(key, "") for key in keys),
                row.state,
                "" if row.step is None else f"{row.step}",
                "" if row.seconds is None else f"{row.seconds:.0f}",
                *(
                    format_metric(name, row.metrics[name]) if name in row.metrics else ""
                    for name in shown
                ),
            ]
        )


def _line(cells: Sequence[str]) -> str:
    safe = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(safe)} |"


def _is_percent(name: str) -> bool:
    return name.endswith(_PERCENT)


def format_metric(name: str, value: float) -> str:
    """Per cent with two digits for accuracies, four digits for the rest."""
    return f"{100 * value:.2f} %" if _is_percent(name) else f"{value:.4f}"


def _spread(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    factor, digits, unit = (100, 2, " %") if _is_percent(name) else (1, 4, "")
    scaled = [f"{factor * value:.{digits}f}" for value in (statistics.mean(values), *values)]
    if len(values) == 1:
        return f"{scaled[0]}{unit}"
    deviation = f"{factor * statistics.stdev(values):.{digits}f}"
    low, high = (f"{factor * value:.{digits}f}" for value in (min(values), max(values)))
    return f"{scaled[0]} ± {deviation}{unit} ({low} to {high})"
