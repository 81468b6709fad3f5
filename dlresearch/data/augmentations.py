"""Device augmentations: pure functions of a key and a batch, run inside the jitted step.

`image` is uint8 or floating, [batch, height, width, channel]; every example draws its own numbers.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from dlresearch.errors import UserError, located, suggest

Batch: TypeAlias = dict[str, Array]
Images: TypeAlias = Shaped[Array, "batch height width channel"]


class Augmentation(Protocol):
    """From one batch to the next. `random` says whether the key is used."""

    random: bool

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch: ...


def apply_all(
    augmentations: Sequence[Augmentation],
    key: Key[Array, ""],
    batch: Batch,
    path: str = "config.data.augmentations",
) -> Batch:
    """Apply augmentations in order, each with `key` folded with its position.

    `path` is where they stand in the config, for messages.
    """
    for position, augmentation in enumerate(augmentations):
        with located(f"{path}.{position}"):
            batch = augmentation(jax.random.fold_in(key, position), batch)
    return batch


class Flip:
    """Mirror images left to right.

    Args:
      probability: that an image is mirrored.
    """

    random = True

    def __init__(self, probability: float = 0.5):
        if not 0 <= probability <= 1:
            raise UserError(f"flip: probability={probability} is not in [0, 1]")
        self.probability = probability

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = _image(batch, "flip")
        flip = jax.random.bernoulli(key, self.probability, (image.shape[0], 1, 1, 1))
        return {**batch, "image": jnp.where(flip, image[:, :, ::-1], image)}


class ShiftedCrop:
    """Pad images on all sides, then crop each at a random place to the size it had.

    The usual augmentation of CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2, with zeros).

    Args:
      padding: in pixels on each side, the longest shift.
      mode: `reflect` (without repeating the border) or `zeros`.
    """

    random = True

    def __init__(self, padding: int = 4, mode: str = "reflect"):
        if padding < 0:
            raise UserError(f"shifted_crop: padding={padding} is negative")
        if mode not in ("reflect", "zeros"):
            raise UserError(
                f"shifted_crop: no mode {mode!r}; {suggest(mode, ('reflect', 'zeros'))}"
            )
        self.padding, self.mode = padding, mode

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = _image(batch, "shifted_crop")
        size, height, width, _ = image.shape
        if self.mode == "reflect" and self.padding >= min(height, width):
            raise UserError(
                f"shifted_crop: cannot reflect padding={self.padding} pixels of images"
                f" {height} by {width}; lower it"
            )
        shift = jax.random.randint(key, (size, 2), -self.padding, self.padding + 1)
        row = shift[:, :1] + jnp.arange(height)
        column = shift[:, 1:] + jnp.arange(width)
        # One gather of the pixels that the crop of the padded image would show: as fast as any of
        # pad and vmap(dynamic_slice), take_along_axis and one-hot matmuls on CPU (0.2 ms for
        # 128 x 32 x 32 x 3), and nothing is padded.
        examples = jnp.arange(size)[:, None, None]
        if self.mode == "zeros":
            # Above the size is out of bounds, and filled; below 0 would count from the end.
            row, column = jnp.where(row < 0, height, row), jnp.where(column < 0, width, column)
            crop = image.at[examples, row[:, :, None], column[:, None, :]].get(
                mode="fill", fill_value=0
            )
        else:
            row, column = _reflect(row, height), _reflect(column, width)
            crop = image[examples, row[:, :, None], column[:, None, :]]
        return {**batch, "image": crop}


class Normalise:
    """`(image / scale - mean) / std` in float32; the default maps 0..255 to -1..1.

    Args:
      mean: for all channels or for each, after division by `scale`.
      std: likewise.
      scale: the value that becomes 1, 255 for uint8 images.
    """

    random = False

    def __init__(
        self,
        mean: tuple[float, ...] = (0.5,),
        std: tuple[float, ...] = (0.5,),
        scale: float = 255.0,
    ):
        if scale <= 0 or any(s <= 0 for s in std):
            raise UserError(f"normalise: scale={scale} and std={tuple(std)} must be positive")
        self.mean, self.std, self.scale = tuple(mean), tuple(std), scale

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = _image(batch, "normalise")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, image.shape[-1]):
                raise UserError(
                    f"normalise: {name} has {len(values)} values, the images have"
                    f" {image.shape[-1]} channels; give one value, or one a channel"
                )
        mean, std = jnp.asarray(self.mean, jnp.float32), jnp.asarray(self.std, jnp.float32)
        normalised: Float[Array, "batch height width channel"]
        normalised = (image.astype(jnp.float32) / self.scale - mean) / std
        return {**batch, "image": normalised}


class Cutout:
    """Fill a square at a random place (DeVries and Taylor 2017, arXiv:1708.04552).

    The centre is any pixel, so that part of the square may lie outside.

    Args:
      size: side of the square in pixels.
      fill: the value inside, in the units that the image has at this place of the pipeline.
    """

    random = True

    def __init__(self, size: int = 8, fill: float = 0.0):
        if size < 1:
            raise UserError(f"cutout: size={size} must be at least 1")
        self.size, self.fill = size, fill

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = _image(batch, "cutout")
        size, height, width, _ = image.shape
        row_key, column_key = jax.random.split(key)
        top = jax.random.randint(row_key, (size, 1, 1), 0, height) - self.size // 2
        left = jax.random.randint(column_key, (size, 1, 1), 0, width) - self.size // 2
        row, column = jnp.arange(height)[None, :, None], jnp.arange(width)[None, None, :]
        inside = (row >= top) & (row < top + self.size)
        inside &= (column >= left) & (column < left + self.size)
        fill = jnp.asarray(self.fill, image.dtype)
        return {**batch, "image": jnp.where(inside[..., None], fill, image)}


def _image(batch: Batch, augmentation: str) -> Images:
    if "image" not in batch:
        raise UserError(f"{augmentation}: the batch has no 'image'; {suggest('image', batch)}")
    image = batch["image"]
    if image.ndim != 4:
        raise UserError(
            f"{augmentation}: 'image' has shape {image.shape}, not batch, height, width, channel"
        )
    return image


def _reflect(index: Int[Array, "..."], length: int) -> Int[Array, "..."]:
    """Indices off an axis mirrored into it, the border pixel not repeated (`reflect` of NumPy)."""
    index = jnp.abs(index)
    return jnp.where(index >= length, 2 * (length - 1) - index, index)
