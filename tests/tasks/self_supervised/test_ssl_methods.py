"""Every method learning from views: what it promises to change, to keep and to leave alone."""

from functools import cache, partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import component
from dlresearch.tasks.self_supervised.base import SelfSupervised
from dlresearch.tasks.self_supervised.multi_crop import of_all_views, warming
from dlresearch.tasks.self_supervised.sinkhorn import sinkhorn_knopp
from dlresearch.tasks.self_supervised.target import parts
from dlresearch.tasks.task import Time
from dlresearch.training.records import read_records
from dlresearch.training.state import TrainState
from helpers.tasks.method_steps import METHODS, ROWS, STEPS, Steps, steps
from helpers.training.small_runs import classification_config, run

TEACHERS = ("moco_v2", "moco_v3", "byol", "dino")
every_method = pytest.mark.parametrize("name", METHODS)


def timed(state: TrainState):
    time = Time(jnp.int32(state.step), STEPS)
    return jax.tree.map(jnp.asarray, state.variables.replace(time=time))


def moved(before: Any, after: Any) -> dict[str, bool]:
    pairs = jax.tree_util.tree_leaves_with_path(
        jax.tree.map(lambda a, b: (a != b).any(), before, after)
    )
    return {jax.tree_util.keystr(path, simple=True, separator="/"): bool(v) for path, v in pairs}


def target_of(state: TrainState) -> Any:
    (average,) = state.variables.averages.values()
    return parts(average)[0]


def equal(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-6), found, expected)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.slow
@every_method
def test_a_step_moves_every_parameter_by_a_finite_loss(name):
    _, states, _ = steps(name)
    last = states[-1].recorded.means()
    assert states[-1].recorded.finite_steps == 1 and np.isfinite(last["loss"])
    assert {"probe_loss", "probe_accuracy", "deviation"} <= last.keys()
    changed = moved(states[-2].variables.params, states[-1].variables.params)
    assert all(changed.values()), [path for path, true in changed.items() if not true]


@every_method
def test_evaluation_reads_images_and_no_views(name):
    task, states, batches = steps(name)
    images = {"image": batches[0]["image"]}
    features = jax.eval_shape(task.features, states[-1].variables, images)
    assert features.shape == (ROWS, 6) and features.dtype == jnp.float32
    assert jax.eval_shape(task.predict, states[-1].variables, images).shape == (ROWS, 3)


@pytest.mark.parametrize("name", TEACHERS)
def test_the_target_is_the_published_moving_average(name):
    _, states, _ = steps(name)

    def own(state: TrainState, target: Any) -> Any:
        return {each: state.variables.params["model"][each] for each in target}

    start = target_of(states[0])
    assert "backbone" in start and not any(moved(start, own(states[0], start)).values())
    for number, (before, after) in enumerate(pairwise(states)):
        rise = (np.cos(np.pi * number / STEPS) + 1) / 2
        momentum = 0.9 if name == "moco_v2" else 1 - 0.1 * rise
        old, new = target_of(before), own(after, start)
        expected = jax.tree.map(lambda a, b, m=momentum: m * a + (1 - m) * b, old, new)
        equal(target_of(after), expected)


@pytest.mark.parametrize("name", TEACHERS)
def test_no_gradient_reaches_the_teacher(name):
    task, states, batches = steps(name)
    variables = timed(states[-1])

    @jax.jit
    def slopes(averages):
        def loss(averages):
            given = variables.replace(averages=averages)
            return task.learn(given.params["model"], given, batches[0], jax.random.key(0)).loss

        return jax.grad(loss)(averages)

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes(variables.averages)))


# --- one by one ---------------------------------------------------------------------------------


@cache
def compiled(task: SelfSupervised, last: str) -> Any:
    key = jax.random.key(0)
    return jax.jit(
        lambda params, state, images: task.networks.apply(params, state, images, key, last=last)[0]
    )


def code_of(steps: Steps, number: int, view: str, teacher: bool, last: str) -> np.ndarray:
    """What a network gave for a view in a step, before the update."""
    variables = steps.states[number].variables
    params, state = variables.params["model"], variables.state["model"]
    if teacher:
        (average,) = variables.averages.values()
        params, state = parts(average)
    images = steps.batches[number][view]
    return np.asarray(compiled(steps.task, last)(params, state, images)[last])


@pytest.mark.parametrize(
    ("name", "view", "teacher"), [("moco_v2", "second_view", True), ("nnclr", "first_view", False)]
)
def test_the_queue_takes_codes_in_order_and_wraps_around(name, view, teacher):
    made = steps(name)
    expected = np.array(made.states[0].variables.state["queue"].rows)
    for number, state in enumerate(made.states[1:]):
        codes = unit(code_of(made, number, view, teacher, "projector"))
        places = (np.arange(ROWS) + number * ROWS) % 20
        expected[places] = codes
        queue = state.variables.state["queue"]
        np.testing.assert_allclose(queue.rows, expected, atol=1e-5)
        assert queue.oldest == (number + 1) * ROWS % 20


def test_a_symmetric_queue_takes_the_codes_of_both_views():
    made = steps("moco_v2", symmetric=True)
    views = ("first_view", "second_view")
    codes = [unit(code_of(made, 0, view, True, "projector")) for view in views]
    queue = made.states[1].variables.state["queue"]
    np.testing.assert_allclose(queue.rows[: 2 * ROWS], np.concatenate(codes), atol=1e-5)
    assert queue.oldest == 2 * ROWS


def test_the_centre_of_dino_follows_the_teacher():
    made = steps("dino")
    views = ("first_view", "second_view")
    centre = np.zeros(7)
    for number, state in enumerate(made.states[1:]):
        says = np.concatenate([code_of(made, number, view, True, "head") for view in views])
        centre = 0.9 * centre + 0.1 * says.mean(0)
        np.testing.assert_allclose(state.variables.state["centre"], centre, atol=1e-5)  # float32


def test_the_temperature_of_dinos_teacher_rises_at_the_start():
    recorded = [state.recorded.means()["teacher_temperature"] for state in steps("dino").states[1:]]
    assert recorded == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert warming(0.04, 0.07, 0.0)(Time(jnp.int32(0), 10)) == pytest.approx(0.07)


@pytest.mark.parametrize(("name", "frozen"), [("dino", "head/last"), ("swav", "prototypes")])
def test_the_last_layer_is_frozen_for_the_first_share_of_the_run(name, frozen):
    _, states, _ = steps(name)
    for number, (before, after) in enumerate(pairwise(states)):
        changed = moved(before.variables.params["model"], after.variables.params["model"])
        still = {path for path, true in changed.items() if not true}
        last = {path for path in changed if path.startswith(frozen)}
        assert last and still == (last if number < 2 else set())


def test_dino_is_evaluated_by_its_teacher():
    task, states, batches = steps("dino")
    variables = states[-1].variables
    other = jax.tree.map(np.zeros_like, variables.params["model"]["backbone"])
    student = {**variables.params["model"], "backbone": other}
    changed = variables.replace(params={"model": student})
    predict = jax.jit(task.predict)
    expected = predict(variables, batches[0])
    np.testing.assert_array_equal(predict(changed, batches[0]), expected)
    assert np.std(expected, axis=0).min() > 0


def slopes_of(made: Steps, loss: Any) -> Any:
    return jax.jit(jax.grad(loss))(made.states[-1].variables.params["model"])


def close(found: Any, expected: Any) -> None:
    equal(found, expected, rtol=1e-3)
    assert any(np.max(np.abs(leaf)) > 1e-4 for leaf in jax.tree.leaves(expected))


def both_of(made: Steps, params: Any) -> tuple[Any, Any]:
    state, given = made.states[-1].variables.state["model"], made.batches[0]
    one, two, _ = made.task.both(params, state, given, jax.random.key(0), "predictor")
    return one, two


def learned(made: Steps):
    variables = timed(made.states[-1])
    return lambda params: (
        made.task.learn(params, variables, made.batches[0], jax.random.key(0)).loss
    )


def test_simsiam_follows_no_gradient_through_its_targets():
    made = steps("simsiam")
    constants = jax.jit(partial(both_of, made))(made.states[-1].variables.params["model"])
    z1, z2 = (unit(np.asarray(each["projector"])) for each in constants)

    def loss(params):
        p1, p2 = (each["predictor"] for each in both_of(made, params))
        p1, p2 = (p / jnp.linalg.norm(p, axis=1, keepdims=True) for p in (p1, p2))
        return -jnp.mean((p1 * z2).sum(1)) / 2 - jnp.mean((p2 * z1).sum(1)) / 2

    close(slopes_of(made, learned(made)), slopes_of(made, loss))


@pytest.mark.slow
def test_swav_predicts_constant_codes_of_two_views_from_all_others():
    made = steps("swav")
    variables, key = made.states[-1].variables, jax.random.key(0)

    def scores(params):
        found, _, _ = of_all_views(
            made.task, params, variables.state["model"], made.batches[0], key, "prototypes"
        )
        return found

    constant = jax.jit(scores)(variables.params["model"])
    assert constant.shape == (ROWS, 4, 5) and np.max(np.abs(constant)) <= 1 + 1e-6
    codes = [np.asarray(sinkhorn_knopp(constant[:, view], 0.05, 3)) for view in range(2)]

    def loss(params):
        shares = jax.nn.log_softmax(scores(params) / 0.1)
        pairs = [(t, v) for t in range(2) for v in range(4) if v != t]
        return -sum(jnp.mean((codes[t] * shares[:, v]).sum(1)) for t, v in pairs) / len(pairs)

    close(slopes_of(made, learned(made)), slopes_of(made, loss))


def test_local_views_belong_to_their_images():
    """Through `of_all_views`, each as if it were alone: the MLP has no batch norm."""
    made = steps("dino")
    variables, given = made.states[-1].variables, made.batches[0]
    found, _, _ = jax.jit(
        lambda params, state: of_all_views(
            made.task, params, state, given, jax.random.key(0), "head"
        )
    )(variables.params["model"], variables.state["model"])
    for number in range(2):
        alone = {**given, "first_view": given["local_views"][:, number]}
        made_alone = Steps(made.task, [made.states[-1]], [alone])
        expected = code_of(made_alone, 0, "first_view", False, "head")
        np.testing.assert_allclose(found[:, 2 + number], expected, atol=1e-5)  # of two programs


def test_two_views_are_enough():
    for name in ("swav", "dino"):
        made = steps(name)
        without = {key: value for key, value in made.batches[0].items() if key != "local_views"}
        with_local, alone = (
            jax.jit(learned(Steps(made.task, made.states, [given])))(
                made.states[-1].variables.params["model"]
            )
            for given in (made.batches[0], without)
        )
        assert np.isfinite(alone) and alone != with_local


@pytest.mark.slow
def test_a_run_with_small_crops_ends_well(tmp_path):
    """With the trainer, on pictures of two sizes: a teacher that has not collapsed."""
    config = classification_config()
    config.duration, config.checkpoint.every = "6 steps", "6 steps"
    config.task = component("dino", outputs=16, hidden=(16,), bottleneck=8, momentum=0.9)
    config.model = component("convnet", widths=(4,), convs_per_stage=1, head="mean")
    config.average.decay, config.accumulate, config.evaluators = 0.0, 1, {}
    config.data.augmentations = ()
    config.data.views.first = (component("shifted_crop", padding=1),)
    config.data.views.local = (component("random_resized_crop", size=(4, 4)),)
    config.data.views.local_count = 2
    assert run(config, tmp_path).status == "completed"
    history = read_records(tmp_path / "metrics.jsonl")
    last = history[max(history)]
    assert 0.01 * np.log(16) < last["train/teacher_entropy"] < 0.999 * np.log(16)
    assert last["train/teacher_entropy"] < last["train/loss"]
