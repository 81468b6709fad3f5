"""Traces of a profiler: where the time of a step goes."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.profiler import ProfileData

from dlresearch.training.aot.hlo import Instruction, parse

_PROGRAM = "step.hlo.txt"
_CALLS = 5
# Their events hold those of what they run.
_CONTAINERS = ("while", "conditional", "call", "async-start", "async-done")


@dataclass(frozen=True)
class Operation:
    """An operation of the compiled step.

    Attributes:
      name: in the compiled program.
      source: where in the step it comes from, as JAX names it.
      seconds: in one call, on all devices and threads together.
      share: of the seconds of all operations.
    """

    name: str
    source: str
    seconds: float
    share: float


def write_trace(folder: Path, call: Callable[[], object], program: str) -> None:
    """Record some calls for TensorBoard or Perfetto, and write the text of their program there too.

    Args:
      folder: exists.
      call: makes one, and waits until it is over.
      program: text of the compiled program.
    """
    (folder / _PROGRAM).write_text(program)
    with jax.profiler.trace(str(folder)):
        for number in range(_CALLS):
            with jax.profiler.StepTraceAnnotation("step", step_num=number):
                call()


def slowest_operations(folder: Path, count: int = 10) -> list[Operation]:
    """Return the operations that took most of the time in the newest trace of a folder."""
    traces = sorted(folder.glob("**/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    known = _instructions((folder / _PROGRAM).read_text())
    seconds: dict[str, float] = defaultdict(float)
    for plane in ProfileData.from_file(str(traces[-1])).planes:
        for line in plane.lines:
            for event in line.events:
                name = str(dict(event.stats).get("hlo_op", ""))
                instruction = known.get(name)
                if instruction is not None and instruction.opcode not in _CONTAINERS:
                    seconds[name] += event.duration_ns / 1e9 / _CALLS
    total = sum(seconds.values())
    longest = sorted(seconds, key=lambda name: seconds[name], reverse=True)[:count]
    return [
        Operation(name, _source(known[name]), seconds[name], seconds[name] / total)
        for name in longest
    ]


def describe_operations(operations: list[Operation]) -> str:
    """A table for people."""
    lines = [
        f"  {1e3 * each.seconds:>9.3f} ms {each.share:>6.1%}  {each.name:<32} {each.source}"
        for each in operations
    ]
    return "\n".join(["  the slowest operations of a call:", *lines])


def _instructions(program: str) -> dict[str, Instruction]:
    computations, _ = parse(program)
    return {each.name: each for body in computations.values() for each in body}


def _source(instruction: Instruction) -> str:
    """`jit(one)/model/jvp(Conv_0)/conv_general_dilated` without the first part."""
    found = re.search(r'op_name="([^"]*)"', instruction.rest)
    return found[1].partition("/")[2] if found else ""
