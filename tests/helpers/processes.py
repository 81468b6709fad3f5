"""Python in other processes: with several devices, or started so that it can be killed."""

import functools
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]


def environment(devices: int = 1) -> dict[str, str]:
    """Return this process's environment, for a Python with `devices` CPU devices.

    `dlresearch`, `helpers` and the compilation cache are those of this process.
    """
    flags = os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={devices}"
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(flags).strip(),
        # Threads of XLA, by default no more than there are devices or cores. Each of them can wait
        # in another collective operation, and then none is left to run the one all wait for.
        "NPROC": str(16 * devices),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }


@functools.cache
def _process(devices: int) -> ProcessPoolExecutor:
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with mock.patch.dict(os.environ, environment(devices)):
        executor.submit(int).result()  # starts the process
    return executor


def on_eight_devices(function: Callable[..., Any], *arguments: Any, seconds: float = 300) -> Any:
    """Return `function(*arguments)`, called where JAX has eight CPU devices.

    All tests of a pytest worker share that process, as importing JAX takes seconds. The function
    is found by its name, so it has to be in a module of `helpers`.

    Raises what the function raises, with the traceback of the other process as its cause.
    """
    executor = _process(8)
    try:
        return executor.submit(function, *arguments).result(seconds)
    except TimeoutError:
        for process in multiprocessing.active_children():
            process.kill()
        _process.cache_clear()
        raise


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_python(*arguments: str, devices: int = 1) -> subprocess.Popen:
    """Start Python with so many virtual devices; its output is one text."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(devices),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def assert_complete(*processes: subprocess.Popen, seconds: float = 240) -> None:
    """Wait for all; on failure or after so many seconds, end them and show what they printed."""
    end = time.monotonic() + seconds
    try:
        while any(process.poll() is None for process in processes):
            failed = any(process.poll() for process in processes)
            if failed or time.monotonic() > end:
                break
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
    said = [f"exit status {process.wait()}\n{process.communicate()[0]}" for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(said)
