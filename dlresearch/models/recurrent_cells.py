"""Recurrent cells as pure functions, and their run over time.

All arrays are time-major. The input's part of every step is given, projected for all steps in one
matrix product; only the product with the previous output is left inside the scan.

A gate's weights stand side by side: `i f g o` for the LSTM, `r z n` for the GRU, as in PyTorch and
cuDNN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Vectors = Mapping[str, Array]
"""Parameters of a cell that are vectors: biases and scales inside the recurrence."""
States = tuple[Array, ...]
"""What goes from step to step: the output first, then the LSTM's cell."""

GATES: Mapping[str, int] = {"lstm": 4, "gru": 3, "rnn": 1, "mingru": 2, "minlstm": 3}
PARALLEL = ("mingru", "minlstm")
"""Cells whose gates do not read the previous output: they have no recurrent matrix."""

_EPSILON = 1e-5  # of layer normalisation, as in PyTorch


@dataclass(frozen=True)
class Cell:
    """One step of a recurrent layer, whose gates are computed from `x_t` and `h_{t-1}`.

    `lstm`: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. `gru`:
    Cho et al. 2014 in the form of cuDNN, which applies the reset gate after the product, with a
    bias of its own. `rnn`: Elman 1990, with tanh.

    Attributes:
      name: `lstm`, `gru` or `rnn`; one of `PARALLEL` has no `step`.
      layer_norm: of the products, and of the LSTM's cell before its tanh (Ba et al. 2016,
        arXiv:1607.06450, supplement).
      zoneout: probability that a state keeps its old value (Krueger et al. 2016, arXiv:1606.01305).
      random: draw it, as in training, or take its expectation.
    """

    name: str
    layer_norm: bool = False
    zoneout: float = 0.0
    random: bool = False

    @property
    def gates(self) -> int:
        """How many pre-activations a number of the output has."""
        return GATES[self.name]

    @property
    def states(self) -> int:
        """How many arrays go from step to step."""
        return 2 if self.name == "lstm" else 1

    @property
    def additive(self) -> bool:
        """Whether only the sum of the two products counts, so that it alone is kept."""
        return self.name != "gru" and not self.layer_norm

    def parts(self, projected: Array, product: Array) -> States:
        """What the gradient of a step is computed from again, in the input's type."""
        if self.additive:
            return ((projected + product).astype(projected.dtype),)
        return projected, product.astype(projected.dtype)

    def step(
        self, vectors: Vectors, parts: States, states: States, kept: tuple[Bool[Array, "..."], ...]
    ) -> States:
        """The states after one step; each in the type that it had.

        Args:
          vectors: the cell's vectors by name.
          parts: from `parts`, each [batch, gates * width].
          states: those before, each [batch, width].
          kept: where each state keeps its old value; empty unless `random`.
        """
        wide = jnp.promote_types(parts[0].dtype, jnp.float32)
        projected, *product = (part.astype(wide) for part in parts)
        if self.layer_norm:
            product = [standardised(product[0]) * vectors["recurrent_norm"]]
        old = tuple(state.astype(wide) for state in states)
        if self.name == "gru":
            new = self._gru(vectors, projected, product[0], old)
        else:
            total = projected + product[0] if product else projected
            new = self._lstm(vectors, total, old) if self.name == "lstm" else (jnp.tanh(total),)
        if self.random:
            new = tuple(map(jnp.where, kept, old, new))
        elif self.zoneout:
            share = self.zoneout
            new = tuple(share * o + (1 - share) * n for o, n in zip(old, new, strict=True))
        return tuple(n.astype(state.dtype) for n, state in zip(new, states, strict=True))

    def _lstm(self, vectors: Vectors, total: Array, old: States) -> States:
        i, f, g, o = jnp.split(total, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * old[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        seen = cell
        if self.layer_norm:
            seen = standardised(cell) * vectors["cell_norm"] + vectors["cell_norm_bias"]
        return jax.nn.sigmoid(o) * jnp.tanh(seen), cell

    def _gru(self, vectors: Vectors, projected: Array, product: Array, old: States) -> States:
        reset, update, new = jnp.split(projected, 3, axis=-1)
        reset_h, update_h, new_h = jnp.split(product, 3, axis=-1)
        new_h = jax.nn.sigmoid(reset + reset_h) * (new_h + vectors["recurrent_bias"])
        update = jax.nn.sigmoid(update + update_h)
        return (update * old[0] + (1 - update) * jnp.tanh(new + new_h),)


def standardised(x: Float[Array, "*rest width"]) -> Float[Array, "*rest width"]:
    """With mean 0 and variance 1 over the last axis."""
    mean = x.mean(-1, keepdims=True)
    centred = x - mean
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + _EPSILON)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run_cell(
    cell: Cell,
    unroll: int,
    projected: Float[Array, "time batch gates"],
    recurrent: Float[Array, "width gates"],
    vectors: Vectors,
    states: States,
    kept: tuple[Bool[Array, "time batch width"], ...],
) -> States:
    """The states after every step, each [time, batch, width].

    The gradient is written out: inside its scan it computes the gates again, element by element,
    and passes back what reaches the previous states. The gradient of `recurrent` is one matrix
    product over all steps after it, where the transposition of a scan adds up a matrix of its size
    at every step.

    Args:
      cell: what a step computes.
      unroll: steps in one iteration of the scan.
      projected: the input's part of the gates, with the bias.
      recurrent: weights of the previous output, of the type of `projected`.
      vectors: the cell's vectors by name, float32.
      states: before the first step, each [batch, width].
      kept: for zoneout in training, where each state keeps its old value; else empty.
    """
    return _forward(cell, unroll, projected, recurrent, vectors, states, kept)[0]


def _forward(
    cell: Cell,
    unroll: int,
    projected: Array,
    recurrent: Array,
    vectors: Vectors,
    states: States,
    kept: tuple[Array, ...],
) -> tuple[States, Any]:
    wide = jnp.promote_types(projected.dtype, jnp.float32)

    def body(before: States, at: tuple[Array, tuple[Array, ...]]) -> tuple[States, Any]:
        product = jnp.dot(before[0].astype(recurrent.dtype), recurrent, preferred_element_type=wide)
        parts = cell.parts(at[0], product)
        after = cell.step(vectors, parts, before, at[1])
        # With GRU and layer normalisation the projection is at hand already.
        return after, (after, parts[-1])

    _, (outputs, part) = jax.lax.scan(body, states, (projected, kept), unroll=unroll)
    parts = (part,) if cell.additive else (projected, part)
    return outputs, (recurrent, vectors, states, kept, outputs, parts)


def _backward(cell: Cell, unroll: int, residuals: Any, gradients: States) -> tuple[Any, ...]:
    recurrent, vectors, states, kept, outputs, parts = residuals
    wide = jnp.promote_types(recurrent.dtype, jnp.float32)
    before = tuple(
        jnp.concatenate([first[None], each[:-1]])
        for first, each in zip(states, outputs, strict=True)
    )
    transposed = recurrent.T  # once, outside of the loop

    def body(carried: Any, at: Any) -> tuple[Any, States]:
        later, of_vectors = carried
        direct, parts, before, kept = at
        arrived = jax.tree.map(lambda a, b: (a + b).astype(b.dtype), later, direct)

        def step(vectors: Vectors, parts: States, before: States) -> States:
            return cell.step(vectors, parts, before, kept)

        _, pull = jax.vjp(step, vectors, parts, before)
        step_of_vectors, of_parts, of_before = pull(arrived)
        through = jnp.dot(of_parts[-1], transposed, preferred_element_type=wide)
        of_states = tuple(each.astype(wide) for each in of_before)
        of_states = (of_states[0] + through, *of_states[1:])
        return (of_states, jax.tree.map(jnp.add, of_vectors, step_of_vectors)), of_parts

    nothing = (
        tuple(jnp.zeros(each.shape, wide) for each in states),
        jax.tree.map(jnp.zeros_like, vectors),
    )
    (of_states, of_vectors), of_parts = jax.lax.scan(
        body, nothing, (gradients, parts, before, kept), reverse=True, unroll=unroll
    )
    of_recurrent = jnp.einsum(
        "tbh,tbg->hg", before[0].astype(recurrent.dtype), of_parts[-1], preferred_element_type=wide
    ).astype(recurrent.dtype)
    of_states = tuple(each.astype(s.dtype) for each, s in zip(of_states, states, strict=True))
    return of_parts[0], of_recurrent, of_vectors, of_states, None


run_cell.defvjp(_forward, _backward)
