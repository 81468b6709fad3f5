"""Memory: what a compiled call takes by its own account, and what was in use when it ran."""

import re
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import jax
from jax.stages import Compiled

Result = TypeVar("Result")


def peak_bytes() -> int:
    """Peak so far: of the fullest local device, or of this process where devices do not tell."""
    return _device_peak() or _process_peak()


def estimated_bytes(compiled: Compiled) -> int | None:
    """On each device while the call runs: arguments, results that do not take the place of donated
    arguments, and temporaries. None where the backend does not tell.

    What is not of this call is not in it: batches on their way, evaluation, other processes.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + results + memory.temp_size_in_bytes


def with_peak(call: Callable[[], Result]) -> tuple[Result, int, str]:
    """`call()` run to its end, a measured figure in bytes to hold against an estimate, and what
    that figure is.

    Where devices do not tell, as on CPU, it is by how much the resident set of the process grew at
    its highest, over what was there before. This is rough: it has the process's other work in it,
    and lacks what earlier work left in the allocator for use again.
    """
    before = _forget_process_peak()
    result = jax.block_until_ready(call())
    if peak := _device_peak():
        return result, peak, "the most that was in use on a device so far"
    grown = max(0, _process_peak() - before)
    return result, grown, "growth of this process in the first step, beside arguments; rough"


def _device_peak() -> int:
    statistics = [device.memory_stats() or {} for device in jax.local_devices()]
    return max(entry.get("peak_bytes_in_use", 0) for entry in statistics)


def _process_peak() -> int:
    # Not `ru_maxrss` where there is this: it begins with that of the process that started this one.
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            return int(found[1]) * 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024


def _forget_process_peak() -> int:
    """The peak from now on starts at what is resident now, on Linux; elsewhere it stays."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _process_peak()
