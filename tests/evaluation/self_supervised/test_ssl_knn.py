"""Weighted nearest neighbours vote as in a search by hand, whatever the batches."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import KNNEvaluator
from helpers.evaluation.feature_runs import (
    CLASSES,
    TEST,
    TRAIN,
    features,
    labelled,
    made,
    run,
    trial,
)


def by_hand(train, test, k, temperature):
    """Accuracy by Wu et al. 2018, section 3.4, in float64."""
    bank, queries = (
        values / np.linalg.norm(values, axis=1, keepdims=True)
        for values in (features(train), features(test))
    )
    similarity = queries @ bank.T
    right = 0
    for row, label in zip(similarity, test["label"], strict=True):
        nearest = np.argsort(-row)[:k]
        votes = np.bincount(
            train["label"][nearest], np.exp(row[nearest] / temperature), minlength=CLASSES
        )
        right += votes.argmax() == label
    return right / len(queries)


@pytest.mark.parametrize("batch_size", [7, 70])
def test_accuracy_is_that_of_a_search_by_hand(batch_size):
    evaluator = made(KNNEvaluator, k=20, temperature=0.1, batch_size=batch_size)
    found = run(evaluator, batch_size=batch_size)
    assert found == {"accuracy": by_hand(TRAIN, TEST, 20, 0.1)}
    assert evaluator.about == (
        "k=20, temperature 0.1, cosine similarity; 70 of tfds toy test against 90 of tfds toy train"
    )
    assert 0.5 < found["accuracy"] < 1  # neither chance nor too easy to tell anything


def test_several_k_at_once_are_each_as_alone():
    found = run(made(KNNEvaluator, k=(1, 7, 90), temperature=0.3))
    assert found == {f"accuracy_k{k}": by_hand(TRAIN, TEST, k, 0.3) for k in (1, 7, 90)}
    assert len(set(found.values())) > 1


def test_accuracy_is_that_of_scikit_learn():
    model = KNeighborsClassifier(
        15, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.2)
    ).fit(features(TRAIN), TRAIN["label"])
    found = run(made(KNNEvaluator, k=15, temperature=0.2))
    assert found["accuracy"] == model.score(features(TEST), TEST["label"])


def test_more_examples_than_are_classified_at_once():
    many = labelled(600, seed=3)
    found = run(made(KNNEvaluator, test=many, k=9), many, batch_size=100)
    assert found["accuracy"] == pytest.approx(by_hand(TRAIN, many, 9, 0.1), abs=1e-9)


def test_small_temperature_leaves_the_nearest_and_does_not_overflow():
    found = run(made(KNNEvaluator, k=50, temperature=1e-5))
    assert found["accuracy"] == by_hand(TRAIN, TEST, 1, 1.0)


def test_trial_on_one_batch_may_have_fewer_than_k():
    evaluator = made(KNNEvaluator, k=80)
    assert 0 <= trial(evaluator)["accuracy"] <= 1
    assert run(evaluator) == {"accuracy": by_hand(TRAIN, TEST, 80, 0.1)}  # and leaves nothing


def test_features_that_are_not_finite_have_no_accuracy():
    broken = {**TRAIN, "image": np.full_like(TRAIN["image"], np.nan)}
    evaluator = made(KNNEvaluator, train=broken, k=3)
    assert np.isnan(run(evaluator)["accuracy"])
    assert evaluator.about.endswith("features are not finite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 91}, "k=91: train has only 90 examples; use that or less"),
        ({"k": (5, 200)}, "k=200: train has only 90 examples"),
        ({"k": 0}, "k=0: must be at least 1"),
        ({"k": ()}, r"k=\(\): give at least one"),
        ({"temperature": 0.0}, "temperature=0.0: must be above 0"),
        ({"examples_of": None}, "train: there is no trainer here that could open it"),
        ({"outputs_of": None}, "features: there is no task here that could give them"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        made(KNNEvaluator, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": TEST["image"]}, r"labels 'label' are float32\[32, 6\]; it takes the number"),
        ({"label": TEST["label"] - 1}, "label -1: classes are numbers from 0"),
        ({"image": TEST["image"][:, None]}, r"config.task: features are \[32, 1, 6\]; it takes"),
    ],
)
def test_examples_that_cannot_be(change, message):
    test = {**TEST, **change}
    with pytest.raises(UserError, match=message):
        run(made(KNNEvaluator, k=3), test)


def test_missing_labels_are_named():
    with pytest.raises(UserError, match="labels: examples have no 'coarse'; they have image, lab"):
        run(made(KNNEvaluator, k=3, labels="coarse"))
