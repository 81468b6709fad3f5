"""What the probabilities of a classifier are worth: ranking, calibration, and class by class."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import softmax
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from dlresearch.errors import UserError
from dlresearch.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from dlresearch.evaluation.classification import check_outputs
from dlresearch.evaluation.confusion import class_table, confusion_picture, mean_recall
from dlresearch.evaluation.evaluator import Gathered
from dlresearch.tasks import Batch, require


class ProbabilitiesEvaluator(Gathered):
    """Ranking, calibration and confusion; the outputs of all examples are kept on the host.

    Metrics: `average_precision` and `roc_auc` (of class 1 where there are two, else the mean over
    classes of each against the rest; a class that no example has, or all have, is left out, and
    NaN says that none is left); `accuracy`; `balanced_accuracy`, the mean recall of the classes
    that occur; `loss`, the cross-entropy in nats; `calibration_error`, the expected one over 15
    bins (Guo et al. 2017, arXiv:1706.04599). Files: `classes.csv` with precision, recall, F1 and
    support of each class, and `confusion.png`.

    With `temperature_share`, a temperature is fitted on so many of the examples, drawn by their
    position, and all figures are of the others: `temperature`, and `calibrated_loss` and
    `calibrated_calibration_error` of softmax(logits / temperature).

    Args:
      labels: key of the integer labels, shape [batch].
      class_names: for the files; None takes what the source says, or else numbers.
      temperature_share: share of the examples on which the temperature is fitted; 0 fits none.

    Raises:
      UserError: `temperature_share` is not in [0, 1), outputs that are not one for each class, or
        names that are not, or too few examples for the share.
    """

    def __init__(
        self,
        labels: str = "label",
        class_names: tuple[str, ...] | None = None,
        temperature_share: float = 0.0,
    ):
        super().__init__()
        if not 0 <= temperature_share < 1:
            raise UserError(f"temperature_share={temperature_share} is not in [0, 1)")
        self.labels, self.class_names = labels, class_names
        self.temperature_share = temperature_share

    def collect(self, outputs: Float[Array, "batch classes"], batch: Batch) -> dict[str, Array]:
        labels = require(batch, self.labels, "labels")
        check_outputs(outputs, labels)
        if labels.ndim != 1:
            raise UserError(f"labels are {list(labels.shape)}; it takes one for each example")
        if self.class_names is not None and len(self.class_names) != outputs.shape[-1]:
            raise UserError(
                f"class_names: {len(self.class_names)} names for {outputs.shape[-1]} classes"
            )
        return {"logits": outputs.astype("float32"), "labels": labels}

    def finish(self, examples: Mapping[str, np.ndarray]) -> dict[str, Any]:
        logits, labels = examples["logits"].astype(np.float64), examples["labels"]
        classes, metrics = logits.shape[1], {}
        if wrong := labels[(labels < 0) | (labels >= classes)].tolist():
            raise UserError(f"label {wrong[0]}: the model gives {classes} outputs")
        if self.temperature_share:
            fitted = _drawn(len(labels), self.temperature_share)
            temperature = fit_temperature(logits[fitted], labels[fitted])
            logits, labels = logits[~fitted], labels[~fitted]
            cooled = logits / temperature
            metrics = {
                "temperature": temperature,
                "calibrated_loss": negative_log_likelihood(cooled, labels),
                "calibrated_calibration_error": expected_calibration_error(
                    softmax(cooled, axis=1), labels
                ),
            }
        probabilities = softmax(logits, axis=1)
        # Of two classes the difference: a probability rounds to 1 while that can still be ranked.
        scores = probabilities if classes > 2 else logits - logits[:, ::-1]
        predicted = logits.argmax(axis=1)
        counts = confusion_matrix(labels, predicted, labels=np.arange(classes))
        names = self.class_names or tuple(str(number) for number in range(classes))
        return {
            **metrics,
            "average_precision": _ranked(average_precision_score, labels, scores),
            "roc_auc": _ranked(roc_auc_score, labels, scores),
            "accuracy": np.mean(predicted == labels),
            "balanced_accuracy": mean_recall(counts),
            "loss": negative_log_likelihood(logits, labels),
            "calibration_error": expected_calibration_error(probabilities, labels),
            "examples": len(labels),
            "classes.csv": class_table(counts, names),
            "confusion.png": confusion_picture(counts, names),
        }


def _drawn(length: int, share: float) -> Bool[np.ndarray, " example"]:
    """Which examples the temperature is fitted on: the same of every set of this length."""
    count = round(share * length)
    if count in (0, length):
        raise UserError(f"temperature_share={share} of {length} examples leaves none for one side")
    drawn = np.zeros(length, bool)
    drawn[np.random.default_rng(0).permutation(length)[:count]] = True
    return drawn


def _ranked(
    metric: Callable[[np.ndarray, np.ndarray], Any],
    labels: Int[np.ndarray, " example"],
    scores: Float[np.ndarray, "example class"],
) -> float:
    """The metric of class 1 of two, or its mean over the classes, of each against the rest."""
    classes = range(scores.shape[1]) if scores.shape[1] > 2 else (1,)
    found = [
        metric(labels == each, scores[:, each])
        for each in classes
        if 0 < np.count_nonzero(labels == each) < len(labels)
    ]
    return float(np.mean(found)) if found else float("nan")
