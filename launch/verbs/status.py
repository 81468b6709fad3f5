"""How runs stand: `python -m launch status RUN|SWEEP|FOLDER ... [--json]`."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import folder_called, read_line
from launch.look import look, runs_in
from launch.options import Option
from launch.plan import Tools
from launch.run_folder import RunFolder
from launch.states import Standing

JSON = Option("json", bool, False, "One JSON object a line instead of a table.")


def main(argv: Sequence[str]) -> int:
    """Print a table; status 1 where a run has failed."""
    line = read_line(argv, (JSON,), __doc__, words="RUN ...")
    folders = [folder_called(word) for word in line.words or (".",)]
    runs = list({run.path: run for folder in folders for run in runs_in(folder)}.values())
    found = look(runs, Tools())
    if line.flags.get("json"):
        for run in runs:
            print(json.dumps(_facts(run, found[run.path])))
    else:
        _print_table(runs, found)
    return 1 if any(each.state in ("failed", "lost") for each in found.values()) else 0


def _facts(run: RunFolder, standing: Standing) -> dict[str, object]:
    asked = run.asked()
    return {
        "run": str(run.path),
        "state": standing.state,
        "detail": standing.detail,
        "step": standing.step,
        "attempt": len(run.attempts()),
        "backend": asked["backend"],
        "id": (run.submissions() or [{}])[-1].get("id"),
    }


def _print_table(runs: Sequence[RunFolder], found: dict[Path, Standing]) -> None:
    rows = [("run", "state", "step", "attempt", "")]
    for run in runs:
        standing = found[run.path]
        step = "" if standing.step is None else f"{standing.step:,}"
        rows.append((_shown(run.path), standing.state, step, str(len(run.attempts())),
                     standing.detail))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]).rstrip())
    if len(runs) > 1:
        counts = Counter(each.state for each in found.values())
        print(", ".join(f"{count} {state}" for state, count in counts.most_common()))


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path != here and path.is_relative_to(here) else str(path)
