"""What a classifier learns from generated examples: the classification accuracy score."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Predict, _Compiled, mesh_of
from dlresearch.evaluation.gan.classifier import Fitted, LabelledImages, SmallClassifier
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.evaluation.sampling import evenly
from dlresearch.evaluation.sources import Examples
from dlresearch.models.layers import check_sizes
from dlresearch.tasks import Batch, Variables, require


class ClassificationAccuracyScoreEvaluator(_Compiled):
    """Trains a small classifier on generated examples, with the labels they were generated for, and
    tests it on real ones: those of the source, which is the test set.

    Metrics: `train_on_generated`, its accuracy, the classification accuracy score (Ravuri and
    Vinyals 2019, arXiv:1905.10887; GAN-train of Shmelkov et al. 2018, arXiv:1807.09499): low where
    classes are mixed up, lack variety or look wrong. With `reverse`, also for a classifier trained
    on the real training set: `train_on_real`, its accuracy on the test set, which a perfect
    generator would reach, and `test_on_generated`, its accuracy on the generated examples (GAN-test
    of Shmelkov et al.): above `train_on_real` for a generator that only gives what is easy to tell.

    It needs no weights that others trained, but takes as long as training a classifier. Scores of
    other classifiers, steps or numbers of samples cannot be compared with those of these. The
    classifier is that of `evaluation.gan.classifier`, the same at every evaluation. All examples
    are kept in the memory of the host.

    Args:
      train: the real training set; what is generated has its labels.
      samples: how many to generate, and to train on; None takes as many as `train` has. More take
        further rounds over its labels, with other latents; fewer are spread over them evenly.
      reverse: also train on the real training set, once a run.
      widths: channels of each stage of the classifier.
      steps: of its training.
      train_batch_size: examples in each of them.
      image: key of the images.
      labels: key of the classes.
      num_classes: None takes what the source says.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference_examples: how many the source has; from the trainer.

    Raises:
      UserError: a number that cannot be, no classes, or generated images of another shape or type
        than the real ones.
    """

    def __init__(
        self,
        train: Component,
        samples: int | None = None,
        reverse: bool = True,
        widths: tuple[int, ...] = (32, 64),
        steps: int = 2000,
        train_batch_size: int = 128,
        image: str = "image",
        labels: str = "label",
        num_classes: int | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference_examples: int | None = None,
    ):
        super().__init__()
        check_sizes(
            samples=1 if samples is None else samples,
            widths=widths,
            steps=steps,
            train_batch_size=train_batch_size,
        )
        if num_classes is None:
            raise UserError("num_classes: the source does not tell; set it")
        if examples_of is None:
            raise UserError("train: there is no trainer here that could open it")
        self.samples, self.reverse, self.image, self.labels = samples, reverse, image, labels
        self.widths, self.steps, self.train_batch_size = widths, steps, train_batch_size
        self.num_classes, self.reference_examples = num_classes, reference_examples
        self.about = ""
        self._train = examples_of(train, "train")
        self._classifier: SmallClassifier | None = None
        self._on_real: Fitted | None = None

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        test = _Gathering()
        for first, batch in _numbered(batches):
            preemption.check()
            test.add(self._call_step("real", self._real, (), batch), first)
            self._classifier = self._classifier or SmallClassifier(
                self.num_classes, self.widths, self.steps, self.train_batch_size, mesh_of(batch)
            )
        assert self._classifier is not None  # an evaluation has a batch
        classifier, real = self._classifier, test.examples()
        # A run that only tries its evaluators gives one batch, and should not wait for a training.
        complete = self.reference_examples in (None, len(real.labels))
        most_steps = None if complete else 1
        made, train = self._examples(predict, variables, complete)
        if made.images.shape[1:] != real.images.shape[1:] or made.images.dtype != real.images.dtype:
            raise UserError(
                f"generated images are {made.images.dtype}{list(made.images.shape[1:])}, and real"
                f" ones {real.images.dtype}{list(real.images.shape[1:])}; they must be alike"
            )
        fitted = classifier.fit(made, most_steps)
        found: dict[str, Finding] = {"train_on_generated": classifier.accuracy(fitted, real)}
        if self.reverse:
            on_real = self._on_real or classifier.fit(train, most_steps)
            self._on_real = on_real if complete else None
            found["train_on_real"] = classifier.accuracy(on_real, real)
            found["test_on_generated"] = classifier.accuracy(on_real, made)
        self.about = (
            f"{len(made.labels):,} samples, {self.steps:,} steps of {self.train_batch_size};"
            f" tested on {len(real.labels):,} real examples"
        )
        return found

    def _examples(
        self, predict: Predict, variables: Variables, complete: bool
    ) -> tuple[LabelledImages, LabelledImages]:
        """Generated examples, and the real ones of the training set where they are wanted."""
        total = len(self._train)
        samples = self.samples or total
        made, train = _Gathering(), _Gathering()
        for first, batch in _numbered(self._train):
            if self.reverse and self._on_real is None:
                preemption.check()
                train.add(self._call_step("real", self._real, (), batch), first)
            for start in range(0, samples, total):
                at = start + first + np.arange(len(batch["mask"]))
                wanted = at < samples if samples > total else evenly(at, samples, total)
                if wanted.any():
                    preemption.check()
                    found = self._generated(predict, variables, batch, start)
                    made.add(found, start + first, wanted)
            if not complete:
                break
        return made.examples(), train.examples()

    def _real(self, nothing: tuple[()], batch: Batch) -> PyTree:
        del nothing
        images = require(batch, self.image, "images")
        return {
            "image": images,
            "label": require(batch, self.labels, "labels"),
            "mask": batch["mask"],
        }

    def _generated(
        self, predict: Predict, variables: Variables, batch: Batch, start: int
    ) -> PyTree:
        """Of the labels of a batch, in the round whose first sample is `start`."""

        def step(given: tuple[Variables, Int[np.ndarray, ""]], batch: Batch) -> PyTree:
            variables, start = given
            asked = batch
            if EXAMPLE in batch:
                asked = {**batch, EXAMPLE: batch[EXAMPLE] + start}
            images = generated(predict(variables, asked), self.image)
            return {"image": images, "label": batch[self.labels], "mask": batch["mask"]}

        if start:
            require(batch, EXAMPLE, "samples")  # without it a round would repeat the one before
        require(batch, self.labels, "labels")
        return self._call_step(predict, step, (variables, np.int32(start)), batch)


class _Gathering:
    """Examples of several batches, fetched to the host while the device is at the next one."""

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._ahead: tuple[PyTree, int, Any] | None = None

    def add(self, found: PyTree, first: int, wanted: np.ndarray | bool = True) -> None:
        """Take in the rows that are `wanted`; `first` is the place of the first among all."""
        self._fetch()
        self._ahead = found, first, wanted

    def examples(self) -> LabelledImages:
        """All that were taken in, in the order of their places: the batches do not show."""
        self._fetch()
        if not self._kept:
            return LabelledImages(np.zeros(0, np.uint8), np.zeros(0, np.int32))
        places, images, labels = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.argsort(places)
        return LabelledImages(images[order], labels[order])

    def _fetch(self) -> None:
        if self._ahead is not None:
            found, first, wanted = self._ahead
            found = jax.device_get(found)
            (rows,) = np.nonzero(found["mask"] & wanted)
            self._kept.append((first + rows, found["image"][rows], found["label"][rows]))
            self._ahead = None


def _numbered(batches: Iterable[Batch]) -> Iterator[tuple[int, Batch]]:
    """Each batch with the place of its first row among all."""
    first = 0
    for batch in batches:
        yield first, batch
        first += len(batch["mask"])
