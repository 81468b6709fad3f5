"""DCGAN: plain convolutional networks (Radford et al. 2016, arXiv:1511.06434)."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.checks import check_choice
from dlresearch.models.gan.heads import logits, small_image
from dlresearch.models.gan.inputs import (
    check_classes,
    check_label,
    check_latent,
    check_square,
    doublings,
)
from dlresearch.models.gan.layers import Style
from dlresearch.models.layers import check_sizes, check_types

Upsample = Literal["transposed", "nearest"]
DiscriminatorNorm = Literal["batch", "layer", "spectral", "none"]
Labels = Literal["projection", "planes"]
INIT_STD = 0.02
"""Standard deviation of all kernels at the start; section 4."""


class DCGANGenerator(nn.Module):
    """A latent, as an image of 4 to 7 pixels, doubled by convolutions until it has its size.

    Batch norm and ReLU behind all but the last layer, which has tanh. Labels enter as a vector for
    each class, joined with the latent. Parameters are `classes/embedding`, `project`,
    `project_norm`, `stages_0/conv`, `stages_0/norm` and `to_pixels`.

    Attributes:
      size: height and width of the images: 4, 5, 6 or 7 doubled some times.
      channels: of the images.
      num_classes: of the labels; 0 without.
      widths: channels at each resolution, from the lowest on. With one for each doubling the last
        layer doubles, too, as published; with one more it is a 3x3 convolution at full size. Empty:
        128 at half of the size and twice as many at each one below, at most 1024, which is the
        published network at 64 pixels.
      upsample: `transposed`, a transposed 4x4 convolution, or `nearest`, each pixel repeated and a
        3x3 convolution, which leaves no checkerboard (Odena et al. 2016).
      embedding: length of the vector for a class.
      remat: keep only the inputs of the stages for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    size: int
    channels: int
    num_classes: int = 0
    widths: tuple[int, ...] = ()
    upsample: Upsample = "transposed"
    embedding: int = 32
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(channels=self.channels, widths=self.widths, embedding=self.embedding)
        check_classes(self.num_classes)
        check_choice("upsample", self.upsample, Upsample)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        _, count = doublings(self.size, "dcgan_generator")
        if len(self.widths) not in (0, count, count + 1):
            raise UserError(
                f"widths={self.widths}: dcgan_generator doubles {count} times up to size="
                f"{self.size}, so it needs {count} widths, or {count + 1}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        latent: Float[Array, "batch latent"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch size size channels"]:
        """Images in [-1, 1], in float32. Raises UserError for a missing or unexpected label."""
        check_latent(latent, "dcgan_generator")
        check_label(label, self.num_classes, "dcgan_generator")
        start, count = doublings(self.size, "dcgan_generator")
        widths = self.widths or tuple(min(128 * 2**k, 1024) for k in reversed(range(count)))
        style = _style(self.dtype, self.param_dtype)
        if label is not None:
            # As wide as the latent's own values, so that neither hides the other.
            classes = nn.Embed(
                self.num_classes,
                self.embedding,
                embedding_init=nn.initializers.normal(1.0),
                param_dtype=self.param_dtype,
                name="classes",
            )
            latent = jnp.concatenate([latent, classes(label).astype(latent.dtype)], axis=-1)
        x = small_image(style, latent, start, widths[0], train=train)
        x = nn.relu(style.batch_norm(train, "project_norm")(x))
        stage: Any = nn.remat(_Doubling, static_argnums=(2,)) if self.remat else _Doubling
        for index, width in enumerate(widths[1:]):
            x = stage(width, self.upsample, style, name=f"stages_{index}")(x, train)
        size = 4 if self.upsample == "transposed" else 3
        size, resize = (size, "double") if len(widths) == count else (3, "keep")
        last = style.conv(self.channels, "to_pixels", size, resize, dtype=jnp.float32)
        return jnp.tanh(last(x, train=train))


class DCGANDiscriminator(nn.Module):
    """4x4 convolutions that halve the image, each with twice the channels, and a linear layer.

    Leaky ReLU (0.2) behind all convolutions, a norm before it behind all but the first. Parameters
    are `stages_0/conv`, `stages_1/norm`, `head` and `projection/embedding`.

    Attributes:
      num_classes: of the labels; 0 without.
      widths: channels behind each halving. Empty: 128, 256 and so on, at most 1024, down to 4 to 7
        pixels, which is the published network at 64.
      norm: `batch`, as published; `layer` over all values of an example; `spectral`, on the weights
        (Miyato et al. 2018); or `none`. A gradient penalty needs one of the last three, as it is
        defined for each example (Gulrajani et al. 2017, arXiv:1704.00028, section 4).
      labels: `projection` adds a linear layer of its own for each class (Miyato and Koyama 2018,
        arXiv:1802.05637); `planes` gives the class to the first convolution, as channels of ones
        and zeros (Mirza and Osindero 2014, arXiv:1411.1784).
      remat: keep only the inputs of the stages for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_classes: int = 0
    widths: tuple[int, ...] = ()
    norm: DiscriminatorNorm = "batch"
    labels: Labels = "projection"
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_sizes(widths=self.widths)
        check_classes(self.num_classes)
        check_choice("norm", self.norm, DiscriminatorNorm)
        check_choice("labels", self.labels, Labels)
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        label: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, " batch"]:
        """Logits in float32. Raises UserError for images it cannot halve, and labels as above."""
        check_square(images, "dcgan_discriminator", len(self.widths))
        check_label(label, self.num_classes, "dcgan_discriminator")
        widths = self.widths
        if not widths:
            _, count = doublings(images.shape[1], "dcgan_discriminator")
            widths = tuple(min(128 * 2**k, 1024) for k in range(count))
        style = _style(self.dtype, self.param_dtype, spectral=self.norm == "spectral")
        x = images.astype(self.dtype)
        if label is not None and self.labels == "planes":
            planes = jax.nn.one_hot(label, self.num_classes, dtype=x.dtype)[:, None, None]
            planes = jnp.broadcast_to(planes, (*x.shape[:3], self.num_classes))
            x, label = jnp.concatenate([x, planes], axis=-1), None
        stage: Any = nn.remat(_Halving, static_argnums=(2,)) if self.remat else _Halving
        for index, width in enumerate(widths):
            norm = self.norm if index else "none"
            x = stage(width, norm, style, name=f"stages_{index}")(x, train)
        x = x.reshape(x.shape[0], -1)
        return logits(style, x, label, self.num_classes, train=train)


class _Doubling(nn.Module):
    """A stage of the generator."""

    features: int
    upsample: Upsample
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        size = 4 if self.upsample == "transposed" else 3
        conv = self.style.conv(self.features, "conv", size, "double", use_bias=False)
        return nn.relu(self.style.batch_norm(train, "norm")(conv(x, train=train)))


class _Halving(nn.Module):
    """A stage of the discriminator."""

    features: int
    norm: DiscriminatorNorm
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        style, normed = self.style, self.norm in ("batch", "layer")
        x = style.conv(self.features, "conv", 4, "halve", use_bias=not normed)(x, train=train)
        if self.norm == "batch":
            x = style.batch_norm(train, "norm")(x)
        elif self.norm == "layer":
            types: dict[str, Any] = {"dtype": style.dtype, "param_dtype": style.param_dtype}
            x = nn.LayerNorm(reduction_axes=(1, 2, 3), name="norm", **types)(x)
        return nn.leaky_relu(x, 0.2)


def _style(dtype: DTypeLike, param_dtype: DTypeLike, *, spectral: bool = False) -> Style:
    return Style(spectral, nn.initializers.normal(INIT_STD), dtype, param_dtype)
