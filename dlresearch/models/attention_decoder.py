"""The recurrent decoder that looks at an encoded sequence at every step."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from dlresearch.models.recurrent_cells import Cell
from dlresearch.models.recurrent_weights import GATES, Weights

Attention = Literal["additive", "multiplicative"]
DecoderCell = Literal["gru", "lstm"]
STATES = {"gru": 1, "lstm": 2}  # arrays that a layer hands to the next step
_OUT_OF_REACH = -1e30  # a score that leaves a weight of exactly 0, also where all scores are it


class Memory(NamedTuple):
    """What the decoder reads of the source; rows are sentences."""

    keys: Float[Array, "batch source attention"]
    values: Float[Array, "batch source readout"]
    mask: Bool[Array, "batch source"]


class DecoderState(NamedTuple):
    """What goes from a step to the next; rows are sentences.

    `hidden` are the states of each layer, its output first; `readout` is the last attentional
    vector; `coverage` the sum of all attention so far.
    """

    hidden: tuple[tuple[Float[Array, "batch width"], ...], ...]
    readout: Float[Array, "batch readout"]
    coverage: Float[Array, "batch source"]


class _Kernel(nn.Module):
    """A matrix as a dense layer has it, to be used inside of a scan."""

    inputs: int
    outputs: int
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self) -> Float[Array, "inputs outputs"]:
        start = nn.initializers.xavier_uniform()
        return self.param("kernel", start, (self.inputs, self.outputs), self.param_dtype)


class AttentionDecoder(nn.Module):
    """A stack of recurrent layers, attention by the top one, and the vector both make (Luong et al.
    2015, arXiv:1508.04025, sections 3.1 and 3.3), with the previous word beside them:

        out_t = tanh(W_s s_t + W_y y_t + sum_i a_ti W_c h_i + b),   a_t = softmax_i score(s_t, h_i)

    The score is v' tanh(W_q s + W_k h) (`additive`, Bahdanau et al. 2015, arXiv:1409.0473, section
    A.1.2), with coverage c also + c w in the tanh (See et al. 2017, arXiv:1704.04368, eq. 11), or
    s' W_k h (`multiplicative`, Luong's `general`). What does not depend on the step before is
    outside of the scan: projections of words and of the encoder's states.
    """

    width: int
    readout: int
    layers: int
    cell: DecoderCell
    attention: Attention
    input_feeding: bool
    coverage: bool
    dropout: float
    locked: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    def setup(self) -> None:
        dense: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        additive = self.attention == "additive"
        self.keys = nn.Dense(self.width, use_bias=additive, **dense)
        self.values = nn.Dense(self.readout, use_bias=False, **dense)
        self.words = nn.Dense(self.readout, **dense)
        self.stack = [
            Weights(
                self.cell,
                self.width,
                layer_norm=False,
                forget_bias=1.0,
                initial_scale=None,
                param_dtype=self.param_dtype,
                name=f"layer_{layer}",
            )
            for layer in range(self.layers)
        ]
        kernel = partial(_Kernel, param_dtype=self.param_dtype)
        self.top = kernel(self.width, (self.width if additive else 0) + self.readout)
        if self.input_feeding:
            self.feeding = kernel(self.readout, GATES[self.cell] * self.width)
        if additive:
            self.scores = kernel(self.width, 1)
        if self.coverage:
            self.covered = kernel(1, self.width)

    def __call__(
        self,
        memory: Memory,
        state: DecoderState,
        words: Float[Array, "batch time embedding"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "batch time readout"], DecoderState, Float[Array, "batch time source"]]:
        """Attentional vectors, the state behind the last word, and attention."""
        weights = self._weights(words.shape[-1])
        first = weights["stack"][0]
        steps = {"gates": words @ first["kernel"] + first["bias"], "words": self.words(words)}
        if train and self.dropout:
            steps = {**steps, "masks": self._masks(words.shape[0], words.shape[1])}
        steps = jax.tree.map(lambda each: jnp.swapaxes(each, 0, 1), steps)

        def step(state: DecoderState, inputs: Any) -> tuple[DecoderState, Any]:
            state, attention = self._step(weights, memory, state, inputs)
            return state, (state.readout, attention)

        state, (readouts, attention) = jax.lax.scan(step, state, steps)
        return jnp.swapaxes(readouts, 0, 1), state, jnp.swapaxes(attention, 0, 1)

    def remember(
        self, encoded: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]
    ) -> Memory:
        return Memory(self.keys(encoded), self.values(encoded), mask)

    def _weights(self, embedding: int) -> Any:
        features = (embedding, *[self.width] * (self.layers - 1))
        weights: dict[str, Any] = {
            "stack": [each(size) for each, size in zip(self.stack, features, strict=True)],
            "top": self.top(),
        }
        if self.input_feeding:
            weights["feeding"] = self.feeding()
        if self.attention == "additive":
            weights["scores"] = self.scores()[:, 0]
        if self.coverage:
            weights["covered"] = self.covered()[0]
        return jax.tree.map(lambda each: jnp.asarray(each, self.dtype), weights)

    def _masks(self, batch: int, time: int) -> list[Float[Array, "batch time features"]]:
        """Dropout between layers, and of the attentional vector, at last."""
        kept = 1 - self.dropout
        shapes = [(batch, 1 if self.locked else time, self.width)] * (self.layers - 1)
        shapes.append((batch, 1 if self.locked else time, self.readout))
        masks = [
            jax.random.bernoulli(self.make_rng("dropout"), kept, shape).astype(self.dtype) / kept
            for shape in shapes
        ]
        return [jnp.broadcast_to(each, (batch, time, each.shape[-1])) for each in masks]

    def _step(
        self, weights: Any, memory: Memory, state: DecoderState, inputs: Any
    ) -> tuple[DecoderState, Float[Array, "batch source"]]:
        cell = Cell(self.cell)
        masks = inputs.get("masks")
        gates, hidden = inputs["gates"], []
        if self.input_feeding:
            gates = gates + state.readout @ weights["feeding"]
        for layer, own in enumerate(weights["stack"]):
            before = state.hidden[layer]
            if layer:
                below = hidden[-1][0] if masks is None else hidden[-1][0] * masks[layer - 1]
                gates = below @ own["kernel"] + own["bias"]
            parts = cell.parts(gates, before[0] @ own["recurrent_kernel"])
            hidden.append(cell.step(own, parts, before, ()))
        top = hidden[-1][0]
        attention, readout = self._look(weights, memory, state.coverage, top)
        readout = jnp.tanh(readout + inputs["words"])
        if masks is not None:
            readout = readout * masks[-1]
        return DecoderState(tuple(hidden), readout, state.coverage + attention), attention

    def _look(
        self, weights: Any, memory: Memory, coverage: Array, top: Float[Array, "batch width"]
    ) -> tuple[Float[Array, "batch source"], Float[Array, "batch readout"]]:
        """Attention, and the sum in the tanh of the attentional vector without the word."""
        projected = top @ weights["top"]
        if self.attention == "additive":
            query, own = projected[:, : self.width], projected[:, self.width :]
            looked = memory.keys + query[:, None]
            if self.coverage:
                looked = looked + coverage[:, :, None] * weights["covered"]
            scores = jnp.tanh(looked) @ weights["scores"]
        else:
            own = projected
            scores = jnp.einsum("bsw,bw->bs", memory.keys, top)
        scores = jnp.where(memory.mask, scores.astype(jnp.float32), _OUT_OF_REACH)
        attention = jax.nn.softmax(scores).astype(self.dtype)
        return attention, own + jnp.einsum("bs,bsr->br", attention, memory.values)
