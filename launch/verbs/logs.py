"""What a run has printed: `python -m launch logs RUN [--process=all] [--follow]`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dlresearch.errors import UserError
from launch.asked import recorded_job
from launch.command_line import folder_called, read_line
from launch.look import look, one_run
from launch.on_host.records import Attempt
from launch.options import Option
from launch.outputs import last_lines, logs_of
from launch.plan import Tools
from launch.run_folder import RunFolder

PROCESS = Option("process", str, None, "Its number, or all. Without it, 0.")
ATTEMPT = Option("attempt", int, None, "Its number, or -1 for the newest. Without it, the newest.")
LINES = Option("lines", int, None, "Only so many of the last lines.", lower=1)
FOLLOW = Option("follow", bool, False, "Go on until the run has ended.")
_POLL_SECONDS = 1.0


def main(argv: Sequence[str]) -> int:
    """Print them."""
    line = read_line(argv, (PROCESS, ATTEMPT, LINES, FOLLOW), __doc__, words="RUN")
    if len(line.words) != 1:
        raise UserError("name the folder of one run")
    run = one_run(folder_called(line.words[0]))
    backend, _ = recorded_job(run)
    tools = Tools()
    backend.fetch(run, tools)
    process = str(line.flags.get("process", "0"))
    number = line.flags.get("attempt", -1)
    follow = line.flags.get("follow")
    shown = {path: 0 for path in _print(run, number, process, line.flags.get("lines"), follow)}
    if follow:
        _follow(run, process, {path: path.stat().st_size for path in shown}, tools)
    return 0


def _print(
    run: RunFolder, number: int, process: str, lines: int | None, follow: bool | None
) -> list[Path]:
    attempt = _attempt(run, number)
    if attempt is None:
        # What the scheduler or whoever stays with it said before a process began.
        others = [*run.launch.glob("*.log"), *run.launch.glob("*.out")]
        for path in others:
            print("\n".join(last_lines(path, lines)))
        return others
    logs = logs_of(attempt)
    if follow and not logs:
        return []  # the run has just been started
    if process != "all":
        if not process.isdecimal() or int(process) not in logs:
            there = ", ".join(map(str, logs)) or "none yet"
            raise UserError(f"--process={process}: attempt {attempt.number} has {there}")
        logs = {int(process): logs[int(process)]}
    for each, path in logs.items():
        for text in last_lines(path, lines):
            print(f"[{each}] {text}" if len(logs) > 1 else text)
    return list(logs.values())


def _attempt(run: RunFolder, number: int) -> Attempt | None:
    history = {attempt.number: attempt for attempt in run.attempts()}
    if number < 0 and history:
        numbers = sorted(history)
        if -number <= len(numbers):
            return history[numbers[number]]
    elif number in history or not history:
        return history.get(number)
    raise UserError(f"--attempt={number}: there are {', '.join(map(str, history))}")


def _follow(run: RunFolder, process: str, places: dict[Path, int], tools: Tools) -> None:
    """Print what is added, also by later attempts."""
    backend, _ = recorded_job(run)
    while True:
        last = look([run], tools)[run.path].is_final
        backend.fetch(run, tools)
        for attempt in run.attempts()[-1:]:
            for number, path in logs_of(attempt).items():
                if process not in ("all", str(number)):
                    continue
                with path.open("rb") as file:
                    file.seek(places.get(path, 0))
                    text = file.read()
                places[path] = places.get(path, 0) + len(text)
                sys.stdout.write(text.decode(errors="replace"))
                sys.stdout.flush()
        if last:
            return
        time.sleep(_POLL_SECONDS)
