"""A classifier learns from generated examples as from real ones where they are as good."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.data import ArraySource, evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import ClassificationAccuracyScoreEvaluator
from dlresearch.evaluation.gan.classifier import SmallClassifier
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

VARIABLES = Variables(params={}, state={})
CLASSES, SIDE = 3, 4


def images(labels, seed):
    """A bright row for each class, in noise: easy, though not without a mistake."""
    noise = np.random.default_rng(seed).normal(80, 35, (len(labels), SIDE, SIDE, 1))
    noise[np.arange(len(labels)), labels] += 80
    return noise.clip(0, 255).astype(np.uint8)


def labelled(count, seed):
    label = np.random.default_rng(seed).integers(CLASSES, size=count).astype(np.int32)
    example = np.arange(count, dtype=np.int32)
    return {"image": images(label, seed), "label": label, "example": example}


TRAIN, TEST = labelled(150, 1), labelled(200, 2)
OTHER = np.stack([images(np.full(400, label), 3 + label) for label in range(CLASSES)])


class Examples:
    def __init__(self, arrays, batch_size, mesh=None):
        self.arrays, self.batch_size, self.mesh = arrays, batch_size, mesh

    def __len__(self):
        return len(self.arrays["label"])

    def __iter__(self):
        rows = slice(0, self.batch_size)
        for batch in evaluation_batches(ArraySource(self.arrays), (), self.batch_size, rows):
            yield batch if self.mesh is None else put_batch(self.mesh, batch)


def good(variables, batch):
    """Examples of the right class, unlike all real ones; a number of its own gives each."""
    return {"image": jnp.asarray(OTHER)[batch["label"], batch["example"]]}


def without_class(variables, batch):
    return {"image": jnp.asarray(OTHER)[batch["example"] * 7 // 3 % 3, batch["example"]]}


def evaluator(batch_size=64, mesh=None, train=None, **arguments):
    arguments = {"steps": 80, "train_batch_size": 40, "widths": (8,), **arguments}
    source = train or Examples(TRAIN, batch_size, mesh)
    return ClassificationAccuracyScoreEvaluator(
        Component("train"),
        num_classes=CLASSES,
        examples_of=lambda component, argument: source,
        **arguments,
    )


def run(made, predict=good, batch_size=64, mesh=None):
    return made.run(predict, VARIABLES, Examples(TEST, batch_size, mesh))


def by_scikit_learn(train, train_labels):
    """Accuracy on the test set of a linear classifier, which is enough for bright rows."""
    model = LogisticRegression(max_iter=1000)
    model.fit(train.reshape(len(train), -1) / 255, train_labels)
    return model.score(TEST["image"].reshape(200, -1) / 255, TEST["label"])


def test_good_examples_teach_as_much_as_real_ones_and_those_without_a_class_nothing():
    made = evaluator(steps=160)
    found = run(made)
    assert found["train_on_real"] > 0.85
    # The standard error of an accuracy of 0.9 on 200 examples is 0.02.
    assert found["train_on_generated"] == pytest.approx(found["train_on_real"], abs=0.08)
    assert found["test_on_generated"] == pytest.approx(found["train_on_real"], abs=0.08)
    generated = OTHER[TRAIN["label"], np.arange(150)]
    for name, train in (("train_on_generated", generated), ("train_on_real", TRAIN["image"])):
        # After some hundred steps the classifier is nearly as good.
        assert found[name] == pytest.approx(by_scikit_learn(train, TRAIN["label"]), abs=0.1), name
    assert made.about == "150 samples, 160 steps of 40; tested on 200 real examples"

    bad = run(made, without_class)
    assert bad["train_on_real"] == found["train_on_real"]
    assert bad["train_on_generated"] < 0.55 and bad["test_on_generated"] < 0.55
    assert run(made) == found  # whatever was evaluated before


def test_classifier_of_real_examples_is_trained_once():
    train = Examples(TRAIN, 64)
    made = evaluator(steps=5, train=train)
    found = run(made)
    train.arrays = {**TRAIN, "image": 255 - TRAIN["image"]}
    assert run(made)["train_on_real"] == found["train_on_real"]
    assert run(evaluator(steps=5, train=train))["train_on_real"] != found["train_on_real"]


@pytest.mark.parametrize(
    ("samples", "numbers"),
    [(None, range(150)), (330, range(330)), (50, range(2, 150, 3))],
)
def test_so_many_samples_are_generated(samples, numbers, monkeypatch):
    seen, fit = [], SmallClassifier.fit

    def recorded(self, data, most_steps):
        seen.append(data)
        return fit(self, data, most_steps)

    monkeypatch.setattr(SmallClassifier, "fit", recorded)
    made = evaluator(samples=samples, reverse=False, steps=2, train_batch_size=10)
    assert run(made).keys() == {"train_on_generated"}
    labels = np.tile(TRAIN["label"], 3)[list(numbers)]
    (data,) = seen
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_array_equal(data.images, OTHER[labels, list(numbers)])


def test_batches_do_not_show():
    plain = run(evaluator(samples=220, reverse=False, steps=5))
    assert run(evaluator(33, samples=220, reverse=False, steps=5), batch_size=50) == plain


def test_devices_do_not_show():
    mesh = make_mesh()
    options = {"reverse": False, "steps": 5}
    found = run(evaluator(8 * mesh.size, mesh, **options), batch_size=8 * mesh.size, mesh=mesh)
    # Sums over devices round otherwise; five steps leave no room for more than an example or two.
    plain = run(evaluator(**options))["train_on_generated"]
    assert found["train_on_generated"] == pytest.approx(plain, abs=0.011)


def on_one_batch(made):
    return made.run(good, VARIABLES, iter([next(iter(Examples(TEST, 16)))]))


def test_trial_on_one_batch_waits_for_no_training():
    found = on_one_batch(evaluator(reference_examples=len(TEST["label"]), steps=10**9))
    assert found.keys() == {"train_on_generated", "train_on_real", "test_on_generated"}


def test_nothing_of_a_trial_is_kept():
    options = {"reference_examples": len(TEST["label"]), "steps": 20}
    tried, fresh = evaluator(**options), run(evaluator(**options))
    # One step on one batch teaches less.
    assert on_one_batch(tried)["train_on_real"] != fresh["train_on_real"]
    assert run(tried) == fresh


def test_training_stops_when_told_to():
    made = evaluator(steps=5, reverse=False)
    run(made)
    preemption.reset()
    preemption.await_agreement()
    # After the places between batches, in the second step of training.
    preemption.agree(lambda first: first + 4 + 3 + 1, "a test")
    with pytest.raises(preemption.Preempted):
        run(made)
    preemption.reset()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"samples": 0}, "samples=0: must be at least 1"),
        ({"train_batch_size": 0}, "train_batch_size=0: must be at least 1"),
        ({"widths": (8, 0)}, r"widths=\(8, 0\): must be at least 1"),
        ({"num_classes": None}, "num_classes: the source does not tell; set it"),
        ({"examples_of": None}, "train: there is no trainer here that could open it"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    given = {"num_classes": 3, "examples_of": lambda component, argument: None, **arguments}
    with pytest.raises(UserError, match=message):
        ClassificationAccuracyScoreEvaluator(Component("train"), **given)


def test_generated_images_of_another_size_are_named():
    def large(variables, batch):
        return {"image": jnp.zeros((len(batch["mask"]), 8, 8, 1), jnp.uint8)}

    message = r"generated images are uint8\[8, 8, 1\], and real ones uint8\[4, 4, 1\]"
    with pytest.raises(UserError, match=message):
        run(evaluator(), large)
