"""One direction of one recurrent layer, and what lengths mean to it."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlresearch.models.recurrent_cells import PARALLEL, Cell, States, run_cell, standardised
from dlresearch.models.recurrent_parallel import linear_recurrence, parallel_gates

_INSIDE = ("recurrent_bias", "recurrent_norm", "cell_norm", "cell_norm_bias")


def run_direction(
    cell: Cell,
    unroll: int,
    weights: Mapping[str, Array],
    x: Float[Array, "time batch features"],
    first: States,
    kept: tuple[Bool[Array, "time batch width"], ...],
) -> States:
    """The states after every step, each [time, batch, width].

    Args:
      cell: what a step computes.
      unroll: steps in one iteration of the scan.
      weights: parameters by name, of the type of `x`.
      x: the sequences, in the order in which they are read.
      first: the states before the first step, float32.
      kept: for zoneout in training, where each state keeps its old value; else empty.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    projected = x @ weights["kernel"]
    if cell.layer_norm:
        projected = standardised(projected.astype(wide)) * weights["input_norm"]
    projected = (projected + weights["bias"]).astype(x.dtype)
    if cell.name not in PARALLEL:
        # Wide, as their gradients are added up step by step.
        vectors = {name: weights[name].astype(wide) for name in _INSIDE if name in weights}
        begin = (first[0].astype(x.dtype), *first[1:])
        matrix = weights["recurrent_kernel"]
        return run_cell(cell, unroll, projected, matrix, vectors, begin, kept)
    decay, added = parallel_gates(cell.name, projected.astype(wide))
    if kept:
        decay, added = jnp.where(kept[0], 1, decay), jnp.where(kept[0], 0, added)
    elif cell.zoneout:
        decay = cell.zoneout + (1 - cell.zoneout) * decay
        added = (1 - cell.zoneout) * added
    return (linear_recurrence(decay, added, first[0]),)


def reversed_in_time(
    x: Float[Array, "time batch features"], lengths: Int[Array, " batch"] | None
) -> Float[Array, "time batch features"]:
    """The valid steps of each row in reverse order; what is beyond them stays where it is."""
    if lengths is None:
        return x[::-1]
    steps = jnp.arange(x.shape[0])[:, None]
    places = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    # Each place is read once, so that the gradient has nothing to add up.
    return x.at[places, jnp.arange(x.shape[1])].get(unique_indices=True, mode="promise_in_bounds")


def at_the_end(every: States, first: States, lengths: Int[Array, " batch"] | None) -> States:
    """The states after each row's last valid step, in the types of `first`; of a row without one,
    the `first`.
    """
    if lengths is None:
        return tuple(each[-1].astype(old.dtype) for each, old in zip(every, first, strict=True))
    last, rows = jnp.maximum(lengths - 1, 0), jnp.arange(lengths.shape[0])
    return tuple(
        jnp.where((lengths > 0)[:, None], each[last, rows].astype(old.dtype), old)
        for each, old in zip(every, first, strict=True)
    )


def is_valid(steps: int, lengths: Int[Array, " batch"]) -> Bool[Array, "time batch 1"]:
    """Which of `steps` are before the end of their row."""
    return (jnp.arange(steps)[:, None] < lengths)[..., None]
