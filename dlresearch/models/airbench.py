"""The network of the CIFAR-10 speed runs: small, and started so that it learns in few epochs."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_images, check_outputs
from dlresearch.models.cpu import max_pool_2x2
from dlresearch.models.layers import check_sizes, check_types
from dlresearch.models.whitening import Whitening

# PyTorch's start of convolutions and dense layers: uniform within +- 1 / sqrt(fan in).
TORCH = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Airbench(nn.Module):
    """The network of airbench (Jordan 2024, arXiv:2404.00498), with a whitening first layer.

    Whitening of patches, GELU, groups of 3x3 convolutions with a 2x2 maximum behind the first of
    each, the maximum over what is left, and a scaled last layer. Normalisations have no scale,
    convolutions no bias. The defaults are airbench94; `widths=(128, 384, 384)` is airbench95, and
    `widths=(128, 512, 512), convs_per_group=3, residual=True, momentum=0.9` airbench96.

    The whitening kernel comes from the images that `init` sees, which should be some thousand:
    the trainer shows it the first batch. Parameters are `whiten/bias`, `groups_0/conv_1/kernel`,
    `groups_0/norm_1/bias` and `head/kernel`; the whitening kernel is state,
    `constants/whiten/kernel`.

    Attributes:
      num_outputs: size of the last layer; None returns the features before it.
      widths: channels of each group, each of which halves the resolution.
      convs_per_group: convolutions in a group.
      residual: add what enters a group's second convolution before the group's last activation.
      whiten_size: height and width of the whitened patches.
      whiten_epsilon: added to their eigenvalues.
      momentum: of the averages of the normalisations.
      output_scale: factor on the outputs. Runs with Muon start the last layer larger, at a standard
        deviation of 1, and divide by its inputs, 256; equal, but for a factor on its learning rate.
      remat: keep only the inputs of the groups for the gradient, and compute them again.
      dtype: of the computation; the last layer always computes in float32.
      param_dtype: of the parameters.
    """

    num_outputs: int | None
    widths: tuple[int, ...] = (64, 256, 256)
    convs_per_group: int = 2
    residual: bool = False
    whiten_size: int = 2
    whiten_epsilon: float = 5e-4
    momentum: float = 0.6
    output_scale: float = 1 / 9
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_outputs(self.num_outputs)
        check_sizes(
            widths=self.widths, convs_per_group=self.convs_per_group, whiten_size=self.whiten_size
        )
        if self.residual and self.convs_per_group < 2:
            raise UserError("residual=True: needs convs_per_group of at least 2")
        if not self.whiten_epsilon > 0:
            raise UserError(f"whiten_epsilon={self.whiten_epsilon}: must be more than 0")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum={self.momentum} is not in [0, 1)")
        check_types(dtype=self.dtype, param_dtype=self.param_dtype)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Shaped[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch outputs"]:
        """Outputs, or features, in float32."""
        check_images(images, "airbench", self.whiten_size - 1 + 2 ** len(self.widths))
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        group: Any = nn.remat(_Group, static_argnums=(2,)) if self.remat else _Group
        x = _gelu(Whitening(self.whiten_size, self.whiten_epsilon, name="whiten", **types)(images))
        for index, width in enumerate(self.widths):
            made = group(
                width,
                self.convs_per_group,
                self.residual,
                self.momentum,
                name=f"groups_{index}",
                **types,
            )
            x = made(x, train)
        x = x.max((1, 2)).astype(jnp.float32)
        if self.num_outputs is None:
            return x
        head = nn.Dense(
            self.num_outputs,
            use_bias=False,
            kernel_init=TORCH,
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="head",
        )
        return head(x) * self.output_scale


def partial_identity(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Float[Array, "height width inputs outputs"]:
    """PyTorch's start of a convolution, but the first outputs hand on the inputs (its `dirac_`)."""
    height, width, inputs, outputs = shape
    passed = min(inputs, outputs)
    identity = jnp.zeros((height, width, inputs, passed), dtype)
    identity = identity.at[height // 2, width // 2].set(jnp.eye(inputs, passed, dtype=dtype))
    return TORCH(key, shape, dtype).at[..., :passed].set(identity)


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


class _Group(nn.Module):
    """Convolutions at one resolution, which the first of them halves."""

    width: int
    convs: int
    residual: bool
    momentum: float
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        second = x
        for number in range(1, self.convs + 1):
            x = nn.Conv(
                self.width,
                (3, 3),
                use_bias=False,
                kernel_init=partial_identity,
                name=f"conv_{number}",
                **types,
            )(x)
            x = max_pool_2x2(x) if number == 1 else x
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=1e-12,
                use_scale=False,
                name=f"norm_{number}",
                **types,
            )(x)
            if self.residual and number == self.convs:
                x = x + second
            x = _gelu(x)
            second = x if number == 1 else second
        return x
