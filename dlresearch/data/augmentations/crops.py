"""Parts of images, at random places."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, Shaped

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    check_interval,
    check_probability,
    image_of,
    sometimes,
)
from dlresearch.data.augmentations.boxes import draw_boxes
from dlresearch.data.augmentations.resampling import crop_map, resample
from dlresearch.errors import UserError, suggest


class ShiftedCrop:
    """Pad images on all sides, then crop each at a random place to the size it had.

    The same as shifting each by whole pixels, to any side. The usual augmentation of CIFAR (He et
    al. 2016, arXiv:1512.03385, section 4.2, with zeros).

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
        image = image_of(batch, "shifted_crop")
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
        # 128 x 32 x 32 x 3), and nothing is padded. By `vmap`, so that XLA sees that no image needs
        # the pixels of another device.
        if self.mode == "zeros":
            # Above the size is out of bounds, and filled; below 0 would count from the end.
            row, column = jnp.where(row < 0, height, row), jnp.where(column < 0, width, column)
            crop = jax.vmap(_filled)(image, row, column)
        else:
            crop = jax.vmap(_part)(image, _reflect(row, height), _reflect(column, width))
        return {**batch, "image": crop}


class RandomResizedCrop:
    """Crop images at a random place to a random size and shape, and resize the crops to one size.

    As Inception was trained (Szegedy et al. 2015, arXiv:1409.4842, section 6), with the draws of
    torchvision. Bilinear with anti-aliasing, as Pillow resizes.

    Args:
      size: height and width of the result; None keeps those of the images. Evaluation sees images
        in the size they have without augmentation.
      area: smallest and largest part of the image that a crop shows.
      ratio: lowest and highest width divided by height.
      probability: that an image is cropped; others keep their whole, so `size` has to be theirs.
    """

    random = True

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        probability: float = 1.0,
    ):
        if size is not None and min(size) < 1:
            raise UserError(f"random_resized_crop: size={tuple(size)} must be at least 1")
        check_interval("random_resized_crop", "area", area)
        check_interval("random_resized_crop", "ratio", ratio)
        if area[1] > 1:
            raise UserError(f"random_resized_crop: area={tuple(area)} is more than the image, 1")
        check_probability("random_resized_crop", probability)
        self.size, self.area, self.ratio, self.probability = size, area, ratio, probability

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "random_resized_crop")
        box_key, choice_key = jax.random.split(key)
        count, height, width, _ = image.shape
        size = (height, width) if self.size is None else self.size
        if self.probability < 1 and size != (height, width):
            raise UserError(
                f"random_resized_crop: some images stay {height} by {width}, as"
                f" probability={self.probability}, and size={size}; leave one of them out"
            )
        boxes = self.draw(box_key, count, height, width)
        crops = resized_crop(image, boxes, size)
        return {**batch, "image": sometimes(choice_key, self.probability, crops, image)}

    def draw(
        self, key: Key[Array, ""], count: int, height: int, width: int
    ) -> Int[Array, "count 4"]:
        """Top, left, height and width of crops."""
        boxes, found = draw_boxes(key, count, (height, width), self.area, self.ratio)
        # Where nothing fits, as of images that are very wide: what fits of the middle.
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_height = min(height, round(width / ratio))
        crop_width = min(width, round(height * ratio))
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
        middle = jnp.array([top, left, crop_height, crop_width], jnp.int32)
        return jnp.where(found[:, None], boxes, middle)


def resized_crop(image: Images, box: Int[Array, "batch 4"], size: tuple[int, int]) -> Images:
    """The box (top, left, height, width) of each image, resized; uint8 is rounded to the nearest,
    once, where Pillow rounds after each axis.
    """
    _, height, width, _ = image.shape
    top, left, box_height, box_width = box.T
    rows = crop_map(top, box_height, height, size[0])
    return resample(image, rows, crop_map(left, box_width, width, size[1]))


def _part(
    pixels: Shaped[Array, "height width channel"],
    row: Int[Array, " height"],
    column: Int[Array, " width"],
) -> Shaped[Array, "height width channel"]:
    return pixels[row[:, None], column]


def _filled(
    pixels: Shaped[Array, "height width channel"],
    row: Int[Array, " height"],
    column: Int[Array, " width"],
) -> Shaped[Array, "height width channel"]:
    return pixels.at[row[:, None], column].get(mode="fill", fill_value=0)


def _reflect(index: Int[Array, "..."], length: int) -> Int[Array, "..."]:
    """Indices off an axis mirrored into it, the border pixel not repeated (`reflect` of NumPy)."""
    index = jnp.abs(index)
    return jnp.where(index >= length, 2 * (length - 1) - index, index)
