"""The data of a step is a function of the seed and the step alone."""

import pickle

import numpy as np
import pytest

from dlresearch.data import TrainingOrder
from dlresearch.errors import UserError


@pytest.mark.parametrize(
    ("length", "batch"), [(10, 3), (12, 4), (7, 7), (5, 12), (1, 1), (100, 33)]
)
def test_every_example_occurs_exactly_once_an_epoch(length, batch):
    order = TrainingOrder(length, seed=3, examples_per_step=batch)
    epochs = 4
    steps = -(-epochs * length // batch)
    sequence = np.concatenate([order.indices(step) for step in range(steps)])[: epochs * length]
    for epoch in sequence.reshape(epochs, length):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(length))


def test_epochs_and_seeds_are_shuffled_differently():
    first, again, other = (TrainingOrder(1000, seed, 1000) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.indices(5), again.indices(5))
    # Two random permutations of 1,000 agree in one place on average.
    assert np.sum(first.indices(0) == first.indices(1)) < 10
    assert np.sum(first.indices(0) == other.indices(0)) < 10


def test_a_step_does_not_depend_on_the_steps_asked_for_before():
    visited = TrainingOrder(50, seed=0, examples_per_step=8)
    for step in (90, 3, 41, 0, 17):
        visited.indices(step)
    fresh = pickle.loads(pickle.dumps(visited))
    for step in (0, 6, 17, 89):
        expected = TrainingOrder(50, 0, 8).indices(step)
        np.testing.assert_array_equal(visited.indices(step), expected)
        np.testing.assert_array_equal(fresh.indices(step), expected)


def test_another_batch_size_walks_the_same_sequence():
    small, large = TrainingOrder(30, 7, 5), TrainingOrder(30, 7, 20)
    np.testing.assert_array_equal(
        np.concatenate([small.indices(step) for step in range(12)]),
        np.concatenate([large.indices(step) for step in range(3)]),
    )


def test_the_slices_of_all_hosts_are_the_step():
    order = TrainingOrder(100, seed=0, examples_per_step=12)
    for step in range(20):
        hosts = [order.indices(step)[slice(start, start + 3)] for start in range(0, 12, 3)]
        np.testing.assert_array_equal(np.concatenate(hosts), order.indices(step))


def test_positions_count_the_examples_of_the_run():
    order = TrainingOrder(10, seed=0, examples_per_step=4)
    np.testing.assert_array_equal(order.positions(3), [12, 13, 14, 15])
    assert order.steps_per_epoch == 2.5
    assert order.indices(0).dtype == np.int32


def test_the_order_is_pinned_so_that_old_runs_can_be_resumed():
    np.testing.assert_array_equal(TrainingOrder(8, 0, 8).indices(0), [5, 0, 6, 1, 7, 2, 4, 3])
    np.testing.assert_array_equal(TrainingOrder(8, 0, 8).indices(1), [2, 0, 4, 1, 7, 5, 3, 6])


@pytest.mark.parametrize("arguments", [(0, 0, 4), (4, -1, 4), (4, 0, 0)])
def test_impossible_orders_are_refused(arguments):
    with pytest.raises(UserError):
        TrainingOrder(*arguments)
