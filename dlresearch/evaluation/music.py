"""How well the frames of pieces are predicted."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dlresearch.evaluation.evaluator import Summed
from dlresearch.tasks import Batch, frame_nll, require


class PolyphonicMusicEvaluator(Summed):
    """`nll_frame`, the mean over frames of the sum over notes of the cross-entropy, in nats.

    The mean is over all frames of all pieces but the first of each piece, which has nothing before
    it, as Bai et al. 2018 (arXiv:1803.01271) compute it in their code; `nll_frame_with_first` also
    counts these. `frame_accuracy` is TP / (TP + FP + FN), summed over the same frames as
    `nll_frame`, of the notes that are likelier than not (Bay et al. 2009).

    Args:
      notes: key of the piano rolls [batch, time, 88].
      length: key of the number of frames of each piece [batch].
    """

    def __init__(self, notes: str = "notes", length: str = "length"):
        super().__init__()
        self.notes, self.length = notes, length

    def update(self, outputs: Float[Array, "batch time 88"], batch: Batch) -> dict[str, Array]:
        notes = require(batch, self.notes, "notes")
        nll, within = frame_nll(outputs, notes, require(batch, self.length, "length"))
        every = within & batch["mask"][:, None]
        later = every & (jnp.arange(notes.shape[1]) > 0)
        played, expected = (outputs > 0) & later[..., None], (notes > 0) & later[..., None]
        return {
            "nll": jnp.sum(jnp.where(later, nll, 0.0)),
            "frames": jnp.sum(later),
            "nll_with_first": jnp.sum(jnp.where(every, nll, 0.0)),
            "frames_with_first": jnp.sum(every),
            "right": jnp.sum(played & expected),
            "either": jnp.sum(played | expected),
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            "nll_frame": sums["nll"] / np.maximum(sums["frames"], 1),
            "nll_frame_with_first": sums["nll_with_first"]
            / np.maximum(sums["frames_with_first"], 1),
            "frame_accuracy": sums["right"] / np.maximum(sums["either"], 1),
            "frames": sums["frames"],
        }
