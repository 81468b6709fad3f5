"""Options, and where each is from: `python -m launch show RUN`, or with the flags of `run`."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dlresearch.errors import UserError
from launch.command_line import CONFIG, WORKDIR, choose, folder_called, read_line
from launch.run_folder import RunFolder


def main(argv: Sequence[str]) -> int:
    """Print them."""
    line = read_line(argv, (CONFIG, WORKDIR), __doc__, launches=True, words="[RUN]")
    if line.words and line.flags:
        raise UserError("give the folder of a run, or the flags of one, not both")
    if line.words:
        for word in line.words:
            asked = RunFolder(folder_called(word)).asked()
            print(f"{asked['verb']} on {asked['backend']}, by {asked['user']} at {asked['host']}")
            print(f"  command  {shlex.join(asked['command'])}")
            print(f"  code     {_code(asked['code'])}")
            _print_options({k: (v["value"], v["from"]) for k, v in asked["options"].items()})
        return 0
    _, chosen = choose(line)
    _print_options({name: (each.value, each.origin) for name, each in chosen.items()})
    return 0


def _code(code: Mapping[str, Any]) -> str:
    commit = f", commit {code['commit'][:12]}" if code.get("commit") else ""
    changed = " and changes" if code.get("changed") else ""
    return f"{code['path']}{commit}{changed}"


def _print_options(options: Mapping[str, tuple[Any, str]]) -> None:
    shown = {name: _text(value) for name, (value, _) in options.items()}
    width = max(map(len, options))
    column = min(60, max(map(len, shown.values())))
    for name, (_, origin) in options.items():
        print(f"  {name:<{width}}  {shown[name]:<{column}}  {origin}")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return shlex.join(value) if value else "none"
    return (
        {None: "none", True: "yes", False: "no"}.get(value, str(value))
        if not isinstance(value, int | float) or isinstance(value, bool)
        else str(value)
    )
