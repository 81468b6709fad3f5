"""Test-time augmentation: the mean prediction over several views of each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Predict
from dlresearch.tasks import Batch, Variables, require

Images = Shaped[Array, "batch height width channel"]


class Views(Protocol):
    """From images, as the source gives them, to pairs (weight, images); weights add up to 1."""

    def __call__(self, image: Images) -> Sequence[tuple[float, Images]]: ...


class Flip:
    """Each image as it is and mirrored left to right."""

    def __call__(self, image: Images) -> Sequence[tuple[float, Images]]:
        return [(0.5, image), (0.5, image[:, :, ::-1])]


class FlipAndShift:
    """As it is, and shifted up and left and down and right, each also mirrored left to right.

    The shifted ones count half as much as the others; what comes in at the border is a reflection
    (Jordan 2024, arXiv:2404.00498, section 2.5).

    Args:
      pixels: how far.
    """

    def __init__(self, pixels: int = 1):
        if pixels < 1:
            raise UserError(f"pixels={pixels}: must be at least 1")
        self.pixels = pixels

    def __call__(self, image: Images) -> Sequence[tuple[float, Images]]:
        by, (_, height, width, _) = self.pixels, image.shape
        if by >= min(height, width):
            raise UserError(f"pixels={by}: too far for images {height} by {width}")
        padded = jnp.pad(image, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect")
        return [
            (weight * share, flipped)
            for weight, shifted in (
                (0.5, image),
                (0.25, padded[:, :height, :width]),
                (0.25, padded[:, 2 * by :, 2 * by :]),
            )
            for share, flipped in Flip()(shifted)
        ]


@dataclass(frozen=True)
class OverViews:
    """Predictions, arrays with a row for each example, as their mean over views of `image`."""

    predict: Predict
    views: Views

    def __call__(self, variables: Variables, batch: Batch) -> Any:
        views = self.views(require(batch, "image", "views"))
        outputs = [self.predict(variables, {**batch, "image": image}) for _, image in views]
        weights = [weight for weight, _ in views]
        return jax.tree.map(
            lambda *each: sum(w * one for w, one in zip(weights, each, strict=True)), *outputs
        )
