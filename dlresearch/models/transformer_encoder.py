"""The Transformer's encoder alone: token vectors that know their sentence, or one vector of it."""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice, check_outputs, check_shares, check_tokens
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.positions import LearnedPositions, sinusoids
from dlresearch.models.transformer import Block

Positions = Literal["learned", "sinusoidal"]
exact_gelu = partial(nn.gelu, approximate=False)


class TransformerEncoder(nn.Module):
    """One vector for a sequence of tokens, each of which is read with those on both sides (Devlin
    et al. 2019, arXiv:1810.04805, section 3).

    The vector of a sequence is the mean over its tokens. The normalisation stands in front of each
    sublayer and behind the last (Wang et al. 2019, arXiv:1906.01787, section 2.2). What lies beyond
    a row's length changes nothing, nor does the width to which rows are padded.

    `embedding` has one row more than there are tokens: the last is that of the mask token, whose
    number is `vocabulary_size`. So a network that `masked_language_model` has trained and one that
    classifies have the same parameters, `embedding`, `positions/bias`, `blocks_0` and so on and
    `norm`, but for `head`.

    Attributes:
      num_outputs: size of the last layer; None returns the vector of the sequence.
      vocabulary_size: number of tokens; the task knows it from the training source.
      width: features of a token.
      layers: blocks.
      heads: of the attention, which divide the width.
      hidden: width of the hidden layer in a block.
      positions: `learned`, or computed sines and cosines (`sinusoidal`).
      max_length: the most tokens of a sequence, where positions are learned.
      word_dropout: share of the tokens whose whole vector is set to zero in training, as in Iyyer
        et al. 2015 (section 3.1).
      dropout: share of embeddings, of each sublayer's output and of the vector of the sequence that
        is set to 0 in training.
      dtype: of the computation; softmax, the mean and the last layer are in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    vocabulary_size: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 512
    positions: Positions = "learned"
    max_length: int = 512
    word_dropout: float = 0.0
    dropout: float = 0.1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_sizes(
            vocabulary_size=self.vocabulary_size,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden,
            max_length=self.max_length,
        )
        check_choice("positions", self.positions, Positions)
        if self.width % self.heads:
            raise UserError(f"width={self.width} does not divide into heads={self.heads}")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"width={self.width}: must be even for positions='sinusoidal'")
        check_shares(word_dropout=self.word_dropout, dropout=self.dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    def setup(self) -> None:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.embedding = nn.Embed(
            self.vocabulary_size + 1,
            self.width,
            embedding_init=nn.initializers.normal(self.width**-0.5),
            **types,
        )
        if self.positions == "learned":
            self.places = LearnedPositions(self.max_length, name="positions", **types)
        self.blocks = [
            Block(
                self.width,
                self.heads,
                self.hidden,
                self.dropout,
                looks=False,
                activation=exact_gelu,
                **types,
            )
            for _ in range(self.layers)
        ]
        self.norm = nn.LayerNorm(dtype=jnp.float32, param_dtype=self.param_dtype)
        self.dropped = nn.Dropout(self.dropout)
        self.dropped_words = nn.Dropout(self.word_dropout, broadcast_dims=(2,))
        if self.num_outputs is not None:
            self.head = nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)

    def __call__(
        self, tokens: Int[Array, "batch time"], length: Int[Array, " batch"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or the vectors of the sequences, in float32."""
        x = self.encode(tokens, length, train=train)
        valid = jnp.arange(x.shape[1]) < length[:, None]
        total = jnp.sum(jnp.where(valid[..., None], x, 0.0), axis=1)
        pooled = total / jnp.maximum(length, 1)[:, None]
        if self.num_outputs is None:
            return pooled
        return self.head(self.dropped(pooled, deterministic=not train))

    def encode(
        self, tokens: Int[Array, "batch time"], length: Int[Array, " batch"], *, train: bool
    ) -> Float[Array, "batch time width"]:
        """What the network has made of each token, in float32; beyond the length nothing useful."""
        check_tokens(tokens, "transformer_encoder")
        time = tokens.shape[1]
        x = self.dropped_words(self.embedding(tokens), deterministic=not train)
        # Vectors begin with a standard deviation of 1, as sines do, roughly (Vaswani et al. 2017,
        # arXiv:1706.03762, section 3.4).
        if self.positions == "sinusoidal":
            waves = sinusoids(jnp.arange(time), self.width).astype(self.dtype)
            x = x * self.width**0.5 + waves
        elif time > self.max_length:
            raise UserError(
                f"sequences of {time} tokens are longer than max_length={self.max_length}; raise"
                " it, or cut them in the source"
            )
        else:
            x = self.places(x) * self.width**0.5
        x = self.dropped(x, deterministic=not train)
        valid = (jnp.arange(time) < length[:, None])[:, None]
        for block in self.blocks:
            x, _ = block(x, block.keys_and_values(x), valid, None, None, train)
        return self.norm(x)

    def token_vectors(self) -> Float[Array, "vocabulary width"]:
        """The embedding, without that of the mask token."""
        return self.embedding.embedding[: self.vocabulary_size]
