"""Drawing a symbol from logits: temperature, the k likeliest, and the nucleus."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dlresearch.errors import UserError


def sample(
    logits: Float[Array, "*batch symbols"],
    key: Key[Array, ""],
    temperature: float | Float[Array, ""] = 1.0,
    top_k: int | None = None,
    top_p: float | Float[Array, ""] = 1.0,
) -> Int[Array, " *batch"]:
    """A symbol for each row, drawn from `softmax(logits / temperature)` where `kept` leaves any.

    Args:
      key: rows draw independently.
      temperature: 0 takes the likeliest symbol.
      top_k: as in `kept`.
      top_p: as in `kept`.
    """
    logits = logits.astype(jnp.float32)
    # 0 / 0 in the branch that is not taken would be no harm, and a warning under debug_nans.
    positive = jnp.where(temperature > 0, temperature, 1.0)
    drawn = jax.random.categorical(key, kept(logits / positive, top_k, top_p))
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits, axis=-1)).astype(jnp.int32)


def kept(
    logits: Float[Array, "*batch symbols"],
    top_k: int | None = None,
    top_p: float | Float[Array, ""] = 1.0,
) -> Float[Array, "*batch symbols"]:
    """The logits, with minus infinity for each symbol that may not be drawn.

    First the `top_k` likeliest stay. Of these, with their probabilities scaled to a sum of 1, the
    nucleus stays: the smallest set of the likeliest whose probability is at least `top_p` (Holtzman
    et al. 2020, arXiv:1904.09751, section 3.1). Of equally likely symbols the first come first. The
    likeliest always stays.

    Args:
      top_k: None is all.
      top_p: 1 is all.
    """
    order = jnp.argsort(-logits, axis=-1)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    rank = jnp.arange(logits.shape[-1])
    if top_k is not None:
        ranked = jnp.where(rank < top_k, ranked, -jnp.inf)
    probabilities = jax.nn.softmax(ranked)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    # At 1 rounding of the sum must not take anything away.
    stays = (rank == 0) | (before < top_p) | (jnp.asarray(top_p) >= 1)
    ranked = jnp.where(stays, ranked, -jnp.inf)
    return jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)


def check_sampling(temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> None:
    """Raises UserError for a value out of its range."""
    if not 0 <= temperature < float("inf"):
        raise UserError(f"--temperature={temperature}: use 0 (the likeliest symbol) or more")
    if top_k is not None and top_k < 1:
        raise UserError(f"--top_k={top_k}: use 1 or more; leave it out for all symbols")
    if not 0 < top_p <= 1:
        raise UserError(f"--top_p={top_p}: use more than 0 and at most 1, which is all symbols")
