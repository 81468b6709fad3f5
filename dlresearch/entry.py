"""What every verb does around its work: flags, signals, and one line for a user's mistake."""

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from absl import flags, logging

from dlresearch import preemption
from dlresearch.errors import UserError, suggest

if TYPE_CHECKING:
    from dlresearch.config import Experiment

USAGE_STATUS = 2

CONFIG = flags.DEFINE_string(
    "config", None, "The experiment: FILE.py or FILE.py:arguments. Without it, that of --workdir."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder of compiled programs, shared by all runs. Without it, $JAX_COMPILATION_CACHE_DIR or"
    " ~/.cache/dlresearch/compiled; empty for none.",
)

Overrides = Sequence[tuple[str, str]]


def run(
    verb: Callable[[Overrides], int],
    argv: Sequence[str] | None = None,
    *,
    resumable: bool = False,
) -> NoReturn:
    """Parse flags, call the verb with the `--config.a.b=value` overrides, and exit with its status.

    A `UserError` becomes one line and status 2; any other exception is a bug and keeps its
    traceback. A `resumable` verb saves when a signal asks it to stop; others just end.
    """
    if resumable:
        preemption.install()
    # We say ourselves what matters of what Orbax and TFDS log; --verbosity=0 shows all of it.
    logging.set_verbosity(logging.FATAL)
    try:
        status = verb(_parse(verb, sys.argv if argv is None else argv))
    except UserError as mistake:
        print(f"error: {' '.join(str(mistake).split())}", file=sys.stderr, flush=True)
        status = USAGE_STATUS
    except preemption.Preempted:
        status = preemption.RESUME_STATUS
    except BrokenPipeError:  # `dlresearch check ... | head`: nobody reads on
        os._exit(0)
    sys.stdout.flush()
    if preemption.requested():
        os._exit(status)  # a compilation may have been left behind in a thread; do not wait for it
    sys.exit(status)


def _parse(verb: Callable[[Overrides], int], argv: Sequence[str]) -> Overrides:
    from dlresearch.config import setting_called, split_overrides

    overrides, rest = split_overrides(list(argv))
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in rest):
        print(_help(verb))
        sys.exit(0)
    try:
        positional = flags.FLAGS(rest)[1:]
    except flags.UnrecognizedFlagError as error:
        setting = setting_called(error.flagname)
        valid = [f"--{flag.name}" for flag in _flags_of(verb)]
        hint = suggest(f"--{error.flagname}", [f"--config.{setting}"] if setting else valid)
        raise UserError(f"there is no flag --{error.flagname}; {hint}") from None
    except flags.Error as error:
        raise UserError(str(error).removeprefix("flag ")) from None
    if positional:
        raise UserError(f"{positional[0]!r} is not a flag; flags start with --")
    return overrides


def _flags_of(verb: Callable[[Overrides], int]) -> list[flags.Flag]:
    """The flags a user may give to a verb: those of all verbs, and its own."""
    own = flags.FLAGS.get_flags_for_module(sys.modules[verb.__module__])
    return [flags.FLAGS[each.name] for each in (CONFIG, WORKDIR, COMPILATION_CACHE)] + own


def _help(verb: Callable[[Overrides], int]) -> str:
    lines = {
        "--config.SETTING": "Any setting of the experiment, such as --config.batch_size=64; all of"
        " them are in docs/config.md."
    }
    for flag in _flags_of(verb):
        default = f" Default: {flag.default}." if flag.default else ""
        lines[f"--{flag.name}"] = f"{flag.help}{default}"
    width = max(map(len, lines)) + 4
    described = [
        textwrap.fill(
            text, 100, initial_indent=f"  {name:<{width - 2}}", subsequent_indent=" " * width
        )
        for name, text in sorted(lines.items())
    ]
    about = (sys.modules[verb.__module__].__doc__ or "").strip()
    return "\n".join([about, "", *described])


def experiment(overrides: Overrides) -> "Experiment":
    """The validated experiment of --config, or of the run in --workdir.

    Raises:
      UserError: neither names one, or it has a mistake.
    """
    from dlresearch.config import load, validate

    if CONFIG.value is not None:
        return validate(load(CONFIG.value, overrides))
    if WORKDIR.value is None:
        raise UserError("--config=FILE is missing; experiments/cnn/digits.py is a start")
    recorded = os.path.join(WORKDIR.value, "config.json")
    if not os.path.exists(recorded):
        raise UserError(f"--workdir: {WORKDIR.value} holds no run; give --config=FILE to start one")
    return validate(load(recorded, overrides))


def workdir_flag() -> str:
    """--workdir, which is needed."""
    if not WORKDIR.value:
        raise UserError("--workdir=DIR is missing: the folder of the run")
    return WORKDIR.value


def set_up(chosen: "Experiment") -> str:
    """Processes, devices and the compilation cache; returns a line for the log."""
    from dlresearch.parallel import set_up as set_up_process

    return set_up_process(COMPILATION_CACHE.value, chosen.deterministic)
