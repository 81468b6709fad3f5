"""XLA's programs as text (HLO), read as far as is needed to follow what a step runs how often."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

_BITS = {"pred": 8, "token": 0}
_SHAPE = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_NAME = r"%?([\w.\-]+)"
_INSTRUCTION = re.compile(rf"^\s+(?:ROOT )?{_NAME} = (.*)$")
_COMPUTATION = re.compile(rf"^(ENTRY )?{_NAME} \(.*\{{$")
_OPCODE = re.compile(r"(?<=[\])}\s])\s?([a-z][a-z0-9\-]*)\(")
_CALLED = re.compile(
    rf"\b(?:calls|to_apply|body|true_computation|false_computation)={_NAME}"
    r"|\b(?:branch_computations|called_computations)=\{([^}]*)\}"
)


@dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
      shape: of the result, as it stands there; a tuple in parentheses.
      opcode: such as `all-reduce` or `while`.
      operands: what stands in the parentheses behind it.
      rest: the attributes behind these.
    """

    name: str
    shape: str
    opcode: str
    operands: str
    rest: str

    @property
    def reads(self) -> list[str]:
        """The names of its operands."""
        return re.findall(r"%([\w.\-]+)", self.operands)

    @property
    def target(self) -> str:
        """Name of the function that a custom call calls; empty for other operations."""
        found = re.search(r'custom_call_target="([^"]*)"', self.rest)
        return found[1] if found else ""

    @property
    def size(self) -> int:
        """Bytes of the result, of all of them where there are several."""
        return sum(bytes_of(*each) for each in shapes_in(self.shape))


Computations: TypeAlias = Mapping[str, Sequence[Instruction]]


def parse(text: str) -> tuple[Computations, str]:
    """The instructions of each computation of a module, and which is the entry.

    Raises:
      ValueError: this is something else.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations.setdefault(found[2], [])
            entry = found[2] if found[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _INSTRUCTION.match(line)):
            current.append(_instruction(found[1], found[2]))
    if not entry:
        raise ValueError("no ENTRY: this is not the text of an HLO module")
    return computations, entry


def _instruction(name: str, text: str) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)  # the numbers in long tuples
    # The tuple of several results has parentheses of its own.
    found = _OPCODE.search(text, _closing(text, 0) if text.startswith("(") else 0)
    if found is None:
        raise ValueError(f"no operation in {text[:200]!r}")
    last = _closing(text, found.end() - 1)
    return Instruction(
        name, text[: found.start()], found[1], text[found.end() : last], text[last + 1 :]
    )


def _closing(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"unbalanced parentheses in {text[:200]!r}")


def shapes_in(text: str) -> list[tuple[str, str]]:
    """Types and dimensions, such as `("f32", "2,3")`, of all arrays in the text of a shape."""
    return _SHAPE.findall(text)


def bytes_of(dtype: str, dimensions: str) -> int:
    """The size of an array.

    Raises:
      ValueError: a type of unknown size.
    """
    bits = _BITS.get(dtype)
    if bits is None:
        found = re.search(r"\d+", dtype)  # f32, bf16, s8, f8e4m3fn, u4
        if found is None:
            raise ValueError(f"a type of unknown size: {dtype}")
        bits = int(found[0])
    return prod(int(size) for size in dimensions.split(",") if size) * bits // 8


def called(instruction: Instruction) -> Iterator[str]:
    """The computations it runs."""
    for one, several in _CALLED.findall(instruction.rest):
        if one:
            yield one
        else:
            yield from (name.strip().lstrip("%") for name in several.split(","))


def users(instructions: Sequence[Instruction]) -> dict[str, list[Instruction]]:
    """Who reads the result of each instruction."""
    readers: dict[str, list[Instruction]] = {}
    for instruction in instructions:
        for name in instruction.reads:
            readers.setdefault(name, []).append(instruction)
    return readers


def trip_count(loop: Instruction, computations: Computations) -> int:
    """How often the body of a `while` runs: what the compiler has noted; else, where the condition
    is that a counter is below a constant, the constant, as JAX's scans count from 0 by 1.

    Raises:
      ValueError: neither of them.
    """
    if found := re.search(r'"?known_trip_count"?:\{"?n"?:"?(\d+)', loop.rest):
        return int(found[1])
    condition = re.search(rf"condition={_NAME}", loop.rest)
    instructions = computations[condition[1]] if condition else ()
    constants = [
        int(each.operands)
        for each in instructions
        if each.opcode == "constant" and re.fullmatch(r"-?\d+", each.operands)
    ]
    compared = [each for each in instructions if each.opcode == "compare"]
    if len(constants) == len(compared) == 1 and "direction=LT" in compared[0].rest:
        return constants[0]
    raise ValueError(f"no one knows how often the loop {loop.name} runs: {loop.rest[:200]}")
