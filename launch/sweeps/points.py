"""The runs of a sweep: what each changes, its folder, and the file that remembers them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlresearch.config.text import split
from dlresearch.errors import UserError
from launch.plan import write_at_once
from launch.sweeps.grammar import Overrides

SWEEP_FILE = "sweep.json"
_CONFIG = "--config="


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
      index: its place among the points, from 0; of a search, among the draws.
      name: of its folder in SWEEP/runs: the index and a hash of what it changes.
      overrides: pairs (key, text), in the order they were written.
    """

    index: int
    name: str
    overrides: Overrides

    def __str__(self) -> str:
        return ", ".join(f"{key}={text}" for key, text in self.overrides)

    def command(self, base: Sequence[str]) -> tuple[str, ...]:
        """The trainer's command with what this point changes: `--config.KEY=VALUE` at its end, and
        arguments of the experiment file in its --config.
        """
        settings = [f"{_CONFIG[:-1]}.{key}={text}" for key, text in self.settings]
        if not self.arguments:
            return (*base, *settings)
        words = [
            f"{_CONFIG}{self.config(word.removeprefix(_CONFIG))}"
            if word.startswith(_CONFIG)
            else word
            for word in base
        ]
        return (*words, *settings)

    @property
    def settings(self) -> Overrides:
        """The overrides that are settings."""
        return tuple(pair for pair in self.overrides if not pair[0].startswith(":"))

    @property
    def arguments(self) -> Overrides:
        """Those that are arguments of the experiment file, without the colon."""
        return tuple((key[1:], text) for key, text in self.overrides if key.startswith(":"))

    def config(self, flag: str) -> str:
        """`FILE.py:arguments` with this point's arguments behind those that are there."""
        if not self.arguments:
            return flag
        added = ",".join(f"{name}={_argument(text)}" for name, text in self.arguments)
        between = ("" if flag.endswith(":") else ",") if ".py:" in flag else ":"
        return f"{flag}{between}{added}"


def _argument(text: str) -> str:
    """In quotes where it would be taken apart without them."""
    try:
        whole = split(text, "argument") == [text]
    except UserError:
        whole = False
    return text if whole else repr(text)


def point(index: int, overrides: Overrides) -> Point:
    """The point at an index. The same settings in another order have the same hash."""
    text = json.dumps(sorted(overrides), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Point(index, f"{index:04d}-{digest}", overrides)


def points_of(overrides: Sequence[Overrides]) -> tuple[Point, ...]:
    """A point for each.

    Raises:
      UserError: two are the same.
    """
    found = tuple(point(index, each) for index, each in enumerate(overrides))
    first: dict[frozenset[tuple[str, str]], Point] = {}
    for each in found:
        same = first.setdefault(frozenset(each.overrides), each)
        if same is not each:
            raise UserError(f"--sweep: runs {same.index} and {each.index} are the same: {each}")
    return found


# --- sweep.json ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """What sweep.json holds.

    Attributes:
      base: the trainer's command without what the points change.
      points: all points so far.
      search: the settings of a search; None for a grid.
    """

    base: tuple[str, ...]
    points: tuple[Point, ...]
    search: Mapping[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Into SWEEP/sweep.json, at once."""
        content = {
            "command": self.base,
            "search": self.search,
            "points": [{"name": each.name, "overrides": each.overrides} for each in self.points],
        }
        write_at_once(folder / SWEEP_FILE, json.dumps(content, indent=1) + "\n")

    def continued(self, folder: Path) -> "Sweep":
        """This sweep, started again in a folder that may hold some of it: points that are there
        keep their names, new ones come behind them.

        Raises:
          UserError: another sweep is there, or one of its points is not in this one.
        """
        before = read_sweep(folder)
        if before is None:
            return self
        place = f"--workdir: {folder} holds a sweep"
        if before.base != self.base:
            raise UserError(f"{place} of another command: {_difference(before.base, self.base)}")
        if before.search != self.search:
            raise UserError(f"{place} with {_search_difference(before.search, self.search)}")
        if self.search is not None:
            return before
        known = {frozenset(each.overrides): each for each in before.points}
        wanted = {frozenset(each.overrides): each for each in self.points}
        for key, each in known.items():
            if key not in wanted:
                raise UserError(
                    f"{place} with run {each.name} ({each}), which --sweep no longer has; keep its"
                    " settings or use another --workdir"
                )
        new = [each for key, each in wanted.items() if key not in known]
        added = [point(len(known) + i, each.overrides) for i, each in enumerate(new)]
        return Sweep(self.base, (*before.points, *added), None)


def read_sweep(folder: Path) -> Sweep | None:
    """What is in SWEEP/sweep.json, None where there is none.

    Raises:
      UserError: the file is none of ours.
    """
    path = folder / SWEEP_FILE
    try:
        content = json.loads(path.read_text())
        points = tuple(
            Point(
                int(each["name"].split("-")[0]), each["name"], tuple(map(tuple, each["overrides"]))
            )
            for each in content["points"]
        )
        return Sweep(tuple(content["command"]), points, content["search"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a sweep: {error}") from None


def _difference(before: Sequence[str], now: Sequence[str]) -> str:
    gone = [word for word in before if word not in now]
    new = [word for word in now if word not in before]
    told = [f"it was {' '.join(gone)}"] * bool(gone) + [f"now it is {' '.join(new)}"] * bool(new)
    return f"{', '.join(told) or 'the order differs'}; use another --workdir"


def _search_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    if before is None or now is None:
        return f"{'no' if before is None else 'a'} --search; use another --workdir"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    told = [f"{name} {before.get(name)!r}, not {now.get(name)!r}" for name in names]
    return f"{'; '.join(told)}; use another --workdir"
