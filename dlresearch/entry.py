"""What every verb does around its work: flags, signals, and one line for a user's mistake."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from absl import flags

from dlresearch import preemption
from dlresearch.errors import UserError

if TYPE_CHECKING:
    from dlresearch.config import Experiment

USAGE_STATUS = 2

CONFIG = flags.DEFINE_string(
    "config", None, "Experiment: FILE.py or FILE.py:arguments. Default: that of --workdir."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", None, "Folder of compiled programs; empty for none."
)

Overrides = Sequence[tuple[str, str]]


def run(verb: Callable[[Overrides], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Parse flags, call the verb with the `--config.a.b=value` overrides, and exit with its status.

    A `UserError` becomes one line and status 2; any other exception is a bug and keeps its
    traceback.
    """
    preemption.install()
    try:
        status = verb(_parse(sys.argv if argv is None else argv))
    except UserError as mistake:
        print(f"error: {' '.join(str(mistake).split())}", file=sys.stderr, flush=True)
        status = USAGE_STATUS
    except preemption.Preempted:
        status = preemption.RESUME_STATUS
    sys.stdout.flush()
    if preemption.requested():
        os._exit(status)  # a compilation may have been left behind in a thread; do not wait for it
    sys.exit(status)


def _parse(argv: Sequence[str]) -> Overrides:
    from dlresearch.config import split_overrides

    overrides, rest = split_overrides(list(argv))
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in rest):
        print(f"usage: {os.path.basename(rest[0])} --config=FILE[:args] --workdir=DIR"
              " --config.a.b=value ...\n\n" + flags.FLAGS.main_module_help())  # fmt: skip
        for module in (m for m in sys.modules if m.startswith("dlresearch.")):
            if text := flags.FLAGS.module_help(module):
                print(text)
        sys.exit(0)
    try:
        positional = flags.FLAGS(rest)[1:]
    except flags.Error as error:
        raise UserError(str(error)) from None
    if positional:
        raise UserError(f"{positional[0]!r} is not a flag; flags start with --")
    return overrides


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
