"""Recurrent networks that say what comes next."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.models.checks import check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent import Backend, CellName, Recurrent
from dlresearch.models.tied_head import TiedHead


class NextToken(NamedTuple):
    """What a language model gives.

    Attributes:
      logits: of the next token after each one.
      carry: to go on from, a pytree of arrays [batch, ...].
      penalty: to add to the loss in training.
    """

    logits: Float[Array, "batch time vocabulary"]
    carry: Any = ()
    penalty: Float[Array, ""] | float = 0.0


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, logits of the next token; with the regularisation of AWD-LSTM.

    Zaremba et al. 2014 (arXiv:1409.2329) for `dropout` between layers; Gal and Ghahramani 2016
    (arXiv:1512.05287) for masks that are `locked` in time; Press and Wolf 2017 (arXiv:1608.05859)
    for `tied` embeddings; Merity et al. 2017 (arXiv:1708.02182, sections 3 and 4) for the rest.

    Attributes:
      num_outputs: tokens in the vocabulary.
      width: of the recurrent layers.
      embedding: of tokens; None is `width`. The last layer has this width where `tied`, so that its
        outputs can be compared with the embeddings.
      layers: how many.
      cell: `lstm`, `gru`, `rnn`, `mingru` or `minlstm`.
      tied: the output matrix is that of the embeddings.
      word_dropout: share of the vocabulary whose embeddings are zero in a batch.
      input_dropout: of the embeddings.
      dropout: between layers.
      output_dropout: of the last layer's outputs.
      locked: a dropped unit is dropped at all steps of the batch.
      weight_drop: DropConnect of the hidden-to-hidden matrices.
      zoneout: share of the units that keep their value for a step (Krueger et al. 2017,
        arXiv:1606.01305).
      residual: layers add to what goes in, from the second on.
      layer_norm: normalisation in the layers.
      activation_penalty: alpha of L2 on the outputs of the last layer, after dropout.
      slowness_penalty: beta of L2 on the change of its outputs, before dropout, in a step.
      unroll: steps of time in one turn of the loop.
      remat: keep only the inputs of each layer for the gradient, and compute the rest again.
      backend: `scan`, `cudnn`, or `auto`, which takes cuDNN where it can.
      dtype: of the computation; logits are float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    width: int = 512
    embedding: int | None = None
    layers: int = 2
    cell: CellName = "lstm"
    tied: bool = True
    word_dropout: float = 0.0
    input_dropout: float = 0.0
    dropout: float = 0.0
    output_dropout: float = 0.0
    locked: bool = False
    weight_drop: float = 0.0
    zoneout: float = 0.0
    residual: bool = False
    layer_norm: bool = False
    activation_penalty: float = 0.0
    slowness_penalty: float = 0.0
    unroll: int = 1
    remat: bool = False
    backend: Backend = "scan"
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(num_outputs=self.num_outputs, width=self.width, layers=self.layers)
        if self.embedding is not None:
            check_sizes(embedding=self.embedding)
        check_shares(
            word_dropout=self.word_dropout,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            output_dropout=self.output_dropout,
        )
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch time"], carry: Any = None, *, train: bool
    ) -> NextToken:
        """The logits after each token; `carry` is what an earlier call left, None is the start."""
        size = self.embedding or self.width
        embed = nn.Embed(
            self.num_outputs,
            size,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            # Also the output matrix: small enough for logits near zero at the start.
            embedding_init=nn.initializers.normal(0.1),
            name="embedding",
        )
        x = self._dropped(embed(tokens), self.input_dropout, train)
        if self.word_dropout and train:
            keep = self._kept((self.num_outputs, 1), self.word_dropout)
            x = x * keep[tokens]
        widths = [self.width] * self.layers
        if self.tied:
            widths[-1] = size
        # Layers of one width in one stack.
        stacks = [(widths[0], self.layers)]
        if widths[-1] != widths[0]:
            stacks = [(widths[0], self.layers - 1), (widths[-1], 1)]
        before = carry or (None,) * len(stacks)
        after = []
        for number, (width, layers) in enumerate(stacks):
            if number:
                x = self._dropped(x, self.dropout, train)
            x, last = Recurrent(
                width=width,
                cell=self.cell,
                layers=layers,
                residual=self.residual,
                layer_norm=self.layer_norm,
                dropout=self.dropout,
                locked=self.locked,
                weight_drop=self.weight_drop,
                zoneout=self.zoneout,
                unroll=self.unroll,
                remat=self.remat,
                backend=self.backend,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"recurrent_{number}",
            )(x, before[number], train=train)
            after.append(last)
        dropped = self._dropped(x, self.output_dropout, train)
        head = TiedHead(self.num_outputs, self.tied, self.dtype, self.param_dtype, name="head")
        logits = head(dropped, embed.embedding)
        return NextToken(logits, tuple(after), self._penalty(x, dropped))

    def _penalty(
        self, outputs: Float[Array, "batch time width"], dropped: Float[Array, "batch time width"]
    ) -> Float[Array, ""] | float:
        penalty: Float[Array, ""] | float = 0.0
        if self.activation_penalty:
            penalty += self.activation_penalty * jnp.mean(jnp.square(dropped.astype(jnp.float32)))
        if self.slowness_penalty:
            change = jnp.diff(outputs.astype(jnp.float32), axis=1)
            penalty += self.slowness_penalty * jnp.mean(jnp.square(change))
        return penalty

    def _dropped(
        self, x: Float[Array, "batch time width"], rate: float, train: bool
    ) -> Float[Array, "batch time width"]:
        same = (1,) if self.locked else ()
        return nn.Dropout(rate, broadcast_dims=same, deterministic=not train)(x)

    def _kept(self, shape: tuple[int, ...], rate: float) -> Float[Array, "..."]:
        return nn.Dropout(rate, deterministic=False)(jnp.ones(shape, self.dtype))
