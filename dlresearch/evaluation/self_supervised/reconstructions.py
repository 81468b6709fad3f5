"""What a masked autoencoder makes of the patches it does not see."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float, Shaped

from dlresearch.evaluation.evaluator import Predict
from dlresearch.evaluation.grid import grid, png, stretched
from dlresearch.evaluation.self_supervised.first_examples import FirstExamples
from dlresearch.tasks import Batch, Variables

_COLUMNS = ("image", "masked", "reconstruction")


class ReconstructionsEvaluator(FirstExamples):
    """A picture of reconstructions, of the same patches at every step; reads one batch.

    File: `reconstructions.png`, in each row an image, what the model sees of it, and the same with
    the patches it tells, in the colours of the source.

    Args:
      examples: rows, the first examples of the source.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      outputs_of: gives reconstructions; from the trainer.

    Raises:
      UserError: a number that cannot be, a task that reconstructs nothing, or what is no image.
    """

    def __init__(
        self,
        examples: int = 8,
        scale: int = 2,
        image: str = "image",
        outputs_of: Callable[[str], Predict] | None = None,
    ):
        super().__init__(examples, scale, image, "reconstruct", outputs_of)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, bytes]:
        del predict
        source, made = self._first(variables, batches)
        columns = [as_source(made[name], made["image"], source) for name in _COLUMNS]
        return {"reconstructions.png": png(grid(list(np.stack(columns, axis=1)), self.scale))}


def as_source(
    values: Float[np.ndarray, "row height width channels"],
    read: Float[np.ndarray, "row height width channels"],
    source: Shaped[np.ndarray, "row height width channels"],
) -> Shaped[np.ndarray, "row height width channels"]:
    """Pixels as the model reads them in the colours of the source.

    Preprocessing makes a straight line of each channel, and the images are given before and after
    it. Where it does more, such as resizing, the range of what the model reads is shown.
    """
    if read.shape != source.shape:
        return stretched(values, like=read)
    channels = [
        np.polyval(_line(read[..., each], source[..., each]), values[..., each])
        for each in range(read.shape[-1])
    ]
    levels = np.stack(channels, axis=-1)
    if source.dtype == np.uint8:
        return np.round(np.clip(np.nan_to_num(levels), 0, 255)).astype(np.uint8)
    return stretched(levels, like=source)


def _line(x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "2"]:
    """Slope and offset of the line through points, by least squares."""
    x, y = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    spread = np.var(x)
    slope = np.mean((x - x.mean()) * (y - y.mean())) / spread if spread > 0 else 1.0
    return np.array([slope, y.mean() - slope * x.mean()])
