"""Streaming, loading and evaluating give the same examples, each as often as promised."""

import threading

import numpy as np
import pytest

from dlresearch.data import ArraySource, TrainingOrder, evaluation_batches, load_all, stream
from dlresearch.data.embedded import Digits
from dlresearch.data.synthetic import Synthetic
from dlresearch.errors import UserError
from helpers.data.data_pieces import AddNoise, Counting, Fails

ALL = slice(None)


def take(source, transforms, order, count, *, start_step=0, rows=ALL, workers=0, prefetch=2):
    with stream(
        source,
        transforms,
        order,
        start_step=start_step,
        rows=rows,
        workers=workers,
        prefetch=prefetch,
    ) as batches:
        return [next(batches) for _ in range(count)]


def assert_equal_batches(actual, expected):
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.keys() == e.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], e[key])
            assert a[key].dtype == e[key].dtype


@pytest.mark.parametrize("source", [Digits(), Synthetic(length=70, image=(4, 4, 1))])
def test_streamed_and_resident_examples_come_in_the_same_order(source):
    order = TrainingOrder(len(source), seed=1, examples_per_step=32)
    resident = load_all(source, [])
    expected = [{k: v[order.indices(step)] for k, v in resident.items()} for step in range(5)]
    assert_equal_batches(take(source, [], order, 5), expected)


def test_a_stream_starts_anywhere_without_replaying():
    source, order = Counting(50), TrainingOrder(50, 0, 8)
    whole = take(source, [AddNoise()], order, 40)
    assert_equal_batches(take(source, [AddNoise()], order, 3, start_step=37), whole[37:])
    far = take(source, [], order, 1, start_step=10**9)
    np.testing.assert_array_equal(far[0]["number"], order.indices(10**9))


@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_batches_do_not_depend_on_prefetching(prefetch):
    source, order = Counting(50), TrainingOrder(50, 0, 8)
    expected = take(source, [AddNoise()], order, 12)
    assert_equal_batches(take(source, [AddNoise()], order, 12, prefetch=prefetch), expected)


def test_the_rows_of_all_processes_are_the_batch_of_one():
    source, order = Counting(50), TrainingOrder(50, 0, 8)
    whole = take(source, [AddNoise()], order, 9)
    parts = [
        take(source, [AddNoise()], order, 9, rows=slice(start, start + 2))
        for start in range(0, 8, 2)
    ]
    joined = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_equal_batches(joined, whole)


def test_an_example_gets_new_random_numbers_every_epoch():
    order = TrainingOrder(4, 0, 4)
    first, second = (
        batch["noise"][np.argsort(batch["number"])]
        for batch in take(Counting(4), [AddNoise()], order, 2)
    )
    assert not np.any(first == second)


@pytest.mark.slow
def test_worker_processes_give_the_same_batches():
    source, order = Counting(50), TrainingOrder(50, 0, 8)
    expected = take(source, [AddNoise()], order, 7, start_step=4)
    batches = take(source, [AddNoise()], order, 7, start_step=4, workers=2, prefetch=4)
    assert_equal_batches(batches, expected)
    assert all(type(array) is np.ndarray for batch in batches for array in batch.values())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_reaches_the_consumer_as_its_one_line(workers):
    order = TrainingOrder(10, 0, 5)
    with pytest.raises(UserError, match=r"^example 7 is broken; repair it$"):
        take(Counting(10), [Fails(7, "mistake")], order, 2, workers=workers)


def test_an_exception_that_cannot_be_sent_still_reaches_the_consumer():
    with pytest.raises(RuntimeError, match="OddError"):
        take(Counting(10), [Fails(7, "odd")], TrainingOrder(10, 0, 5), 2, workers=1)


@pytest.mark.slow
def test_a_killed_worker_is_reported():
    with pytest.raises(UserError, match=r"a data worker died.*exit code -9.*lower data\.workers"):
        take(Counting(10), [Fails(7, "kill")], TrainingOrder(10, 0, 5), 2, workers=1)


def test_a_source_that_cannot_be_sent_to_workers_says_so():
    class Locked(Counting):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(UserError, match=r"cannot be sent to worker processes.*data\.workers=0"):
        take(Locked(), [], TrainingOrder(10, 0, 5), 1, workers=1)


def test_a_closed_stream_has_no_more_batches():
    batches = stream(
        Counting(),
        [],
        TrainingOrder(10, 0, 5),
        start_step=0,
        rows=ALL,
        workers=0,
        prefetch=2,
    )
    next(batches)
    batches.close()
    batches.close()
    assert list(batches) == []


def test_load_all_reads_every_example_at_its_place():
    examples = load_all(Counting(1300), [])
    np.testing.assert_array_equal(examples["number"], np.arange(1300))
    assert examples["number"].dtype == np.int32


def test_load_all_refuses_random_transforms():
    with pytest.raises(UserError, match=r"AddNoise is random.*data\.placement=streamed"):
        load_all(Counting(), [AddNoise()])


@pytest.mark.parametrize("place", [3, 700])
def test_images_of_different_sizes_name_two_examples_and_both_shapes(place):
    sizes = [4] * 800
    sizes[place] = 5
    with pytest.raises(UserError) as error:
        load_all(Counting(800, sizes), [])
    message = str(error.value)
    assert "'image' has shape (4, 2, 1) in example" in message
    assert f"(5, 2, 1) in example {place}" in message
    assert "resize" in message
    assert "\n" not in message


def test_evaluation_counts_ten_thousand_of_ten_thousand_at_batch_300():
    numbers = np.arange(10_000)
    batches = list(evaluation_batches({"number": numbers}, [], 300, ALL))
    assert len(batches) == 34
    assert {len(batch["number"]) for batch in batches} == {300}
    assert sum(batch["mask"].sum() for batch in batches) == 10_000
    counted = np.concatenate([batch["number"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(counted, numbers)


@pytest.mark.parametrize("length", [1, 11, 12, 13])
def test_processes_evaluate_the_same_number_of_batches_and_every_example_once(length):
    parts = [
        list(evaluation_batches(Counting(length), [], 12, slice(start, start + 3)))
        for start in range(0, 12, 3)
    ]
    assert len({len(part) for part in parts}) == 1
    counted = np.concatenate([b["number"][b["mask"]] for part in parts for b in part])
    np.testing.assert_array_equal(np.sort(counted), np.arange(length))


def test_evaluation_refuses_examples_with_a_mask_of_their_own():
    with pytest.raises(UserError, match="rename"):
        next(evaluation_batches({"mask": np.ones(3)}, [], 2, ALL))


def test_labels_out_of_range_are_refused_wherever_they_are_read():
    source = ArraySource({"label": np.array([0, 1, 3])}, {"num_classes": 3})
    for read in (
        lambda: load_all(source, []),
        lambda: next(evaluation_batches(source, [], 3, ALL)),
        lambda: take(source, [], TrainingOrder(3, 0, 3), 1),
    ):
        with pytest.raises(UserError, match="label 3 is outside 0 to 2"):
            read()


def test_text_is_refused_with_what_to_do():
    with pytest.raises(UserError, match=r"'name' of example 0.*leave it out with select"):
        load_all([{"name": "one"}, {"name": "two"}], [])


def test_arrays_arrive_with_the_32_bits_that_devices_use():
    source = ArraySource({"a": np.arange(3), "b": np.arange(3.0), "c": np.ones(3, np.uint8)})
    types = {key: array.dtype for key, array in load_all(source, []).items()}
    assert types == {"a": np.int32, "b": np.float32, "c": np.uint8}
    with pytest.raises(UserError, match="beyond 32 bits"):
        load_all(ArraySource({"a": np.array([2**40])}), [])
