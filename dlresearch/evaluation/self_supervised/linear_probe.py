"""How well a linear classifier of frozen features does: offline linear evaluation."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from sklearn.preprocessing import StandardScaler

from dlresearch.config import Component
from dlresearch.data.splits import split_rows
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Predict
from dlresearch.evaluation.self_supervised.features_of import (
    Labelled,
    LabelledFeatures,
    TrainAndTest,
)
from dlresearch.evaluation.self_supervised.softmax_regression import Placed, SoftmaxRegression
from dlresearch.evaluation.sources import Examples
from dlresearch.models.layers import check_sizes
from dlresearch.tasks import Batch, Variables


class LinearProbeEvaluator:
    """Trains a softmax regression on the features of a training set, without augmentation, and
    tests it on the source.

    Features are standardised by the mean and deviation of the training set, as by a batch
    normalisation without parameters (He et al. 2021, arXiv:2111.06377, appendix A.1). Gradient
    descent has momentum 0.9, a cosine schedule and no weight decay, with all `learning_rates` at
    once. The one that does best on a share of the training set, held out of every class, is taken
    to train on all of the training set. The same features give the same figures.

    Metrics: `accuracy` and `loss`, the cross-entropy in nats, on the source; `learning_rate`, the
    one taken. If it is the first or the last of `learning_rates`, try others beyond it.

    Args:
      train: the training set.
      learning_rates: to choose from.
      epochs: of each training; one takes little, as the features are made once.
      train_batch_size: examples in a step.
      held_out: share of the training set that chooses the learning rate.
      labels: key of the integer labels, shape [batch].
      outputs_of: methods of the task by name; from the trainer.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference: what the source is called; from the trainer.
      reference_examples: how many examples it has; from the trainer.

    Raises:
      UserError: numbers that cannot be, too few training examples to hold some out, or a task
        without features.
    """

    def __init__(
        self,
        train: Component,
        learning_rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        epochs: int = 100,
        train_batch_size: int = 256,
        held_out: float = 0.1,
        labels: str = "label",
        outputs_of: Callable[[str], Predict] | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference: str = "the source",
        reference_examples: int | None = None,
    ):
        check_sizes(epochs=epochs, train_batch_size=train_batch_size)
        if not learning_rates or min(learning_rates) <= 0:
            raise UserError(f"learning_rates={learning_rates}: give numbers above 0")
        if not 0 < held_out < 1:
            raise UserError(f"held_out={held_out} is not in (0, 1)")
        self.learning_rates: tuple[float, ...] = learning_rates
        self.epochs = epochs
        self.train_batch_size, self.held_out = train_batch_size, held_out
        self.about = ""
        self._features = LabelledFeatures(
            train, labels, outputs_of, examples_of, reference, reference_examples
        )
        self._regression: SoftmaxRegression | None = None
        self._num_classes = 0

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        examples = self._features(variables, batches)
        about = self._features.about(examples)
        if not examples.finite:
            self.about = about
            return dict.fromkeys(("accuracy", "loss", "learning_rate"), float("nan"))
        train, test = standardised(examples)
        regression = self._regression_of(examples)
        # A run that only tries its evaluators gives one batch, and should not wait for a training.
        epochs = self.epochs if examples.complete else 1
        placed = regression.put(train)
        rate, chosen = self._chosen(regression, placed, train, epochs, examples.complete)
        weights = regression.fit(placed, np.arange(len(train.labels)), (rate,), epochs)
        tested = regression.test(weights, regression.put(test), np.arange(len(test.labels)))
        self.about = (
            f"learning rate {rate:g}{chosen}; {epochs} epochs of batches of"
            f" {self.train_batch_size}, standardised features, no augmentation; {about}"
        )
        return {
            "accuracy": float(tested.accuracy[0]),
            "loss": float(tested.loss[0]),
            "learning_rate": rate,
        }

    def _chosen(
        self,
        regression: SoftmaxRegression,
        placed: Placed,
        train: Labelled,
        epochs: int,
        complete: bool,
    ) -> tuple[float, str]:
        """The learning rate that does best on what is held out, and how it was found."""
        if len(self.learning_rates) == 1:
            return self.learning_rates[0], ""
        fitted = held_out = np.arange(len(train.labels))
        if complete:  # a single batch may be too few
            held_out, fitted = split_rows(
                len(train.labels), "test", self.held_out, seed=0, strata=train.labels
            )
        weights = regression.fit(placed, fitted, self.learning_rates, epochs)
        tried = regression.test(weights, placed, held_out)
        # Of those with the best accuracy the one with the smallest loss.
        losses = np.where(tried.accuracy == tried.accuracy.max(), tried.loss, np.inf)
        rates = ", ".join(f"{each:g}" for each in self.learning_rates)
        words = f" of {rates} by {len(held_out):,} held out of the training set"
        return self.learning_rates[int(np.argmin(losses))], words

    def _regression_of(self, examples: TrainAndTest) -> SoftmaxRegression:
        """With what it compiled at an earlier evaluation."""
        if self._regression is None or self._num_classes != examples.num_classes:
            self._num_classes = examples.num_classes
            self._regression = SoftmaxRegression(
                examples.num_classes, self.epochs, self.train_batch_size, examples.mesh
            )
        return self._regression


def standardised(examples: TrainAndTest) -> tuple[Labelled, Labelled]:
    """Training set and source with features of mean 0 and deviation 1 over the training set; one
    that is the same everywhere becomes 0.
    """
    scaler = StandardScaler().fit(examples.train.features)
    return (
        Labelled(np.asarray(scaler.transform(examples.train.features)), examples.train.labels),
        Labelled(np.asarray(scaler.transform(examples.test.features)), examples.test.labels),
    )
