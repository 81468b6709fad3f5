"""What a worker process of the data pipeline does first, and how its errors get home."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback


def start_worker(index: int, count: int) -> None:
    """Prepare this process to read data for its parent; called by Grain with the worker's number.

    A scheduler signals all processes of a job, and the parent still needs its data to reach the
    step at which it saves: it alone decides when workers end. So signals are ignored here, and the
    end of the parent, however it came, is the end of the worker.
    """
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # A transform that uses JAX must not take memory of the device that trains.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def in_worker() -> bool:
    """Whether this process was started by another one of the run."""
    return multiprocessing.parent_process() is not None


def portable(error: Exception) -> Exception:
    """An error that can be sent to another process: itself, or one that says the same.

    One that cannot be pickled would be lost on the way, and its receiver wait for ever.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # user classes run here, and may raise anything
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
