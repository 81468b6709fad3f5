"""The encoder-decoder Transformer, small, to compare recurrent translation with."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.positions import sinusoids
from dlresearch.models.tied_head import TiedHead

_OUT_OF_REACH = -1e30

KeysAndValues = tuple[Float[Array, "batch time heads size"], Float[Array, "batch time heads size"]]


class Memory(NamedTuple):
    """What each layer of the decoder reads of the source; rows are sentences."""

    layers: tuple[KeysAndValues, ...]
    mask: Bool[Array, "batch source"]


class Past(NamedTuple):
    """What each layer of the decoder has made of the tokens so far, and how many they are."""

    layers: tuple[KeysAndValues, ...]
    count: Int[Array, " batch"]


class Transformer(nn.Module):
    """Encoder and decoder of Vaswani et al. 2017, arXiv:1706.03762, with the normalisation in front
    of each sublayer and behind the last (Wang et al. 2019, arXiv:1906.01787, section 2.2).

    Parameters are `source_embedding`, `target_embedding`, `encoder_0`, `decoder_0` and so on,
    `encoder_norm`, `decoder_norm` and `head`.

    Attributes:
      num_outputs: tokens of the target vocabulary.
      source_vocabulary: tokens of the source vocabulary.
      width: features of a token.
      layers: of the encoder and of the decoder.
      heads: of the attention, which divide the width.
      hidden: width of the hidden layer in a block.
      tied_embeddings: the last layer's matrix is the target embedding (Press and Wolf 2017,
        arXiv:1608.05859).
      dropout: share of embeddings and of each sublayer's output that is set to 0 in training.
      dtype: of the computation; softmax and the outputs are in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    source_vocabulary: int
    width: int = 256
    layers: int = 3
    heads: int = 4
    hidden: int = 512
    tied_embeddings: bool = True
    dropout: float = 0.3
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(
            num_outputs=self.num_outputs,
            source_vocabulary=self.source_vocabulary,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden,
        )
        if self.width % (2 * self.heads):
            raise UserError(
                f"width={self.width} does not divide into heads={self.heads} of an even size"
            )
        check_shares(dropout=self.dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    def setup(self) -> None:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        start = nn.initializers.normal(self.width**-0.5)
        embed: dict[str, Any] = {"features": self.width, "embedding_init": start, **types}
        self.source_embedding = nn.Embed(self.source_vocabulary, **embed)
        self.target_embedding = nn.Embed(self.num_outputs, **embed)
        block = partial(Block, self.width, self.heads, self.hidden, self.dropout, **types)
        count = range(self.layers)
        self.encoder = [block(looks=False, name=f"encoder_{layer}") for layer in count]
        self.decoder = [block(looks=True, name=f"decoder_{layer}") for layer in count]
        self.encoder_norm = nn.LayerNorm(**types)
        self.decoder_norm = nn.LayerNorm(**types)
        self.dropped = nn.Dropout(self.dropout)
        self.head = TiedHead(self.num_outputs, tied=self.tied_embeddings, **types)

    def __call__(
        self,
        source: Int[Array, "batch source"],
        source_length: Int[Array, " batch"],
        target: Int[Array, "batch time"],
        *,
        train: bool,
    ) -> Float[Array, "batch time outputs"]:
        """Logits, in float32, of the token behind each of `target`."""
        memory = self._encode(source, source_length, train)
        time = target.shape[1]
        x = self._embedded(self.target_embedding, target, jnp.arange(time), train)
        before = jnp.tril(jnp.ones((1, time, time), bool))
        for block, read in zip(self.decoder, memory.layers, strict=True):
            x, _ = block(x, block.keys_and_values(x), before, read, memory.mask, train)
        return self.head(self.decoder_norm(x), self.target_embedding.embedding)

    def encode(
        self, source: Int[Array, "batch source"], source_length: Int[Array, " batch"], steps: int
    ) -> tuple[Memory, Past]:
        """What `step` reads at every step, and its state at the first of at most `steps`."""
        memory = self._encode(source, source_length, train=False)
        batch, size = len(source), self.width // self.heads
        empty = jnp.zeros((batch, steps, self.heads, size), self.dtype)
        past = Past(((empty, empty),) * self.layers, jnp.zeros(batch, jnp.int32))
        return memory, past

    def step(
        self, memory: Memory, past: Past, tokens: Int[Array, " batch"]
    ) -> tuple[Past, Float[Array, "batch outputs"], Float[Array, "batch source"]]:
        """The next state, the logits of the token behind `tokens`, and attention: that of the last
        layer, the mean over its heads.
        """
        x = self._embedded(self.target_embedding, tokens[:, None], past.count[:, None], train=False)
        places = jnp.arange(past.layers[0][0].shape[1])
        here = (places == past.count[:, None])[:, :, None, None]
        before = (places <= past.count[:, None])[:, None]
        layers, attention = [], None
        for block, old, read in zip(self.decoder, past.layers, memory.layers, strict=True):
            new = block.keys_and_values(x)
            seen = jax.tree.map(lambda a, b: jnp.where(here, a, b), new, old)
            x, attention = block(x, seen, before, read, memory.mask, False)
            layers.append(seen)
        logits = self.head(self.decoder_norm(x), self.target_embedding.embedding)
        assert attention is not None  # there is at least one layer
        return Past(tuple(layers), past.count + 1), logits[:, 0], attention[:, 0]

    def _encode(self, source: Array, source_length: Array, train: bool) -> Memory:
        mask = jnp.arange(source.shape[1]) < source_length[:, None]
        x = self._embedded(self.source_embedding, source, jnp.arange(source.shape[1]), train)
        for block in self.encoder:
            x, _ = block(x, block.keys_and_values(x), mask[:, None], None, None, train)
        x = self.encoder_norm(x)
        return Memory(tuple(block.looked_at(x) for block in self.decoder), mask)

    def _embedded(self, embedding: nn.Embed, tokens: Array, positions: Array, train: bool) -> Array:
        # Of a standard deviation of 1, as the positions are, roughly (Vaswani et al., section 3.4).
        x = embedding(tokens) * self.width**0.5
        x = x + sinusoids(positions, self.width).astype(self.dtype)
        return self.dropped(x, deterministic=not train)


class Block(nn.Module):
    """Attention to the own sequence, to another one where it `looks`, and two dense layers with an
    `activation` between them.
    """

    width: int
    heads: int
    hidden: int
    dropout: float
    looks: bool
    dtype: DTypeLike
    param_dtype: DTypeLike
    activation: Callable[[Array], Array] = nn.relu

    def setup(self) -> None:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.norm_1 = nn.LayerNorm(**types)
        self.own = _Attention(self.width, self.heads, **types)
        if self.looks:
            self.norm_2 = nn.LayerNorm(**types)
            self.other = _Attention(self.width, self.heads, **types)
        self.norm_3 = nn.LayerNorm(**types)
        self.dropped = nn.Dropout(self.dropout)
        self.mlp = _TwoLayers(self.hidden, self.activation, **types)

    def keys_and_values(self, x: Float[Array, "batch time width"]) -> KeysAndValues:
        """What the own sequence gives to be attended to."""
        return self.own.keys_and_values(self.norm_1(x))

    def looked_at(self, encoded: Float[Array, "batch source width"]) -> KeysAndValues:
        """What the other sequence does."""
        return self.other.keys_and_values(encoded)

    def __call__(
        self,
        x: Float[Array, "batch time width"],
        own: KeysAndValues,
        before: Bool[Array, "#batch #time keys"],
        other: KeysAndValues | None,
        mask: Bool[Array, "batch source"] | None,
        train: bool,
    ) -> tuple[Float[Array, "batch time width"], Float[Array, "batch time source"] | None]:
        y, _ = self.own(self.norm_1(x), own, before)
        x, attention = x + self.dropped(y, deterministic=not train), None
        if other is not None and mask is not None:
            y, attention = self.other(self.norm_2(x), other, mask[:, None])
            x = x + self.dropped(y, deterministic=not train)
        return x + self.dropped(self.mlp(self.norm_3(x)), deterministic=not train), attention


class _Attention(nn.Module):
    """Scaled dot-product attention by several heads (Vaswani et al. 2017, section 3.2)."""

    width: int
    heads: int
    dtype: DTypeLike
    param_dtype: DTypeLike

    def setup(self) -> None:
        dense: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        self.query, self.key, self.value, self.out = (
            nn.Dense(self.width, **dense) for _ in range(4)
        )

    def keys_and_values(self, x: Float[Array, "batch time width"]) -> KeysAndValues:
        return self._by_head(self.key(x)), self._by_head(self.value(x))

    def __call__(
        self,
        x: Float[Array, "batch time width"],
        read: KeysAndValues,
        mask: Bool[Array, "#batch #time keys"],
    ) -> tuple[Float[Array, "batch time width"], Float[Array, "batch time keys"]]:
        """The output, and the mean over heads of the weights."""
        keys, values = read
        query = self._by_head(self.query(x)) / keys.shape[-1] ** 0.5
        scores = jnp.einsum("bthd,bkhd->bhtk", query, keys).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(mask[:, None], scores, _OUT_OF_REACH))
        mixed = jnp.einsum("bhtk,bkhd->bthd", weights.astype(self.dtype), values)
        return self.out(mixed.reshape(x.shape)), weights.mean(axis=1)

    def _by_head(self, x: Float[Array, "batch time width"]) -> Array:
        return x.reshape(*x.shape[:2], self.heads, -1)


class _TwoLayers(nn.Module):
    hidden: int
    activation: Callable[[Array], Array]
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch time width"]) -> Float[Array, "batch time width"]:
        dense: dict[str, Any] = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        y = self.activation(nn.Dense(self.hidden, name="expand", **dense)(x))
        return nn.Dense(x.shape[-1], name="project", **dense)(y)
