"""End runs for good: `python -m launch cancel RUN|SWEEP ... [--now]`."""

from collections.abc import Sequence

from dlresearch.errors import UserError
from launch.asked import backends_of
from launch.backends.catalog import backend_called
from launch.command_line import folder_called, read_line
from launch.console import say
from launch.look import look, runs_in
from launch.options import Option
from launch.plan import Tools
from launch.run_folder import RunFolder

NOW = Option("now", bool, False, "Do not let them save.")


def main(argv: Sequence[str]) -> int:
    """Write it down first, so that nothing starts them again; then tell whoever runs them."""
    line = read_line(argv, (NOW,), __doc__, words="RUN ...")
    if not line.words:
        raise UserError("name the folders of runs or sweeps")
    tools = Tools()
    now = line.flags.get("now", False)
    folders = [folder_called(word) for word in line.words]
    runs = {run.path: run for folder in folders for run in runs_in(folder)}
    found = look(list(runs.values()), tools)
    going = [run for path, run in runs.items() if not found[path].is_final]
    for folder in folders:  # a sweep starts no further runs
        if RunFolder(folder).is_ours and RunFolder(folder).asked()["verb"] == "sweep":
            RunFolder(folder).note_cancelled()
    for run in going:
        run.note_cancelled()
    for name, group in backends_of(going).items():
        backend_called(name).cancel(group, tools, now=now)
    for path in runs:
        if found[path].is_final:
            say(f"{path} has ended: {found[path].state}")
    if going:
        say(f"cancelled {len(going)}; {'none of them saves' if now else 'what runs saves first'}")
    return 0
