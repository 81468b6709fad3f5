"""Host transforms: functions of one example, run where examples are read.

Called as `transform(example, rng)`. If the class attribute `random` is True, `rng` is a generator
that belongs to the example and the place it has in the order of the run; else it is None. A
transform without that attribute counts as random.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from dlresearch.data.source import Example
from dlresearch.errors import UserError, suggest

Rng: TypeAlias = np.random.Generator | None
_PILLOW_CHANNELS = (1, 3, 4)


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
        image = _value(example, "image", "resize")
        return {**example, "image": _resize(np.asarray(image), self.height, self.width)}


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


def _resize(
    image: Shaped[np.ndarray, "height width channel"], height: int, width: int
) -> Shaped[np.ndarray, "new_height new_width channel"]:
    if image.ndim != 3:
        raise UserError(f"resize: image has shape {image.shape}, not height, width, channel")
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
