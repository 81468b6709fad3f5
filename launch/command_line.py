"""Flags that several verbs share, and how a command line is read."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from dlresearch.config import split_overrides
from dlresearch.errors import UserError, suggest
from launch.backends import Backend
from launch.backends.catalog import all_options, backend_called
from launch.options import COMMON, Chosen, Option, read_profile, resolve

CONFIG = Option("config", str, None, "The experiment: FILE.py or FILE.py:arguments.")
WORKDIR = Option("workdir", str, None, "Folder of the run, or of the sweep.")
DRY_RUN = Option("dry_run", bool, False, "Print every file and command instead, and do nothing.")
DETACH = Option("detach", bool, False, "Return at once; the run goes on by itself.")
# Of `train`, which reads and documents them.
TRAIN_FLAGS = (
    "compilation_cache",
    "heartbeat_timeout",
    "initialization_timeout",
    "shutdown_timeout",
    "stall_timeout",
)


@dataclass(frozen=True)
class Line:
    """A command line, read.

    Attributes:
      flags: those that were given, by name.
      overrides: settings of the experiment, path and text.
      words: what was no flag.
      command: what followed `--`.
    """

    flags: Mapping[str, Any]
    overrides: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    command: tuple[str, ...]


def read_line(
    argv: Sequence[str],
    options: Sequence[Option],
    about: str | None,
    *,
    launches: bool = False,
    words: str = "",
) -> Line:
    """Read a command line, or print its help and exit.

    Args:
      options: the flags of the verb.
      about: the docstring of its module.
      launches: whether `--config.a=b`, options of backends, flags of `train` and a command after
        `--` belong to it.
      words: names what is no flag, such as "RUN ..."; empty where there is none.

    Raises:
      UserError: a flag that there is not, or a value that is none.
    """
    if "\0" in "".join(argv):
        raise UserError("a null byte is in the command line")
    options = [*options]
    if launches:
        options += [option for group in all_options().values() for _, option in group[:1]]
        options += [Option(name, str, None, "As of `dlresearch train`.") for name in TRAIN_FLAGS]
    own, command = list(argv), ()
    if "--" in own:
        own, command = own[: own.index("--")], tuple(own[own.index("--") + 1 :])
        if not launches or not command:
            raise UserError(
                "nothing may follow `--` here" if command else "no command follows `--`"
            )
    if any(word in ("--help", "-h", "-help") for word in own):
        print(_help(options, about, launches, words))
        sys.exit(0)
    overrides, rest = split_overrides(own) if launches else ([], own)
    defined = flags.FlagValues()
    defined.set_gnu_getopt(True)
    for option in options:
        option.define(defined)
    try:
        found = defined(["launch", *rest])[1:]
    except flags.UnrecognizedFlagError as error:
        valid = [f"--{option.name}" for option in options]
        raise UserError(
            f"there is no flag --{error.flagname}; {suggest(f'--{error.flagname}', valid)}"
        ) from None
    except flags.Error as error:
        raise UserError(str(error).removeprefix("flag ")) from None
    if found and not words:
        raise UserError(f"{found[0]!r} is not a flag; flags start with --")
    given = {o.name: defined[o.name].value for o in options if defined[o.name].value is not None}
    # Those of backends are checked where it is known which backend it is.
    own_options = {option.name: option for option in options}
    for name, value in given.items():
        if not launches or name not in all_options():
            given[name] = own_options[name].check(value, f"--{name}")
    return Line(given, tuple(overrides), tuple(found), command)


def choose(line: Line) -> tuple[Backend, dict[str, Chosen]]:
    """The backend, and all of its options with where each is from.

    Raises:
      UserError: an option of another backend, a profile that is none, a contradiction.
    """
    known = all_options()
    profile = read_profile(line.flags["profile"], known) if "profile" in line.flags else None
    named = line.flags.get("backend") or (profile[1].get("backend") if profile else None) or "local"
    backend = backend_called(str(named))
    options = {option.name: option for option in (*COMMON, *backend.options)}
    for name in line.flags:
        if name in known and name not in options:
            others = " and ".join(other for other, _ in known[name])
            raise UserError(f"--{name} is an option of {others}; the backend is {backend.name}")
    given = {name: value for name, value in line.flags.items() if name in options}
    chosen = resolve(tuple(options.values()), given, profile, backend.defaults)
    for option in options.values():
        if chosen[option.name].value == option.default and option.default is None:
            continue
        if chosen[option.name].origin == "default" and option.name in backend.defaults:
            option.check(chosen[option.name].value, option.name)
    backend.check({name: each.value for name, each in chosen.items()})
    return backend, chosen


def folder_called(word: str) -> Path:
    """A folder that is named on the command line, absolute."""
    if not word.strip():
        raise UserError("the name of a folder is empty")
    if "\n" in word:
        raise UserError(f"a line break is in the name of the folder {word!r}")
    return Path(word).expanduser().absolute()


def _help(options: Sequence[Option], about: str | None, launches: bool, words: str) -> str:
    backends = all_options() if launches else {}
    lines = {}
    for option in options:
        owners = [name for name, _ in backends.get(option.name, [])]
        where = f"[{', '.join(owners)}] " if any(owners) else ""
        shown = option.default not in (None, (), False)
        default = f" Default: {option.default}." if shown else ""
        lines[f"--{option.name}"] = f"{where}{option.help}{default}"
    if launches:
        lines["--config.SETTING"] = "Any setting of the experiment, such as --config.batch_size=64."
        lines["-- COMMAND ..."] = (
            "A command of your own in place of `python -m dlresearch.train`; {workdir} in it stands"
            " for the folder."
        )
    width = max(map(len, lines), default=0) + 4
    described = [
        textwrap.fill(text, 100, initial_indent=f"  {name:<{width - 2}}",
                      subsequent_indent=" " * width)
        for name, text in sorted(lines.items())
    ]  # fmt: skip
    usage = f" {words}" if words else ""
    return "\n".join([(about or "").strip() + usage, "", *described])
