"""Views of images, to look at: what a network is told to take for the same."""

from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jaxtyping import Array, Key, Shaped, UInt8

from dlresearch.data import FIRST, LOCAL, SECOND
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Predict, _Compiled
from dlresearch.evaluation.grid import GAP, grid, png, stretched, to_bytes
from dlresearch.tasks import Batch, Variables, require


class ViewsEvaluator(_Compiled):
    """A picture of `config.data.views`, the same at every step; reads one batch.

    File: `views.png`, in each row an image, its first view, its second and its local ones, each in
    its own size, with draws that no training step has. Images of floats are shown from the least
    number in them (black) to the greatest (white).

    Args:
      examples: rows, the first examples of the source.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      make_views: from the trainer.

    Raises:
      UserError: a number that cannot be, a run without views, or what is no image.
    """

    def __init__(
        self,
        examples: int = 8,
        scale: int = 2,
        image: str = "image",
        make_views: Callable[[Key[Array, ""], Batch], Batch] | None = None,
    ):
        super().__init__()
        for name, number in {"examples": examples, "scale": scale}.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        if make_views is None:
            raise UserError("views: there is no trainer here that could make any")
        self.examples, self.scale, self.image = examples, scale, image
        self._make_views = make_views

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, bytes]:
        del predict, variables  # it is a picture of the data
        found = jax.device_get(self._call_step("views", self._views, (), next(iter(batches))))
        rows = np.flatnonzero(found.pop("mask"))[: self.examples]
        images = [found[name][rows] for name in (self.image, FIRST, SECOND) if name in found]
        if LOCAL in found:
            images += list(np.moveaxis(found[LOCAL][rows], 1, 0))
        columns = [to_bytes(stretched(each, like=images[0])) for each in images]
        return {"views.png": png(side_by_side(columns, self.scale))}

    def _views(self, nothing: tuple[()], batch: Batch) -> dict[str, Array]:
        del nothing
        require(batch, self.image, "image")
        made = self._make_views(jax.random.key(0), batch)
        kept = (self.image, "mask", FIRST, SECOND, LOCAL)
        return {name: made[name] for name in kept if name in made}


def side_by_side(
    columns: list[UInt8[np.ndarray, "row height width 3"]], scale: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A grid whose columns differ in size: smaller images are in the middle of white cells."""
    tallest = max(column.shape[1] for column in columns)
    cells = [_padded(column, tallest) for column in columns]
    gap = np.full((len(cells[0]) * (tallest * scale + GAP) - GAP, GAP, 3), 255, np.uint8)
    pictures = [part for cell in cells for part in (gap, grid([[each] for each in cell], scale))]
    return np.concatenate(pictures[1:], axis=1)


def _padded(
    images: Shaped[np.ndarray, "row height width 3"], height: int
) -> Shaped[np.ndarray, "row tallest width 3"]:
    above = (height - images.shape[1]) // 2
    below = height - images.shape[1] - above
    return np.pad(images, ((0, 0), (above, below), (0, 0), (0, 0)), constant_values=255)
