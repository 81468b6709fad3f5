"""Two examples in one, with labels that say how much of each.

The partner of an example is the one before it in the batch, whose order is random: what others draw
anew, and between devices a row each instead of all.

An integer label becomes weights of the classes, float32 [batch, classes]; floating labels, such as
those weights or the target of a regression, are mixed as they are. So two mixtures can follow each
other.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    check_probability,
    image_of,
    stored,
)
from dlresearch.data.augmentations.boxes import inside
from dlresearch.errors import UserError, suggest


class _Mixture:
    """What both share: who is mixed, by how much, and the labels."""

    random = True

    def __init__(
        self, name: str, alpha: float, probability: float, labels: str, num_classes: int | None
    ):
        if not alpha > 0:
            raise UserError(f"{name}: alpha={alpha} must be positive")
        if num_classes is not None and num_classes < 1:
            raise UserError(f"{name}: num_classes={num_classes} is not at least 1")
        check_probability(name, probability)
        self.name, self.alpha, self.probability = name, alpha, probability
        self.labels, self.num_classes = labels, num_classes

    def _own_part(self, key: Key[Array, ""], count: int) -> Float[Array, " batch"]:
        """From Beta(alpha, alpha), and 1 where an example is left alone."""
        part_key, choice_key = jax.random.split(key)
        part = symmetric_beta(part_key, self.alpha, count)
        mixed = jax.random.bernoulli(choice_key, self.probability, (count,))
        return jnp.where(mixed, part, 1.0)

    def _mixed_labels(
        self, batch: Batch, part: Float[Array, " batch"]
    ) -> Float[Array, "batch ..."]:
        if self.labels not in batch:
            raise UserError(
                f"{self.name}: the batch has no {self.labels!r}; {suggest(self.labels, batch)}"
            )
        labels = batch[self.labels]
        if jnp.issubdtype(labels.dtype, jnp.integer):
            if labels.ndim != 1:
                raise UserError(
                    f"{self.name}: {self.labels!r} has shape {labels.shape}; it mixes one class an"
                    " example, or floating weights"
                )
            if self.num_classes is None:
                raise UserError(
                    f"{self.name}: the source does not say how many classes there are; set"
                    " num_classes"
                )
            labels = jax.nn.one_hot(labels, self.num_classes)
        return mix(labels, part)


class Mixup(_Mixture):
    """Blend each image and label with those of another (Zhang et al. 2017, arXiv:1710.09412).

    Args:
      alpha: of Beta(alpha, alpha), from which each example's own part is drawn; small values leave
        most examples nearly alone.
      probability: that an example is mixed.
      labels: key of what is mixed beside the image.
      num_classes: of integer labels; None takes what the training source says.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        probability: float = 1.0,
        labels: str = "label",
        num_classes: int | None = None,
    ):
        super().__init__("mixup", alpha, probability, labels, num_classes)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "mixup")
        part = self._own_part(key, image.shape[0])
        mixed = {"image": mix(image, part), self.labels: self._mixed_labels(batch, part)}
        return {**batch, **mixed}


class CutMix(_Mixture):
    """Cover a box of each image by what another has there (Yun et al. 2019, arXiv:1905.04899).

    Labels are mixed by the area that is covered.

    Args:
      alpha: of Beta(alpha, alpha), from which the part that is not covered is drawn.
      probability: that an example is mixed.
      labels: key of what is mixed beside the image.
      num_classes: of integer labels; None takes what the training source says.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        probability: float = 0.5,
        labels: str = "label",
        num_classes: int | None = None,
    ):
        super().__init__("cutmix", alpha, probability, labels, num_classes)

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "cutmix")
        count, height, width, _ = image.shape
        part_key, place_key = jax.random.split(key)
        part = self._own_part(part_key, count)
        box = draw_patch(place_key, part, height, width)
        pasted = jnp.where(inside(box, height, width), partners(image), image)
        # What the box lost at the border stays with the example.
        own = 1 - box[:, 2] * box[:, 3] / (height * width)
        return {**batch, "image": pasted, self.labels: self._mixed_labels(batch, own)}


def symmetric_beta(key: Key[Array, ""], alpha: float, count: int) -> Float[Array, " count"]:
    """Draws from Beta(alpha, alpha) by a formula without rejection (Devroye 1996, "Random variate
    generation in one line of code").

    `jax.random.beta` tries until all are accepted, and after each try a GPU waits for the host, and
    devices for each other.
    """
    radius_key, angle_key, side_key = jax.random.split(key, 3)
    radius = jnp.expm1(-jnp.log(jax.random.uniform(radius_key, (count,))) / alpha)
    cosine = jnp.cos(2 * jnp.pi * jax.random.uniform(angle_key, (count,)))
    side = jax.random.rademacher(side_key, (count,), jnp.float32)
    return 0.5 + 0.5 * side / jnp.sqrt(1 + 1 / (radius * jnp.square(cosine)))


def partners(values: Array) -> Array:
    """For each row of a batch the one before it."""
    return jnp.roll(values, 1, axis=0)


def mix(values: Images, part: Float[Array, " batch"]) -> Array:
    """`part * values + (1 - part) * partners(values)`; uint8 is rounded to the nearest."""
    part = part.reshape(-1, *(1,) * (values.ndim - 1))
    own, other = (each.astype(jnp.float32) for each in (values, partners(values)))
    return stored(part * own + (1 - part) * other, values.dtype)


def draw_patch(
    key: Key[Array, ""], part: Float[Array, " batch"], height: int, width: int
) -> Int[Array, "batch 4"]:
    """Boxes (top, left, height, width) of the shape of the image that leave `part` of it, around
    any point of it, cut off at its border.
    """
    row_key, column_key = jax.random.split(key)
    ends = []
    for axis_key, size in ((row_key, height), (column_key, width)):
        length = jnp.floor(size * jnp.sqrt(1 - part)).astype(jnp.int32)
        start = jax.random.randint(axis_key, part.shape, 0, size) - length // 2
        first = jnp.clip(start, 0, size)
        ends.append((first, jnp.clip(start + length // 2 * 2, 0, size) - first))
    (top, box_height), (left, box_width) = ends
    return jnp.stack([top, left, box_height, box_width], axis=1)
