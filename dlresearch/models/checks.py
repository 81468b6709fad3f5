"""Checks that models share: each raises UserError with one line that says what to change."""

from typing import Any, get_args

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from dlresearch.errors import UserError
from dlresearch.models.layers import check_sizes


def check_outputs(num_outputs: int | None) -> None:
    """A number of outputs, or None for the features before the last layer."""
    if num_outputs is not None:
        check_sizes(num_outputs=num_outputs)


def check_choice(name: str, value: Any, literal: Any) -> None:
    """Raises UserError for a value that is none of a `Literal`."""
    if value not in get_args(literal):
        listed = ", ".join(map(str, get_args(literal)))
        raise UserError(f"{name}={value!r}: must be one of {listed}")


def check_shares(**shares: float) -> None:
    """Raises UserError for a share that is not in [0, 1)."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise UserError(f"{name}={share} is not in [0, 1)")


def check_images(images: Shaped[Array, "..."], model: str, smallest: int = 1) -> None:
    """Raises UserError for what is no batch of images, or has sides shorter than `smallest`."""
    if images.ndim != 4:
        raise UserError(
            f"{model} reads images [batch, height, width, channel], not an array"
            f" {list(images.shape)}"
        )
    height, width = images.shape[1:3]
    if min(height, width) < smallest:
        raise UserError(
            f"images of {height}x{width} are too small for {model}, which halves them until nothing"
            f" is left; it needs {smallest}x{smallest}"
        )


def check_tokens(tokens: Shaped[Array, "..."], model: str) -> None:
    """Raises UserError for what is no batch of sequences of tokens."""
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise UserError(
            f"{model} reads tokens, integers [batch, time], not an array {list(tokens.shape)} of"
            f" {tokens.dtype}"
        )
