"""What can be said of a run without training: shapes, parameters, memory, FLOPs, one real batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dlresearch.config import config_hash
from dlresearch.errors import UserError
from dlresearch.models import jaxpr_flops
from dlresearch.training.call import make_call
from dlresearch.training.console import with_prefix
from dlresearch.training.feed import Feed
from dlresearch.training.setup import Setup


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
    for name, evaluation in setup.evaluations.items():
        yield (
            f"{len(evaluation.source):,} examples in evaluator {name!r}, every"
            f" {evaluation.every.period:,.4g} steps"
        )
    saves = f"{schedule.checkpoint.period:,.4g}"
    yield f"a checkpoint every {saves} steps, a record every {schedule.log:,}"
    yield "\nA batch as the source gives it"
    feed = setup.make_feed()
    feed.start(0)
    taken = feed.take(1)
    batch = jax.jit(feed.pick)(feed.resident, taken)
    for name, values in batch.items():
        yield f"  {name:<12} {_values(np.asarray(values))}"
    yield "\nParameters"
    for name, params in setup.abstract_state.variables.params.items():
        yield from _parameters(name, params)
    yield "\nA step"
    yield from _step(setup, feed, taken)
    feed.close()
    if setup.evaluations:
        yield "\nEvaluation"
    variables = setup.evaluation_variables(setup.initial_state().variables)
    for evaluation in setup.evaluations.values():
        metrics = evaluation.run_on_one_batch(setup.predict, variables)
        yield f"  a batch of {evaluation.batch_size} gives {_numbers(metrics)}"
    yield "\nNothing found that would fail."


def _values(values: np.ndarray) -> str:
    if values.size == 0 or values.dtype.kind not in "biuf":
        return f"{values.dtype}{list(values.shape)}"
    low, mean, high = values.min(), values.astype(np.float64).mean(), values.max()
    return f"{values.dtype}{list(values.shape)}  from {low:.4g} to {high:.4g}, mean {mean:.4g}"


def _parameters(player: str, params: Any) -> Iterator[str]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    rows = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    width = max((len(path) for path, _ in rows), default=0)
    for path, leaf in rows:
        yield f"  {path:<{width}}  {leaf.dtype!s:<9} {leaf.size:>12,}  {list(leaf.shape)}"
    yield f"  {player}: {sum(leaf.size for _, leaf in rows):,} parameters"


def _step(setup: Setup, feed: Feed, taken: Any) -> Iterator[str]:
    """What a step costs, and what the first one gives."""
    call = jax.jit(make_call(setup.step, feed.pick, 1), donate_argnums=0)
    traced = call.trace(setup.abstract_state, feed.resident, taken)
    flops = with_prefix(jaxpr_flops(traced.jaxpr), "FLOP")
    yield f"  {flops} in matrix products and convolutions"
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.abstract_state))
    yield f"  {_mebibytes(state)} of parameters, optimizer state and averages"
    if feed.resident:
        resident = sum(leaf.nbytes for leaf in jax.tree.leaves(feed.resident))
        yield f"  {_mebibytes(resident)} of resident examples on each device"
    compiled = traced.lower().compile()
    memory = compiled.memory_analysis()
    if memory is not None:
        yield f"  {_mebibytes(memory.temp_size_in_bytes)} for activations and other temporaries"
    _, recorded = compiled(setup.initial_state(), feed.resident, taken)
    metrics = recorded.means()
    if not metrics:
        raise UserError(
            "the loss or the gradients of the first step are not finite; look for values that are"
            " not in the batch above, then at how the model starts"
        )
    yield f"  the first one gives {_numbers(metrics)}"


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"
