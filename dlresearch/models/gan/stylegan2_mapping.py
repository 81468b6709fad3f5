"""The mapping network of StyleGAN2: from a latent, a class or both to a style."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.models.gan.stylegan2_layers import EqualisedDense, activate, normalise

RATE = 0.01
"""Times the learning rate (Karras et al. 2019, arXiv:1812.04948, appendix C)."""


class Mapping(nn.Module):
    """Dense layers with leaky rectifiers over the normalised latent and class embedding.

    Karras et al. 2019, arXiv:1812.04948, section 2; with classes as in Karras et al. 2020,
    arXiv:2006.06676, appendix: the embedding is as wide as the style, has the second moment 1 as
    the latent has, and is put beside it. All in float32.

    Attributes:
      layers: dense layers.
      width: of each layer, and of the style.
      num_classes: 0 for none.
    """

    layers: int
    width: int
    num_classes: int
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, "batch latent"] | None,
        label: Int[Array, " batch"] | None,
    ) -> Float[Array, "batch width"]:
        """Styles. Without a latent, as in the discriminator, they are those of the classes."""
        parts = [] if latent is None else [normalise(latent.astype(jnp.float32))]
        if label is not None:
            one_hot = jax.nn.one_hot(label, self.num_classes)
            embed = EqualisedDense(self.width, param_dtype=self.param_dtype, name="classes")
            parts.append(normalise(embed(one_hot)))
        style = jnp.concatenate(parts, axis=-1)
        for layer in range(self.layers):
            dense = EqualisedDense(
                self.width, RATE, param_dtype=self.param_dtype, name=f"dense_{layer}"
            )
            style = activate(dense(style))
        return style
