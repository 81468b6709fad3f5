"""Losses of the two players of a GAN, as functions of the discriminator's logits.

With D the logits, a larger one for "real", and means over the batch:

    non_saturating  discriminator  mean softplus(-D(real)) + mean softplus(D(fake))
                    generator      mean softplus(-D(fake))
    hinge           discriminator  mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))
                    generator      -mean D(fake)
    least_squares   discriminator  (mean (D(real) - 1)^2 + mean D(fake)^2) / 2
                    generator      mean (D(fake) - 1)^2 / 2
    wasserstein     discriminator  mean D(fake) - mean D(real)
                    generator      -mean D(fake)
    relativistic    discriminator  mean softplus(D(fake) - D(real))
                    generator      mean softplus(D(real) - D(fake))

Penalties on gradients are added by the task.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlresearch.errors import UserError, suggest

AdversarialLoss = Literal["non_saturating", "hinge", "least_squares", "wasserstein", "relativistic"]
KINDS: tuple[AdversarialLoss, ...] = get_args(AdversarialLoss)
PAIRED: AdversarialLoss = "relativistic"
"""The loss for which the generator sees the logits of real images, too."""


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"no adversarial loss {kind!r}; {suggest(kind, KINDS)}")


def discriminator_loss(
    kind: AdversarialLoss, real: Float[Array, " batch"], fake: Float[Array, " fakes"]
) -> Float[Array, ""]:
    """What the discriminator (or critic) minimises.

    - `non_saturating`: the cross-entropy of Goodfellow et al. 2014, arXiv:1406.2661, equation 1.
    - `hinge`: Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, equation 16.
    - `least_squares`: Mao et al. 2017, arXiv:1611.04076, equation 9, targets 1 and 0.
    - `wasserstein`: Arjovsky et al. 2017, arXiv:1701.07875, equation 2; the critic is to be kept
      Lipschitz by other means.
    - `relativistic`: pairs of Jolicoeur-Martineau 2019, arXiv:1807.00734, with the softplus of
      R3GAN (Huang et al. 2024, arXiv:2501.05441, equation 2); the i-th real image beside the i-th
      fake one.

    Args:
      real: logits of real images, float32.
      fake: logits of generated images, float32; as many as `real` where they are paired.

    Raises:
      UserError: unknown kind, or not as many real as fake logits where they are paired.
    """
    check_kind(kind)
    if kind == "non_saturating":
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    if kind == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    if kind == "least_squares":
        return (jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake))) / 2
    if kind == "wasserstein":
        return jnp.mean(fake) - jnp.mean(real)
    return jnp.mean(jax.nn.softplus(_difference(fake, real)))


def generator_loss(
    kind: AdversarialLoss,
    fake: Float[Array, " fakes"],
    real: Float[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """What the generator minimises; sources as for `discriminator_loss`.

    The one of `non_saturating` is that of section 3 of Goodfellow et al. 2014, whose gradient does
    not vanish where the discriminator is sure.

    Args:
      fake: logits of generated images, float32.
      real: logits of real images, read by `relativistic` alone.

    Raises:
      UserError: unknown kind, or `relativistic` without as many real as fake logits.
    """
    check_kind(kind)
    if kind == "non_saturating":
        return jnp.mean(jax.nn.softplus(-fake))
    if kind == "least_squares":
        return jnp.mean(jnp.square(fake - 1)) / 2
    if kind in ("hinge", "wasserstein"):
        return -jnp.mean(fake)
    if real is None:
        raise UserError(f"{PAIRED} loss: the generator needs the logits of real images, too")
    return jnp.mean(jax.nn.softplus(_difference(real, fake)))


def _difference(
    first: Float[Array, " batch"], second: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    if first.shape != second.shape:
        raise UserError(
            f"{PAIRED} loss pairs logits: shapes {first.shape} and {second.shape} differ; take as"
            " many generated images as real ones"
        )
    return first - second
