"""What the processes of a run tell each other beside their arrays: small texts, by key.

They go through the coordinator of `jax.distributed`, not through devices, so they arrive also
where a device waits for a process that is gone.
"""

import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax._src import distributed  # the only way to the coordinator's store, as Orbax uses it too

_T = TypeVar("_T")
_PREFIX = "dlresearch"
_HOUR_MS = 3_600_000


class Store:
    """Keys and texts that all processes see. A key is written once."""

    def __init__(self) -> None:
        self._client: Any = distributed.global_state.client

    def put(self, key: str, text: str) -> None:
        """Has no effect where the key is there already: the first one counts."""
        try:
            self._client.key_value_set(f"{_PREFIX}/{key}", text)
        except jax.errors.JaxRuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise

    def get(self, key: str) -> str:
        """The text under a key, once there is one.

        Raises:
          JaxRuntimeError: this process is leaving, or the coordinator is gone.
        """
        while True:
            try:
                return self._client.blocking_key_value_get(f"{_PREFIX}/{key}", _HOUR_MS)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def peek(self, key: str) -> str | None:
        """The text under a key, None where there is none yet."""
        try:
            return self._client.key_value_try_get(f"{_PREFIX}/{key}")
        except jax.errors.JaxRuntimeError:
            return None

    def collect(self, folder: str, count: int, timeout: float = math.inf) -> dict[int, str]:
        """What processes have put under `folder/NUMBER`, by number, once there are `count` of them
        or so many seconds are over.

        For the first process, which then puts what follows from it under one key: all of them doing
        so would ask the coordinator for the square of their number.
        """
        until = time.monotonic() + timeout
        while True:
            entries = self._client.key_value_dir_get(f"{_PREFIX}/{folder}/")
            if len(entries) >= count or time.monotonic() > until:
                return {int(key.rsplit("/", 1)[1]): text for key, text in entries}
            time.sleep(0.02)


_calls = 0


def _call() -> str:
    """A folder for one exchange; all processes make the same exchanges in the same order."""
    global _calls
    _calls += 1
    return f"exchange/{_calls}"


def from_first(make: Callable[[], _T]) -> _T:
    """What `make` gives in the first process, for all; it must survive JSON.

    What a process reads from a disk others write to may differ from what they read. All decisions
    that lead to communication are made from what one of them read.
    """
    if jax.process_count() == 1:
        return make()
    call = _call()
    if jax.process_index() == 0:
        made = make()
        Store().put(call, json.dumps(made))
        return made
    return json.loads(Store().get(call))


def gather(text: str) -> list[str]:
    """The texts of all processes, in their order. None goes on before all are here."""
    if jax.process_count() == 1:
        return [text]
    call, store = _call(), Store()
    store.put(f"{call}/{jax.process_index()}", text)

    def in_order() -> list[str]:
        texts = store.collect(call, jax.process_count())
        return [texts[process] for process in range(jax.process_count())]

    return from_first(in_order)


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()
