"""Being told to stop: SIGTERM and SIGUSR1 from a scheduler, Ctrl-C from a person.

The handler only takes a note. Whoever works in a loop calls `check()` where stopping is safe, which
raises `Preempted`; the trainer saves and exits with `RESUME_STATUS`. Such a place is counted, and
all processes of a run come through the same ones in the same order. So several processes can agree
on one of them by number, and a process that has not reached the next one for long has stalled.
Standard library only, so that an entry point can install it before its slow imports: a signal
during start-up is not lost either.
"""

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

RESUME_STATUS = 75  # EX_TEMPFAIL of sysexits.h: "saved, run me again"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

_T = TypeVar("_T")
_received: list[signal.Signals] = []
_left_behind: list[threading.Thread] = []


class Preempted(Exception):
    """Raised by `check()` once this process, or one of those it works with, was asked to stop."""


class _Places:
    """How far this process is, and where it stops. Changed under `lock` only."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.passed = 0
        self.since = time.monotonic()
        self.inside = False  # of work that can be left behind: it can stop at the last place still
        self.alone = True
        self.stop_at: int | None = None  # agreed with the others
        self.reason = ""

    def stops(self) -> bool:
        if self.alone:
            return bool(_received)
        return self.stop_at is not None and self.passed >= self.stop_at

    def go_on(self, *, inside: bool) -> None:
        self.passed += 1
        self.since = time.monotonic()
        self.inside = inside


_places = _Places()


def _note(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT and signal.SIGINT in _received:
        raise KeyboardInterrupt  # the second Ctrl-C means now
    _received.append(signal.Signals(number))
    if number == signal.SIGINT:
        print("\nSaving, then stopping; Ctrl-C again stops at once.", flush=True)


def install() -> None:
    """Take note of SIGTERM, SIGUSR1 and SIGINT from now on. Main thread only."""
    for number in SIGNALS:
        signal.signal(number, _note)


def left_behind() -> bool:
    """Whether work goes on in a thread that nobody waits for: the process must not, either."""
    return any(thread.is_alive() for thread in _left_behind)


def reason() -> str:
    """The name of the signal that came first, or why all processes agreed to stop."""
    return _places.reason or (_received[0].name if _received else "none")


def reset() -> None:
    """Forget what was received; for several runs in one process."""
    global _places
    _received.clear()
    _places = _Places()


def check() -> None:
    """Raise `Preempted` if this is where to stop."""
    with _places.lock:
        _places.go_on(inside=False)
        stops = _places.stops()
    if stops:
        raise Preempted(reason())


def interruptible(work: Callable[[], _T], timeout: float = math.inf) -> _T:
    """`work()`, in a thread, left behind with `Preempted` as soon as a signal comes.

    Raises TimeoutError, and leaves it behind, after so many seconds.

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

    check()
    with _places.lock:
        _places.inside = True
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    pause, until = 1e-4, time.monotonic() + timeout
    while thread.is_alive():
        if _places.stops() or time.monotonic() > until:
            _left_behind.append(thread)
            raise Preempted(reason()) if _places.stops() else TimeoutError
        time.sleep(pause)  # rather than join(timeout), which a signal does not interrupt
        pause = min(2 * pause, 0.05)
    with _places.lock:
        _places.go_on(inside=False)
        stops = _places.stops()
    if failure:
        raise failure[0]
    if stops:
        raise Preempted(reason())
    return outcome[0]


# --- for several processes ----------------------------------------------------------------------


def await_agreement() -> None:
    """From now on a signal by itself stops nothing: `agree` says where all processes stop."""
    _places.alone = False


def received() -> str | None:
    """The name of the first signal this process itself was sent."""
    return _received[0].name if _received else None


def agree(on_place: Callable[[int], int], why: str) -> None:
    """Stop where all processes can. Called from a thread; holds the main one at its next place.

    Args:
      on_place: given the first place at which this process can still stop, returns the one at which
        all do. Every process calls it from a thread, so none waits for another one's main thread.
      why: what `Preempted` says.
    """
    with _places.lock:
        first = _places.passed if _places.inside else _places.passed + 1
        _places.reason = why
        _places.stop_at = on_place(first)


def progress() -> tuple[int, float]:
    """Places passed, and seconds since the last one; 0 within work that can be left behind."""
    # Without the lock: it is held while processes agree, which one that was killed never does.
    waited = 0.0 if _places.inside else time.monotonic() - _places.since
    return _places.passed, waited
