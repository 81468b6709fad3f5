"""What every verb does around its work: flags, signals, and one line for a user's mistake."""

import errno
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from absl import flags, logging

from dlresearch import preemption
from dlresearch.errors import Failure, UserError, one_line, out_of_memory, suggest

if TYPE_CHECKING:
    from dlresearch.config import Experiment
    from dlresearch.parallel import Watch

USAGE_STATUS = 2
FAILED_STATUS = 1

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

COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address",
    None,
    "host:port of process 0, for several processes where no Slurm, MPI or TPU is found. Without"
    " it, $JAX_COORDINATOR_ADDRESS.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the run. Without it, $JAX_NUM_PROCESSES.", lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id",
    None,
    "Number of this process. Without it, $JAX_PROCESS_ID or $JOB_COMPLETION_INDEX.",
    lower_bound=0,
)
INITIALIZATION_TIMEOUT = flags.DEFINE_integer(
    "initialization_timeout", 300, "Seconds until all processes must have joined.", lower_bound=1
)
HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout", 60, "Seconds of silence before a process counts as gone.", lower_bound=1
)
SHUTDOWN_TIMEOUT = flags.DEFINE_integer(
    "shutdown_timeout", 300, "Seconds the first process to finish waits for others.", lower_bound=1
)
STALL_TIMEOUT = flags.DEFINE_float(
    "stall_timeout",
    1800.0,
    "Seconds without a step, a batch of evaluation or the end of a compilation before the run"
    " fails; 0 is never.",
    lower_bound=0.0,
)
_SHARED = (
    CONFIG,
    WORKDIR,
    COMPILATION_CACHE,
    COORDINATOR_ADDRESS,
    NUM_PROCESSES,
    PROCESS_ID,
    INITIALIZATION_TIMEOUT,
    HEARTBEAT_TIMEOUT,
    SHUTDOWN_TIMEOUT,
    STALL_TIMEOUT,
)

Overrides = Sequence[tuple[str, str]]
_watch: "Watch | None" = None  # from `set_up` on


def run(
    verb: Callable[[Overrides], int],
    argv: Sequence[str] | None = None,
    *,
    resumable: bool = False,
) -> NoReturn:
    """Parse flags, call the verb with the `--config.a.b=value` overrides, and exit with its status.

    A `UserError` becomes one line and status 2; any other exception is a bug and keeps its
    traceback. Either ends all processes of the run, at once. A `resumable` verb saves when a signal
    asks it to stop; others just end.
    """
    if resumable:
        preemption.install()
    # We say ourselves what matters of what Orbax and TFDS log; --verbosity=0 shows all of it.
    logging.set_verbosity(logging.FATAL)
    try:
        status = verb(_parse(verb, sys.argv if argv is None else argv))
    except UserError as mistake:
        status = _say(mistake, USAGE_STATUS)
    except Failure as failure:
        status = _say(failure, FAILED_STATUS)
    except preemption.Preempted:
        status = preemption.RESUME_STATUS
    except KeyboardInterrupt:  # the second one; the first asks to save
        status = _say(Failure("interrupted; all up to the last checkpoint is saved"), 130)
    except BrokenPipeError:  # `dlresearch check ... | head`: nobody reads on
        os._exit(0)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            status = _say(error, FAILED_STATUS)
        elif (failure := out_of_memory(error)) is not None:
            status = _say(failure, FAILED_STATUS)
        elif _watch is None or not _watch.together:
            raise
        else:
            if not _watch.somebody_failed():
                traceback.print_exc()
            _watch.fail(one_line(error), FAILED_STATUS)
    sys.stdout.flush()
    if _watch is not None:
        _watch.leave()
    if preemption.left_behind() or (_watch is not None and _watch.together):
        os._exit(status)  # do not wait for a compilation, nor for what processes do at exit
    sys.exit(status)


def _say(error: Exception, status: int) -> int:
    if _watch is not None and _watch.together:
        _watch.fail(one_line(error), status)
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    return status


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
    return [flags.FLAGS[each.name] for each in _SHARED] + own


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

    return validate(load(config_path(), overrides))


def config_path() -> str:
    """--config, or the config that the run in --workdir has recorded.

    Raises:
      UserError: neither names one.
    """
    if CONFIG.value is not None:
        return CONFIG.value
    if WORKDIR.value is None:
        raise UserError("--config=FILE is missing; experiments/cnn/digits.py is a start")
    recorded = os.path.join(WORKDIR.value, "config.json")
    if not os.path.exists(recorded):
        raise UserError(f"--workdir: {WORKDIR.value} holds no run; give --config=FILE to start one")
    return recorded


def workdir_flag() -> str:
    """--workdir, which is needed."""
    if not WORKDIR.value:
        raise UserError("--workdir=DIR is missing: the folder of the run")
    return WORKDIR.value


def set_up(chosen: "Experiment") -> str:
    """Processes, devices and the compilation cache; returns a line for the log."""
    from dlresearch.parallel import ProcessOptions, unused_accelerator
    from dlresearch.parallel import set_up as set_up_process

    options = ProcessOptions(
        coordinator_address=COORDINATOR_ADDRESS.value,
        num_processes=NUM_PROCESSES.value,
        process_id=PROCESS_ID.value,
        initialization_timeout=INITIALIZATION_TIMEOUT.value,
        heartbeat_timeout=HEARTBEAT_TIMEOUT.value,
        shutdown_timeout=SHUTDOWN_TIMEOUT.value,
        stall_timeout=STALL_TIMEOUT.value,
    )
    global _watch
    where, _watch = set_up_process(options, COMPILATION_CACHE.value, chosen.deterministic)
    if hint := unused_accelerator(os.environ):
        print(f"note: {hint}", file=sys.stderr, flush=True)
    return where
