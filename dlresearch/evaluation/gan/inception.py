"""Inception-v3 with the weights of the TensorFlow graph of 2015-12-05, which published Frechet
distances are measured with (Heusel et al. 2017, arXiv:1706.08500).

The network is that of Szegedy et al. 2016 (arXiv:1512.00567), up to its last pooling. It differs
from others of this name: average pooling does not count the padding, and the last block has max
pooling there. Names of layers are those of torchvision and pytorch-fid.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped, UInt8

from dlresearch.errors import UserError

ABOUT = "Inception-v3 6726825d"
SHA256 = "6726825d"  # its beginning; the file of pytorch-fid has it in its name

_SIZE = 299
_EPSILON = 0.001

Variables: TypeAlias = dict[str, dict[str, Array]]
"""By layer: `kernel` [height, width, in, out], and `scale` and `bias` [out], in which batch
normalisation and its statistics are one.
"""
Images: TypeAlias = Float[Array, "batch height width channels"]
Size: TypeAlias = tuple[int, int]


class Conv(NamedTuple):
    """A convolution without bias, batch normalisation, ReLU."""

    name: str
    channels: int
    kernel: Size = (1, 1)
    stride: int = 1
    padding: str = "SAME"


def _pool_max(images: Images) -> Images:
    """3 x 3, stride 2, no padding."""
    return lax.reduce_window(images, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def _spread_max(images: Images) -> Images:
    """3 x 3, the same size."""
    return lax.reduce_window(images, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")


def _spread_mean(images: Images) -> Images:
    """3 x 3, the same size; at the border a mean over fewer, not counting the padding."""
    total = lax.reduce_window(images, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    down, across = (np.convolve(np.ones(side), np.ones(3), "same") for side in images.shape[1:3])
    return total / np.outer(down, across).astype(np.float32)[:, :, None]


Step: TypeAlias = Conv | Callable[[Images], Images] | tuple[Conv, ...]
"""A tuple is a fork: each of its convolutions sees the same, and channels are joined."""
Branch: TypeAlias = tuple[Step, ...]


def _reduce(name: str, channels: int) -> Conv:
    return Conv(name, channels, (3, 3), 2, "VALID")


def _a(pooled: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3)),
        ),
        (_spread_mean, Conv("branch_pool", pooled)),
    )


def _c(inner: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", inner),
            Conv("branch7x7_2", inner, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        (
            Conv("branch7x7dbl_1", inner),
            Conv("branch7x7dbl_2", inner, (7, 1)),
            Conv("branch7x7dbl_3", inner, (1, 7)),
            Conv("branch7x7dbl_4", inner, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        (_spread_mean, Conv("branch_pool", 192)),
    )


def _e(pool: Callable[[Images], Images]) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 320),),
        (
            Conv("branch3x3_1", 384),
            (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, Conv("branch_pool", 192)),
    )


STEM: Branch = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    _pool_max,
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    _pool_max,
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": (
        (_reduce("branch3x3", 384),),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            _reduce("branch3x3dbl_3", 96),
        ),
        (_pool_max,),
    ),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": (
        (Conv("branch3x3_1", 192), _reduce("branch3x3_2", 320)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            _reduce("branch7x7x3_4", 192),
        ),
        (_pool_max,),
    ),
    "Mixed_7b": _e(_spread_mean),
    "Mixed_7c": _e(_spread_max),
}


def load(path: Path) -> Variables:
    """The weights in the file pt_inception-2015-12-05-6726825d.pth of pytorch-fid.

    Raises:
      UserError: it is another file, or PyTorch, which wrote it, is not installed.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(SHA256):
        raise UserError(
            f"{path} is not the Inception-v3 of published Frechet distances: its SHA-256 begins"
            f" with {digest[: len(SHA256)]}, not {SHA256}; get"
            " pt_inception-2015-12-05-6726825d.pth of pytorch-fid"
        )
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise UserError(f"to read {path} takes PyTorch; install torch") from error
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return variables_of({name: each.numpy() for name, each in stored.items()})


def variables_of(stored: Mapping[str, Shaped[np.ndarray, "..."]]) -> Variables:
    """The weights by the names that PyTorch has for them, as `features` takes them."""
    variables = {}
    for name in _layers():
        scale = stored[f"{name}.bn.weight"] / np.sqrt(stored[f"{name}.bn.running_var"] + _EPSILON)
        variables[name] = {
            # [out, in, height, width] in PyTorch
            "kernel": jnp.asarray(stored[f"{name}.conv.weight"].transpose(2, 3, 1, 0)),
            "scale": jnp.asarray(scale),
            "bias": jnp.asarray(
                stored[f"{name}.bn.bias"] - stored[f"{name}.bn.running_mean"] * scale
            ),
        }
    return variables


def features(
    variables: Variables, images: UInt8[Array, "batch height width channels"]
) -> Float[Array, "batch 2048"]:
    """What the last pooling gives, of colour or grey images of any size.

    Raises:
      UserError: images that are not uint8, or have neither one channel nor three.
    """
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"Inception-v3 takes uint8 images with 1 or 3 channels, not {images.dtype}"
            f" {list(images.shape)}"
        )
    colour = jnp.broadcast_to(images, (*images.shape[:-1], 3)).astype(jnp.float32)
    x = _follow(STEM, variables, "", (resize(colour, _SIZE) - 128) / 128)
    for name, branches in BLOCKS.items():
        x = block(branches, variables, name, x)
    return x.mean(axis=(1, 2))


def block(branches: tuple[Branch, ...], variables: Variables, name: str, x: Images) -> Images:
    """The branches of the block called `name`, side by side in the channels."""
    return jnp.concatenate(
        [_follow(branch, variables, f"{name}.", x) for branch in branches], axis=-1
    )


def resize(images: Images, size: int) -> Images:
    """Bilinear as `ResizeBilinear` of TensorFlow 1: pixel i comes from i * old / new, with neither
    corners aligned nor centres half a pixel away, and without anti-aliasing.
    """
    for axis in (2, 1):  # across, then down, as there
        old = images.shape[axis]
        place = np.arange(size, dtype=np.float32) * (np.float32(old) / np.float32(size))
        lower = place.astype(np.int32)
        upper = np.minimum(lower + 1, old - 1)
        share = jnp.expand_dims(place - lower, range(1, images.ndim - axis))
        before, after = (jnp.take(images, each, axis=axis) for each in (lower, upper))
        images = before + (after - before) * share
    return images


def _follow(branch: Branch, variables: Variables, prefix: str, x: Images) -> Images:
    for step in branch:
        if isinstance(step, Conv):
            x = _convolve(step, variables[prefix + step.name], x)
        elif isinstance(step, tuple):
            x = jnp.concatenate(
                [_convolve(each, variables[prefix + each.name], x) for each in step], axis=-1
            )
        else:
            x = step(x)
    return x


def _convolve(conv: Conv, arrays: Mapping[str, Array], x: Images) -> Images:
    # Accelerators would round inputs to half the digits, and distances are small differences.
    x = lax.conv_general_dilated(
        x,
        arrays["kernel"],
        (conv.stride,) * 2,
        conv.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return jax.nn.relu(x * arrays["scale"] + arrays["bias"])


def _layers() -> Iterator[str]:
    """The names of all convolutions."""
    branches = [("", STEM), *((f"{name}.", each) for name, of in BLOCKS.items() for each in of)]
    for prefix, branch in branches:
        for step in branch:
            if isinstance(step, Conv):
                yield prefix + step.name
            elif isinstance(step, tuple):
                yield from (prefix + each.name for each in step)
