"""What processes of a run print, read from its files while they grow."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from launch.on_host.records import Attempt
from launch.run_folder import RunFolder

_POLL_SECONDS = 0.2
_BLOCK_BYTES = 1 << 20


def follow(folder: RunFolder, after: int, over: threading.Event, to: TextIO) -> None:
    """Copy what process 0 of all attempts after a number prints, until it is over."""
    places: dict[Path, int] = {}
    while True:
        last = over.is_set()
        for attempt in folder.attempts():
            path = attempt.folder / "process-0.log"
            if attempt.number > after and path.exists():
                places[path] = _copy(path, places.get(path, 0), to)
        if last:
            return
        time.sleep(_POLL_SECONDS)


def logs_of(attempt: Attempt) -> dict[int, Path]:
    """The log files of an attempt by the number of the process."""
    found = {}
    for path in attempt.folder.glob("process-*.log"):
        number = path.stem.removeprefix("process-")
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items()))


def last_lines(path: Path, count: int | None) -> Iterator[str]:
    """The last lines of a file, or all of them."""
    lines = path.read_text(errors="replace").splitlines()
    yield from lines if count is None else lines[max(0, len(lines) - count) :]


def _copy(path: Path, begin: int, to: TextIO) -> int:
    with path.open("rb") as file:
        file.seek(begin)
        while block := file.read(_BLOCK_BYTES):
            to.write(block.decode(errors="replace"))
            begin += len(block)
    to.flush()
    return begin
