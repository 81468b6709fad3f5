"""Several processes end together: at one step when told to stop, at once when one of them fails.

By itself a failed process would leave the others waiting in a collective operation, for minutes or
for ever. So each process has threads that pass on signals, await news of a stop and of a failure,
and see that the process gets on at all. One that was killed cannot tell: the others notice in a
collective operation, or `jax.distributed` misses its heartbeats, and a roll call finds out who.
"""

import contextlib
import faulthandler
import json
import os
import select
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax

from dlresearch import preemption
from dlresearch.parallel.store import Store, host

_ROLL_CALL_SECONDS = 3.0  # a process that lives answers within milliseconds, unless it is swapping
_LAST_TO_LEAVE_SECONDS = (
    0.5  # the coordinator stays until the others have read what is in its store
)


_at_failure: list[Callable[[str], None]] = []


def at_failure(note: Callable[[str], None]) -> None:
    """Have the first process call `note` with what happened before a failure ends all of them."""
    _at_failure[:] = [note]


class Watch:
    """Over this process; `together` says whether there are others.

    Args:
      stall_timeout: seconds without progress after which all ends; 0 is never.
    """

    def __init__(self, *, together: bool, stall_timeout: float):
        self._store = Store() if together else None
        self._leaving = False
        self._process, self._count = jax.process_index(), jax.process_count()
        if self._store is not None:
            preemption.await_agreement()
            self._store.put(f"host/{self._process}", host())
            # The handler of a signal runs when the main thread comes back to Python, which may be
            # too late; a byte in this pipe is there at once.
            self._signals, write = os.pipe()
            os.set_blocking(write, False)
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            _start(self._pass_on_signals)
            _start(self._await_stop)
            _start(self._await_failure)
        if stall_timeout:
            _start(lambda: self._await_stall(stall_timeout))

    @property
    def together(self) -> bool:
        """Whether there are other processes."""
        return self._store is not None

    def somebody_failed(self) -> bool:
        """Whether that is known already: what is raised here now only follows from it."""
        return self._store is not None and self._store.peek("failure") is not None

    def fail(self, what: str, status: int) -> NoReturn:
        """End all processes with `status`, and a line on what happened in this one."""
        if self._store is None:
            _say(f"error: {what}")
            _note(what)
        else:
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # the coordinator may be gone
                self._store.put("failure", json.dumps([self._process, what, status]))
            # The thread that awaits a failure ends this process, once the others know.
            time.sleep(_ROLL_CALL_SECONDS + 2 * _LAST_TO_LEAVE_SECONDS)
        _exit(status)

    def leave(self) -> None:
        """Wait until all processes are done; without it the first to go takes the others down."""
        self._leaving = True
        if self._store is not None:
            jax.distributed.shutdown()

    # --- threads --------------------------------------------------------------------------------

    def _pass_on_signals(self) -> None:
        assert self._store is not None
        name = preemption.received()  # before this thread was there
        while name is None:
            select.select([self._signals], [], [])
            numbers = set(os.read(self._signals, 64)) & set(preemption.SIGNALS)
            name = next((signal.Signals(number).name for number in numbers), None)
        self._store.put("stop", f"{name} to process {self._process} of {self._count}")

    def _await_stop(self) -> None:
        store = self._store
        assert store is not None

        def last_of_all(place: int) -> int:
            store.put(f"place/{self._process}", str(place))
            return max(int(store.get(f"place/{process}")) for process in range(self._count))

        why = self._news("stop")
        if why is not None:
            preemption.agree(last_of_all, why)

    def _await_failure(self) -> None:
        assert self._store is not None
        news = self._news("failure")
        if news is None:
            return
        first, what, status = json.loads(news)
        answers = self._roll_call()
        verdict = _verdict(first, what, answers, self._store.all("host"))
        _say(f"error: {verdict}")
        if self._process == _behind(answers) and "no progress" in what:
            faulthandler.dump_traceback()
        if self._process == 0:
            _note(verdict)
            time.sleep(_LAST_TO_LEAVE_SECONDS)
        _exit(status)

    def _await_stall(self, timeout: float) -> None:
        while True:
            _, waited = preemption.progress()
            if self._leaving:
                return
            if waited >= timeout:
                what = f"no progress for {timeout:.4g} s (--stall_timeout)"
                if self._store is None:
                    what += f"; it is at {_where()}"
                    faulthandler.dump_traceback()
                self.fail(what, 1)
            time.sleep(min(1.0, timeout / 10))

    def _news(self, key: str) -> str | None:
        """The text under a key once it is there; None where the run ends without it."""
        assert self._store is not None
        try:
            return self._store.get(key)
        except jax.errors.JaxRuntimeError as error:
            if self._leaving or "CANCELLED" in str(error):
                return None
            _say(
                "error: process 0, the coordinator, is gone: killed, or its host or network failed"
            )
            _exit(1)

    def _roll_call(self) -> dict[int, Any]:
        """`[place, where in the code]` of every process that answers."""
        assert self._store is not None
        self._store.put(
            f"roll_call/{self._process}", json.dumps([preemption.progress()[0], _where()])
        )
        until = time.monotonic() + _ROLL_CALL_SECONDS
        answers: Mapping[int, str] = {}
        while len(answers) < self._count and time.monotonic() < until:
            answers = self._store.all("roll_call")
            time.sleep(0.02)
        return {process: json.loads(answer) for process, answer in answers.items()}


def _verdict(first: int, what: str, answers: Mapping[int, Any], hosts: Mapping[int, str]) -> str:
    """What happened first, in one line, from who answered and how far each one is."""

    def name(process: int) -> str:
        return f"process {process} of {len(hosts)} ({hosts[process]})"

    gone = sorted(set(hosts) - set(answers))
    if gone:
        return (
            f"{', '.join(map(name, gone))} is gone: killed, or its host or network failed;"
            f" process {first} noticed: {what}"
        )
    behind = _behind(answers)
    if "no progress" in what and behind is not None:
        return f"{what}; {name(behind)} is behind the others, at {answers[behind][1]}"
    return f"{name(first)}: {what}"


def _behind(answers: Mapping[int, Any]) -> int | None:
    """The process that has come less far than all others, if there is one."""
    places = sorted((place, process) for process, (place, _) in answers.items())
    return places[0][1] if len(places) > 1 and places[0][0] < places[1][0] else None


def _where() -> str:
    """Where the main thread is in code that is neither Python's nor a library's."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    libraries = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    innermost = frame
    while frame is not None and frame.f_code.co_filename.startswith(libraries):
        frame = frame.f_back
    at = frame or innermost
    if at is None:
        return "its end"
    return f"{at.f_code.co_filename}:{at.f_lineno} in {at.f_code.co_name}"


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _note(what: str) -> None:
    with contextlib.suppress(OSError):  # of the disk, which may be what failed
        for note in _at_failure:
            note(what)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _exit(status: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(status)  # exit handlers would wait for the others, or for threads that never end
