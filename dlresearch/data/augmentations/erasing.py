"""Parts of images covered."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    by_image,
    check_interval,
    check_probability,
    image_of,
)
from dlresearch.data.augmentations.boxes import draw_boxes, inside
from dlresearch.errors import UserError


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
        image = image_of(batch, "cutout")
        count, height, width, _ = image.shape
        row_key, column_key = jax.random.split(key)
        top = jax.random.randint(row_key, (count,), 0, height) - self.size // 2
        left = jax.random.randint(column_key, (count,), 0, width) - self.size // 2
        side = jnp.full_like(top, self.size)
        box = jnp.stack([top, left, side, side], axis=1)
        fill = jnp.asarray(self.fill, image.dtype)
        return {**batch, "image": jnp.where(inside(box, height, width), fill, image)}


class Erasing:
    """Fill a box of random place, size and shape (Zhong et al. 2017, arXiv:1708.04896).

    The defaults are those of torchvision; ratios are drawn evenly in their logarithm.

    Args:
      probability: that there is one in an image.
      area: its smallest and largest part of the image.
      ratio: its lowest and highest width divided by height.
      fill: the value inside, in the units that the image has at this place of the pipeline.
      noise: fill with noise instead, as the authors do: every level of uint8 as often, or normal
        with mean 0 and deviation 1 in other images, which are normalised then.
    """

    random = True

    def __init__(
        self,
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: float = 0.0,
        noise: bool = False,
    ):
        check_probability("erasing", probability)
        check_interval("erasing", "area", area)
        check_interval("erasing", "ratio", ratio)
        if area[1] > 1:
            raise UserError(f"erasing: area={tuple(area)} is more than the image, 1")
        self.probability, self.area, self.ratio = probability, area, ratio
        self.fill, self.noise = fill, noise

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "erasing")
        count, height, width, _ = image.shape
        box_key, choice_key, noise_key = jax.random.split(key, 3)
        box, found = draw_boxes(box_key, count, (height, width), self.area, self.ratio)
        erased = found & jax.random.bernoulli(choice_key, self.probability, (count,))
        covered = inside(box, height, width) & by_image(erased)
        return {**batch, "image": jnp.where(covered, self._cover(noise_key, image), image)}

    def _cover(self, key: Key[Array, ""], image: Images) -> Array:
        if not self.noise:
            return jnp.asarray(self.fill, image.dtype)
        if jnp.issubdtype(image.dtype, jnp.integer):
            return jax.random.bits(key, image.shape, jnp.uint8).astype(image.dtype)
        return jax.random.normal(key, image.shape, image.dtype)
