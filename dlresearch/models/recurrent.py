"""Recurrent layers over batches of padded sequences."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent_cells import PARALLEL, Cell
from dlresearch.models.recurrent_cudnn import check_at_hand, cudnn_lstm, is_at_hand
from dlresearch.models.recurrent_direction import (
    at_the_end,
    is_valid,
    reversed_in_time,
    run_direction,
)
from dlresearch.models.recurrent_weights import Weights

CellName = Literal["lstm", "gru", "rnn", "mingru", "minlstm"]
Backend = Literal["auto", "scan", "cudnn"]
Carry = tuple[Any, ...]
"""One entry for each layer, and in it for each direction (forward before reverse), all in one
tuple: the pair (output, cell) of an LSTM, else the output; each [batch, width]."""


class Recurrent(nn.Module):
    """A stack of recurrent layers, in one direction or both.

    Parameters are in `layer_0`, `layer_1` and so on, those of the reverse direction in
    `layer_0_reverse` and so on (see `Weights`), whatever the backend.

    Attributes:
      width: of the output of each direction.
      cell: `lstm`, `gru` or `rnn` (tanh), whose steps follow each other; or `mingru` or `minlstm`,
        whose steps are computed all at once, as their gates do not read the previous output (Feng
        et al. 2024, arXiv:2410.01201).
      layers: how many, one on the other.
      bidirectional: each layer reads forward and, with weights of its own, in reverse from the
        last valid step; the outputs stand side by side.
      residual: from the second layer on, the input is added to the output (Wu et al. 2016,
        arXiv:1609.08144).
      layer_norm: normalise the gates' products with input and previous output, and the LSTM's cell
        before its tanh (Ba et al. 2016, arXiv:1607.06450).
      dropout: share of the numbers set to zero between layers, in training.
      locked: draw this once for all steps of a sequence (Gal and Ghahramani 2016,
        arXiv:1512.05287).
      weight_drop: share of the recurrent matrix set to zero, once for all steps, in training
        (Merity et al. 2017, arXiv:1708.02182).
      zoneout: probability that a number of the state keeps its old value, in training; otherwise
        the expectation is taken (Krueger et al. 2016, arXiv:1606.01305).
      forget_bias: what the bias of the LSTM's forget gate begins with.
      initial_scale: begin with weights and biases uniform in +-initial_scale; None: orthogonal
        recurrent matrices, input matrices by Glorot and Bengio 2010, and biases of 0.
      unroll: steps in one iteration of the compiled loop.
      remat: keep only the input of each layer for the gradient, and compute the rest again.
      backend: `scan` runs everywhere; `cudnn` is NVIDIA's LSTM in float32; `auto` is `cudnn` where
        that is possible and JAX has one GPU and no other, else `scan`.
      dtype: of the computation; gates and the LSTM's cell are computed in float32.
      param_dtype: of the parameters.
    """

    width: int
    cell: CellName = "lstm"
    layers: int = 1
    bidirectional: bool = False
    residual: bool = False
    layer_norm: bool = False
    dropout: float = 0.0
    locked: bool = False
    weight_drop: float = 0.0
    zoneout: float = 0.0
    forget_bias: float = 1.0
    initial_scale: float | None = None
    unroll: int = 1
    remat: bool = False
    backend: Backend = "scan"
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        if self.cell not in get_args(CellName):
            cells = ", ".join(get_args(CellName))
            raise UserError(f"cell={self.cell!r}: must be one of {cells}")
        check_choice("backend", self.backend, Backend)
        check_sizes(width=self.width, layers=self.layers, unroll=self.unroll)
        check_shares(dropout=self.dropout, weight_drop=self.weight_drop, zoneout=self.zoneout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        if self.initial_scale is not None and not self.initial_scale > 0:
            raise UserError(f"initial_scale={self.initial_scale}: must be positive")
        if self.weight_drop and self.cell in PARALLEL:
            raise UserError(f"weight_drop={self.weight_drop}: {self.cell} has no recurrent matrix")
        if self.backend == "cudnn" and (setting := self._not_in_cudnn()):
            raise UserError(
                f"backend='cudnn' with {setting}: cuDNN has a plain LSTM in float32; use"
                " backend='auto' or 'scan'"
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time features"],
        carry: Carry | None = None,
        lengths: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "batch time outputs"], Carry]:
        """The outputs of the last layer, and the states after each row's last valid step.

        Args:
          x: the sequences, valid at their beginning.
          carry: the states before the first step, as an earlier call returned them; None for zeros.
            (Of the reverse direction: before the last valid step.)
          lengths: how many steps of each row are valid, from 0 on; None for all. What stands beyond
            changes nothing.
          train: whether to draw random numbers, from the stream `dropout`.

        Returns:
          Outputs of `width`, or with both directions 2 * `width`, zero beyond `lengths`; and the
          carry, in float32. A row of no valid steps keeps its carry.
        """
        directions = 2 if self.bidirectional else 1
        before = self._checked(carry, x.shape[0], directions)
        x = jnp.swapaxes(x, 0, 1).astype(self.dtype)
        by_cudnn = self._by_cudnn()
        after: list[Any] = []
        # cuDNN takes all layers at once where nothing is to be done between them.
        between = self.residual or (train and self.dropout > 0)
        together = self.layers if by_cudnn and not between else 1
        for first in range(0, self.layers, together):
            inputs = self._dropped(x, train) if first else x
            widths = [x.shape[-1], *[directions * self.width] * (together - 1)]
            weights = [
                self._weights(first + number, direction, width, train)
                for number, width in enumerate(widths)
                for direction in range(directions)
            ]
            kept = [self._kept(x.shape[:2], train) for _ in range(directions)]
            states = before[first * directions :][: together * directions]
            run = self._cudnn if by_cudnn else self._layer
            run = jax.checkpoint(run) if self.remat else run
            output, states = run(weights, inputs, states, lengths, kept)
            after.extend(states)
            x = x + output if first and self.residual else output
        return jnp.swapaxes(x, 0, 1), tuple(after)

    def _checked(self, carry: Carry | None, batch: int, directions: int) -> Carry:
        """`carry`, or zeros."""
        wide = jnp.promote_types(self.dtype, jnp.float32)
        zeros = jnp.zeros((batch, self.width), wide)
        state = (zeros, zeros) if self.cell == "lstm" else zeros
        nothing = (state,) * (self.layers * directions)
        if carry is None:
            return nothing
        shapes, expected = (jax.tree.map(jnp.shape, each) for each in (carry, nothing))
        if shapes != expected:
            raise ValueError(f"carry of shapes {shapes}; this layer's is {expected}")
        return jax.tree.map(lambda each: each.astype(wide), carry)

    def _weights(self, layer: int, direction: int, features: int, train: bool) -> dict[str, Array]:
        """In the type of the computation, and without what `weight_drop` drops."""
        made = Weights(
            self.cell,
            self.width,
            self.layer_norm,
            self.forget_bias,
            self.initial_scale,
            self.param_dtype,
            name=f"layer_{layer}_reverse" if direction else f"layer_{layer}",
        )(features)
        if train and self.weight_drop:
            name, share = "recurrent_kernel", self.weight_drop
            keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - share, made[name].shape)
            made[name] = jnp.where(keep, made[name] / (1 - share), 0)
        return {name: each.astype(self.dtype) for name, each in made.items()}

    def _kept(self, shape: tuple[int, ...], train: bool) -> tuple[Array, ...]:
        """Where states keep their old values."""
        if not (train and self.zoneout):
            return ()
        keys = jax.random.split(self.make_rng("dropout"), Cell(self.cell).states)
        return tuple(jax.random.bernoulli(key, self.zoneout, (*shape, self.width)) for key in keys)

    def _dropped(self, x: Array, train: bool) -> Array:
        same = (0,) if self.locked else ()
        return nn.Dropout(self.dropout, broadcast_dims=same, deterministic=not train)(x)

    def _by_cudnn(self) -> bool:
        if self.backend == "cudnn":
            check_at_hand()
            return True
        if self.backend == "scan" or self._not_in_cudnn():
            return False
        # The partitioner cannot split cuDNN's call over devices.
        return is_at_hand() and jax.device_count() == 1

    def _not_in_cudnn(self) -> str:
        """Which of the settings cuDNN cannot follow; empty if it can."""
        if self.cell != "lstm":
            return f"cell={self.cell!r}"
        if self.layer_norm:
            return "layer_norm=True"
        if self.zoneout:
            return f"zoneout={self.zoneout}"
        return "" if jnp.dtype(self.dtype) == jnp.float32 else f"dtype={self.dtype}"

    def _cudnn(
        self,
        weights: list[dict[str, Array]],
        x: Array,
        states: Carry,
        lengths: Array | None,
        kept: list[tuple[Array, ...]],
    ) -> tuple[Array, Carry]:
        del kept  # nothing: no zoneout
        return cudnn_lstm(weights, x, states, lengths, bidirectional=self.bidirectional)

    def _layer(
        self,
        weights: list[dict[str, Array]],
        x: Float[Array, "time batch features"],
        states: Carry,
        lengths: Int[Array, " batch"] | None,
        kept: list[tuple[Array, ...]],
    ) -> tuple[Float[Array, "time batch outputs"], Carry]:
        """All directions of one layer, and their states after the last valid step."""
        outputs, after = [], []
        for direction, mine in enumerate(weights):
            reverse = direction == 1
            inputs = reversed_in_time(x, lengths) if reverse else x
            pair = self.cell == "lstm"
            first = states[direction] if pair else (states[direction],)
            cell = Cell(self.cell, self.layer_norm, self.zoneout, random=bool(kept[direction]))
            every = run_direction(cell, self.unroll, mine, inputs, first, kept[direction])
            last = at_the_end(every, first, lengths)
            after.append(last if pair else last[0])
            outputs.append(reversed_in_time(every[0], lengths) if reverse else every[0])
        output = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
        if lengths is not None:
            output = jnp.where(is_valid(x.shape[0], lengths), output, 0)
        return output.astype(self.dtype), tuple(after)
