"""The step's machinery against closed forms in NumPy float64."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlresearch.tasks import Average, Player, Regulariser, Task, Variables
from dlresearch.training.step import PlayerOptimizer, StepOptions, make_step

RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.standard_normal((8, 3)).astype(np.float32),
    "y": RNG.standard_normal(8).astype(np.float32),
}


class LeastSquares(Task):
    """One linear layer; the loss, gradient and updates are a line of NumPy each."""

    def __init__(self, loss_factor=1.0, repeats=1, decay_every=None):
        self.loss_factor, self.repeats = loss_factor, repeats
        self.regulariser = None if decay_every is None else Regulariser(self.decay, decay_every)

    @property
    def players(self):
        return (Player("model", self.loss, self.repeats, self.regulariser),)

    def init(self, key, batch):
        return Variables(params={"model": jnp.zeros(3)}, state={"calls": jnp.int32(0)})

    def loss(self, params, variables, batch, key):
        loss = self.loss_factor * jnp.mean((batch["x"] @ params - batch["y"]) ** 2)
        state = {"calls": variables.state["calls"] + 1}
        return loss, (state, {"loss": loss})

    def decay(self, params, variables, batch, key):
        return jnp.sum(params**2) / 2, (variables.state, {"decay": jnp.sum(params**2)})

    def predict(self, variables, batch):
        return batch["x"] @ variables.params["model"]


def gradient(w, x=BATCH["x"], y=BATCH["y"]):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return 2 * x.T @ (x @ w - y) / len(y)


def steps(count: int, task: Task | None = None, batch: Mapping | None = None, **changes):
    """The states after each of so many steps with plain SGD at rate 0.1."""
    task = LeastSquares() if task is None else task
    clip_norm, due = changes.pop("clip_norm", None), changes.pop("due", None)
    options = {
        "optimizers": {"model": PlayerOptimizer(optax.sgd(0.1), lambda step: 0.1, clip_norm)},
        "averages": {},
        "augment": lambda key, batch: batch,
        "accumulate": 1,
        "record_every": 100,
        "scale_loss": False,
        "total_steps": 10,
        **changes,
    }
    initial, step = make_step(task, StepOptions(**options))
    batch = dict(BATCH if batch is None else batch)
    variables = task.init(jax.random.key(0), batch)
    starts = {
        name: jax.tree.map(jnp.copy, a.of(variables)) for name, a in options["averages"].items()
    }
    state = initial(jnp.uint32(0), variables.replace(averages=starts), batch)
    states = [state]
    for number in range(count):
        told = step if due is None else partial(step, due=due(number))
        states.append(jax.jit(told)(states[-1], batch))
    return states


def weights(state) -> np.ndarray:
    return np.asarray(state.variables.params["model"])


def test_a_step_is_gradient_descent():
    w = np.zeros(3)
    for state in steps(5)[1:]:
        w = w - 0.1 * gradient(w)
        np.testing.assert_allclose(weights(state), w, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_accumulated_microbatches_are_one_batch(accumulate):
    plain, parts = steps(3)[-1], steps(3, accumulate=accumulate)[-1]
    np.testing.assert_allclose(weights(parts), weights(plain), rtol=1e-5)
    assert int(parts.variables.state["calls"]) == 3 * accumulate
    assert parts.recorded.means()["loss"] == pytest.approx(plain.recorded.means()["loss"], rel=1e-5)


def test_gradients_longer_than_the_limit_are_scaled_to_it():
    w = gradient(np.zeros(3))
    clipped = weights(steps(1, clip_norm=0.25)[-1])
    np.testing.assert_allclose(clipped, -0.1 * w * 0.25 / np.linalg.norm(w), rtol=1e-5)
    loose = weights(steps(1, clip_norm=100.0)[-1])
    np.testing.assert_allclose(loose, -0.1 * w, rtol=1e-5)


def test_an_average_follows_its_formula():
    average = {"slow": Average(lambda v: v.params["model"], lambda time: 0.5 + 0.1 * time.step)}
    states = steps(4, averages=average)
    expected = np.zeros(3)
    for number, state in enumerate(states[1:]):
        decay = 0.5 + 0.1 * number
        expected = decay * expected + (1 - decay) * weights(state)
        np.testing.assert_allclose(
            np.asarray(state.variables.averages["slow"]), expected, rtol=1e-5
        )


class Ageing(LeastSquares):
    """Records when its loss and what follows a step are computed."""

    def loss(self, params, variables, batch, key):
        loss, (state, metrics) = super().loss(params, variables, batch, key)
        return loss, (state, {**metrics, "progress": variables.now.progress})

    def after_step(self, variables, batch, key):
        changed = super().after_step(variables, batch, key)
        return changed.replace(state={**changed.state, "calls": 100 * variables.now.step})


def test_a_task_is_told_the_time_in_a_step_and_keeps_none():
    last = steps(4, Ageing())[-1]
    assert last.recorded.means()["progress"] == pytest.approx((0 + 0.1 + 0.2 + 0.3) / 4)
    assert int(last.variables.state["calls"]) == 300
    assert last.variables.time is None


def test_each_repeat_reads_examples_of_its_own():
    w = np.zeros(3)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        w = w - 0.1 * gradient(w, BATCH["x"][rows], BATCH["y"][rows])
    np.testing.assert_allclose(weights(steps(1, LeastSquares(repeats=2))[-1]), w, rtol=1e-5)


def test_a_step_that_is_not_finite_changes_nothing_and_is_named():
    broken = {**BATCH, "y": np.where(np.arange(8) == 3, np.nan, BATCH["y"]).astype(np.float32)}
    initial, *_, last = steps(3, batch=broken)
    np.testing.assert_array_equal(weights(last), weights(initial))
    assert int(last.variables.state["calls"]) == 0
    assert int(last.step) == 3
    recorded = last.recorded
    assert (int(recorded.nonfinite_steps), int(recorded.finite_steps)) == (3, 0)
    assert (int(recorded.first_nonfinite), int(recorded.last_nonfinite)) == (0, 2)


def test_means_start_anew_after_each_record():
    states = steps(6, record_every=3)
    losses = [np.mean((BATCH["x"] @ weights(s) - BATCH["y"]) ** 2) for s in states]
    assert states[3].recorded.means()["loss"] == pytest.approx(np.mean(losses[:3]), rel=1e-5)
    assert states[6].recorded.means()["loss"] == pytest.approx(np.mean(losses[3:6]), rel=1e-5)


def test_loss_scaling_changes_no_gradient_and_backs_off_from_overflow():
    scaled = steps(3, scale_loss=True)
    np.testing.assert_allclose(weights(scaled[-1]), weights(steps(3)[-1]), rtol=1e-5)
    assert float(scaled[-1].loss_scale.scale) == 2**15
    # The loss itself is finite; times the scale it is not, and no step is taken before it fits.
    huge = steps(30, LeastSquares(loss_factor=1e34), scale_loss=True)
    assert float(huge[4].loss_scale.scale) == 2**11
    np.testing.assert_array_equal(weights(huge[1]), weights(huge[0]))
    assert int(huge[1].recorded.nonfinite_steps) == 0


def test_learning_rate_and_norms_are_recorded():
    means = steps(1)[-1].recorded.means()
    assert means["learning_rate"] == pytest.approx(0.1)
    assert means["gradient_norm"] == pytest.approx(np.linalg.norm(gradient(np.zeros(3))), rel=1e-5)
    norm = np.linalg.norm(0.1 * gradient(np.zeros(3)))
    assert means["parameter_norm"] == pytest.approx(norm, rel=1e-5)


def test_a_regulariser_is_an_update_of_its_own_every_so_many_steps():
    """Along the gradient of the loss, then, in steps 0, 3 and 6, of three times the decay."""
    w = np.zeros(3)
    for number, state in enumerate(steps(7, LeastSquares(decay_every=3))[1:]):
        w = w - 0.1 * gradient(w)
        if number % 3 == 0:
            w = w - 0.1 * 3 * w
        np.testing.assert_allclose(weights(state), w, rtol=1e-5)
        assert "decay" not in state.recorded.sums


def test_a_step_told_which_regularisers_are_due_makes_the_same_update():
    """As on CPU, where each answer is a program of its own, and not found out on the device."""
    task = LeastSquares(decay_every=3)
    told = steps(7, task, due=lambda number: ("model",) if number % 3 == 0 else ())
    for expected, actual in zip(steps(7, task), told, strict=True):
        np.testing.assert_allclose(weights(actual), weights(expected), rtol=1e-6)


def test_a_regulariser_that_is_not_finite_is_not_applied():
    class Broken(LeastSquares):
        def decay(self, params, variables, batch, key):
            return jnp.sum(jnp.sqrt(params - 1e6)), (variables.state, {})

    before, after = steps(1, Broken(decay_every=3))
    assert np.isfinite(weights(after)).all()
    assert int(after.recorded.nonfinite_steps) == 1
    np.testing.assert_allclose(
        weights(after), weights(before) - 0.1 * gradient(np.zeros(3)), rtol=1e-5
    )


class Drawing(LeastSquares):
    """Records the first two moments of the random number that each call of its loss draws."""

    def loss(self, params, variables, batch, key):
        loss, (state, metrics) = super().loss(params, variables, batch, key)
        draw = jax.random.uniform(key)
        return loss, (state, {**metrics, "draw": draw, "square": draw**2})


def test_each_microbatch_draws_random_numbers_of_its_own():
    means = steps(1, Drawing(), accumulate=4)[-1].recorded.means()
    # The variance over the microbatches, which is 0 where all of them have one key.
    assert means["square"] - means["draw"] ** 2 > 1e-3
