"""Recurrences that are linear in the state, computed for all steps at once.

minGRU and minLSTM (Feng et al. 2024, arXiv:2410.01201) are GRU and LSTM whose gates do not read the
previous output: `h_t = a_t h_{t-1} + b_t`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def linear_recurrence(
    decay: Float[Array, "time batch width"],
    added: Float[Array, "time batch width"],
    first: Float[Array, "batch width"],
) -> Float[Array, "time batch width"]:
    """`h_t = decay_t * h_{t-1} + added_t` for all t, with `h_{-1} = first`.

    By an associative scan, of depth log2(time). Only products of decays and sums are formed, never
    a quotient, so that with decays in [0, 1] nothing can overflow and no logarithm is needed.
    """
    return _forward(decay, added, first)[0]


def _forward(decay: Array, added: Array, first: Array) -> tuple[Array, tuple[Array, ...]]:
    added = added.at[0].add(decay[0] * first)
    states = _scan(decay, added)
    return states, (decay, first, states)


def _backward(residuals: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    # With g_t all that reaches h_t: g_t = gradient_t + decay_{t+1} g_{t+1}, the same backwards.
    decay, first, states = residuals
    following = jnp.concatenate([decay[1:], jnp.zeros_like(decay[:1])])
    arrived = _scan(following, gradient, reverse=True)
    before = jnp.concatenate([first[None], states[:-1]])
    return arrived * before, arrived, decay[0] * arrived[0]


linear_recurrence.defvjp(_forward, _backward)


def _scan(decay: Array, added: Array, reverse: bool = False) -> Array:
    def joined(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    return jax.lax.associative_scan(joined, (decay, added), reverse=reverse)[1]


def parallel_gates(
    cell: str, projected: Float[Array, "time batch gates"]
) -> tuple[Float[Array, "time batch width"], Float[Array, "time batch width"]]:
    """`decay` and `added` of `mingru` (gates `z n`; section 3.1) or `minlstm` (`f i n`; 3.2)."""
    if cell == "mingru":
        update, new = jnp.split(projected, 2, axis=-1)
        return jax.nn.sigmoid(-update), jax.nn.sigmoid(update) * new
    forget, take, new = jnp.split(projected, 3, axis=-1)
    # f / (f + i) without a quotient of numbers that may both be 0.
    lead = jax.nn.log_sigmoid(forget) - jax.nn.log_sigmoid(take)
    return jax.nn.sigmoid(lead), jax.nn.sigmoid(-lead) * new
