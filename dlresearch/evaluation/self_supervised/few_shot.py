"""How well frozen features do with few labels."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Int
from sklearn.linear_model import LogisticRegression

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Predict
from dlresearch.evaluation.self_supervised.features_of import (
    Labelled,
    LabelledFeatures,
)
from dlresearch.evaluation.self_supervised.linear_probe import standardised
from dlresearch.evaluation.sources import Examples
from dlresearch.models.layers import check_sizes
from dlresearch.tasks import Batch, Variables

_MOST_ITERATIONS = 1000  # of L-BFGS; some hundreds are enough for standardised features


class FewShotEvaluator:
    """Logistic regression on the features of a few labelled training examples, tested on the
    source.

    For each of `shares` and `shots`, so many examples of every class of the training set are drawn,
    `seeds` times. The same seed draws more of the same for more labels. Metrics: the mean accuracy,
    such as `accuracy_1_percent` and `accuracy_5_shot`, and with more than one seed its sample
    standard deviation, `accuracy_5_shot_deviation`.

    Features are standardised by the mean and deviation of the whole training set, which takes no
    labels. The regression is scikit-learn's, multinomial with an L2 penalty, fitted by L-BFGS on
    the host, so that it is for up to some ten thousand labels.

    Args:
      train: the training set.
      shares: of the training set that has labels.
      shots: labels of each class.
      seeds: draws of the labelled examples.
      c: scikit-learn's C: what the sum of the losses counts against half the squared norm of the
        weights.
      labels: key of the integer labels, shape [batch].
      outputs_of: methods of the task by name; from the trainer.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference: what the source is called; from the trainer.
      reference_examples: how many examples it has; from the trainer.

    Raises:
      UserError: numbers that cannot be, a class with fewer examples than shots, or a task without
        features.
    """

    def __init__(
        self,
        train: Component,
        shares: tuple[float, ...] = (0.01, 0.1),
        shots: tuple[int, ...] = (1, 5, 10),
        seeds: int = 5,
        c: float = 1.0,
        labels: str = "label",
        outputs_of: Callable[[str], Predict] | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference: str = "the source",
        reference_examples: int | None = None,
    ):
        check_sizes(shots=shots, seeds=seeds)
        if not all(0 < share <= 1 for share in shares):
            raise UserError(f"shares={shares}: they are not in (0, 1]")
        if not shares and not shots:
            raise UserError("shares and shots are empty; give at least one of either")
        if c <= 0:
            raise UserError(f"c={c}: must be above 0")
        self.shares, self.shots, self.seeds, self.c = shares, shots, seeds, c
        self.about = ""
        self._features = LabelledFeatures(
            train, labels, outputs_of, examples_of, reference, reference_examples
        )

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        examples = self._features(variables, batches)
        self.about = (
            f"mean of {self.seeds} draws of the labels; logistic regression with C={self.c:g},"
            f" standardised features, no augmentation; {self._features.about(examples)}"
        )
        usable = examples.finite and len(np.unique(examples.train.labels)) > 1
        train, test = standardised(examples) if usable else (examples.train, examples.test)
        found: dict[str, Finding] = {}
        for name, counts in self._settings(train.labels, examples.complete).items():
            accuracies = [
                self._accuracy(train, test, _drawn(train.labels, counts, seed))
                if usable
                else float("nan")
                for seed in range(self.seeds)
            ]
            found[f"accuracy_{name}"] = float(np.mean(accuracies))
            if self.seeds > 1:
                found[f"accuracy_{name}_deviation"] = float(np.std(accuracies, ddof=1))
        return found

    def _settings(
        self, labels: Int[np.ndarray, " example"], complete: bool
    ) -> dict[str, dict[int, int]]:
        """For each metric how many examples of each class have a label."""
        there = dict(zip(*(each.tolist() for each in np.unique_counts(labels)), strict=True))
        # One batch, where evaluators are only tried, need not have as many.
        least, fewest = min((count, each) for each, count in there.items())
        if complete and self.shots and max(self.shots) > least:
            raise UserError(
                f"shots={max(self.shots)}: class {fewest} has only {least} training examples; use"
                " that or less"
            )
        shares = {
            f"{100 * share:g}_percent": {
                each: max(1, round(share * count)) for each, count in there.items()
            }
            for share in self.shares
        }
        return shares | {f"{shot}_shot": dict.fromkeys(there, shot) for shot in self.shots}

    def _accuracy(self, train: Labelled, test: Labelled, rows: Int[np.ndarray, " row"]) -> float:
        model = LogisticRegression(C=self.c, max_iter=_MOST_ITERATIONS)

        def fitted() -> LogisticRegression:
            return model.fit(train.features[rows].astype(np.float64), train.labels[rows])

        model = preemption.interruptible(fitted)
        return float(np.mean(model.predict(test.features.astype(np.float64)) == test.labels))


def _drawn(
    labels: Int[np.ndarray, " example"], counts: Mapping[int, int], seed: int
) -> Int[np.ndarray, " row"]:
    """So many rows of each class, ascending: the first of them in an order that the seed gives."""
    order = np.random.default_rng(seed).permutation(len(labels))
    drawn = [order[labels[order] == each][:count] for each, count in counts.items()]
    return np.sort(np.concatenate(drawn))
