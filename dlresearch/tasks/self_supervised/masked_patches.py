"""Masks over the patches of images, and how well the pixels behind them are told."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Added to the variance of a patch, as in the code of He et al.
_EPSILON = 1e-6


class Masks(NamedTuple):
    """Of each image, in ascending order, the patches that are kept, and which ones are not."""

    keep: Int[Array, "batch kept"]
    masked: Bool[Array, "batch rows columns"]


def random_masks(noise: Float[Array, "batch rows columns"], ratio: float) -> Masks:
    """Of each image the patches with the least noise are kept (He et al. 2021, arXiv:2111.06377,
    section 3): all images keep the same number, the share 1 - ratio, rounded, and at least one.
    """
    batch, rows, columns = noise.shape
    flat = noise.reshape(batch, rows * columns)
    kept = visible(rows * columns, ratio)
    rank = jnp.argsort(jnp.argsort(flat, axis=1), axis=1)
    masked = rank >= kept
    keep = jnp.argsort(masked, axis=1, stable=True)[:, :kept]
    return Masks(keep, masked.reshape(noise.shape))


def visible(patches: int, ratio: float) -> int:
    """How many of so many patches are kept; at least one, and at least one is masked."""
    return min(max(round(patches * (1 - ratio)), 1), patches - 1)


class Scale(NamedTuple):
    """Mean and standard deviation of the pixels of each patch; the published code divides by one
    pixel less in the latter, which hardly shows in patches of 16x16.
    """

    mean: Float[Array, "batch rows columns 1"]
    deviation: Float[Array, "batch rows columns 1"]


def scale_of(patches: Float[Array, "batch rows columns pixels"]) -> Scale:
    variance = jnp.var(patches, axis=-1, keepdims=True)
    return Scale(jnp.mean(patches, axis=-1, keepdims=True), jnp.sqrt(variance + _EPSILON))


def masked_error(
    predicted: Float[Array, "batch rows columns pixels"],
    patches: Float[Array, "batch rows columns pixels"],
    masked: Bool[Array, "batch rows columns"],
    normalise: bool,
) -> Float[Array, ""]:
    """Mean squared error of the pixels of masked patches (He et al. 2021, section 3).

    Args:
      predicted: by the decoder.
      patches: pixels of the images.
      masked: the patches that count.
      normalise: the targets are the pixels of a patch less their mean, divided by their standard
        deviation.
    """
    target = patches
    if normalise:
        scale = scale_of(patches)
        target = (patches - scale.mean) / scale.deviation
    errors = jnp.mean(jnp.square(predicted - target), axis=-1)
    return jnp.sum(errors, where=masked) / jnp.sum(masked)
