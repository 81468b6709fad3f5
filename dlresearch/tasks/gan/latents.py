"""Where generated examples begin: normal latents, drawn or truncated."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dlresearch.parallel import split_rows


def drawn(key: Key[Array, ""], count: int, size: int) -> Float[Array, "count size"]:
    """Standard normal, each device drawing those of its rows."""
    return split_rows(jax.random.normal(key, (count, size)))


def numbered(numbers: Int[Array, " batch"], size: int) -> Float[Array, "batch size"]:
    """Standard normal, that of a number always the same."""
    key = jax.random.key(0)
    return jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n), (size,)))(numbers)


def truncated(
    latents: Float[Array, "batch size"], threshold: Float[Array, "*batch"]
) -> Float[Array, "batch size"]:
    """The truncated normal distribution of BigGAN (Brock et al. 2019, arXiv:1809.11096, section
    3.1): standard normal given that no value is beyond the threshold.

    There, values beyond it are drawn again. Here each value is moved to the same quantile of the
    truncated distribution, so that the same latents can be seen under several thresholds.
    """
    limit = jnp.maximum(jnp.asarray(threshold, jnp.float32), 1e-3)
    limit = jnp.broadcast_to(limit, latents.shape[:1])[:, None]
    low, high = jax.scipy.special.ndtr(-limit), jax.scipy.special.ndtr(limit)
    quantile = low + jax.scipy.special.ndtr(latents) * (high - low)
    return jnp.clip(jax.scipy.special.ndtri(quantile), -limit, limit)
