"""Lookahead: slow parameters that follow the fast ones (Zhang et al. 2019, arXiv:1907.08610)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from dlresearch.config import LookaheadOptions


class LookaheadState(NamedTuple):
    """How often it was called, the slow parameters, and the state of the optimizer inside."""

    count: Int[Array, ""]
    slow: PyTree
    inner: optax.OptState


def lookahead(
    inner: optax.GradientTransformation, options: LookaheadOptions, total_steps: int
) -> optax.GradientTransformation:
    """`inner`, after every k-th step of which parameters go back towards where they were.

    slow <- d * slow + (1 - d) * fast, and fast <- slow, where d = decay * (step / total)**power:
    constant in the paper (algorithm 1, where 1 - d is alpha), growing with power 3 in the speed
    runs of Jordan 2024, arXiv:2404.00498.
    """

    def init(params: PyTree) -> LookaheadState:
        # A copy, as a donated buffer must not be shared.
        return LookaheadState(jnp.int32(0), jax.tree.map(jnp.copy, params), inner.init(params))

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, LookaheadState]:
        updates, inner_state = inner.update(updates, state.inner, params)
        count = state.count + 1
        decay = options.decay * (count / total_steps) ** options.power
        now = count % options.every == 0
        fast = optax.apply_updates(params, updates)
        moved = jax.tree.map(lambda s, f: (f + decay * (s - f)).astype(s.dtype), state.slow, fast)
        slow = jax.tree.map(lambda new, old: jnp.where(now, new, old), moved, state.slow)
        updates = jax.tree.map(
            lambda new, param, change: jnp.where(now, new - param, change), moved, params, updates
        )
        return updates, LookaheadState(count, slow, inner_state)

    return optax.GradientTransformation(init, update)
