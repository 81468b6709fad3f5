"""What can be said of a run without training: shapes, parameters, memory, FLOPs, one real batch."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from dlresearch.config import config_hash
from dlresearch.errors import UserError
from dlresearch.models import jaxpr_flops
from dlresearch.training.feed import Feed
from dlresearch.training.setup import Setup, make_call


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
    _check_best(setup)
    for name, evaluation in setup.evaluations.items():
        yield f"{name}: {len(evaluation.source):,} examples every {evaluation.every:,} steps"
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
    yield from _cost(setup, feed, taken)
    feed.close()
    variables = setup.evaluation_variables(setup.initial_state().variables)
    for evaluation in setup.evaluations.values():
        metrics = evaluation.run_on_one_batch(setup.predict, variables)
        yield f"  {evaluation.name}: a batch of {evaluation.batch_size} gives {', '.join(metrics)}"
    yield "\nNothing found that would fail."


def _check_best(setup: Setup) -> None:
    best = setup.experiment.checkpoint.best
    if best is not None and best.split("/")[0] not in setup.evaluations:
        raise UserError(
            f"config.checkpoint.best: {best!r} is no metric of an evaluator; evaluators:"
            f" {', '.join(setup.evaluations) or 'none'}"
        )


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


def _cost(setup: Setup, feed: Feed, taken: Any) -> Iterator[str]:
    call = jax.jit(make_call(setup.step, feed.pick, 1), donate_argnums=0)
    traced = call.trace(setup.abstract_state, feed.resident, taken)
    yield f"  {jaxpr_flops(traced.jaxpr):,.4g} FLOPs in matrix products and convolutions"
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.abstract_state))
    yield f"  {_mebibytes(state)} of parameters, optimizer state and averages"
    if feed.resident:
        resident = sum(leaf.nbytes for leaf in jax.tree.leaves(feed.resident))
        yield f"  {_mebibytes(resident)} of resident examples on each device"
    memory = traced.lower().compile().memory_analysis()
    if memory is not None:
        yield f"  {_mebibytes(memory.temp_size_in_bytes)} for activations and other temporaries"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"
