"""The examples closest to others in the features of a network: what it takes for alike."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np
from jaxtyping import Float, Int, Shaped

from dlresearch.config import Component
from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError, suggest
from dlresearch.evaluation.evaluator import Finding, Predict
from dlresearch.evaluation.grid import GAP, grid, png, stretched
from dlresearch.evaluation.self_supervised.some_features import FEATURES, SomeFeatures
from dlresearch.evaluation.sources import Examples, source_in_words
from dlresearch.tasks import Batch, Variables

_TINY = 1e-12  # a length for features that are all zero


class FeatureNeighboursEvaluator(SomeFeatures):
    """Nearest neighbours of some examples by the cosine between features, to look at.

    File: `neighbours.png`, in each row an example of the source, then its neighbours from the
    nearest on; the examples go through the classes where there are any. Metric, where there are
    labels: `same_class`, the share of the neighbours in the picture that have the class of their
    example. It is of these few examples alone, and no accuracy: that is what `knn` measures.

    Args:
      queries: rows of the picture.
      neighbours: in a row.
      train: source of the neighbours; None takes the other examples of the evaluator's own.
      most: of a source with more examples it takes so many, spread evenly. Their images are kept in
        the memory of the host.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      labels: key of the classes.
      outputs_of: gives features; from the trainer.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference: what the source is called; from the trainer.
      reference_examples: how many it has; from the trainer.

    Raises:
      UserError: a number that cannot be, a task that gives no features, or images that differ in
        shape.
    """

    def __init__(
        self,
        queries: int = 10,
        neighbours: int = 9,
        train: Component | None = None,
        most: int = 10_000,
        scale: int = 2,
        image: str = "image",
        labels: str = "label",
        outputs_of: Callable[[str], Predict] | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference: str = "the source",
        reference_examples: int | None = None,
    ):
        numbers = {"queries": queries, "neighbours": neighbours, "most": most, "scale": scale}
        for name, number in numbers.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        super().__init__(outputs_of)
        self.queries, self.neighbours, self.most, self.scale = queries, neighbours, most, scale
        self.image, self.labels = image, labels
        self.reference, self.reference_examples = reference, reference_examples
        self.about = ""
        self._train: Examples | None = None
        self._train_words = reference
        if train is not None:
            if examples_of is None:
                raise UserError("train: there is no trainer here that could open it")
            self._train, self._train_words = examples_of(train, "train"), source_in_words(train)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        own, complete = self._taken(variables, batches, self.reference_examples)
        among = own
        if self._train is not None:
            batches = self._train if complete else islice(self._train, 1)  # a try should not wait
            among, _ = self._taken(variables, batches, len(self._train))
            _check_alike(own[self.image], among[self.image])
        rows = chosen(self.queries, len(own[EXAMPLE]), own.get(self.labels))
        similarity = cosines(own[FEATURES][rows], among[FEATURES])
        count = len(among[EXAMPLE])
        if self._train is None:
            similarity[np.arange(len(rows)), rows] = -np.inf  # not to itself
            count -= 1
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(self.neighbours, count)]
        others = f"{count:,} of {self._train_words}"
        self.about = f"{len(rows)} of {self.reference}, among {others}, by the cosine of features"
        found: dict[str, Finding] = {}
        if self.labels in own and self.labels in among and nearest.size:
            same = among[self.labels][nearest] == own[self.labels][rows][:, None]
            found["same_class"] = float(np.mean(same))
        shown = _picture(own[self.image][rows], among[self.image][nearest], self.scale)
        return {**found, "neighbours.png": shown}

    def _taken(
        self, variables: Variables, batches: Iterable[Batch], total: int | None
    ) -> tuple[dict[str, np.ndarray], bool]:
        keys = (self.image, self.labels)
        found, complete = self._some(variables, batches, self.most, total, keys)
        if self.image not in found:
            raise UserError(f"image: examples have no {self.image!r}; {suggest(self.image, found)}")
        return found, complete


def chosen(
    queries: int, examples: int, labels: Int[np.ndarray, " example"] | None
) -> Int[np.ndarray, " query"]:
    """Which examples are asked for: evenly spread ones; with labels the first of each class, then
    the second of each, or the first of some classes, evenly spread, where there are more classes.
    """
    queries = min(queries, examples)
    if labels is None:
        return np.arange(queries) * examples // queries
    classes = np.unique(labels)
    if len(classes) > queries:
        classes = classes[np.arange(queries) * len(classes) // queries]
    members = [np.flatnonzero(labels == each) for each in classes]
    longest = max(map(len, members))
    turns = [each[turn] for turn in range(longest) for each in members if turn < len(each)]
    return np.asarray(turns[:queries])


def cosines(
    queries: Float[np.ndarray, "query features"], others: Float[np.ndarray, "other features"]
) -> Float[np.ndarray, "query other"]:
    """The cosine of the angle between any two, in float64."""
    first, second = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), _TINY)
        for each in (queries.astype(np.float64), others.astype(np.float64))
    )
    return first @ second.T


def _check_alike(own: np.ndarray, others: np.ndarray) -> None:
    if own.shape[1:] != others.shape[1:] or own.dtype != others.dtype:
        raise UserError(
            f"train: its images are {others.dtype}{list(others.shape[1:])}, and those of the source"
            f" {own.dtype}{list(own.shape[1:])}; show images that are alike"
        )


def _picture(
    queries: Shaped[np.ndarray, "row height width channels"],
    nearest: Shaped[np.ndarray, "row near height width channels"],
    scale: int,
) -> bytes:
    both = stretched(np.concatenate([queries[:, None], nearest], axis=1))
    left, right = grid(list(both[:, :1]), scale), grid(list(both[:, 1:]), scale)
    between = np.full((len(left), 3 * GAP, 3), 255, np.uint8)
    return png(np.concatenate([left, between, right], axis=1))
