"""What the evaluator `probabilities` says is what scikit-learn, and formulas, say of the whole set,
whatever the batches and devices.
"""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    classification_report,
    log_loss,
    roc_auc_score,
)
from sklearn.preprocessing import label_binarize

from dlresearch.errors import UserError
from dlresearch.evaluation.calibration import expected_calibration_error, fit_temperature
from helpers.evaluation.probability_runs import (
    findings,
    metrics_of,
    metrics_on_eight_devices,
    outputs_and_labels,
)
from helpers.processes import on_eight_devices

BATCH_SIZES = [1, 7, 64, 500]


def reference(logits, labels):
    logits = logits.astype(np.float64)
    p = softmax(logits, axis=1)
    if p.shape[1] == 2:
        ranked, truth = p[:, 1], labels
    else:
        ranked, truth = p, label_binarize(labels, classes=range(p.shape[1]))
    return {
        "average_precision": average_precision_score(truth, ranked, average="macro"),
        "roc_auc": roc_auc_score(truth, ranked, average="macro"),
        "accuracy": accuracy_score(labels, p.argmax(axis=1)),
        "balanced_accuracy": balanced_accuracy_score(labels, p.argmax(axis=1)),
        "loss": log_loss(labels, p, labels=range(p.shape[1])),
        "calibration_error": binned_error(p, labels),
        "examples": len(labels),
    }


def binned_error(p, labels):
    """Equations 2 and 3 of Guo et al. 2017, one bin after the other."""
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    total = 0.0
    for m in range(1, 16):
        inside = ((m - 1) / 15 < confidence) & (confidence <= m / 15)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_metrics_are_scikit_learns(classes, batch_size):
    logits, labels = outputs_and_labels(classes)
    found = metrics_of(findings(logits, labels, batch_size))
    assert found == pytest.approx(reference(logits, labels), rel=1e-12)


@pytest.mark.parametrize("batch_size", [7, 500])
def test_table_of_classes_is_scikit_learns(batch_size):
    logits, labels = outputs_and_labels()
    names = ("ant", "bee", "cat, wild", "dog")
    found = findings(logits, labels, batch_size, class_names=names)
    table = pd.read_csv(io.StringIO(found["classes.csv"]), index_col="class")
    expected = classification_report(
        labels, logits.argmax(axis=1), target_names=names, output_dict=True
    )
    assert tuple(table.index) == names
    for name, row in table.iterrows():
        assert row["support"] == expected[name]["support"]
        for column in ("precision", "recall"):
            assert row[column] == pytest.approx(expected[name][column], abs=1e-6)
        assert row["f1"] == pytest.approx(expected[name]["f1-score"], abs=1e-6)


@pytest.mark.parametrize("classes", [2, 30, 100])
def test_confusion_is_a_picture(classes):
    """For any number of classes, with one of which there is no example."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((50, classes)).astype(np.float32)
    labels = rng.integers(0, classes - 1, 50).astype(np.int32)
    picture = Image.open(io.BytesIO(findings(logits, labels, 50)["confusion.png"]))
    assert picture.format == "PNG" and min(picture.size) >= 200


def test_a_class_without_examples_is_left_out_of_means():
    logits, labels = outputs_and_labels(4)
    kept = labels != 3
    found = metrics_of(findings(logits[kept], labels[kept], 64))
    p = softmax(logits[kept].astype(np.float64), axis=1)
    for name, score in (("average_precision", average_precision_score), ("roc_auc", roc_auc_score)):
        expected = np.mean([score(labels[kept] == each, p[:, each]) for each in range(3)])
        assert found[name] == pytest.approx(expected, rel=1e-12)
    alone = metrics_of(findings(logits[labels == 1], labels[labels == 1], 64))
    assert np.isnan(alone["average_precision"]) and np.isnan(alone["roc_auc"])
    assert np.isfinite(alone["balanced_accuracy"])


def test_ranks_survive_probabilities_that_round_to_one():
    margins = np.arange(40, 60, dtype=np.float32)
    logits = np.stack([-margins / 2, margins / 2], axis=1)
    assert np.unique(softmax(logits.astype(np.float64), axis=1)[:, 1]).size == 1
    found = findings(logits, np.array([0] * 10 + [1] * 10, np.int32), 20)
    assert found["roc_auc"] == 1.0


def test_temperature_is_the_most_likely_one_and_figures_are_of_the_other_examples():
    logits, labels = outputs_and_labels()
    fitted = np.zeros(500, bool)
    fitted[np.random.default_rng(0).permutation(500)[:150]] = True
    found = metrics_of(findings(logits, labels, 64, temperature_share=0.3))
    kept_logits, kept_labels = logits[~fitted].astype(np.float64), labels[~fitted]

    def loss(t):
        log_p = log_softmax(logits[fitted].astype(np.float64) / t[0], axis=1)
        return -log_p[np.arange(150), labels[fitted]].mean()

    temperature = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0]
    assert found["temperature"] == pytest.approx(temperature, rel=1e-4)
    cooled = softmax(kept_logits / found["temperature"], axis=1)
    expected = reference(logits[~fitted], labels[~fitted]) | {
        "temperature": found["temperature"],
        "calibrated_loss": log_loss(kept_labels, cooled, labels=range(4)),
        "calibrated_calibration_error": binned_error(cooled, kept_labels),
    }
    assert found == pytest.approx(expected, rel=1e-9)
    # The outputs are too sure of themselves.
    assert found["temperature"] > 1.5
    assert found["calibrated_loss"] < found["loss"]
    assert found["calibrated_calibration_error"] < found["calibration_error"]


def test_temperature_gives_back_the_one_that_outputs_were_multiplied_by():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200_000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from the softmax
    assert fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.02)


def test_confidence_at_the_edge_of_a_bin_belongs_to_the_lower_one():
    p = np.array([[0.6, 0.4], [0.61, 0.39]])
    # 0.6 = 9/15 is in bin 9 and right, 0.61 in bin 10 and wrong.
    error = expected_calibration_error(p, np.array([0, 1]))
    assert error == pytest.approx((0.4 + 0.61) / 2)


def test_metrics_are_the_same_on_eight_devices():
    found = on_eight_devices(metrics_on_eight_devices, 64)
    # Computed in float64 on the host, from the same logits in the same order.
    assert found == metrics_of(findings(*outputs_and_labels(), 7, temperature_share=0.3))


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"temperature_share": 1.0}, (10, 2), r"temperature_share=1.0 is not in \[0, 1\)"),
        ({"temperature_share": 0.01}, (10, 2), "of 10 examples leaves none"),
        ({"class_names": ("a", "b", "c")}, (10, 2), "3 names for 2 classes"),
        ({"labels": "lable"}, (10, 2), "labels: examples have no 'lable'"),
        ({}, (10, 1), "takes one output for each class"),
        ({}, (10, 2, 2), "takes one output for each class"),
    ],
)
def test_what_does_not_fit_is_the_users_mistake(options, shape, message):
    labels = np.array([0, 1] * 5, np.int32)
    with pytest.raises(UserError, match=message):
        findings(np.zeros(shape, np.float32), labels, 10, **options)


def test_a_label_without_an_output_is_refused():
    with pytest.raises(UserError, match="label 2: the model gives 2 outputs"):
        findings(np.zeros((10, 2), np.float32), np.arange(10, dtype=np.int32) // 2, 10)
