"""Where a vision transformer looks."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Predict
from dlresearch.evaluation.grid import grid, png, stretched, to_bytes
from dlresearch.evaluation.self_supervised.first_examples import FirstExamples
from dlresearch.tasks import Batch, Variables


class AttentionMapsEvaluator(FirstExamples):
    """A picture of the attention of the last block to the patches (Caron et al. 2021,
    arXiv:2104.14294, figure 1); reads one batch.

    File: `attention.png`, in each row an image, then a map for each head: white where the head
    looks most, black where it does not look, each map by itself.

    Args:
      examples: rows, the first examples of the source.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      outputs_of: gives the attention; from the trainer.

    Raises:
      UserError: a number that cannot be, a task or model that has no attention to patches, or what
        is no image.
    """

    def __init__(
        self,
        examples: int = 8,
        scale: int = 2,
        image: str = "image",
        outputs_of: Callable[[str], Predict] | None = None,
    ):
        super().__init__(examples, scale, image, "attention", outputs_of)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, bytes]:
        del predict
        images, attention = self._first(variables, batches)
        first = to_bytes(stretched(images))
        rows = [
            np.concatenate([image[None], enlarged(shown(heads), image)])
            for image, heads in zip(first, attention, strict=True)
        ]
        return {"attention.png": png(grid(rows, self.scale))}


def shown(
    attention: Float[np.ndarray, "heads rows columns"],
) -> UInt8[np.ndarray, "heads rows columns 3"]:
    """From 0, black, to the most of each head, white."""
    most = attention.max(axis=(1, 2), keepdims=True)
    share = np.nan_to_num(attention / np.maximum(most, np.finfo(np.float32).tiny))
    levels = np.round(255 * share).astype(np.uint8)
    return np.broadcast_to(levels[..., None], (*levels.shape, 3))


def enlarged(
    maps: Shaped[np.ndarray, "map rows columns channels"],
    image: Shaped[np.ndarray, "height width channels"],
) -> Shaped[np.ndarray, "map height width channels"]:
    """Maps in the size of an image, a square for each patch."""
    height, width = image.shape[:2]
    rows, columns = maps.shape[1:3]
    if height % rows or width % columns:
        raise UserError(
            f"the model reads {rows}x{columns} patches, and images of the source are"
            f" {height}x{width}; show images that divide into them"
        )
    return maps.repeat(height // rows, axis=1).repeat(width // columns, axis=2)
