"""The generator of StyleGAN2: a mapping network, and a synthesis network that it controls."""

from math import log2

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice
from dlresearch.models.gan.inputs import check_classes, check_label, check_latent
from dlresearch.models.gan.stylegan2_layers import check_size
from dlresearch.models.gan.stylegan2_mapping import Mapping
from dlresearch.models.gan.stylegan2_synthesis import NOISE, Architecture, Synthesis
from dlresearch.models.layers import check_sizes, check_types

MIXING = "mixing"
"""The random stream of style mixing."""
STYLE_MEAN = "style_mean"
"""The collection of the mean style."""
DECAY = 0.995
"""Of the mean style, in steps (Karras et al. 2019, released code)."""


class StyleGAN2Generator(nn.Module):
    """StyleGAN2's generator (Karras et al. 2020, arXiv:1912.04958).

    The defaults are the paper's configuration F. That for CIFAR-10 (Karras et al. 2020,
    arXiv:2006.06676, appendix D.1) has `mapping_layers=2` and `style_mixing=0`. Parameters are
    those of `mapping_network`, such as `dense_0/kernel`, and of `synthesis_network`, such as
    `block_8/conv_1/kernel`. The state holds the mean style, in `style_mean`, and the noise of
    evaluation, in `constants`.

    Attributes:
      size: pixels a side: a power of two from 8 to 1024.
      channels: of the images.
      num_classes: 0 for an unconditional generator.
      architecture: `skip` sums pictures of all resolutions; `residual` has shortcuts around pairs
        of convolutions, and one picture.
      mapping_layers: dense layers of the mapping network.
      style_width: of these layers and of styles.
      channel_base: layers of r x r pixels have `channel_base / r` channels, if these are not more
        than `channel_max`.
      channel_max: see there.
      style_mixing: share of examples that have, in training, a second style from some layer on.
      float32_below: layers with fewer pixels a side compute in float32, whatever `dtype` is. The
        mapping network, the scales of the modulation and pictures always do.
      remat: keep only the inputs of the blocks for the gradient, and compute them again.
      dtype: of the computation; in float16 activations are cut off at +-256.
      param_dtype: of the parameters.
    """

    size: int = 32
    channels: int = 3
    num_classes: int = 0
    architecture: Architecture = "skip"
    mapping_layers: int = 8
    style_width: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    style_mixing: float = 0.9
    float32_below: int = 16
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    rng_streams = (NOISE, MIXING)

    def __post_init__(self) -> None:
        check_size(self.size, "stylegan2_generator")
        check_classes(self.num_classes)
        check_choice("architecture", self.architecture, Architecture)
        check_sizes(
            channels=self.channels,
            mapping_layers=self.mapping_layers,
            style_width=self.style_width,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
        )
        if not 0 <= self.style_mixing <= 1:
            raise UserError(f"style_mixing={self.style_mixing}: a share is in [0, 1]")
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @property
    def layers(self) -> int:
        """Layers that have a style each: two of every resolution."""
        return 2 * int(log2(self.size)) - 2

    def setup(self) -> None:
        self.mapping_network = Mapping(
            self.mapping_layers, self.style_width, self.num_classes, self.param_dtype
        )
        self.synthesis_network = Synthesis(
            self.size,
            self.channels,
            self.channel_base,
            self.channel_max,
            self.architecture,
            self.float32_below,
            self.remat,
            self.dtype,
            self.param_dtype,
        )
        self.mean = self.variable(STYLE_MEAN, "style", jnp.zeros, (self.style_width,))

    def __call__(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch size size channels"]:
        """Images in float32, about in [-1, 1]: nothing keeps them there."""
        return self.synthesis(self.mapping(latent, label, train=train), train=train)

    def mapping(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch layers width"]:
        """The style of each layer, float32.

        In training the mean style moves, and styles are mixed (Karras et al. 2019,
        arXiv:1812.04948, section 3.1): with probability `style_mixing` those from a uniformly drawn
        layer on, but not from the first on, are of another latent and the same class.
        """
        check_latent(latent, "stylegan2_generator")
        check_label(label, self.num_classes, "stylegan2_generator")
        style = self.mapping_network(latent, label)
        if train and not self.is_initializing():
            mean = jax.lax.stop_gradient(style).mean(axis=0)
            self.mean.value = DECAY * self.mean.value + (1 - DECAY) * mean
        styles = jnp.repeat(style[:, None], self.layers, axis=1)
        if not (train and self.style_mixing > 0):
            return styles
        latent_key, whether_key, layer_key = jax.random.split(self.make_rng(MIXING), 3)
        batch = latent.shape[0]
        other = self.mapping_network(jax.random.normal(latent_key, latent.shape), label)
        whether = jax.random.bernoulli(whether_key, self.style_mixing, (batch,))
        start = jax.random.randint(layer_key, (batch,), 1, self.layers)
        replaced = whether[:, None] & (jnp.arange(self.layers) >= start[:, None])
        return jnp.where(replaced[..., None], other[:, None], styles)

    def synthesis(
        self, styles: Float[Array, "batch layers width"], *, train: bool
    ) -> Float[Array, "batch size size channels"]:
        """Images in float32; noise is drawn in training, and else the constant one of the state."""
        return self.synthesis_network(styles, train=train)

    def truncated(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None,
        truncation: Float[Array, ""] | Float[Array, " batch"],
    ) -> Float[Array, "batch size size channels"]:
        """Images of evaluation whose styles are mean + truncation * (style - mean).

        The truncation trick (Karras et al. 2019, arXiv:1812.04948, section 2.1); the mean is that
        over all classes.
        """
        styles, mean = self.mapping(latent, label, train=False), self.mean.value
        share = jnp.reshape(truncation, (-1, 1, 1))
        return self.synthesis(mean + share * (styles - mean), train=False)
