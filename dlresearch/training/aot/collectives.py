"""What a compiled program sends between devices, read from its text in XLA's HLO.

A collective inside a loop counts as often as the loop runs; a pair `-start` and `-done` counts
once, and so do the pieces into which the TPU compiler cuts one to hide it behind arithmetic: they
have one channel. Sizes are what a device sends in a ring, by the formulas of the NCCL tests
(github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md), S being the bytes of the whole array and n the
devices of a group:

    all-reduce                                  2 (n - 1) / n S
    all-gather, reduce-scatter, all-to-all      (n - 1) / n S
    collective-permute, collective-broadcast    S
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from dlresearch.training.aot.hlo import (
    Computations,
    Instruction,
    bytes_of,
    called,
    parse,
    shapes_in,
    trip_count,
    users,
)

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_TO_EACH = ("all-to-all", "ragged-all-to-all")
_SAME_NUMBERS = ("bitcast", "convert", "copy", "reshape", "transpose")


@dataclass(frozen=True)
class Collective:
    """One of a program, as often as a step runs it.

    Attributes:
      kind: one of `KINDS`.
      dtype: of what is sent, `f32` or `bf16` and so on; of several together all of them.
      size: bytes of the whole array: what all-reduce adds up, what all-gather leaves on a device,
        what reduce-scatter has on a device before.
      group: the devices of the first group, by their number in the program.
      times: it runs in a step.
      scattered: an all-reduce of whose result each device keeps its part only, so that a compiler
        may make a reduce-scatter of it, which sends half.
      operation: what it is for, as JAX names it.
      shape: of the result.
    """

    kind: str
    dtype: str
    size: int
    group: tuple[int, ...]
    times: int
    scattered: bool
    operation: str
    shape: str

    def wire_bytes(self, host: int | None = None) -> float:
        """What one device sends in a step over a ring of its group; or, where there are hosts of so
        many devices, inside its host: the rest is `network_bytes`.
        """
        hosts = 1 if host is None else self._hosts(host)
        # What goes to one peer alone gets smaller with the number of all of them.
        size = self.size / hosts if self.kind in _TO_EACH else self.size
        return self.times * size * _share(self.kind, len(self.group) // hosts)

    def network_bytes(self, host: int) -> float:
        """What leaves a host of so many devices in a step, for each device of it, where those of a
        host first work among themselves, and each then talks to its peers in other hosts about its
        part of the array.
        """
        hosts = self._hosts(host)
        if hosts == 1:
            return 0.0
        alone = self.kind in (*_TO_EACH, "collective-permute")
        size = self.size if alone else self.size / (len(self.group) // hosts)
        return self.times * size * _share(self.kind, hosts)

    def _hosts(self, host: int) -> int:
        return len({device // host for device in self.group})


def _share(kind: str, devices: int) -> float:
    if kind in ("collective-permute", "collective-broadcast"):
        return 1.0 if devices > 1 else 0.0
    return (2 if kind == "all-reduce" else 1) * (devices - 1) / devices


def collectives(text: str, devices: int, *, unknown_loops: int | None = None) -> list[Collective]:
    """Those of one step.

    Args:
      text: of an HLO module that was partitioned for `devices`, before or after optimisation.
      unknown_loops: how often to count a loop whose length depends on the data; None refuses it.

    Raises:
      ValueError: a loop of unknown length has a collective in it, or text that is not understood.
    """
    computations, entry = parse(text)
    return list(_walk(entry, 1, computations, devices, unknown_loops, set()))


def _walk(
    name: str,
    times: int,
    computations: Computations,
    devices: int,
    unknown_loops: int | None,
    seen: set[tuple[str, str]],
) -> Iterator[Collective]:
    readers = users(computations[name])
    for instruction in computations[name]:
        kind = instruction.opcode.removesuffix("-start")
        if kind in KINDS:
            channel = re.search(r"channel_id=(\d+)", instruction.rest)
            key = (kind, channel[1] if channel else f"{name}/{instruction.name}")
            if key not in seen:
                seen.add(key)
                scattered = kind == "all-reduce" and _is_sliced(instruction, readers)
                yield _collective(kind, instruction, times, scattered, devices)
            continue
        inside: list[Collective] = []
        for other in called(instruction):
            inside.extend(_walk(other, times, computations, devices, unknown_loops, seen))
        if instruction.opcode == "while" and inside:
            try:
                length = trip_count(instruction, computations)
            except ValueError:
                if unknown_loops is None:
                    raise
                length = unknown_loops
            inside = [_repeated(each, length) for each in inside]
        yield from inside


def _repeated(collective: Collective, length: int) -> Collective:
    return Collective(**{**vars(collective), "times": collective.times * length})


def _is_sliced(instruction: Instruction, users: Mapping[str, Sequence[Instruction]]) -> bool:
    """Whether all that is made of the result, but for other types and layouts, are slices whose
    places are computed, as those of a device are.
    """
    readers = users.get(instruction.name, ())
    return bool(readers) and all(
        reader.opcode == "dynamic-slice"
        or (reader.opcode in _SAME_NUMBERS and _is_sliced(reader, users))
        for reader in readers
    )


def _collective(
    kind: str, instruction: Instruction, times: int, scattered: bool, devices: int
) -> Collective:
    shapes = shapes_in(instruction.shape)
    if instruction.opcode.endswith("-start") and kind != "all-reduce":
        # What goes in stands before what comes out; the permutation's marks stand behind it.
        shapes = shapes[:1] if kind == "collective-permute" else shapes[len(shapes) // 2 :]
    group = _group(kind, instruction.rest, devices)
    size = sum(bytes_of(dtype, dimensions) for dtype, dimensions in shapes)
    if kind == "reduce-scatter":
        size *= len(group)
    operation = re.search(r'op_name="([^"]*)"', instruction.rest)
    return Collective(
        kind=kind,
        dtype="+".join(sorted({dtype for dtype, _ in shapes})),
        size=size,
        group=group,
        times=times,
        scattered=scattered,
        operation=operation[1] if operation else "",
        shape=" ".join(f"{dtype}[{dimensions}]" for dtype, dimensions in shapes),
    )


# --- groups of devices --------------------------------------------------------------------------


def _group(kind: str, rest: str, devices: int) -> tuple[int, ...]:
    """The first group, in any of the ways in which XLA writes them; of a permutation, the two that
    are farthest from each other.
    """
    if kind == "collective-permute":
        pairs = re.findall(r"\{(\d+),(\d+)\}", rest[rest.find("source_target_pairs=") :])
        both = [(int(source), int(target)) for source, target in pairs]
        return max(both, key=lambda pair: abs(pair[0] - pair[1]), default=(0,))
    if found := re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))?"
        r"\s*\{('[^}]*)\}",
        rest,
    ):  # of a mesh whose devices are in order, or in that of an iota
        places = _of_mesh(found[1], found[4])
        return tuple(_iota(found[2], found[3])[place] for place in places) if found[2] else places
    if found := re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest
    ):  # an iota, reshaped, perhaps transposed, and cut in rows
        return tuple(_iota(found[2], found[3])[: int(found[1].split(",")[1])])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return tuple(int(device) for device in found[1].split(","))
    if re.search(r"replica_groups=\{\}", rest) or "replica_groups" not in rest:
        return tuple(range(devices))
    raise ValueError(f"unknown groups: {rest[:200]!r}")


def _of_mesh(sizes: str, axes: str) -> tuple[int, ...]:
    """Of `'a'=8,'b'=4` and `'b'`: the devices that differ along these axes only."""
    names = re.findall(r"'(\w+)'=(\d+)", sizes)
    if "(" in axes:
        raise ValueError(f"parts of an axis are not understood: {axes}")
    chosen = set(re.findall(r"'(\w+)'", axes))
    group, stride = [0], prod(int(size) for _, size in names)
    for name, size in names:
        stride //= int(size)
        if name in chosen:
            group = [first + step * stride for first in group for step in range(int(size))]
    return tuple(group)


def _iota(sizes: str, permutation: str | None) -> list[int]:
    """0, 1, 2 ... in an array of these sizes, read after `transpose(permutation)`."""
    dimensions = [int(size) for size in sizes.split(",")]
    order = (
        [int(axis) for axis in permutation.split(",")] if permutation else range(len(dimensions))
    )
    strides = [prod(dimensions[axis + 1 :]) for axis in range(len(dimensions))]
    values = [0]
    for axis in order:
        values = [
            first + step * strides[axis] for first in values for step in range(dimensions[axis])
        ]
    return values
