"""With few labels, accuracies are those of scikit-learn's regression on draws that are fair."""

import numpy as np
import pytest
from helpers.evaluation.feature_runs import CLASSES, TEST, TRAIN, features, made, run, trial
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import FewShotEvaluator
from dlresearch.evaluation.self_supervised.few_shot import _drawn

SCALER = StandardScaler().fit(features(TRAIN))


def by_scikit_learn(rows, c=1.0):
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(SCALER.transform(features(TRAIN)[rows]), TRAIN["label"][rows])
    return model.score(SCALER.transform(features(TEST)), TEST["label"])


def test_accuracies_are_means_over_draws():
    evaluator = made(FewShotEvaluator, shares=(0.2,), shots=(1, 5), seeds=3, c=0.5)
    found = run(evaluator)
    # A fifth of 90 examples are 6 of each class.
    for name, count in {"20_percent": 6, "1_shot": 1, "5_shot": 5}.items():
        counts = dict.fromkeys(range(CLASSES), count)
        scores = [by_scikit_learn(_drawn(TRAIN["label"], counts, seed), 0.5) for seed in range(3)]
        assert found[f"accuracy_{name}"] == pytest.approx(np.mean(scores), abs=1e-9)
        deviation = np.std(scores, ddof=1)
        assert found[f"accuracy_{name}_deviation"] == pytest.approx(deviation, abs=1e-9)
    assert len(found) == 6 and found["accuracy_1_shot_deviation"] > 0
    assert evaluator.about == (
        "mean of 3 draws of the labels; logistic regression with C=0.5, standardised features, no"
        " augmentation; 70 of tfds toy test against 90 of tfds toy train"
    )


def test_all_labels_are_those_of_the_training_set():
    found = run(made(FewShotEvaluator, shares=(1.0,), shots=(), seeds=2))
    everything = by_scikit_learn(np.arange(90))
    assert found == {
        "accuracy_100_percent": pytest.approx(everything),
        "accuracy_100_percent_deviation": 0,
    }


def test_draws_are_stratified_and_more_labels_are_more_of_the_same():
    labels = np.repeat([0, 1, 4], [50, 20, 5])
    few = _drawn(labels, {0: 5, 1: 2, 4: 1}, seed=0)
    more = _drawn(labels, {0: 10, 1: 4, 4: 5}, seed=0)
    assert np.unique_counts(labels[few]).counts.tolist() == [5, 2, 1]
    assert np.unique_counts(labels[more]).counts.tolist() == [10, 4, 5]
    assert set(few) < set(more) and len(set(more)) == 19
    assert set(few) != set(_drawn(labels, {0: 5, 1: 2, 4: 1}, seed=1))


def test_one_draw_has_no_deviation():
    assert run(made(FewShotEvaluator, shots=(5,), shares=(), seeds=1)).keys() == {"accuracy_5_shot"}


def test_trial_on_one_batch_may_lack_examples_and_classes():
    names = {"accuracy_10_shot", "accuracy_10_shot_deviation"}
    evaluator = made(FewShotEvaluator, shares=(), shots=(10,), seeds=2)
    found = trial(evaluator, batch_size=32)
    assert found.keys() == names and all(np.isfinite(list(found.values())))
    order = np.argsort(TRAIN["label"], kind="stable")
    by_class = {key: values[order] for key, values in TRAIN.items()}
    found = trial(made(FewShotEvaluator, by_class, batch_size=16, shares=(), shots=(10,), seeds=2))
    assert found.keys() == names and all(np.isnan(list(found.values())))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shares": (0.1, 1.5)}, r"shares=\(0.1, 1.5\): they are not in \(0, 1\]"),
        ({"shots": (0,)}, r"shots=\(0,\): must be at least 1"),
        ({"seeds": 0}, "seeds=0: must be at least 1"),
        ({"shares": (), "shots": ()}, "shares and shots are empty"),
        ({"c": 0.0}, "c=0.0: must be above 0"),
        ({"outputs_of": None}, "features: there is no task here that could give them"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        made(FewShotEvaluator, **arguments)


def test_class_with_fewer_examples_than_shots_is_named():
    label = np.where(np.arange(90) < 4, 2, np.arange(90) % 2).astype(np.int32)
    with pytest.raises(UserError, match="shots=10: class 2 has only 4 training examples; use that"):
        run(made(FewShotEvaluator, train={**TRAIN, "label": label}))
