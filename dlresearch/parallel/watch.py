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
from collections.abc import Callable
from typing import NoReturn

import jax

from dlresearch import preemption
from dlresearch.parallel.store import Store, host

_STALLED = "no progress"
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
            time.sleep(2 * _ROLL_CALL_SECONDS)
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
            if self._process == 0:
                store.put(
                    "stop_at", str(max(map(int, store.collect("place", self._count).values())))
                )
            return int(store.get("stop_at"))

        why = self._news("stop")
        if why is not None:
            preemption.agree(last_of_all, why)

    def _await_failure(self) -> None:
        assert self._store is not None
        news = self._news("failure")
        if news is None:
            return
        first, what, status = json.loads(news)
        here = [preemption.progress()[0], _where()]
        self._store.put(f"roll_call/{self._process}", json.dumps(here))
        if self._process == 0:
            self._store.put("verdict", json.dumps(self._verdict(first, what)))
        verdict, behind = json.loads(self._store.get("verdict"))
        _say(f"error: {verdict}")
        if self._process == behind:
            faulthandler.dump_traceback()
        if self._process == 0:
            _note(verdict)
            time.sleep(_LAST_TO_LEAVE_SECONDS)
        _exit(status)

    def _verdict(self, first: int, what: str) -> tuple[str, int | None]:
        """What happened first, in one line, and the process that stands still, if one does: from
        who answers a roll call, and how far each one is.
        """
        assert self._store is not None
        hosts = self._store.collect("host", self._count)
        answers = {
            process: json.loads(answer)
            for process, answer in self._store.collect(
                "roll_call", self._count, _ROLL_CALL_SECONDS
            ).items()
        }

        def name(process: int) -> str:
            return f"process {process} of {self._count} ({hosts[process]})"

        if gone := sorted(set(hosts) - set(answers)):
            return (
                f"{', '.join(map(name, gone))} is gone: killed, or its host or network failed;"
                f" process {first} noticed: {what}"
            ), None
        places = sorted((place, process) for process, (place, _) in answers.items())
        if _STALLED in what and places[0][0] < places[1][0]:
            behind = places[0][1]
            return f"{what}; {name(behind)} is behind the others, at {answers[behind][1]}", behind
        return f"{name(first)}: {what}", None

    def _await_stall(self, timeout: float) -> None:
        while True:
            _, waited = preemption.progress()
            if self._leaving:
                return
            if waited >= timeout:
                what = f"{_STALLED} for {timeout:.4g} s (--stall_timeout)"
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
