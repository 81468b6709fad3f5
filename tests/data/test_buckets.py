"""Batches of sequences of about one length: every example still once an epoch, little padding."""

import pickle

import numpy as np
import pytest

from dlresearch.data import ArraySource, BucketedOrder, Buckets, TrainingOrder
from dlresearch.errors import UserError

WIDTHS = (10, 13, 16)
LENGTH, BATCH = 64, 8


def sentences(number: int = LENGTH, longest: int = 20) -> ArraySource:
    """Random lengths; tokens are the position, and 0 after the end."""
    rng = np.random.default_rng(0)
    arrays = {}
    for key in ("source", "target"):
        lengths = rng.integers(1, longest + 1, number).astype(np.int32)
        places = np.arange(longest)
        arrays[key] = np.where(places < lengths[:, None], places + 1, 0).astype(np.int32)
        arrays[f"{key}_length"] = lengths
    sequences = {"source": "source_length", "target": "target_length"}
    return ArraySource(arrays, {"sequences": sequences})


def order(source: ArraySource | None = None, widths=WIDTHS) -> BucketedOrder:
    source = source or sentences()
    return BucketedOrder(TrainingOrder(len(source), 3, BATCH), Buckets(source, widths))


def test_every_example_occurs_exactly_once_an_epoch():
    bucketed = order()
    for epoch in range(3):
        steps = range(epoch * LENGTH // BATCH, (epoch + 1) * LENGTH // BATCH)
        seen = np.concatenate([bucketed.indices(step) for step in steps])
        np.testing.assert_array_equal(np.sort(seen), np.arange(LENGTH))


def test_over_ends_of_epochs_every_example_is_seen_as_often_as_others():
    """61 examples are no whole number of batches; pools lie across ends of epochs."""
    bucketed = order(sentences(61))
    seen = np.concatenate([bucketed.indices(step) for step in range(61)])  # 8 epochs
    assert set(np.bincount(seen)) <= {7, 8, 9}
    positions = np.concatenate([bucketed.positions(step) for step in range(56)])
    np.testing.assert_array_equal(np.sort(positions), np.arange(56 * BATCH))


def test_positions_and_epochs_belong_to_the_examples():
    bucketed = order(sentences(61))
    plain = np.concatenate([bucketed.inner.indices(step) for step in range(70)])
    for step in range(50):
        np.testing.assert_array_equal(bucketed.indices(step), plain[bucketed.positions(step)])
        np.testing.assert_array_equal(bucketed.epochs(step), bucketed.positions(step) // 61)


def test_a_step_does_not_depend_on_the_steps_asked_for_before():
    visited = order()
    for step in (90, 3, 41, 0, 17):
        visited.indices(step)
    fresh = pickle.loads(pickle.dumps(visited))
    for step in (0, 6, 17, 89):
        np.testing.assert_array_equal(visited.indices(step), order().indices(step))
        np.testing.assert_array_equal(fresh.indices(step), order().indices(step))


def test_epochs_differ_in_their_batches_and_in_the_order_of_widths():
    bucketed = order()
    per_epoch = LENGTH // BATCH
    batches = [{frozenset(bucketed.indices(e * per_epoch + s)) for s in range(8)} for e in (0, 1)]
    assert batches[0] != batches[1]
    widths = [[bucketed.width(e * per_epoch + s) for s in range(per_epoch)] for e in range(4)]
    assert len({tuple(each) for each in widths}) > 1


def test_nothing_is_cut_off_and_the_width_is_the_least_that_holds_all():
    source, bucketed = sentences(), order()
    arrays = source.arrays()
    seen = set()
    for step in range(30):
        rows, width = bucketed.indices(step), bucketed.width(step)
        seen.add(width)
        longest = max(arrays["source_length"][rows].max(), arrays["target_length"][rows].max())
        assert width == next((each for each in WIDTHS if each >= longest), None)
        whole = {key: array[rows] for key, array in arrays.items()}
        cut = bucketed.cut(whole, width)
        for key in ("source", "target"):
            assert cut[key].shape == (BATCH, width or 20)
            assert (cut[key] > 0).sum() == whole[f"{key}_length"].sum()
            np.testing.assert_array_equal(cut[f"{key}_length"], whole[f"{key}_length"])
    assert seen == {*WIDTHS, None}


def test_the_share_of_padding_is_that_of_the_batches():
    source, bucketed = sentences(), order()
    arrays = source.arrays()
    tokens = arrays["source_length"].sum() + arrays["target_length"].sum()
    cells = sum(2 * BATCH * (bucketed.width(step) or 20) for step in range(8))
    share, whole = bucketed.padding()
    assert share == pytest.approx(1 - tokens / cells)
    assert whole == pytest.approx(1 - tokens / (2 * LENGTH * 20))
    assert share < whole


@pytest.mark.parametrize("widths", [(0, 4), (8, 4), (4, 4)])
def test_widths_that_do_not_grow_are_refused(widths):
    with pytest.raises(UserError, match=r"not widths, from 1 up, that grow"):
        Buckets(sentences(), widths)


def test_a_source_without_sequences_is_refused():
    with pytest.raises(UserError, match="does not say which arrays are sequences"):
        Buckets(ArraySource({"image": np.zeros((3, 2))}), WIDTHS)
