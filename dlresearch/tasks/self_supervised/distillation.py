"""Cross-entropy of what one network says of a view against what another says of other views."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.errors import UserError


def across_views(
    targets: Float[Array, "batch targets outputs"],
    logits: Float[Array, "batch views outputs"],
    temperature: float,
) -> Float[Array, ""]:
    """The mean cross-entropy over all pairs of a target and another view.

    The swapped prediction of SwAV with several crops (Caron et al. 2020, arXiv:2006.09882,
    equations 2 and 6) and the loss of DINO (Caron et al. 2021, arXiv:2104.14294, equations 1 and
    3), both as means over pairs and rows.

    Args:
      targets: distributions for the first views, constants.
      logits: of all views, the first ones in the order of the targets; divided by the temperature.

    Raises:
      UserError: a single view, which has no other.
    """
    views, count = logits.shape[1], targets.shape[1]
    if views < 2:
        raise UserError("config.data.views: the loss compares two views or more")
    log_shares = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    exact = jax.lax.Precision.HIGHEST
    # One product for all pairs: the largest array is that of the logits.
    entropies = -jnp.einsum("bto,bvo->tv", targets, log_shares, precision=exact) / len(logits)
    another = ~jnp.eye(count, views, dtype=bool)
    return jnp.sum(jnp.where(another, entropies, 0.0)) / (count * (views - 1))


def centred_softmax(
    logits: Float[Array, "batch views outputs"],
    centre: Float[Array, " outputs"],
    temperature: float | Float[Array, ""],
) -> Float[Array, "batch views outputs"]:
    """What DINO's teacher says: centred and sharpened (arXiv:2104.14294, algorithm 1).

    Centring keeps one output from taking over, a low temperature keeps all from being the same.
    """
    return jax.nn.softmax((logits.astype(jnp.float32) - centre) / temperature)


def moved_centre(
    centre: Float[Array, " outputs"],
    logits: Float[Array, "batch views outputs"],
    momentum: float,
) -> Float[Array, " outputs"]:
    """The centre after a batch of the teacher's logits (arXiv:2104.14294, equation 4)."""
    mean = jnp.mean(logits.astype(jnp.float32), axis=(0, 1))
    return momentum * centre + (1 - momentum) * mean


def entropy(shares: Float[Array, "*rows outputs"]) -> Float[Array, ""]:
    """The mean entropy of distributions, in nats.

    0 where each is sure, the logarithm of the number of outputs where none says anything: both are
    the ways in which a teacher collapses (arXiv:2104.14294, section 5.3).
    """
    return jnp.mean(jnp.sum(jax.scipy.special.entr(shares), axis=-1))
