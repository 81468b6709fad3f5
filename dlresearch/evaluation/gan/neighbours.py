"""The training images closest to generated ones: whether a generator has learned by heart."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Predict, _Compiled, mesh_of
from dlresearch.evaluation.gan.generating import Generating
from dlresearch.evaluation.grid import GAP, grid, png
from dlresearch.parallel import put_replicated
from dlresearch.tasks import Batch, Variables, require

_SHOWN = 16  # rows of the picture


class NearestNeighboursEvaluator(_Compiled):
    """Nearest neighbours of generated images among those of the source, which is the training set,
    by the distance between pixels.

    Metric: `nearest_distance`, the mean over the generated images of the distance to the nearest,
    the root of the mean squared difference of their pixels, which are from 0 to 1. It is small for
    blurred images, too, so that it says something beside the same figure of real images that were
    held out: `real_nearest_distance`, with `floor`. Copies have a distance of 0, also in a model
    that copies only at times; look at the picture. File: `neighbours.png`, in each row a generated
    image, then its neighbours from the nearest on. Only what is almost the same pixel by pixel is
    found: a shifted copy is not (Theis et al. 2016, arXiv:1511.01844, section 4.2).

    Args:
      count: generated images, going through the classes where the source has them.
      neighbours: in a row of the picture.
      floor: real images that are not in the source; as many as `count`, the first, are compared.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      labels: key of the classes.
      num_classes: None takes what the source says; 0 takes no notice of classes.
      examples_of: the examples of a source that is an argument; from the trainer.

    Raises:
      UserError: a number that cannot be, or images that differ in shape or type.
    """

    def __init__(
        self,
        count: int = 64,
        neighbours: int = 7,
        floor: Component | None = None,
        scale: int = 2,
        image: str = "image",
        labels: str = "label",
        num_classes: int | None = None,
        examples_of: Callable[[Component, str], Iterable[Batch]] | None = None,
    ):
        super().__init__()
        for name, number in {"count": count, "neighbours": neighbours, "scale": scale}.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        self.count, self.neighbours, self.scale = count, neighbours, scale
        self.image, self.labels, self.classes = image, labels, num_classes or 0
        self.about = ""
        self._floor: Iterable[Batch] | None = None
        if floor is not None:
            if examples_of is None:
                raise UserError("floor: there is no trainer here that could open it")
            self._floor = examples_of(floor, "floor")
        self._generating = Generating(image)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        batches = iter(batches)
        first = next(batches)
        made = self._generating(predict, variables, first, self._rows(first))
        queries = made
        if self._floor is not None:
            queries = np.concatenate([made, self._held_out(made)])
        placed = _on_devices({"queries": queries}, first)
        best = _Nearest(self.neighbours)
        for batch in chain([first], batches):
            preemption.check()
            _check_alike(made, require(batch, self.image, "images"), "the source")
            found = jax.device_get(self._call_step("nearest", self._among, placed, batch))
            best.add(found["squares"], found["images"], int(found["examples"]))
        distances = best.distances(queries)
        self.about = f"{len(made)} generated, among {best.seen:,} of the source, in pixels"
        shown = min(_SHOWN, len(made))
        metrics: dict[str, Finding] = {"nearest_distance": float(distances[: len(made)].mean())}
        if len(queries) > len(made):
            metrics["real_nearest_distance"] = float(distances[len(made) :].mean())
        metrics["neighbours.png"] = _picture(made[:shown], best.images[:shown], self.scale)
        return metrics

    def _rows(self, batch: Batch) -> dict[str, Int[np.ndarray, " row"]]:
        places = np.arange(self.count, dtype=np.int32)
        if not self.classes or self.labels not in batch:
            return {EXAMPLE: places}
        return {EXAMPLE: places, self.labels: places % self.classes}

    def _held_out(
        self, made: Shaped[np.ndarray, "query height width channels"]
    ) -> Shaped[np.ndarray, "query height width channels"]:
        """The first examples of `floor`."""
        real: list[np.ndarray] = []
        for batch in self._floor or ():
            _check_alike(made, require(batch, self.image, "images"), "floor")
            images, mask = jax.device_get(self._call_step("real", self._whole, (), batch))
            real.append(images[mask])
            if sum(map(len, real)) >= self.count:
                break
        return np.concatenate(real)[: self.count]

    def _whole(self, nothing: tuple[()], batch: Batch) -> tuple[Array, Array]:
        del nothing
        return batch[self.image], batch["mask"]

    def _among(self, placed: Mapping[str, Array], batch: Batch) -> dict[str, Array]:
        """The nearest images of a batch to each query."""
        images, mask = batch[self.image], batch["mask"]
        queries, others = (
            _unit(each).reshape(len(each), -1) for each in (placed["queries"], images)
        )
        products = jnp.matmul(queries, others.T, precision=jax.lax.Precision.HIGHEST)
        squares = (queries**2).sum(1)[:, None] + (others**2).sum(1) - 2 * products
        squares = jnp.where(mask, squares, jnp.inf)
        smallest, places = jax.lax.top_k(-squares, min(self.neighbours, len(images)))
        return {"squares": -smallest, "images": images[places], "examples": mask.sum()}


class _Nearest:
    """The nearest images to each query among those seen so far, in order of their distance."""

    def __init__(self, count: int):
        self._count, self.seen = count, 0
        self._squares, self.images = np.zeros((0, 0)), np.zeros(0)

    def add(
        self,
        squares: Float[np.ndarray, "query near"],
        images: Shaped[np.ndarray, "query near height width channels"],
        examples: int,
    ) -> None:
        """Take in the nearest ones of so many examples; what filled up a batch is the farthest."""
        if self.seen:
            squares = np.concatenate([self._squares, squares], axis=1)
            images = np.concatenate([self.images, images], axis=1)
        self.seen += examples
        order = np.argsort(squares, axis=1, kind="stable")[:, : min(self._count, self.seen)]
        self._squares = np.take_along_axis(squares, order, axis=1)
        self.images = np.take_along_axis(images, order[:, :, None, None, None], axis=1)

    def distances(
        self, queries: Shaped[np.ndarray, "query height width channels"]
    ) -> Float[np.ndarray, " query"]:
        """Of each query to its nearest image, by the difference of their pixels: the squares above
        are differences of large numbers, and not 0 where two images are equal.
        """
        apart = _unit(queries)[:, None].astype(np.float64) - _unit(self.images)
        return np.sqrt(np.mean(apart**2, axis=(2, 3, 4))).min(axis=1)


def _unit(images: Any) -> Any:
    """Pixels from 0 to 1 in float32, from uint8 or from floats between -1 and 1."""
    if images.dtype == np.uint8:
        return images / np.float32(255)
    return (images.astype(np.float32) + np.float32(1)) / np.float32(2)


def _check_alike(made: np.ndarray, real: Array, source: str) -> None:
    if made.shape[1:] != real.shape[1:] or made.dtype != real.dtype:
        raise UserError(
            f"generated images are {made.dtype}{list(made.shape[1:])}, and those of {source}"
            f" {real.dtype}{list(real.shape[1:])}; compare images that are alike"
        )


def _on_devices(arrays: dict[str, np.ndarray], batch: Batch) -> Mapping[str, Array]:
    """The same arrays on every device that holds a part of the batch."""
    mesh = mesh_of(batch)
    return jax.device_put(arrays) if mesh is None else put_replicated(mesh, arrays)


def _picture(
    made: Shaped[np.ndarray, "row height width channels"],
    images: Shaped[np.ndarray, "row near height width channels"],
    scale: int,
) -> bytes:
    left, right = grid([[each] for each in made], scale), grid(list(images), scale)
    between = np.full((len(left), 3 * GAP, 3), 255, np.uint8)
    return png(np.concatenate([left, between, right], axis=1))
