"""Figures of a compiled program, read from its memory analysis and its text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jax.stages import Compiled

from dlresearch.training.aot.collectives import collectives
from dlresearch.training.aot.hlo import (
    Computations,
    Instruction,
    called,
    parse,
    trip_count,
    users,
)

# Of these XLA moves no bytes, or they are counted in what they call.
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "conditional", "call", "async-start", "async-done", "async-update"),
    *("partition-id", "replica-id", "opt-barrier", "iota"),
)
_FROM_AND_TO_HOST = ("infeed", "outfeed", "send", "recv")
_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATE = "dynamic-update-slice"
_LIBRARY = {"cudnn": "cuDNN", "cublas": "cuBLAS"}


@dataclass(frozen=True)
class Program:
    """A program of one device.

    Attributes:
      name: `step`, or that of an evaluator.
      seconds: that compiling took.
      arguments, results, aliased, temporaries: bytes; `aliased` are results in the place of
        arguments.
      flops: of matrix products and convolutions on one device.
      moved: bytes read and written by operations between the memory of the device and its cores,
        where nothing stays in a cache.
      operations: how many matrix products and convolutions there are, by who computes them.
      collectives: how many, by kind; each as often as it runs.
      sent: bytes that the device sends in collectives.
      host_transfers: operations that exchange data with the host.
      note: what was different in its making.
    """

    name: str
    seconds: float
    arguments: int
    results: int
    aliased: int
    temporaries: int
    flops: float
    moved: int
    operations: Mapping[str, int]
    collectives: Mapping[str, int]
    sent: float
    host_transfers: int
    note: str

    @property
    def memory(self) -> int:
        """Bytes of the device while the program runs."""
        return self.arguments + self.results - self.aliased + self.temporaries


def program_of(
    name: str, compiled: Compiled, devices: int, flops: float, seconds: float, note: str = ""
) -> Program:
    """Read a program that was compiled for `devices` devices.

    Args:
      flops: of all devices together.
    """
    text = compiled.as_text() or ""
    memory = compiled.memory_analysis()
    assert memory is not None  # compilers of accelerators tell
    computations, entry = parse(text)
    found = collectives(text, devices, unknown_loops=1)
    run = list(_run(entry, 1, computations))
    kinds: Counter[str] = Counter()
    for each in found:
        kinds[each.kind] += each.times
    return Program(
        name=name,
        seconds=round(seconds, 1),
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        flops=flops / devices,
        moved=sum(times * _moved(each, known, computations) for each, times, known in run),
        operations=_operations(computations),
        collectives=dict(kinds),
        sent=sum(each.wire_bytes() for each in found),
        host_transfers=sum(each.opcode in _FROM_AND_TO_HOST for each, *_ in run),
        note=note,
    )


def _run(
    name: str, times: int, computations: Computations
) -> Iterator[tuple[Instruction, int, Mapping[str, Instruction]]]:
    """The instructions that a computation runs outside of fusions, how often, and all instructions
    of their computation by name.
    """
    known = {each.name: each for each in computations[name]}
    for instruction in computations[name]:
        if instruction.opcode == "while":
            try:
                length = trip_count(instruction, computations)
            except ValueError:  # it depends on the data
                length = 1
            for body in called(instruction):
                yield from _run(body, times * length, computations)
        elif instruction.opcode in ("conditional", "call", "async-start"):
            for body in called(instruction):
                yield from _run(body, times, computations)
        yield instruction, times, known


def _moved(
    instruction: Instruction, known: Mapping[str, Instruction], computations: Computations
) -> int:
    """Bytes of the operands that an instruction reads, and of the result that it writes."""
    if instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
        return 0
    operands = [known[name] for name in instruction.reads if name in known]
    if instruction.opcode == "fusion":
        body = computations[next(called(instruction))]
        return _moved_by_fusion(body, instruction.size)
    if instruction.opcode in _SLICES:
        return 2 * instruction.size
    if instruction.opcode == _UPDATE:
        return 2 * operands[1].size
    return instruction.size + sum(each.size for each in operands)


def _moved_by_fusion(body: Sequence[Instruction], result: int) -> int:
    """Bytes that a fusion reads and writes. A sliced operand counts with its slices, one that is
    updated in place not at all, and a result made by an update with the update.
    """
    readers = users(body)
    read = 0
    for parameter in (each for each in body if each.opcode == "parameter"):
        by = readers.get(parameter.name, [])
        if by and all(_is_first_of(parameter, each, _SLICES) for each in by):
            read += sum(each.size for each in by)
        elif not (by and all(_is_first_of(parameter, each, (_UPDATE,)) for each in by)):
            read += parameter.size
    root, sizes = body[-1], {each.name: each.size for each in body}
    if root.opcode == _UPDATE:
        result = sizes[root.reads[1]]
    return read + result


def _is_first_of(operand: Instruction, by: Instruction, opcodes: Sequence[str]) -> bool:
    return by.opcode in opcodes and by.reads[0] == operand.name


def _operations(computations: Computations) -> dict[str, int]:
    """Convolutions and matrix products of the whole text, by who computes them."""
    counts: Counter[str] = Counter()
    for instructions in computations.values():
        for each in instructions:
            if each.opcode == "custom-call":
                kind = each.target
                for word, library in _LIBRARY.items():
                    if word in kind:
                        counts[library] += 1
                if "triton" in kind:
                    counts["Triton"] += 1
            elif each.opcode in ("convolution", "dot"):
                counts[f"XLA {each.opcode}"] += 1
    return dict(counts)


def roofline(program: Program, peak: float, bandwidth: float) -> tuple[float, str]:
    """Return the least seconds a call can take, and what bounds it: arithmetic or memory.

    Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.
    """
    arithmetic, memory = program.flops / peak, program.moved / bandwidth
    return max((arithmetic, "arithmetic"), (memory, "memory bandwidth"))
