"""A recurrent network that reads a window of a series and gives what follows it."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_shares
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.recurrent import CellName, Recurrent


class RecurrentForecaster(nn.Module):
    """The values after a window, all at once, from the state at its end.

    Attributes:
      num_outputs: how many values.
      width: of the recurrent layers.
      layers: number of recurrent layers.
      cell: `lstm`, `gru`, `rnn`, `mingru` or `minlstm`.
      dropout: of the last layer's input, and between recurrent layers.
      from_last: the network gives changes from the last value of the first channel, so that one
        that has learned nothing repeats this value.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int
    width: int = 64
    layers: int = 1
    cell: CellName = "lstm"
    dropout: float = 0.0
    from_last: bool = True
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(num_outputs=self.num_outputs, width=self.width, layers=self.layers)
        check_shares(dropout=self.dropout)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, window: Shaped[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch num_outputs"]:
        """Outputs in float32."""
        if window.ndim != 3:
            raise UserError(
                "recurrent_forecaster reads windows [batch, time, channels], not an array"
                f" {list(window.shape)}"
            )
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x, _ = Recurrent(
            self.width, cell=self.cell, layers=self.layers, dropout=self.dropout, **types
        )(window.astype(self.dtype), train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x[:, -1])
        x = nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype)(x)
        return x + window[:, -1, :1].astype(jnp.float32) if self.from_last else x
