"""Being told to stop: SIGTERM and SIGUSR1 from a scheduler, Ctrl-C from a person.

The handler only takes a note. Whoever works in a loop calls `check()` where stopping is safe, which
raises `Preempted`; the trainer saves and exits with `RESUME_STATUS`. Standard library only, so that
an entry point can install it before its slow imports: a signal during start-up is not lost either.
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

RESUME_STATUS = 75  # EX_TEMPFAIL of sysexits.h: "saved, run me again"

_T = TypeVar("_T")
_received: list[signal.Signals] = []


class Preempted(Exception):
    """Raised by `check()` once a signal asked this process to stop."""


def _note(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT and signal.SIGINT in _received:
        raise KeyboardInterrupt  # the second Ctrl-C means now
    _received.append(signal.Signals(number))
    if number == signal.SIGINT:
        print("\nSaving, then stopping; Ctrl-C again stops at once.", flush=True)


def install() -> None:
    """Take note of SIGTERM, SIGUSR1 and SIGINT from now on. Main thread only."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, _note)


def requested() -> bool:
    """Whether this process was asked to stop."""
    return bool(_received)


def reason() -> str:
    """The name of the signal that came first."""
    return _received[0].name if _received else "none"


def reset() -> None:
    """Forget what was received; for several runs in one process."""
    _received.clear()


def check() -> None:
    """Raise `Preempted` if this process was asked to stop."""
    if requested():
        raise Preempted(reason())


def interruptible(work: Callable[[], _T]) -> _T:
    """`work()`, in a thread, left behind with `Preempted` as soon as a signal comes.

    For compilation: a signal handler of Python runs in the main thread between two bytecodes, and a
    compilation is one call into C++ that may outlast the time a scheduler grants. The thread that
    is left behind must not own anything a later save needs.
    """
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    pause = 1e-4
    while thread.is_alive():
        check()
        time.sleep(pause)  # rather than join(timeout), which a signal does not interrupt
        pause = min(2 * pause, 0.05)
    if failure:
        raise failure[0]
    return outcome[0]
