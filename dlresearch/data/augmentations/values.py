"""What pixel values mean: numbers for a model, or levels of brightness for changes of colour."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dlresearch.data.augmentations.augmentation import Batch, Images, image_of, stored
from dlresearch.errors import UserError

WHITE = 255.0  # as a level


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
        image = image_of(batch, "normalise")
        for name, values in (("mean", self.mean), ("std", self.std)):
            _check_channels("normalise", name, values, image)
        mean, std = jnp.asarray(self.mean, jnp.float32), jnp.asarray(self.std, jnp.float32)
        normalised: Float[Array, "batch height width channel"]
        normalised = (image.astype(jnp.float32) / self.scale - mean) / std
        return {**batch, "image": normalised}


class Levels:
    """Pixel values as levels of brightness, float32 from 0 (black) to 255 (white), and back.

    Photometric changes are defined on levels. uint8 values are levels; others become levels by the
    values that black and white have in them.

    Args:
      augmentation: whose images they are, for messages.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    def __init__(
        self,
        augmentation: str,
        black: tuple[float, ...] | None,
        white: tuple[float, ...] | None,
    ):
        if (black is None) != (white is None):
            raise UserError(f"{augmentation}: give both black and white, or neither")
        self.augmentation = augmentation
        self.black = None if black is None else tuple(black)
        self.white = None if white is None else tuple(white)

    def of(self, image: Images) -> Float[Array, "batch height width channel"]:
        """The levels of images."""
        if self.black is None and image.dtype == jnp.uint8:
            return image.astype(jnp.float32)
        black, white = self._ends(image)
        return (image.astype(jnp.float32) - black) * (WHITE / (white - black))

    def back(self, levels: Float[Array, "batch height width channel"], image: Images) -> Images:
        """Levels as the values that `image` would have; rounded to the nearest where these are
        integers.
        """
        if self.black is None and image.dtype == jnp.uint8:
            return stored(levels, image.dtype)
        black, white = self._ends(image)
        return stored(black + levels * ((white - black) / WHITE), image.dtype)

    def _ends(self, image: Images) -> tuple[Float[Array, " channel"], Float[Array, " channel"]]:
        if self.black is None or self.white is None:
            raise UserError(
                f"{self.augmentation}: images are {image.dtype} here; set black and white to the"
                " values that these have, such as (-1,) and (1,) after normalise"
            )
        for name, values in (("black", self.black), ("white", self.white)):
            _check_channels(self.augmentation, name, values, image)
        black, white = (jnp.asarray(each, jnp.float32) for each in (self.black, self.white))
        return black, white


def _check_channels(augmentation: str, name: str, values: tuple[float, ...], image: Images) -> None:
    if len(values) not in (1, image.shape[-1]):
        raise UserError(
            f"{augmentation}: {name} has {len(values)} values, the images have"
            f" {image.shape[-1]} channels; give one value, or one a channel"
        )
