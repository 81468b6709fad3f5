"""From a sequence to a sequence by recurrent networks with attention."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.attention_decoder import (
    STATES,
    Attention,
    AttentionDecoder,
    DecoderCell,
    DecoderState,
    Memory,
)
from dlresearch.models.checks import check_choice, check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent import Recurrent
from dlresearch.models.tied_head import TiedHead


class AttentionSeq2Seq(nn.Module):
    """A bidirectional encoder and a decoder with attention (Bahdanau et al. 2015, arXiv:1409.0473;
    the decoder's order of steps is that of Luong et al. 2015, arXiv:1508.04025).

    Parameters are `source_embedding`, `encoder`, `bridge`, `target_embedding`, `decoder` and
    `head`, whose kernel is the target embedding where that is tied.

    Attributes:
      num_outputs: tokens of the target vocabulary.
      source_vocabulary: tokens of the source vocabulary.
      cell: `gru` or `lstm`, of encoder and decoder.
      width: of the decoder's layers, and of each direction of the encoder's.
      embedding: features of a token, and of the vector that the last layer reads.
      layers: of the encoder and of the decoder.
      attention: how the decoder scores the encoder's states: `additive` or `multiplicative`.
      input_feeding: give the attentional vector of a step to the next one (Luong et al., 3.3).
      bridge: begin the decoder with tanh of a projection of the encoder's last states, not with 0.
      coverage: additive attention sees how much each source token was attended to so far (Tu et
        al. 2016, arXiv:1601.04811, as See et al. 2017, arXiv:1704.04368, eq. 10 and 11, simplify
        it).
      tied_embeddings: the last layer's matrix is the target embedding (Press and Wolf 2017,
        arXiv:1608.05859).
      dropout: share of embeddings, of what goes from a layer to the next, and of what the last
        layer reads that is set to 0 in training.
      locked: the same dropout at all steps of a sequence (Gal and Ghahramani 2016,
        arXiv:1512.05287).
      word_dropout: share of source and target tokens whose whole embedding is set to 0 in
        training (Sennrich and Zhang 2019, arXiv:1905.11901, section 3.2).
      dtype: of the computation; attention's softmax and the outputs are in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    source_vocabulary: int
    cell: DecoderCell = "gru"
    width: int = 512
    embedding: int = 256
    layers: int = 1
    attention: Attention = "additive"
    input_feeding: bool = True
    bridge: bool = True
    coverage: bool = False
    tied_embeddings: bool = True
    dropout: float = 0.3
    locked: bool = False
    word_dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, DecoderCell)
        check_choice("attention", self.attention, Attention)
        check_sizes(
            num_outputs=self.num_outputs,
            source_vocabulary=self.source_vocabulary,
            width=self.width,
            embedding=self.embedding,
            layers=self.layers,
        )
        check_shares(dropout=self.dropout, word_dropout=self.word_dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        if self.coverage and self.attention != "additive":
            raise UserError(f"coverage=True needs attention='additive', not {self.attention!r}")
        super().__post_init__()

    def setup(self) -> None:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        # Of a standard deviation that suits the last layer, too, where it is the same matrix.
        start = nn.initializers.normal(self.embedding**-0.5)
        embed: dict[str, Any] = {"features": self.embedding, "embedding_init": start, **types}
        self.source_embedding = nn.Embed(self.source_vocabulary, **embed)
        self.target_embedding = nn.Embed(self.num_outputs, **embed)
        self.dropped = nn.Dropout(self.dropout, broadcast_dims=(1,) if self.locked else ())
        self.encoder = Recurrent(
            self.width,
            cell=self.cell,
            layers=self.layers,
            bidirectional=True,
            dropout=self.dropout,
            locked=self.locked,
            **types,
        )
        if self.bridge:
            self.bridge_ = nn.Dense(
                self.layers * STATES[self.cell] * self.width, name="bridge", **types
            )
        self.decoder = AttentionDecoder(
            width=self.width,
            readout=self.embedding,
            layers=self.layers,
            cell=self.cell,
            attention=self.attention,
            input_feeding=self.input_feeding,
            coverage=self.coverage,
            dropout=self.dropout,
            locked=self.locked,
            **types,
        )
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
        memory, state = self._encode(source, source_length, train)
        words = self._read(self.target_embedding(target), train)
        readouts, _, _ = self.decoder(memory, state, words, train=train)
        return self.head(readouts, self.target_embedding.embedding)

    def encode(
        self, source: Int[Array, "batch source"], source_length: Int[Array, " batch"], steps: int
    ) -> tuple[Memory, DecoderState]:
        """What `step` reads at every step, and its state at the first. `steps`, how many there are
        to be, does not matter here.
        """
        del steps
        return self._encode(source, source_length, train=False)

    def step(
        self, memory: Memory, state: DecoderState, tokens: Int[Array, " batch"]
    ) -> tuple[DecoderState, Float[Array, "batch outputs"], Float[Array, "batch source"]]:
        """The next state, the logits of the token behind `tokens`, and attention."""
        words = self.target_embedding(tokens[:, None])
        readouts, state, attention = self.decoder(memory, state, words, train=False)
        logits = self.head(readouts, self.target_embedding.embedding)
        return state, logits[:, 0], attention[:, 0]

    def _encode(
        self, source: Array, source_length: Array, train: bool
    ) -> tuple[Memory, DecoderState]:
        words = self._read(self.source_embedding(source), train)
        encoded, last = self.encoder(words, None, source_length, train=train)
        batch, count = source.shape
        mask = jnp.arange(count) < source_length[:, None]
        sizes = (self.layers, STATES[self.cell], self.width)
        start = jnp.zeros((batch, *sizes), self.dtype)
        if self.bridge:
            final = jnp.concatenate(jax.tree.leaves(last), axis=-1)
            start = jnp.tanh(self.bridge_(final)).reshape(start.shape)
        encoded = self.dropped(encoded, deterministic=not train)
        return self.decoder.remember(encoded, mask), DecoderState(
            hidden=tuple(
                tuple(start[:, layer, part] for part in range(sizes[1]))
                for layer in range(self.layers)
            ),
            readout=jnp.zeros((batch, self.embedding), self.dtype),
            coverage=jnp.zeros((batch, count), self.dtype),
        )

    def _read(self, words: Float[Array, "batch time embedding"], train: bool) -> Array:
        if train and self.word_dropout:
            keep = jax.random.bernoulli(
                self.make_rng("dropout"), 1 - self.word_dropout, (*words.shape[:2], 1)
            )
            words = words * keep
        return self.dropped(words, deterministic=not train)
