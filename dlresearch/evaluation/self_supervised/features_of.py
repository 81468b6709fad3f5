"""Features of examples, as the task gives them: what the evaluators of this folder measure."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Predict, _Compiled, _fetched, mesh_of
from dlresearch.evaluation.sources import Examples, source_in_words
from dlresearch.tasks import Batch, Variables, require


class Labelled(NamedTuple):
    """Examples on the host, in the order of their source; of classes from 0."""

    features: Float[np.ndarray, "example features"]
    labels: Int[np.ndarray, " example"]


class TrainAndTest(NamedTuple):
    """What a classifier of features learns from, and what it is tested on.

    Attributes:
      num_classes: the largest label of both, and one.
      mesh: on which the examples were; None where they were on no mesh.
      complete: False where an evaluator is only tried: both have the examples of one batch.
      finite: False where training diverged: a classifier of such features says nothing.
    """

    train: Labelled
    test: Labelled
    num_classes: int
    mesh: Mesh | None
    complete: bool
    finite: bool


class LabelledFeatures(_Compiled):
    """Features and labels of the training set and of the evaluator's source, whole in the memory of
    the host, each example once, on any mesh.

    Args:
      train: the training set.
      labels: key of the integer labels, shape [batch].
      outputs_of, examples_of, reference, reference_examples: from the trainer.

    Raises:
      UserError: there is no trainer; features that are not [batch, features], or labels that are no
        numbers of classes.
    """

    def __init__(
        self,
        train: Component,
        labels: str,
        outputs_of: Callable[[str], Predict] | None,
        examples_of: Callable[[Component, str], Examples] | None,
        reference: str,
        reference_examples: int | None,
    ):
        super().__init__()
        if examples_of is None:
            raise UserError("train: there is no trainer here that could open it")
        self._features, self._labels = features_of(outputs_of), labels
        self._train = examples_of(train, "train")
        self._train_words, self._test_words = source_in_words(train), reference
        self._test_examples = reference_examples

    @property
    def train_examples(self) -> int:
        return len(self._train)

    def __call__(self, variables: Variables, batches: Iterable[Batch]) -> TrainAndTest:
        test, mesh = self._gathered(variables, batches)
        complete = self._test_examples in (None, len(test.labels))
        train, _ = self._gathered(variables, self._train, most=None if complete else 1)
        num_classes = 1 + max(int(each.labels.max()) for each in (train, test))
        finite = all(np.isfinite(each.features).all() for each in (train, test))
        return TrainAndTest(train, test, num_classes, mesh, complete, finite)

    def about(self, examples: TrainAndTest) -> str:
        """How many examples of which sources."""
        train, test = len(examples.train.labels), len(examples.test.labels)
        found = f"{test:,} of {self._test_words} against {train:,} of {self._train_words}"
        return found if examples.finite else f"{found}; features are not finite"

    def _gathered(
        self, variables: Variables, batches: Iterable[Batch], most: int | None = None
    ) -> tuple[Labelled, Mesh | None]:
        """Of all examples, or those of the first `most` batches."""
        kept: list[dict[str, np.ndarray]] = []
        ahead: PyTree = None  # fetched once the device has the next batch to work on
        mesh = None
        for number, batch in enumerate(batches):
            if number == most:
                break
            preemption.check()
            mesh = mesh_of(batch)
            # The two sources may have batches that differ in more than their shapes.
            key = tuple((name, str(values.dtype)) for name, values in sorted(batch.items()))
            previous, ahead = ahead, self._call_step(key, self._collect, variables, batch)
            kept += [] if previous is None else [_fetched(previous)]
        kept.append(_fetched(ahead))
        features, labels = (np.concatenate([part[name] for part in kept]) for name in kept[0])
        if labels.min() < 0:
            raise UserError(f"label {labels.min()}: classes are numbers from 0")
        return Labelled(features, labels), mesh

    def _collect(self, variables: Variables, batch: Batch) -> PyTree:
        labels = require(batch, self._labels, "labels")
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"labels {self._labels!r} are {labels.dtype}{list(labels.shape)}; it takes the"
                " number of a class for each example"
            )
        features = self._features(variables, batch)
        return {"kept": {"features": features, "labels": labels}, "mask": batch["mask"]}


def features_of(
    outputs_of: Callable[[str], Predict] | None,
) -> Callable[[Variables, Batch], Float[Array, "batch features"]]:
    """The features of a batch, to be called on the device.

    Raises:
      UserError: there is no task here, or it has no features; in the call, where they are not one
        row for each example.
    """
    if outputs_of is None:
        raise UserError("features: there is no task here that could give them")
    given = outputs_of("features")

    def features(variables: Variables, batch: Batch) -> Float[Array, "batch features"]:
        found = given(variables, batch)
        if found.ndim != 2:
            raise UserError(
                f"config.task: features are {list(found.shape)}; it takes one row for each example"
            )
        return found.astype("float32")

    return features
