"""Mirrored images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    by_image,
    check_probability,
    image_of,
)
from dlresearch.data.order import EPOCH, EXAMPLE
from dlresearch.errors import UserError


class Flip:
    """Mirror images left to right.

    Args:
      probability: that an image is mirrored.
    """

    random = True

    def __init__(self, probability: float = 0.5):
        check_probability("flip", probability)
        self.probability = probability

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "flip")
        flip = jax.random.bernoulli(key, self.probability, (image.shape[0],))
        return {**batch, "image": mirror(image, flip)}


class AlternatingFlip:
    """Mirror each image left to right in every second epoch.

    Half of the images, always the same, begin mirrored. Any two epochs in a row then show an
    example both ways, where `flip` shows every second one the same way twice (Jordan 2024,
    arXiv:2404.00498, section 3.6).
    """

    random = True  # Not by the key, but it is for training alone.
    reads_visit = True

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "alternating_flip")
        if missing := {EXAMPLE, EPOCH} - batch.keys():
            raise UserError(
                f"alternating_flip: the batch has no {' and no '.join(map(repr, sorted(missing)))},"
                " which the trainer adds; keep them"
            )
        flip = starts_mirrored(batch[EXAMPLE]) ^ (batch[EPOCH] % 2 == 1)
        return {**batch, "image": mirror(image, flip)}


def mirror(image: Images, where: Bool[Array, " batch"]) -> Images:
    """The images mirrored left to right of which `where` is True."""
    return jnp.where(by_image(where), image[:, :, ::-1], image)


def starts_mirrored(example: Int[Array, " batch"]) -> Bool[Array, " batch"]:
    """A coin for each example that falls the same way every time."""
    key = jax.random.key(0)
    return jax.vmap(lambda number: jax.random.bernoulli(jax.random.fold_in(key, number)))(example)
