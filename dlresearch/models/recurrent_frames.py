"""A recurrent network with an output for every frame of a sequence of vectors."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent import CellName, Recurrent


class RecurrentFrames(nn.Module):
    """Outputs at each time step, of this and all steps before it.

    Attributes:
      num_outputs: size of the last layer.
      width: of the recurrent layers.
      layers: number of recurrent layers.
      cell: `lstm`, `gru`, `rnn`, `mingru` or `minlstm`.
      embedding: size of a linear layer before them; None is none.
      input_dropout: share of the elements of a frame set to zero in training.
      dropout: of the last layer's input, and between recurrent layers.
      locked: one dropout mask for all time steps between the recurrent layers (Gal & Ghahramani
        2016, arXiv:1512.05287).
      weight_drop: share of the hidden-to-hidden weights set to zero in training (Merity et al.
        2018, arXiv:1708.02182, section 2).
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    width: int = 128
    layers: int = 1
    cell: CellName = "lstm"
    embedding: int | None = None
    input_dropout: float = 0.0
    dropout: float = 0.0
    locked: bool = False
    weight_drop: float = 0.0
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(num_outputs=self.num_outputs, width=self.width, layers=self.layers)
        if self.embedding is not None:
            check_sizes(embedding=self.embedding)
        check_shares(
            input_dropout=self.input_dropout, dropout=self.dropout, weight_drop=self.weight_drop
        )
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        frames: Shaped[Array, "batch time features"],
        length: Int[Array, " batch"] | None = None,
        carry: PyTree | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "batch time num_outputs"], PyTree]:
        """Outputs in float32, and the state after the last valid step of each row."""
        if frames.ndim != 3:
            raise UserError(
                "recurrent_frames reads vectors [batch, time, features], not an array"
                f" {list(frames.shape)}"
            )
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        locked = (1,) if self.locked else ()
        x = frames.astype(self.dtype)
        x = nn.Dropout(self.input_dropout, deterministic=not train)(x)
        if self.embedding is not None:
            x = nn.Dense(self.embedding, **types)(x)
        x, carry = Recurrent(
            self.width,
            cell=self.cell,
            layers=self.layers,
            dropout=self.dropout,
            locked=self.locked,
            weight_drop=self.weight_drop,
            **types,
        )(x, carry, length, train=train)
        x = nn.Dropout(self.dropout, broadcast_dims=locked, deterministic=not train)(x)
        x = nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)(x)
        return x, carry
