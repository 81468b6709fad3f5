"""The report of `dlresearch check --for`, from the figures of compiled programs."""

from collections.abc import Iterator
from dataclasses import dataclass

from dlresearch.hardware import Target
from dlresearch.training.aot.program import Program, roofline
from dlresearch.training.console import with_prefix

_DEFAULT_SHARE = 0.75  # of a GPU's memory, that JAX takes (XLA_PYTHON_CLIENT_MEM_FRACTION)
_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """Settings and sizes of a run that decide how much memory it takes.

    Attributes:
      examples: that a step reads.
      steps: in one call.
      state, resident: bytes on each device, of parameters, optimizer state and EMAs, and of the
        examples that stay there.
      state_everywhere: bytes of the state on all devices, each part counted once.
      shards: parts into which a batch is split.
    """

    precision: str
    batch_size: int
    examples: int
    accumulate: int
    remat: str
    fsdp: int
    shards: int
    steps: int
    state: int
    resident: int
    state_everywhere: int


def describe_step(program: Program, target: Target, plan: Plan) -> Iterator[str]:
    """Lines about the training step: memory, and the least time it takes."""
    yield f"\nA training step, compiled for {target.label} in {program.seconds:.0f} s"
    if program.note:
        yield f"  {program.note}"
    rest = program.arguments - plan.state - plan.resident
    sizes = {
        "parameters, optimizer state and averages": plan.state,
        "resident examples": plan.resident,
        "the batch": max(0, rest),
        "activations and other temporaries": program.temporaries,
        "results besides the state": program.results - program.aliased,
        "in all, on each device": program.memory,
    }
    for what, size in sizes.items():
        yield f"  {_size(size):>12}  {what}"
    yield from _fit(program, target, plan)
    yield from _work(program, target, plan.steps, plan.precision)
    if program.collectives:
        kinds = ", ".join(f"{count} {kind}" for kind, count in program.collectives.items())
        of = "" if plan.steps == 1 else f" ({plan.steps} steps)"
        yield f"  {_size(program.sent)} sent by each device in {kinds} a call{of}"


def describe_evaluation(program: Program, target: Target, precision: str) -> Iterator[str]:
    """Lines about one batch of an evaluator."""
    yield f"\nA batch of evaluator {program.name!r}, compiled in {program.seconds:.0f} s"
    if program.note:
        yield f"  {program.note}"
    yield f"  {_size(program.memory):>12}  on each device"
    yield from _work(program, target, 1, precision)


def usable_memory(target: Target) -> int:
    """Bytes that a program may take of a device: of a GPU JAX takes three quarters by default."""
    memory = target.device.memory or 0
    return memory if target.platform == "tpu" else int(memory * _DEFAULT_SHARE)


def _fit(program: Program, target: Target, plan: Plan) -> Iterator[str]:
    memory, usable = target.device.memory or 0, usable_memory(target)
    share = f"of the {_size(memory)} of a device"
    if target.platform == "cuda":
        share = (
            f"of the {_size(usable)} that JAX takes of {_size(memory)}"
            " (XLA_PYTHON_CLIENT_MEM_FRACTION, 0.75 by default)"
        )
    if program.memory <= usable:
        yield f"  fits: {program.memory / usable:.0%} {share}"
        return
    yield f"  does not fit: {program.memory / usable:.0%} {share}; what would help, estimated:"
    yield from (f"    {line}" for line in _remedies(program, usable, plan))


def _remedies(program: Program, usable: int, plan: Plan) -> Iterator[str]:
    """Settings that make the step fit where temporaries grow with the batch."""
    fixed = program.memory - program.temporaries
    left = usable - fixed
    if left > 0:
        batch = int(plan.batch_size * left / program.temporaries) // plan.shards * plan.shards
        if batch:
            yield f"--config.batch_size={batch}"
        parts = plan.accumulate
        while parts < plan.batch_size // plan.shards:
            parts += 1
            fits = program.temporaries * plan.accumulate / parts <= left
            if fits and plan.batch_size % (parts * plan.shards) == 0:
                yield f"--config.accumulate={parts}"
                break
    if plan.remat == "none":
        yield "--config.remat=dots or =blocks, which compute activations again"
    if plan.fsdp == 1 and plan.shards > 1:
        saved = plan.state - plan.state_everywhere / plan.shards
        if program.memory - saved <= usable:
            yield f"--config.mesh.fsdp={plan.shards}, which saves {_size(saved)} of state"
    elif left <= 0:
        yield "more devices and --config.mesh.fsdp: the state alone does not fit"


def _work(program: Program, target: Target, steps: int, precision: str) -> Iterator[str]:
    device = target.device
    assert device.bandwidth is not None
    seconds, bound = roofline(program, device.peak(precision), device.bandwidth)
    flops, moved = program.flops / steps, program.moved / steps
    yield (
        f"  {with_prefix(flops, 'FLOP')} in matrix products and convolutions and"
        f" {with_prefix(moved, 'B')} moved to and from memory, on each device"
    )
    yield (
        f"  at least {1e3 * seconds / steps:.3g} ms by the device's roofline, bound by {bound}:"
        " an estimate, with nothing kept in caches"
    )
    by = ", ".join(f"{count} {name}" for name, count in sorted(program.operations.items()))
    yield f"  operations: {by or 'no matrix products or convolutions'}"
    if program.host_transfers:
        yield f"  {program.host_transfers} transfers from or to the host in a call"


def _size(size: float) -> str:
    return f"{size / _GIB:,.2f} GiB" if size >= 0.1 * _GIB else f"{size / 2**20:,.1f} MiB"
