"""Rare classes are repeated as often as asked, and what a step sees is still a function of the seed
and the step alone.
"""

import pickle

import numpy as np
import pytest

from dlresearch.data import (
    ArraySource,
    OversampledOrder,
    Oversampling,
    TrainingOrder,
    labels_of,
    stream,
)
from dlresearch.data.image_folder import ImageFolder
from dlresearch.data.synthetic import Synthetic
from dlresearch.errors import UserError

COUNTS = (100, 30, 7)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), COUNTS)).astype(np.int32)


def make(share=1.0, seed=3, batch=16, labels=LABELS):
    return OversampledOrder(Oversampling(labels, share), seed, batch)


def epochs_of(order, count):
    steps = -(-count * order.length // order.examples_per_step)
    sequence = np.concatenate([order.indices(step) for step in range(steps)])
    return sequence[: count * order.length].reshape(count, order.length)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, (100, 100, 100)),
        (0.5, (100, 55, 26)),  # 30 (100/30)^.5 = 54.77, 7 (100/7)^.5 = 26.46
        (1e-9, COUNTS),
    ],
)
def test_an_epoch_has_the_promised_number_of_each_class(share, expected):
    order = make(share)
    assert order.length == sum(expected)
    assert order.steps_per_epoch == sum(expected) / 16
    for epoch in epochs_of(order, 3):
        np.testing.assert_array_equal(np.bincount(LABELS[epoch]), expected)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_examples_of_a_class_are_seen_equally_often_and_at_least_once_an_epoch(share):
    for epoch in epochs_of(make(share), 3):
        seen = np.bincount(epoch, minlength=len(LABELS))
        for label in range(3):
            often = seen[label == LABELS]
            assert often.min() >= 1 and often.max() - often.min() <= 1


def test_who_is_seen_once_more_changes_from_epoch_to_epoch():
    """30 examples, 100 places: ten of them are drawn for a fourth time."""
    seen = [np.bincount(epoch, minlength=137)[LABELS == 1] for epoch in epochs_of(make(), 30)]
    assert len({tuple(each) for each in seen}) > 25
    # 100 on average, with a deviation of 2.6: each epoch has it by chance 1/3.
    assert np.ptp(np.sum(seen, axis=0)) < 20


def test_off_is_the_order_without_it():
    np.testing.assert_array_equal(
        np.sort(epochs_of(make(0.0), 2)), np.sort(epochs_of(TrainingOrder(137, 3, 16), 2))
    )


def test_a_step_does_not_depend_on_the_steps_asked_for_before():
    visited = make(0.7)
    for step in (90, 3, 41, 0, 17):
        visited.indices(step)
    fresh = pickle.loads(pickle.dumps(visited))
    for step in (0, 6, 17, 89):
        expected = make(0.7).indices(step)
        np.testing.assert_array_equal(visited.indices(step), expected)
        np.testing.assert_array_equal(fresh.indices(step), expected)
    assert np.any(make(0.7, seed=4).indices(0) != make(0.7).indices(0))


def test_another_batch_size_walks_the_same_sequence():
    small, large = make(batch=5), make(batch=40)
    np.testing.assert_array_equal(
        np.concatenate([small.indices(step) for step in range(16)]),
        np.concatenate([large.indices(step) for step in range(2)]),
    )


def test_the_order_is_pinned_so_that_old_runs_can_be_resumed():
    labels = np.array([0, 0, 0, 1, 0])
    np.testing.assert_array_equal(
        make(seed=0, batch=8, labels=labels).indices(0), [0, 3, 2, 3, 3, 3, 1, 4]
    )


def test_epochs_are_counted_with_repetitions():
    order = make(batch=100)
    np.testing.assert_array_equal(order.epochs(2), np.zeros(100, np.int32))
    np.testing.assert_array_equal(order.epochs(3), np.ones(100, np.int32))


@pytest.mark.parametrize("start", [0, 5, 23])
def test_a_stream_from_any_step_has_the_examples_of_the_order(start):
    source, order = ArraySource({"number": np.arange(137), "label": LABELS}), make(0.8)
    with stream(
        source, (), order, start_step=start, rows=slice(4, 12), workers=0, prefetch=2
    ) as batches:
        for step in range(start, start + 4):
            np.testing.assert_array_equal(next(batches)["number"], order.indices(step)[4:12])


def test_labels_are_found_wherever_a_source_keeps_them(tmp_path):
    np.testing.assert_array_equal(labels_of(ArraySource({"label": LABELS})), LABELS)
    source = Synthetic(length=1100, image=(2, 2, 1), num_classes=7)
    np.testing.assert_array_equal(labels_of(source), np.arange(1100) % 7)
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(b"no image, and nobody reads it")
    folder = ImageFolder(str(tmp_path))
    np.testing.assert_array_equal(labels_of(folder), [0, 0, 1])
    assert folder.metadata["class_counts"] == (2, 1)


def test_a_class_without_examples_stays_without():
    oversampling = Oversampling(np.array([0, 0, 0, 2]), 1.0)
    assert oversampling.class_counts(4) == (3, 0, 3, 0)
    order = OversampledOrder(oversampling, 0, 6)
    np.testing.assert_array_equal(np.bincount(order.indices(0)), [1, 1, 1, 3])


def test_arrays_know_how_many_examples_a_class_has():
    known = {"num_classes": 4}
    assert ArraySource({"label": LABELS}, known).metadata["class_counts"] == (*COUNTS, 0)
    for label in (LABELS - 1, LABELS[:, None], LABELS.astype(float)):
        assert "class_counts" not in ArraySource({"label": label}, known).metadata


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"target": LABELS}, "examples have no 'label', which .* needs; they have target"),
        ({"label": LABELS / 2}, "'label' is float64"),
        ({"label": LABELS[:, None]}, "one class for each example"),
        ({"label": LABELS - 1}, "'label' is int32 from -1"),
    ],
)
def test_labels_that_are_no_classes_are_refused(arrays, message):
    with pytest.raises(UserError, match=message):
        labels_of(ArraySource(arrays))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(UserError, match=r"is not in \[0, 1\]"):
        Oversampling(LABELS, share)
