"""A linear probe learns what descent by hand learns, and as much as scikit-learn's regression."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dlresearch import preemption
from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import LinearProbeEvaluator
from dlresearch.evaluation.self_supervised.features_of import Labelled
from dlresearch.evaluation.self_supervised.softmax_regression import SoftmaxRegression
from helpers.evaluation.feature_runs import CLASSES, TEST, TRAIN, features, made, run, trial

SCALER = StandardScaler().fit(features(TRAIN))
INPUTS, TEST_INPUTS = (SCALER.transform(features(each)) for each in (TRAIN, TEST))


def descent(rows, rate, epochs, batch):
    """Momentum 0.9 and a cosine schedule without restarts, in float64: kernel and bias."""
    kernel, bias = np.zeros((INPUTS.shape[1], CLASSES)), np.zeros(CLASSES)
    kernel_speed, bias_speed = np.zeros_like(kernel), np.zeros_like(bias)
    order = np.random.default_rng(0)
    steps = len(rows) // batch
    for step in range(epochs * steps):
        if step % steps == 0:
            shuffled = order.permutation(rows)
        taken = shuffled[step % steps * batch :][:batch]
        inputs, targets = INPUTS[taken], np.eye(CLASSES)[TRAIN["label"][taken]]
        error = (softmax(inputs @ kernel + bias, axis=1) - targets) / batch
        kernel_speed = 0.9 * kernel_speed + inputs.T @ error
        bias_speed = 0.9 * bias_speed + error.sum(axis=0)
        now = rate * (1 + np.cos(np.pi * step / (epochs * steps))) / 2
        kernel, bias = kernel - now * kernel_speed, bias - now * bias_speed
    return kernel, bias


def test_all_learning_rates_at_once_learn_as_by_hand():
    """Also where examples are left over in an epoch."""
    rates, rows = (0.01, 0.1, 1.0), np.arange(5, 90)
    regression = SoftmaxRegression(CLASSES, epochs=4, batch_size=20, mesh=None)
    placed = regression.put(Labelled(INPUTS.astype(np.float32), TRAIN["label"]))
    weights = regression.fit(placed, rows, rates)
    tested = regression.test(weights, placed, rows)
    for place, rate in enumerate(rates):
        kernel, bias = descent(rows, rate, epochs=4, batch=20)
        np.testing.assert_allclose(weights.kernel[:, place], kernel, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(weights.bias[place], bias, rtol=2e-4, atol=2e-5)
        scores, labels = INPUTS[rows] @ kernel + bias, TRAIN["label"][rows]
        assert tested.accuracy[place] == np.mean(scores.argmax(axis=1) == labels)
        loss = -log_softmax(scores, axis=1)[np.arange(len(rows)), labels].mean()
        assert tested.loss[place] == pytest.approx(loss, rel=1e-4)


def test_probe_that_has_converged_is_scikit_learns_regression_without_penalty():
    probe = made(LinearProbeEvaluator, learning_rates=(0.5,), epochs=400, train_batch_size=90)
    found = run(probe)
    model = LogisticRegression(C=1e9, max_iter=10_000).fit(INPUTS, TRAIN["label"])
    assert found["accuracy"] == model.score(TEST_INPUTS, TEST["label"])
    scores = model.predict_log_proba(TEST_INPUTS)
    loss = -scores[np.arange(len(scores)), TEST["label"]].mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-3)
    assert found["learning_rate"] == 0.5
    assert probe.about == (
        "learning rate 0.5; 400 epochs of batches of 90, standardised features, no augmentation;"
        " 70 of tfds toy test against 90 of tfds toy train"
    )


def test_learning_rate_is_the_best_on_held_out_training_examples_only():
    rates = (1e-6, 0.1, 1e30)  # learns nothing, learns, and diverges
    probe = made(LinearProbeEvaluator, learning_rates=rates, epochs=20, train_batch_size=27)
    found = run(probe)
    assert found["learning_rate"] == 0.1 and found["accuracy"] > 0.5
    assert "learning rate 0.1 of 1e-06, 0.1, 1e+30 by 9 held out of the training set" in probe.about
    # Refitted on all, as if there had been no choice.
    alone = run(made(LinearProbeEvaluator, learning_rates=(0.1,), epochs=20, train_batch_size=27))
    assert found == pytest.approx(alone, rel=1e-6)
    # The labels of the source have no say in it.
    wrong = {**TEST, "label": (TEST["label"] + 1) % CLASSES}
    after = run(probe, wrong)
    assert after["learning_rate"] == 0.1 and after["accuracy"] < 0.5
    assert run(probe) == found  # whatever was evaluated before


def test_scale_of_features_and_what_is_the_same_everywhere_do_not_matter():
    def scaled(arrays):
        image = arrays["image"] * 1000
        return {**arrays, "image": np.concatenate([image, np.full_like(image, 7)], axis=1)}

    options = {"learning_rates": (0.1,), "epochs": 5}
    train, test = scaled(TRAIN), scaled(TEST)
    found = run(made(LinearProbeEvaluator, train=train, **options), test)
    assert found == pytest.approx(run(made(LinearProbeEvaluator, **options)), rel=1e-4)


def test_trial_on_one_batch_waits_for_no_training():
    found = trial(made(LinearProbeEvaluator, epochs=10**9))
    assert found.keys() == {"accuracy", "loss", "learning_rate"}


def test_training_stops_when_told_to():
    probe = made(LinearProbeEvaluator, learning_rates=(0.1,), epochs=20)
    run(probe)
    preemption.reset()
    preemption.await_agreement()
    # After the places at 3 batches of each source, in an epoch.
    preemption.agree(lambda first: first + 3 + 3 + 4, "a test")
    with pytest.raises(preemption.Preempted):
        run(probe)
    preemption.reset()


def test_features_that_are_not_finite_have_no_figures():
    broken = {**TEST, "image": np.full_like(TEST["image"], np.inf)}
    assert all(np.isnan(each) for each in run(made(LinearProbeEvaluator), broken).values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"train_batch_size": 0}, "train_batch_size=0: must be at least 1"),
        ({"learning_rates": ()}, r"learning_rates=\(\): give numbers above 0"),
        ({"learning_rates": (0.1, 0.0)}, "give numbers above 0"),
        ({"held_out": 1.0}, r"held_out=1.0 is not in \(0, 1\)"),
        ({"examples_of": None}, "train: there is no trainer here that could open it"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        made(LinearProbeEvaluator, **arguments)


def test_too_few_examples_to_hold_some_out():
    with pytest.raises(UserError, match=r"held_out=0\.01 of 90 examples leaves none"):
        run(made(LinearProbeEvaluator, held_out=0.01))
