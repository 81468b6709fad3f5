"""Recurrent classification of token sequences: embedding, recurrent layers, pooling over time."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.models.checks import check_choice, check_shares, check_tokens
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent import CellName, Recurrent

Pooling = Literal["last", "mean", "max", "attention"]


class RecurrentClassifier(nn.Module):
    """One output vector for a sequence of tokens.

    What lies beyond a row's length changes nothing, nor does the width to which rows are padded.

    Attributes:
      num_outputs: size of the last layer.
      vocabulary_size: number of tokens; the task knows it from the training source.
      embedding: size of the vector of a token.
      width: of the recurrent layers, in each direction.
      layers: number of recurrent layers.
      cell: `lstm`, `gru`, `rnn`, `mingru` or `minlstm`.
      bidirectional: also read from the end to the start.
      pooling: one vector of all time steps: `last`, those at which each direction ends; `mean`;
        `max`; or `attention`, a mean with learned weights (Yang et al. 2016, eq. 5 to 7).
      word_dropout: share of the tokens whose whole vector is set to zero in training, as in Iyyer
        et al. 2015 (section 3.1).
      embedding_dropout: share of the elements of these vectors set to zero in training.
      dropout: of the vector of the sequence, and between recurrent layers.
      weight_drop: share of the hidden-to-hidden weights set to zero in training (Merity et al.
        2018, arXiv:1708.02182, section 2).
      embedding_scale: standard deviation of the token vectors at the start.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    vocabulary_size: int
    embedding: int = 128
    width: int = 128
    layers: int = 1
    cell: CellName = "lstm"
    bidirectional: bool = True
    pooling: Pooling = "max"
    word_dropout: float = 0.0
    embedding_dropout: float = 0.0
    dropout: float = 0.0
    weight_drop: float = 0.0
    embedding_scale: float = 0.1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(
            num_outputs=self.num_outputs,
            vocabulary_size=self.vocabulary_size,
            embedding=self.embedding,
            width=self.width,
            layers=self.layers,
        )
        check_shares(
            word_dropout=self.word_dropout,
            embedding_dropout=self.embedding_dropout,
            dropout=self.dropout,
            weight_drop=self.weight_drop,
        )
        check_choice("pooling", self.pooling, Pooling)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch time"], length: Int[Array, " batch"], *, train: bool
    ) -> Float[Array, "batch num_outputs"]:
        """Outputs in float32."""
        check_tokens(tokens, "recurrent_classifier")
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.Embed(
            self.vocabulary_size,
            self.embedding,
            embedding_init=nn.initializers.normal(self.embedding_scale),
            **types,
        )(tokens)
        x = nn.Dropout(self.word_dropout, broadcast_dims=(2,), deterministic=not train)(x)
        x = nn.Dropout(self.embedding_dropout, deterministic=not train)(x)
        x, _ = Recurrent(
            self.width,
            cell=self.cell,
            layers=self.layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            weight_drop=self.weight_drop,
            **types,
        )(x, lengths=length, train=train)
        pooled = self._pooled(x.astype(jnp.float32), length)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)(pooled)

    def _pooled(
        self, x: Float[Array, "batch time features"], length: Int[Array, " batch"]
    ) -> Float[Array, "batch features"]:
        valid = jnp.arange(x.shape[1]) < length[:, None]
        if self.pooling == "last":
            return self._ends(x, length)
        if self.pooling == "max":
            # A row of length 0 would give minus infinity.
            top = jnp.max(jnp.where(valid[..., None], x, -jnp.inf), axis=1)
            return jnp.where(jnp.isfinite(top), top, 0.0)
        if self.pooling == "mean":
            steps = jnp.maximum(length, 1)[:, None]
            return jnp.sum(jnp.where(valid[..., None], x, 0.0), axis=1) / steps
        hidden = jnp.tanh(nn.Dense(x.shape[-1], param_dtype=self.param_dtype)(x))
        scores = nn.Dense(1, use_bias=False, param_dtype=self.param_dtype)(hidden)[..., 0]
        shares = jax.nn.softmax(jnp.where(valid, scores, jnp.finfo(scores.dtype).min))
        return jnp.einsum("btf,bt->bf", x, shares)

    def _ends(
        self, x: Float[Array, "batch time features"], length: Int[Array, " batch"]
    ) -> Float[Array, "batch features"]:
        last = jnp.take_along_axis(x, jnp.maximum(length - 1, 0)[:, None, None], axis=1)[:, 0]
        if not self.bidirectional:
            return last
        forward, _ = jnp.split(last, 2, axis=-1)
        _, backward = jnp.split(x[:, 0], 2, axis=-1)
        return jnp.concatenate([forward, backward], axis=-1)
