"""What can be said of a run without training: shapes, parameters, memory, FLOPs, one real batch."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch.config import config_hash
from dlresearch.data import stream
from dlresearch.errors import UserError, located
from dlresearch.models import jaxpr_flops
from dlresearch.parallel import bytes_per_device, in_words, replicated
from dlresearch.patterns import path_of
from dlresearch.training.call import jit_call
from dlresearch.training.console import with_prefix
from dlresearch.training.feed import Feed
from dlresearch.training.memory import estimated_bytes, with_peak
from dlresearch.training.setup import Setup
from dlresearch.training.state import TrainState


def inspect(setup: Setup) -> Iterator[str]:
    """The report of `dlresearch check`, line by line, as it becomes known.

    Raises:
      UserError: what would have failed in training.
    """
    experiment, schedule = setup.experiment, setup.schedule
    yield f"config {config_hash(experiment)}, seed {experiment.seed}"
    yield (
        f"{len(setup.source):,} training examples, {schedule.total:,} steps of"
        f" {setup.examples_per_step:,}, {schedule.epoch:,.1f} steps an epoch"
    )
    yield from setup.notes
    for name, evaluation in setup.evaluations.items():
        yield (
            f"{len(evaluation.examples):,} examples in evaluator {name!r}, every"
            f" {evaluation.every.period:,.4g} steps"
        )
    saves = f"{schedule.checkpoint.period:,.4g}"
    yield f"a checkpoint every {saves} steps, a record every {schedule.log:,}"
    if setup.planned:
        yield from _planned(setup)
        return
    feed = setup.make_feed()
    feed.start(0)
    taken = feed.take(1)
    batch = jax.jit(feed.pick, out_shardings=replicated(setup.mesh))(feed.resident, taken)
    yield from _batch({name: np.asarray(values) for name, values in batch.items()})
    yield from _parameters(setup)
    yield from _start(setup)
    yield "\nA step"
    feed.start(0)
    start = setup.initial_state(feed)
    yield from _step(setup, feed, taken, start)
    feed.close()
    if setup.evaluations:
        yield "\nEvaluation"
    variables = setup.evaluation_variables(start.variables)
    for evaluation in setup.evaluations.values():
        outcome = evaluation.run_on_one_batch(setup.predict, variables)
        numbers = [_numbers(outcome.metrics)] if outcome.metrics else []
        found = ", ".join((*numbers, *outcome.files))
        yield f"  a batch of {evaluation.examples.batch_size} gives {found}"
    yield "\nNothing found that would fail."


def _planned(setup: Setup) -> Iterator[str]:
    """What can be said without the devices."""
    rows = slice(0, setup.examples_per_step)
    with stream(
        setup.source, setup.transforms, setup.order, start_step=0, rows=rows, workers=0, prefetch=0
    ) as batches:
        batch = next(batches)
    with located("config.data.source"):
        setup.task.check(batch)
    yield from _batch(batch)
    yield from _parameters(setup)
    yield from _start(setup)
    step = jax.make_jaxpr(partial(setup.step, due=setup.due(0)))(
        setup.abstract_state, setup.batch_shapes
    )
    yield "\nA step"
    yield f"  {with_prefix(jaxpr_flops(step), 'FLOP')} in matrix products and convolutions"
    yield (
        f"\nNothing found that would fail. Left out, as it needs the {setup.mesh.size} devices: the"
        " compiled step and evaluation."
    )


def _batch(batch: Mapping[str, np.ndarray]) -> Iterator[str]:
    yield "\nA batch as the source gives it"
    for name, values in batch.items():
        yield f"  {name:<12} {_values(values)}"


def _values(values: np.ndarray) -> str:
    if values.size == 0 or values.dtype.kind not in "biuf":
        return f"{values.dtype}{list(values.shape)}"
    low, mean, high = values.min(), values.astype(np.float64).mean(), values.max()
    return f"{values.dtype}{list(values.shape)}  from {low:.4g} to {high:.4g}, mean {mean:.4g}"


def _parameters(setup: Setup) -> Iterator[str]:
    """Each parameter; with several devices how it is split, and the part that each of them has."""
    several = setup.mesh.size > 1
    arranged = ", ".join(f"{axis}={size}" for axis, size in setup.mesh.shape.items())
    yield f"\nParameters{f', and their parts on devices: {arranged}' if several else ''}"
    for player, params in setup.abstract_state.variables.params.items():
        leaves = jax.tree_util.tree_leaves_with_path(params)
        rows = [
            (path_of(path), f"{leaf.dtype!s:<9} {leaf.size:>12,}", str(list(leaf.shape)))
            + (_part(leaf) if several else ())
            for path, leaf in leaves
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            yield f"  {'  '.join(cells)}".rstrip()
        yield f"  {player}: {sum(leaf.size for _, leaf in leaves):,} parameters"
    if several:
        yield from _sizes(setup)


def _start(setup: Setup) -> Iterator[str]:
    if setup.loading is not None:
        yield "\nThe start"
        for line in setup.loading.outline():
            yield f"  {line}"


def _part(leaf: Any) -> tuple[str, str]:
    part = leaf.sharding.shard_shape(leaf.shape)
    return in_words(leaf.sharding, leaf.ndim), str(list(part))


def _sizes(setup: Setup) -> Iterator[str]:
    """The bytes of the state, in all and on each device."""
    yield f"\n  {'':<17}{'in all':>16}{'on each device':>20}"
    state = setup.abstract_state
    kinds = {
        "parameters": state.variables.params,
        "optimizer state": state.optimizers,
        "averages": state.variables.averages,
        "the whole state": state,
    }
    for kind, tree in kinds.items():
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        yield f"  {kind:<17}{_mebibytes(size):>16}{_mebibytes(bytes_per_device(tree)):>20}"


def _step(setup: Setup, feed: Feed, taken: Any, start: TrainState) -> Iterator[str]:
    """What a step costs, and what the first one gives."""
    call = jit_call(partial(setup.step, due=setup.due(0)), feed.pick, 1, setup.abstract_state)
    traced = call.trace(setup.abstract_state, feed.resident, taken)
    flops = with_prefix(jaxpr_flops(traced.jaxpr), "FLOP")
    yield f"  {flops} in matrix products and convolutions"
    state = bytes_per_device(setup.abstract_state)
    yield f"  {_mebibytes(state)} of parameters, optimizer state and averages on each device"
    if feed.resident:
        resident = sum(leaf.nbytes for leaf in jax.tree.leaves(feed.resident))
        yield f"  {_mebibytes(resident)} of resident examples on each device"
    compiled = traced.lower().compile()
    memory, estimate = compiled.memory_analysis(), estimated_bytes(compiled)
    if memory is not None:
        yield f"  {_mebibytes(memory.temp_size_in_bytes)} for activations and other temporaries"
    if estimate is not None:
        yield f"  {_mebibytes(estimate)} of memory on each device in all, estimated"
    # A copy, as the call takes over what it is given.
    state = jax.block_until_ready(jax.tree.map(jnp.copy, start))
    (_, recorded), peak, what = with_peak(lambda: compiled(state, feed.resident, taken))
    yield f"  {_mebibytes(peak)} measured: {what}"
    metrics = recorded.means()
    if not metrics:
        raise UserError(
            "the loss or the gradients of the first step are not finite; look for values that are"
            " not in the batch above, then at how the model starts"
        )
    yield f"  the first one gives {_numbers(metrics)}"
    for stage in setup.stages[1:]:
        later = jax.make_jaxpr(partial(stage.step, due=setup.due(0)))(
            setup.abstract_state, setup.batch_shapes
        )
        yield f"  from step {stage.start} on: {with_prefix(jaxpr_flops(later), 'FLOP')}"


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"
