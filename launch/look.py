"""How launched runs stand, asked of each backend once for all of its runs."""

from collections.abc import Sequence
from pathlib import Path

from dlresearch.errors import UserError
from launch.asked import backends_of
from launch.backends import Seen
from launch.backends.catalog import backend_called
from launch.plan import Tools
from launch.run_folder import RunFolder
from launch.states import Standing, standing


def look(runs: Sequence[RunFolder], tools: Tools) -> dict[Path, Standing]:
    """How runs stand, by folder."""
    found: dict[Path, Standing] = {}
    for name, group in backends_of([run for run in runs if run.is_ours]).items():
        backend = backend_called(name)
        # What has completed cannot change, and its scheduler has forgotten it or will.
        open_runs = [run for run in group if not standing(run, Seen("unknown")).is_done]
        seen = backend.look(open_runs, tools) if open_runs else {}
        for run in open_runs:
            if seen.get(run.path, Seen("unknown")).state in ("ended", "unknown"):
                backend.fetch(run, tools)
        for run in group:
            found[run.path] = standing(run, seen.get(run.path, Seen("unknown")))
    return {run.path: found.get(run.path, Standing("unstarted")) for run in runs}


def runs_in(folder: Path) -> list[RunFolder]:
    """The run in a folder, those of the sweep in it, or those in the folders below it.

    Raises:
      UserError: nothing was launched there.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    itself = RunFolder(folder)
    if itself.is_ours and itself.asked()["verb"] == "run":
        return [itself]
    places = {path.parent.parent for path in folder.glob("*/launch/launch.json")}
    places |= {path.parent.parent for path in folder.glob("*/*/launch/launch.json")}
    places |= {path.parent.parent for path in folder.glob("*/runs/*/launch/launch.json")}
    runs = [RunFolder(place) for place in sorted(places)]
    runs = [run for run in runs if run.asked()["verb"] == "run"]
    if not runs and not itself.is_ours:
        raise UserError(f"nothing was launched in {folder}")
    return runs


def one_run(folder: Path) -> RunFolder:
    """The run in a folder.

    Raises:
      UserError: there is none, or there are several.
    """
    runs = runs_in(folder)
    if len(runs) != 1 or runs[0].path != folder:
        raise UserError(f"{folder} is not the folder of one run; in it are {len(runs)}")
    return runs[0]
