"""Convolution, dense layer and embedding of adversarial networks, with spectral norm as an option.

And what all layers of one network have in common, a `Style`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from dlresearch.models.cpu import conv_1x1
from dlresearch.models.gan.spectral_norm import spectrally_normalised
from dlresearch.models.gan.strided import blurred, doubling, halving

Resize = Literal["keep", "halve", "double"]
Initialiser = Callable[..., Array]


class Conv(nn.Module):
    """A convolution that keeps, halves or doubles the sides of its images.

    Attributes:
      features: channels of the result.
      size: of the kernel: 1, 3 or 4. Size 4 halves by its stride and doubles by being transposed;
        size 3 halves by the mean over 2x2 blocks behind it, and doubles by repeating each pixel
        before it, both computed as one.
      resize: `keep` (sizes 1 and 3), `halve` or `double` (sizes 3 and 4).
      spectral: divide the kernel by its largest singular value.
      use_bias: add a value to each channel.
      kernel_init: initialiser of the kernel.
      dtype: of the computation and the result.
      param_dtype: of the parameters.
    """

    features: int
    size: int
    resize: Resize
    spectral: bool
    use_bias: bool
    kernel_init: Initialiser
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width inputs"], *, train: bool) -> Array:
        kernel = _kernel(self, "kernel", (self.size, self.size, x.shape[-1], self.features), train)
        result = _convolved(x, kernel, self.resize, self.dtype)
        return _biased(self, result)


class Dense(nn.Module):
    """A matrix product; attributes as those of `Conv`."""

    features: int
    spectral: bool
    use_bias: bool
    kernel_init: Initialiser
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"], *, train: bool) -> Array:
        kernel = _kernel(self, "kernel", (x.shape[-1], self.features), train)
        return _biased(self, x.astype(self.dtype) @ kernel.astype(self.dtype))


class Embed(nn.Module):
    """A vector for each class; attributes as those of `Conv`."""

    num_classes: int
    features: int
    spectral: bool
    kernel_init: Initialiser
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self, label: Int[Array, " batch"], *, train: bool
    ) -> Float[Array, "batch features"]:
        table = _kernel(self, "embedding", (self.num_classes, self.features), train)
        return table.astype(self.dtype)[label]


def _kernel(module: Any, name: str, shape: tuple[int, ...], train: bool) -> Array:
    kernel = module.param(name, module.kernel_init, shape, module.param_dtype)
    return spectrally_normalised(module, kernel, train=train) if module.spectral else kernel


def _biased(module: Any, x: Array) -> Array:
    if not module.use_bias:
        return x
    bias = module.param("bias", nn.initializers.zeros, (module.features,), module.param_dtype)
    return x + bias.astype(x.dtype)


def _convolved(x: Array, kernel: Array, resize: Resize, dtype: DTypeLike) -> Array:
    size, x = kernel.shape[0], x.astype(dtype)
    if resize == "keep":
        kernel = kernel.astype(dtype)
        if size == 1:
            return conv_1x1(x, kernel)
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    if resize == "halve":
        return halving(x, (kernel if size == 4 else blurred(kernel) / 4).astype(dtype))
    kernel = kernel if size == 4 else blurred(kernel)[::-1, ::-1]
    return doubling(x, kernel.swapaxes(2, 3).astype(dtype))


@dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
      spectral: spectral norm on every kernel and embedding.
      kernel_init: initialiser of kernels and embeddings.
      dtype: of the computation, where a layer asks for no other.
      param_dtype: of the parameters.
    """

    spectral: bool
    kernel_init: Initialiser
    dtype: DTypeLike
    param_dtype: DTypeLike

    def conv(
        self,
        features: int,
        name: str,
        size: int = 3,
        resize: Resize = "keep",
        *,
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
    ) -> Conv:
        return Conv(features, size, resize, use_bias=use_bias, name=name, **self._arguments(dtype))

    def dense(
        self, features: int, name: str, *, use_bias: bool = True, dtype: DTypeLike | None = None
    ) -> Dense:
        return Dense(features, use_bias=use_bias, name=name, **self._arguments(dtype))

    def embed(
        self, num_classes: int, features: int, name: str, *, dtype: DTypeLike | None = None
    ) -> Embed:
        return Embed(num_classes, features, name=name, **self._arguments(dtype))

    def batch_norm(self, train: bool, name: str, *, affine: bool = True) -> nn.BatchNorm:
        """Statistics in float32; `affine`: with a learned scale and bias for each channel."""
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            use_scale=affine,
            use_bias=affine,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _arguments(self, dtype: DTypeLike | None) -> dict[str, Any]:
        return {
            "spectral": self.spectral,
            "kernel_init": self.kernel_init,
            "dtype": self.dtype if dtype is None else dtype,
            "param_dtype": self.param_dtype,
        }


def halved(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """The mean of each 2x2 block."""
    rows = x[:, ::2] + x[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def doubled(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch 2*height 2*width channels"]:
    """Each pixel four times."""
    batch, height, width, channels = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return spread.reshape(batch, 2 * height, 2 * width, channels)
