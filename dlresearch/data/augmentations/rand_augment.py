"""RandAugment: some of fourteen changes, drawn anew for each image, all of one strength.

Every image of a batch draws another change, and a device computes all of a batch at once. So
changes of one kind are one computation with other numbers: five are an affine map, four a blend
with a base, and what is left is done level by level.
"""

from enum import IntEnum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dlresearch.data.augmentations.affine import about_middle, affine
from dlresearch.data.augmentations.augmentation import (
    Batch,
    by_image,
    check_probability,
    image_of,
    sometimes,
)
from dlresearch.data.augmentations.colour import Pixels, blend, grey, mean_grey
from dlresearch.data.augmentations.tones import autocontrast, equalise, posterise, solarise
from dlresearch.data.augmentations.values import WHITE, Levels
from dlresearch.errors import UserError

_LARGEST = 30.0  # magnitude
# At the largest magnitude, as in torchvision, whose figures are those of AutoAugment (Cubuk et al.
# 2018, arXiv:1805.09501, appendix).
_SHEAR = 0.3
_TRANSLATION = 150 / 331  # of the side: 150 pixels of the images used there
_DEGREES = 30.0
_BLEND = 0.9
_BITS = 4


class Change(IntEnum):
    """The fourteen of the paper."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    SATURATION = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERISE = 10
    SOLARISE = 11
    AUTOCONTRAST = 12
    EQUALISE = 13


_AFFINE = (
    Change.SHEAR_X,
    Change.SHEAR_Y,
    Change.TRANSLATE_X,
    Change.TRANSLATE_Y,
    Change.ROTATE,
)
_BLENDS = (Change.BRIGHTNESS, Change.SATURATION, Change.CONTRAST, Change.SHARPNESS)


class RandAugment:
    """Change each image some times in some of fourteen ways (Cubuk et al. 2019, arXiv:1909.13719).

    Rotation, shears (from the upper left corner, as in Pillow) and moves, without interpolation;
    brightness, contrast, saturation, sharpness; posterise, solarise, autocontrast, equalise; and
    none at all. What has a direction takes either.

    Args:
      num_ops: changes one after another.
      magnitude: strength of each, from 0 to 30.
      fill: level, 0 (black) to 255, of what comes from outside of the image.
      probability: that an image is changed.
      black: value of black, for all channels or for each; None for uint8 images.
      white: likewise of white.
    """

    random = True

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9.0,
        fill: float = 0.0,
        probability: float = 1.0,
        black: tuple[float, ...] | None = None,
        white: tuple[float, ...] | None = None,
    ):
        if num_ops < 1:
            raise UserError(f"rand_augment: num_ops={num_ops} must be at least 1")
        if not 0 <= magnitude <= _LARGEST:
            raise UserError(f"rand_augment: magnitude={magnitude} is not in [0, 30]")
        if not 0 <= fill <= WHITE:
            raise UserError(f"rand_augment: fill={fill} is not in [0, 255]")
        check_probability("rand_augment", probability)
        self.num_ops, self.magnitude, self.fill = num_ops, magnitude, fill
        self.probability = probability
        self.levels = Levels("rand_augment", black, white)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "rand_augment")
        draw_key, choice_key = jax.random.split(key)
        changes, strengths = self.draw(draw_key, image.shape[0])
        whole = jnp.issubdtype(image.dtype, jnp.integer)

        def apply(levels: Pixels, drawn: tuple[Array, Array]) -> tuple[Pixels, None]:
            levels = apply_changes(levels, *drawn, self.fill)
            return jnp.round(levels) if whole else levels, None

        # A scan, as XLA would compute much of the first change anew for each part of the second:
        # on CPU two changes take a third of the time.
        levels, _ = jax.lax.scan(apply, self.levels.of(image), (changes, strengths))
        changed = self.levels.back(levels, image)
        return {**batch, "image": sometimes(choice_key, self.probability, changed, image)}

    def draw(
        self, key: Key[Array, ""], count: int
    ) -> tuple[Int[Array, "num_ops count"], Float[Array, "num_ops count"]]:
        """Which changes, and their strengths, from -1 to 1."""
        change_key, side_key = jax.random.split(key)
        changes = jax.random.randint(change_key, (self.num_ops, count), 0, len(Change))
        sides = jax.random.rademacher(side_key, (self.num_ops, count), jnp.float32)
        return changes, sides * (self.magnitude / _LARGEST)


def apply_changes(
    levels: Pixels, change: Int[Array, " batch"], strength: Float[Array, " batch"], fill: float
) -> Pixels:
    """One change of each image.

    Args:
      change: values of `Change`.
      strength: from -1 to 1; the sign is the direction, of changes that have one.
      fill: level of what comes from outside of the image.
    """

    def has(*changes: Change) -> Bool[Array, "batch 1 1 1"]:
        return by_image(jnp.isin(change, jnp.array(changes)))

    _, height, width, _ = levels.shape
    size = jnp.abs(strength)
    base = jnp.where(has(Change.SATURATION), grey(levels), 0.0)
    base = jnp.where(has(Change.CONTRAST), mean_grey(levels), base)
    base = jnp.where(has(Change.SHARPNESS), smooth(levels), base)
    bits = 8 - jnp.round(_BITS * size).astype(jnp.int32)
    moved = affine(levels, _matrices(change, strength, height, width), fill, "nearest")
    changes = (
        (has(*_AFFINE), moved),
        (has(*_BLENDS), blend(base, levels, by_image(1 + _BLEND * strength))),
        (has(Change.POSTERISE), posterise(levels, by_image(bits))),
        (has(Change.SOLARISE), solarise(levels, by_image(WHITE * (1 - size)))),
        (has(Change.AUTOCONTRAST), autocontrast(levels)),
        (has(Change.EQUALISE), equalise(levels)),
    )
    changed = levels
    for chosen, candidate in changes:
        changed = jnp.where(chosen, candidate, changed)
    return changed


def smooth(levels: Pixels) -> Pixels:
    """Each pixel as a mean of it (5 of 13) and its eight neighbours, but for those at the border:
    the base of sharpness (Pillow's filter SMOOTH).
    """
    _, height, width, _ = levels.shape
    padded = jnp.pad(levels, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    # Chosen afterwards: to write the inner part only, XLA:CPU takes five times as long.
    row, column = jnp.arange(height)[:, None], jnp.arange(width)
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return jnp.where(inner[..., None], (total + 4 * levels) / 13, levels)


def _matrices(
    change: Int[Array, " batch"], strength: Float[Array, " batch"], height: int, width: int
) -> Float[Array, "batch 2 3"]:
    """The maps of affine changes as `affine` takes them; those of others change nothing."""

    def of(which: Change, largest: Array | float) -> Float[Array, " batch"]:
        return jnp.where(change == which, largest * strength, 0.0)

    none = jnp.zeros_like(strength)
    angle = of(Change.ROTATE, jnp.deg2rad(_DEGREES))
    rotation = about_middle(angle, none, none + 1, jnp.zeros((*strength.shape, 2)), height, width)
    # Whole pixels, as in torchvision.
    across = jnp.trunc(of(Change.TRANSLATE_X, _TRANSLATION * width))
    down = jnp.trunc(of(Change.TRANSLATE_Y, _TRANSLATION * height))
    rows = [[none, of(Change.SHEAR_X, _SHEAR), across], [of(Change.SHEAR_Y, _SHEAR), none, down]]
    return rotation + jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
