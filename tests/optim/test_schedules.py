"""Schedules against closed forms in NumPy."""

import jax
import numpy as np
import pytest

from dlresearch.config import Component, build, names
from dlresearch.optim import schedules

TOTAL = 200
STEPS = np.arange(TOTAL + 20)


def to_steps(duration):
    return duration.steps(steps_per_epoch=20, batch_size=5, total_steps=TOTAL)


def values(name, **arguments):
    """The schedule at every step, built as an experiment builds it, under jit."""
    component = Component(name, **arguments)
    schedule = build(component, "schedule", "config.schedule", total_steps=TOTAL, to_steps=to_steps)
    return np.asarray(jax.jit(jax.vmap(schedule))(STEPS), np.float64)


def progress(start, end):
    return np.clip((STEPS - start) / (end - start), 0, 1)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=2e-6)  # float32


@pytest.mark.parametrize("name", sorted(set(names("schedule")) - {"one_cycle"}))
def test_warmup_rises_to_one_and_wastes_no_update(name):
    warm = values(name, warmup="2 epochs")
    close(warm[:40], np.arange(1, 41) / 40)
    assert warm[40] == 1


@pytest.mark.parametrize("name", names("schedule"))
def test_schedule_works_without_arguments(name):
    factors = values(name)
    assert np.all(factors >= 0) and factors.max() == 1
    assert factors[0] > 0 and factors[TOTAL - 1] > 0


@pytest.mark.parametrize("name", names("schedule"))
def test_schedule_survives_a_trial_of_one_step(name):
    warmup = {} if name == "one_cycle" else {"warmup": "5 epochs"}
    context = {"total_steps": 1, "to_steps": lambda duration: min(to_steps(duration), 1)}
    schedule = build(Component(name, **warmup), "schedule", "config.schedule", **context)
    assert 0 < schedule(0) <= 1


def test_constant_is_one():
    close(values("constant"), np.ones(len(STEPS)))


def test_linear_ends_at_final():
    close(values("linear", final=0.2)[40:], (1 - 0.8 * progress(0, TOTAL))[40:])
    close(values("linear", warmup=40)[40:], (1 - progress(40, TOTAL))[40:])
    assert values("linear")[TOTAL] == 0


def test_cosine_is_half_a_cosine():
    expected = 0.1 + 0.9 * (1 + np.cos(np.pi * progress(40, TOTAL))) / 2
    close(values("cosine", warmup="20%", final=0.1)[40:], expected[40:])


def test_step_multiplies_at_each_milestone():
    expected = np.where(STEPS < 100, 1, np.where(STEPS < 150, 0.1, 0.01))
    close(values("step"), expected)
    expected = np.where(STEPS < 60, 1, 0.5)
    close(values("step", milestones=("3 epochs",), factor=0.5, warmup=10)[10:], expected[10:])
    close(values("step", milestones=()), np.ones(len(STEPS)))


@pytest.mark.parametrize("anneal", ["linear", "cosine"])
def test_one_cycle_rises_and_falls(anneal):
    shape = {"linear": lambda p: p, "cosine": lambda p: (1 - np.cos(np.pi * p)) / 2}[anneal]
    up = 0.1 + 0.9 * shape(np.clip((STEPS + 1) / 50, 0, 1))
    down = 1 - 0.98 * shape(progress(50, TOTAL))
    factors = values("one_cycle", peak="25%", start=0.1, final=0.02, anneal=anneal)
    close(factors, np.where(STEPS < 50, up, down))


def test_linear_one_cycle_from_zero_to_zero_is_linear_with_warmup():
    cycle = values("one_cycle", peak=50, start=0.0, final=0.0, anneal="linear")
    close(cycle, values("linear", warmup=50))


def test_inverse_sqrt_with_timescale_of_the_warmup_is_the_transformers():
    expected = np.minimum((STEPS + 1) / 30, np.sqrt(30 / np.maximum(STEPS, 1)))
    close(
        values("inverse_sqrt", timescale=30, warmup=30),
        np.where(STEPS < 30, (STEPS + 1) / 30, expected),
    )
    close(values("inverse_sqrt", timescale=30), np.sqrt(30 / (30 + STEPS)))


def test_schedules_take_the_runs_length_only_where_they_need_it():
    assert schedules.constant(to_steps)(0) == 1
    assert schedules.inverse_sqrt(to_steps)(0) == 1
