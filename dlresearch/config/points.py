"""The runs of a sweep in a file: a folder for each, and what its settings are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlresearch.config.load import load
from dlresearch.config.schema import Experiment
from dlresearch.config.validate import validate
from dlresearch.errors import UserError, suggest

_KEYS = ("folder", "overrides")


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    folder: Path
    experiment: Experiment


def read_points(
    path: str, config: str, overrides: Sequence[tuple[str, str]] = ()
) -> tuple[Point, ...]:
    """The runs in a JSON file: a list of `{"folder": ..., "overrides": [[path, text], ...]}`.

    Args:
      config: the experiment file, as for `load`.
      overrides: for all of them, before their own.

    Raises:
      UserError: no such file, or something in it, or in an experiment it describes.
    """
    points: list[Point] = []
    for number, entry in enumerate(_entries(path)):
        where = f"--points={path}: run {number}"
        folder, own = _checked(entry, where)
        if any(folder == point.folder for point in points):
            raise UserError(f"{where}: {folder} is the folder of another one, too")
        try:
            experiment = validate(load(config, [*overrides, *own]))
        except UserError as mistake:
            raise UserError(f"{where}: {mistake}") from mistake
        points.append(Point(folder, experiment))
    return tuple(points)


def _entries(path: str) -> list[Any]:
    try:
        entries = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"--points={path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"--points={path}: it is not JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"--points={path}: it must be a list of runs, such as"
            ' [{"folder": "runs/0", "overrides": [["seed", "0"]]}]'
        )
    return entries


def _checked(entry: Any, where: str) -> tuple[Path, list[tuple[str, str]]]:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: {entry!r} is no object with {' and '.join(_KEYS)}")
    for key in entry:
        if key not in _KEYS:
            raise UserError(f"{where}: there is no key {key!r}; {suggest(key, _KEYS)}")
    folder, overrides = entry.get("folder"), entry.get("overrides", [])
    if not isinstance(folder, str) or not folder:
        raise UserError(f"{where}: folder must be the path of the run's folder, not {folder!r}")
    pairs = isinstance(overrides, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in overrides
    )
    if not pairs:
        raise UserError(
            f'{where}: overrides must be pairs of texts, such as [["seed", "3"]], not {overrides!r}'
        )
    return Path(folder), [(setting, text) for setting, text in overrides]
