"""Penalties on gradients, which are differentiated once more for the parameters.

`judge` below gives the logits [batch] of images. Gradients are those of the sum of the logits:
where rows do not influence each other, that of each logit with respect to its image.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Images = Float[Array, "batch *image"]
Judge = Callable[[Images], Float[Array, " batch"]]


def gradient_penalty(
    judge: Judge, real: Images, fake: Images, key: Key[Array, ""], target: float = 1.0
) -> Float[Array, ""]:
    """Mean of (|g| - target)^2, g the gradient of the logits at points between real and fake.

    Gulrajani et al. 2017, arXiv:1704.00028, equation 3, without its factor lambda: a point is
    share * real + (1 - share) * fake, with a uniformly drawn share for each pair of rows.
    """
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    share = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1))
    squares = _squared_lengths(_gradients(judge, share * real + (1 - share) * fake))
    return jnp.square(_root(squares) - target).mean()


def zero_centred_penalty(judge: Judge, images: Images) -> Float[Array, ""]:
    """Mean of |g|^2, g the gradient of the logits at the images: R1 of real ones, R2 of generated.

    Mescheder et al. 2018, arXiv:1801.04406, equations 9 and 10, without their factor gamma / 2.
    """
    return _squared_lengths(_gradients(judge, images.astype(jnp.float32))).mean()


def path_length(
    synthesise: Callable[[Float[Array, "batch layers width"]], Images],
    styles: Float[Array, "batch layers width"],
    noise_key: Key[Array, ""],
    mean: Float[Array, ""],
    decay: float = 0.01,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, " batch"]]:
    """The path-length penalty of StyleGAN2, without its weight; the new mean length; the lengths.

    Karras et al. 2020, arXiv:1912.04958, section 3.2 and appendix B. With y normal noise divided by
    sqrt(height * width), and g the gradient of sum(images * y) with respect to the styles, a length
    is the root of the mean over layers of the squared lengths of g. The penalty is the mean of
    (length - new mean)^2, and the new mean, a constant to the gradient, is
    mean + decay * (mean of the lengths - mean).

    Args:
      synthesise: from styles to images [batch, height, width, channels].
      styles: of each layer.
      noise_key: draws y.
      mean: of the lengths so far, 0 at the start.
      decay: how fast the mean moves.
    """

    def projected(styles: Float[Array, "batch layers width"]) -> Float[Array, ""]:
        images = synthesise(styles).astype(jnp.float32)
        height, width = images.shape[1:3]
        noise = jax.random.normal(noise_key, images.shape) / jnp.sqrt(height * width)
        return (images * noise).sum()

    gradients = jax.grad(projected)(styles.astype(jnp.float32))
    lengths = _root(jnp.square(gradients).sum(axis=-1).mean(axis=-1))
    new_mean = mean + decay * (jax.lax.stop_gradient(lengths).mean() - mean)
    return jnp.square(lengths - new_mean).mean(), new_mean, lengths


def _gradients(judge: Judge, images: Images) -> Images:
    return jax.grad(lambda images: judge(images).astype(jnp.float32).sum())(images)


def _squared_lengths(gradients: Images) -> Float[Array, " batch"]:
    return jnp.square(gradients).reshape(gradients.shape[0], -1).sum(axis=-1)


def _root(squares: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The root, whose gradient at 0 is 0 and not infinite."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
