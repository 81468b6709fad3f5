"""What an augmentation is, how several are applied, and what most of them begin and end with."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, Shaped

from dlresearch.errors import UserError, located, suggest

Batch: TypeAlias = dict[str, Array]
Images: TypeAlias = Shaped[Array, "batch height width channel"]


class Augmentation(Protocol):
    """From one batch to the next, on the device, compiled into the step.

    `random` says whether the key is used. One that has `reads_visit = True` finds in every batch
    also `example`, the numbers of its examples in the source, and `epoch`, how often each was seen
    before; both int32 [batch].
    """

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


def image_of(batch: Batch, augmentation: str) -> Images:
    """`batch["image"]`, or an error in the name of the augmentation."""
    if "image" not in batch:
        raise UserError(f"{augmentation}: the batch has no 'image'; {suggest('image', batch)}")
    image = batch["image"]
    if image.ndim != 4:
        raise UserError(
            f"{augmentation}: 'image' has shape {image.shape}, not batch, height, width, channel"
        )
    return image


def check_probability(augmentation: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise UserError(f"{augmentation}: probability={probability} is not in [0, 1]")


def check_interval(
    augmentation: str, name: str, interval: tuple[float, float], *, above: float = 0.0
) -> None:
    """Refuse what is not two numbers in order, both greater than `above`."""
    low, high = interval
    if not above < low <= high:
        raise UserError(
            f"{augmentation}: {name}={tuple(interval)}: give the lowest and the highest, both"
            f" above {above:g}"
        )


def sometimes(key: Key[Array, ""], probability: float, changed: Images, image: Images) -> Images:
    """Each image as it was changed with the probability, else as it was."""
    if probability == 1:
        return changed
    choice = jax.random.bernoulli(key, probability, (image.shape[0], 1, 1, 1))
    return jnp.where(choice, changed, image)


def by_image(values: Shaped[Array, " batch"]) -> Shaped[Array, "batch 1 1 1"]:
    """One value an image, in a shape that goes with images."""
    return values[:, None, None, None]


def stored(values: Float[Array, "*shape"], dtype: DTypeLike) -> Shaped[Array, "*shape"]:
    """Values in the type that images have: rounded to the nearest and clipped where it is an
    integer.
    """
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        values = jnp.clip(jnp.round(values), limits.min, limits.max)
    return values.astype(dtype)
