"""With few labels, accuracies are those of scikit-learn's regression on draws that are fair."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import FewShotEvaluator, few_shot
from helpers.evaluation.feature_runs import TEST, TRAIN, features, made, run, trial

SCALER = StandardScaler().fit(features(TRAIN))
KNOWN = SCALER.transform(features(TRAIN))


@pytest.fixture
def draws(monkeypatch):
    """The rows of TRAIN that each regression is fitted to, one array after the other."""
    seen = []

    class Recorded(LogisticRegression):
        def fit(self, points, labels):
            apart = np.linalg.norm(KNOWN[:, None] - points, axis=-1)
            # Standardised in float32; two examples are never as near as that.
            assert np.all((apart < 1e-4).sum(axis=0) == 1)
            seen.append(apart.argmin(axis=0))
            return super().fit(points, labels)

    monkeypatch.setattr(few_shot, "LogisticRegression", Recorded)
    return seen


def by_scikit_learn(rows, c=1.0):
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(KNOWN[rows], TRAIN["label"][rows])
    return model.score(SCALER.transform(features(TEST)), TEST["label"])


def test_accuracies_are_means_over_draws(draws):
    evaluator = made(FewShotEvaluator, shares=(0.2,), shots=(1, 5), seeds=3, c=0.5)
    found = run(evaluator)
    # A fifth of 90 examples are 6 of each class.
    counts = {"20_percent": 6, "1_shot": 1, "5_shot": 5}
    assert len(draws) == 3 * len(counts) and len(found) == 2 * len(counts)
    for number, (name, count) in enumerate(counts.items()):
        own = draws[3 * number : 3 * number + 3]
        for rows in own:
            assert np.bincount(TRAIN["label"][rows]).tolist() == [count] * 3
        scores = [by_scikit_learn(rows, 0.5) for rows in own]
        assert found[f"accuracy_{name}"] == pytest.approx(np.mean(scores), abs=1e-9)
        deviation = np.std(scores, ddof=1)
        assert found[f"accuracy_{name}_deviation"] == pytest.approx(deviation, abs=1e-9)
    assert found["accuracy_1_shot_deviation"] > 0
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


def test_draws_are_stratified_and_more_labels_are_more_of_the_same(draws):
    label = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 20, 10]))
    train = {**TRAIN, "label": label.astype(np.int32)}
    run(made(FewShotEvaluator, train, shares=(0.02, 0.2), shots=(10,), seeds=2))
    numbers = [np.bincount(label[rows], minlength=3).tolist() for rows in draws]
    # Rounded, and at least one of each class.
    assert numbers == [[1, 1, 1]] * 2 + [[12, 4, 2]] * 2 + [[10, 10, 10]] * 2
    few, other_few, more, other_more, *_ = (set(rows.tolist()) for rows in draws)
    assert few < more and other_few < other_more
    assert len(more) == len(other_more) == 18 and few != other_few and more != other_more


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
