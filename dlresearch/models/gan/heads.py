"""First and last layers: from a latent to a small image, to pixels, and to a logit."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from dlresearch.models.gan.layers import Style


def small_image(
    style: Style, latent: Float[Array, "batch latent"], side: int, width: int, *, train: bool
) -> Float[Array, "batch side side width"]:
    """A linear map of the latent, inside a compact module."""
    x = style.dense(side * side * width, "project")(latent, train=train)
    return x.reshape(-1, side, side, width)


def pixels(
    style: Style, x: Float[Array, "batch height width features"], channels: int, *, train: bool
) -> Float[Array, "batch height width channels"]:
    """Batch norm, ReLU, a 3x3 convolution and tanh, in float32, inside a compact module."""
    x = nn.relu(style.batch_norm(train, "final_norm")(x))
    return jnp.tanh(style.conv(channels, "to_pixels", dtype=jnp.float32)(x, train=train))


def logits(
    style: Style,
    features: Float[Array, "batch features"],
    label: Int[Array, " batch"] | None,
    num_classes: int,
    *,
    train: bool,
) -> Float[Array, " batch"]:
    """A linear map to one value, in float32, plus `embedding(label) @ features` where labels are.

    The projection of Miyato and Koyama 2018, arXiv:1802.05637, eq. 4.
    """
    features = features.astype(jnp.float32)
    result = style.dense(1, "head", dtype=jnp.float32)(features, train=train)[:, 0]
    if label is None:
        return result
    embed = style.embed(num_classes, features.shape[-1], "projection", dtype=jnp.float32)
    return result + jnp.sum(embed(label, train=train) * features, axis=-1)
