"""The LSTM of NVIDIA's cuDNN, on the parameters of `Recurrent`."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.recurrent_direction import is_valid

_lstm: Any = rnn.lstm  # JAX's annotations lose what it returns


def is_at_hand() -> bool:
    """Whether JAX computes on NVIDIA GPUs."""
    if jax.default_backend() != "gpu":
        return False
    return "cuda" in jax.devices()[0].client.platform_version


def check_at_hand() -> None:
    """Raises UserError unless JAX computes on NVIDIA GPUs."""
    if not is_at_hand():
        raise UserError(
            f"backend='cudnn': JAX computes on {jax.default_backend()}, and cuDNN needs an NVIDIA"
            " GPU; use backend='auto' or 'scan'"
        )


def cudnn_weights(directions: Sequence[Mapping[str, Array]]) -> Float[Array, " parameters"]:
    """The parameters of all directions of all layers in one vector, as cuDNN reads it.

    First both matrices of each, transposed; then the bias of each, and a second one, which is zero.
    The gates are in the same order.
    """
    matrices = [
        layer[name].T.ravel() for layer in directions for name in ("kernel", "recurrent_kernel")
    ]
    biases = [
        each for layer in directions for each in (layer["bias"], jnp.zeros_like(layer["bias"]))
    ]
    return jnp.concatenate([*matrices, *biases])


def cudnn_lstm(
    directions: Sequence[Mapping[str, Array]],
    x: Float[Array, "time batch features"],
    states: Sequence[tuple[Array, Array]],
    lengths: Int[Array, " batch"] | None,
    *,
    bidirectional: bool,
) -> tuple[Float[Array, "time batch outputs"], tuple[tuple[Array, Array], ...]]:
    """The outputs of the last of these layers, zero beyond `lengths`, and the states of each
    direction of each layer after the last valid step.

    Matrix products are in TensorFloat-32 where JAX's own are (`jax_default_matmul_precision`).

    Args:
      directions: parameters, layer by layer, and in it forward before reverse.
      x: the sequences, float32.
      states: (output, cell) of each of `directions` before the first step.
      lengths: how many steps of each row are valid; None for all.
      bidirectional: whether each layer has two directions.
    """
    steps, batch, features = x.shape
    width = directions[0]["recurrent_kernel"].shape[0]
    before = [jnp.stack(each) for each in zip(*states, strict=True)]
    # A row of no steps is read as one of one step, which is then put aside.
    read = jnp.full(batch, steps) if lengths is None else jnp.maximum(lengths, 1)
    outputs, *after = _lstm(
        jnp.swapaxes(x, 0, 1),
        *before,
        cudnn_weights(directions),
        read.astype(jnp.int32),
        features,
        width,
        len(directions) // (2 if bidirectional else 1),
        0.0,
        bidirectional,
    )
    outputs = jnp.swapaxes(outputs, 0, 1)
    if lengths is not None:
        outputs = jnp.where(is_valid(steps, lengths), outputs, 0)
        some = (lengths > 0)[:, None]
        after = [jnp.where(some, new, old) for new, old in zip(after, before, strict=True)]
    pairs: Any = zip(*after, strict=True)
    return outputs, tuple(pairs)
