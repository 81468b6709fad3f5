"""Optimizers of players that are updated more than once a step, on average."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import Component, Duration, Optimizer, ParameterGroup
from dlresearch.optim import lazily_regularised, make_optimizer


def to_steps(duration: Duration) -> int:
    return duration.steps(steps_per_epoch=10, batch_size=5, total_steps=100)


@pytest.mark.parametrize("every", [4, 16])
def test_rates_are_those_published_for_lazy_regularisation(every):
    """Karras et al. 2020, arXiv:1912.04958, appendix B: c = k / (k + 1)."""
    options = Optimizer(learning_rate=0.002, arguments={"b1": 0.5})
    corrected = lazily_regularised(options, every, "config.optimizer")
    share = every / (every + 1)
    assert corrected.learning_rate == pytest.approx(0.002 * share)
    assert corrected.arguments["b1"] == pytest.approx(0.5**share)
    assert corrected.arguments["b2"] == pytest.approx(0.999**share)  # which nobody set


def test_over_as_many_steps_moments_decay_as_without_the_further_update():
    corrected = lazily_regularised(Optimizer(), 16, "config.optimizer")
    assert corrected.arguments["b2"] ** 17 == pytest.approx(0.999**16)
    assert 17 * corrected.learning_rate == pytest.approx(16 * Optimizer().learning_rate)


def test_groups_are_corrected_too_and_what_has_no_such_rates_keeps_its_arguments():
    options = Optimizer(groups={"head": ParameterGroup(name="sgd", learning_rate=1.0)})
    group = lazily_regularised(options, 4, "config.optimizer").groups["head"]
    assert group.learning_rate == pytest.approx(0.8)
    assert group.arguments == {}


def test_a_moment_of_zero_stays_zero():
    corrected = lazily_regularised(Optimizer(arguments={"b1": 0}), 4, "config.optimizer")
    assert corrected.arguments["b1"] == 0


@pytest.mark.parametrize("updates", [Fraction(1), Fraction(5), Fraction(17, 16)])
def test_a_schedule_goes_by_steps_however_many_updates_they_have(updates):
    """The last update of the run has the rate of the last step."""
    options = Optimizer(
        name="sgd",
        learning_rate=1.0,
        schedule=Component("linear"),
        arguments={"momentum": 0.0},
    )
    params = {"w": jnp.zeros(2)}
    optimizer, rate = make_optimizer(options, params, 100, to_steps, updates=updates)
    state, moved = optimizer.init(params), []
    for _ in range(int(100 * updates)):
        update, state = optimizer.update({"w": jnp.ones(2)}, state, params)
        moved.append(-float(update["w"][0]))
    steps = np.floor(np.arange(len(moved)) / float(updates) + 1e-9).astype(int)
    np.testing.assert_allclose(moved, [float(rate(step)) for step in steps], rtol=1e-6)
    assert steps[-1] >= 98
