"""Pieces of music in another key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, Shaped

from dlresearch.data.augmentations.augmentation import Batch
from dlresearch.errors import UserError, suggest


class Transpose:
    """Move all notes of a piece up or down by the same number of semitones.

    It is drawn uniformly for each piece. Notes that would leave the keyboard are left out.

    Args:
      down: at most so many semitones down.
      up: at most so many up; 5 and 6 reach each of the twelve keys once.
      notes: key of the piano rolls [batch, time, note].
    """

    random = True

    def __init__(self, down: int = 5, up: int = 6, notes: str = "notes"):
        if down < 0 or up < 0:
            raise UserError(f"transpose: down={down}, up={up}: neither may be negative")
        self.down, self.up, self.notes = down, up, notes

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        if self.notes not in batch:
            hint = suggest(self.notes, batch)
            raise UserError(f"transpose: the batch has no {self.notes!r}; {hint}")
        notes = batch[self.notes]
        if notes.ndim != 3:
            raise UserError(
                f"transpose: {self.notes!r} has shape {list(notes.shape)}, not batch, time, note"
            )
        semitones = jax.random.randint(key, (notes.shape[0],), -self.down, self.up + 1)
        return {**batch, self.notes: transposed(notes, semitones)}


def transposed(
    notes: Shaped[Array, "batch time note"], semitones: Int[Array, " batch"]
) -> Shaped[Array, "batch time note"]:
    """Piano rolls moved up; what would leave the keyboard is left out."""
    source = jnp.arange(notes.shape[-1]) - semitones[:, None]
    moved = jnp.take_along_axis(
        notes, jnp.clip(source, 0, notes.shape[-1] - 1)[:, None, :], axis=-1
    )
    there = (source >= 0) & (source < notes.shape[-1])
    return jnp.where(there[:, None, :], moved, jnp.zeros((), notes.dtype))
