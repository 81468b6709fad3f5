"""GPUs of this machine, each held by one run at a time, whoever launched it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dlresearch.errors import UserError
from launch.plan import Tools

_LOCKS = Path("~/.cache/dlresearch/gpus").expanduser()
_POLL_SECONDS = 1.0


@contextlib.contextmanager
def hold_gpus(
    count: int | None, tools: Tools, say: Callable[[str], None], stops: Callable[[], bool]
) -> Iterator[list[str] | None]:
    """Wait until so many GPUs are free, and keep others off them; None for no such wish.

    A GPU is held by a lock on a file, which the kernel lets go when its holder dies. Programs that
    were not launched here do not know of it.

    Args:
      stops: asked while waiting, to give up; then nothing is held.

    Raises:
      UserError: there are not as many.
    """
    if count is None:
        yield None
        return
    names = visible_gpus(tools)
    if len(names) < count:
        raise UserError(f"--gpus={count}: this machine has {len(names)}")
    _LOCKS.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        waiting = False
        while True:
            found = _try(names, count)
            if found is not None:
                held.enter_context(found[1])
                yield found[0]
                return
            if not waiting:
                say(f"waiting for {count} of {len(names)} GPUs")
                waiting = True
            if stops():
                yield []
                return
            time.sleep(_POLL_SECONDS)


def visible_gpus(tools: Tools) -> list[str]:
    """Their names for CUDA: those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
    named = tools.environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if not tools.has("nvidia-smi"):
        return []
    return [str(i) for i, _ in enumerate(tools.run(["nvidia-smi", "-L"]).out.splitlines())]


def _try(names: list[str], count: int) -> tuple[list[str], contextlib.ExitStack] | None:
    """Lock as many as are asked for, or none."""
    taken, held = [], contextlib.ExitStack()
    for name in names:
        file = held.enter_context((_LOCKS / f"{name.replace(os.sep, '_')}.lock").open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        taken.append(name)
        if len(taken) == count:
            return taken, held
    held.close()
    return None
