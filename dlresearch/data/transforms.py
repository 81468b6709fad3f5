"""Host transforms: functions of one example, run where examples are read.

Called as `transform(example, rng)`. If the class attribute `random` is True, `rng` is a generator
that belongs to the example and the place it has in the order of the run; else it is None. A
transform without that attribute counts as random.
"""

import math
from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from dlresearch.data.augmentations.augmentation import check_interval
from dlresearch.data.source import Example
from dlresearch.errors import UserError, suggest

Rng: TypeAlias = np.random.Generator | None
Pixels: TypeAlias = Shaped[np.ndarray, "height width channel"]
_PILLOW_CHANNELS = (1, 3, 4)
_ATTEMPTS = 10  # torchvision's


class Transform(Protocol):
    """From one example to the next; must not write to the arrays it is given."""

    random: bool

    def __call__(self, example: Example, rng: Rng) -> Example: ...


class Resize:
    """`image` [height, width, channel] resized, bilinear with anti-aliasing, in its own dtype.

    Args:
      height: in pixels.
      width: in pixels.
    """

    random = False

    def __init__(self, height: int, width: int):
        if height < 1 or width < 1:
            raise UserError(f"resize: height={height}, width={width} must be at least 1")
        self.height, self.width = height, width

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        image = _image(example, "resize")
        return {**example, "image": _resize(image, self.height, self.width)}


class ResizeShorter:
    """`image` resized so that its shorter side has a length, and its shape stays what it was.

    Bilinear with anti-aliasing; the longer side is rounded down to whole pixels.

    Args:
      size: of the shorter side in pixels.
    """

    random = False

    def __init__(self, size: int):
        if size < 1:
            raise UserError(f"resize_shorter: size={size} must be at least 1")
        self.size = size

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        image = _image(example, "resize_shorter")
        height, width, _ = image.shape
        shorter = min(height, width)
        sides = (self.size * height // shorter, self.size * width // shorter)
        return {**example, "image": _resize(image, *sides)}


class CentreCrop:
    """The middle of `image`.

    Args:
      size: height and width in pixels, at most those of the image.
    """

    random = False

    def __init__(self, size: tuple[int, int]):
        _check_size("centre_crop", size)
        self.height, self.width = size

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        image = _image(example, "centre_crop")
        height, width, _ = image.shape
        if height < self.height or width < self.width:
            raise UserError(
                f"centre_crop: image is {height} by {width}, and size=({self.height},"
                f" {self.width}); put resize_shorter before it"
            )
        box = ((height - self.height) // 2, (width - self.width) // 2, self.height, self.width)
        return {**example, "image": _part(image, *box)}


class RandomResizedCrop:
    """A part of `image`, at a random place and of random size and shape, resized to one size.

    As Inception was trained (Szegedy et al. 2015, arXiv:1409.4842, section 6), with the draws of
    torchvision; bilinear with anti-aliasing. On the host, for images of different sizes. The
    augmentation of this name does the same on the device to images of one size.

    Args:
      size: height and width of the result in pixels.
      area: smallest and largest part of the image that a crop shows.
      ratio: lowest and highest width divided by height.
    """

    random = True

    def __init__(
        self,
        size: tuple[int, int],
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ):
        _check_size("random_resized_crop", size)
        check_interval("random_resized_crop", "area", area)
        check_interval("random_resized_crop", "ratio", ratio)
        if area[1] > 1:
            raise UserError(f"random_resized_crop: area={tuple(area)} is more than the image, 1")
        self.height, self.width = size
        self.area, self.ratio = area, ratio

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        assert rng is not None, "a random transform gets a generator"
        image = _image(example, "random_resized_crop")
        box = self.draw(rng, *image.shape[:2])
        return {**example, "image": _resize(_part(image, *box), self.height, self.width)}

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop: the first of ten tries that fits.

        A try has a part of the area drawn evenly, and a ratio drawn evenly in its logarithm.
        """
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_ATTEMPTS):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(low, high))
            box_height = round(math.sqrt(pixels / ratio))
            box_width = round(math.sqrt(pixels * ratio))
            if 0 < box_height <= height and 0 < box_width <= width:
                top = int(rng.integers(0, height - box_height + 1))
                left = int(rng.integers(0, width - box_width + 1))
                return top, left, box_height, box_width
        # Where nothing fits, as of images that are very wide: what fits of the middle.
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        box_height = max(1, min(height, round(width / ratio)))
        box_width = max(1, min(width, round(height * ratio)))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


class Select:
    """Only the given keys of the example.

    Args:
      keys: those to keep.
    """

    random = False

    def __init__(self, keys: tuple[str, ...]):
        self.keys = tuple(keys)

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        return {key: _value(example, key, "select") for key in self.keys}


class Rename:
    """Keys of the example under other names; the rest stay as they are.

    Args:
      names: new name by old name: `rename(x="image", y="label")`.
    """

    random = False

    def __init__(self, **names: str):
        self.names = names

    def __call__(self, example: Example, rng: Rng = None) -> Example:
        values = [(new, _value(example, old, "rename")) for old, new in self.names.items()]
        renamed = {key: value for key, value in example.items() if key not in self.names}
        for new, value in values:
            if new in renamed:
                raise UserError(f"rename: the example has two values for {new!r}")
            renamed[new] = value
        return renamed


def _value(example: Mapping[str, object], key: str, transform: str) -> object:
    if key not in example:
        raise UserError(f"{transform}: the example has no {key!r}; {suggest(key, example)}")
    return example[key]


def _image(example: Mapping[str, object], transform: str) -> Pixels:
    image = np.asarray(_value(example, "image", transform))
    if image.ndim != 3:
        raise UserError(f"{transform}: image has shape {image.shape}, not height, width, channel")
    return image


def _check_size(transform: str, size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise UserError(f"{transform}: size={tuple(size)}: height and width must be at least 1")


def _part(image: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    return image[top : top + height, left : left + width]


def _resize(image: Pixels, height: int, width: int) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    if image.dtype == np.uint8 and image.shape[2] in _PILLOW_CHANNELS:
        planes = [image[..., 0] if image.shape[2] == 1 else image]
    else:
        planes = [channel.astype(np.float32) for channel in np.moveaxis(image, 2, 0)]
    resized = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in planes
    ]
    pixels = resized[0] if resized[0].ndim == 3 else np.stack(resized, axis=-1)
    if np.issubdtype(image.dtype, np.integer):
        pixels = np.round(pixels)
    return pixels.astype(image.dtype)
