"""What is due every so often is due at each multiple of the period, to the nearest step."""

from fractions import Fraction

import pytest

from dlresearch.training.every import Every


@pytest.mark.parametrize("period", [1, 2, 7, Fraction(1438, 64), Fraction(7190, 64), 67.4, 390.625])
def test_due_at_each_multiple_to_the_nearest_step(period):
    every = Every(float(period))
    exact = Fraction(period)
    wanted = {int(count * exact + Fraction(1, 2)) for count in range(1, 3000)}
    wanted = {step for step in wanted if step <= 2000}
    assert {step for step in range(2001) if every.due(step)} == wanted
    for step in range(1500):
        assert every.next(step) == min(time for time in wanted if time > step)


def test_every_five_epochs_ends_with_a_run_of_thirty():
    epoch = 1438 / 64
    assert [s for s in range(675) if Every(5 * epoch).due(s)] == [112, 225, 337, 449, 562, 674]


def test_a_period_below_a_step_is_a_step():
    assert Every(0.3).due(1) and Every(0.3).next(1) == 2
