"""The optimizer section of an experiment, as the trainer gets it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlresearch.config import (
    Component,
    Duration,
    LookaheadOptions,
    Optimizer,
    ParameterGroup,
    names,
)
from dlresearch.errors import UserError
from dlresearch.optim import make_optimizer

PARAMS = {
    "stem": {"kernel": jnp.full((3, 3, 2, 4), 0.7), "bias": jnp.full(4, 0.3)},
    "head": {"kernel": jnp.full((4, 5), 0.5), "bias": jnp.full(5, 0.2)},
}
GRADIENTS = jax.tree.map(lambda leaf: jnp.linspace(0.1, 1, leaf.size).reshape(leaf.shape), PARAMS)


def to_steps(duration):
    return duration.steps(steps_per_epoch=10, batch_size=5, total_steps=100)


def made(**options):
    return make_optimizer(Optimizer(**options), PARAMS, 100, to_steps)


def updates(steps=2, **options):
    optimizer, _ = made(**options)
    state = optimizer.init(PARAMS)
    params = PARAMS
    step = jax.jit(optimizer.update)
    for _ in range(steps):
        change, state = step(GRADIENTS, state, params)
        params = optax.apply_updates(params, change)
    return params, state


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimizer_trains_what_is_not_frozen(name):
    arguments = {
        "name": name,
        "weight_decay": 0.1,
        "freeze": ("stem/.*",),
        "learning_rate_factors": (("head/bias", 0.5),),
    }
    params, state = updates(**arguments)
    equal(params["stem"], PARAMS["stem"])
    for leaf, before in zip(
        jax.tree.leaves(params["head"]), jax.tree.leaves(PARAMS["head"]), strict=True
    ):
        assert np.all(np.isfinite(leaf)) and np.all(leaf != before)
    shapes = {leaf.shape for leaf in jax.tree.leaves(state)}
    assert not shapes & {leaf.shape for leaf in jax.tree.leaves(PARAMS["stem"])}


@pytest.mark.parametrize("name", names("optimizer"))
def test_frozen_parameters_do_not_change_what_the_others_do(name):
    free, _ = updates(name=name, weight_decay=0.1)
    frozen, _ = updates(name=name, weight_decay=0.1, freeze=("stem/.*",))
    # Not bit-equal: XLA may fuse the two programs differently.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), free["head"], frozen["head"]
    )


def test_learning_rate_is_the_peak_times_the_schedule():
    _, rate = made(learning_rate=0.4, schedule=Component("linear", warmup=10))
    np.testing.assert_allclose(
        [rate(0), rate(9), rate(55), rate(100)], [0.04, 0.4, 0.2, 0], atol=1e-6
    )
    params, _ = updates(
        steps=1,
        name="sgd",
        learning_rate=0.4,
        schedule=Component("linear", warmup=10),
    )
    expected = jax.tree.map(lambda p, g: p - 0.04 * g, PARAMS, GRADIENTS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected)


def test_arguments_reach_the_optimizer():
    plain, _ = updates(name="sgd", arguments={"momentum": 0.0}, learning_rate=0.1)
    expected = jax.tree.map(lambda p, g: p - 0.2 * g, PARAMS, GRADIENTS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, expected
    )


def test_factors_multiply_the_update_and_the_first_match_counts():
    factors = (("head/kernel", 0.0), ("head/.*", 3.0))
    plain, _ = updates(steps=1)
    scaled, _ = updates(steps=1, learning_rate_factors=factors)
    equal(scaled["stem"], plain["stem"])
    equal(scaled["head"]["kernel"], PARAMS["head"]["kernel"])
    np.testing.assert_allclose(
        scaled["head"]["bias"] - PARAMS["head"]["bias"],
        3 * (plain["head"]["bias"] - PARAMS["head"]["bias"]),
        rtol=1e-4,
    )


def test_a_group_has_its_own_optimizer_rate_schedule_and_decay():
    head = ParameterGroup(
        "sgd",
        0.5,
        Component("linear", until=Duration.parse("2 steps")),
        weight_decay=0.1,
        decay_patterns=("head/bias",),
        parameters=("head/.*",),
        arguments={"momentum": 0.0},
    )
    plain, _ = updates(steps=3)
    grouped, state = updates(steps=3, groups={"head": head})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), grouped["stem"], plain["stem"]
    )
    kernel, bias = PARAMS["head"]["kernel"], PARAMS["head"]["bias"]
    for rate in (0.5, 0.25):  # and then 0
        kernel = kernel - rate * GRADIENTS["head"]["kernel"]
        bias = bias - rate * (GRADIENTS["head"]["bias"] + 0.1 * bias)
    np.testing.assert_allclose(grouped["head"]["kernel"], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grouped["head"]["bias"], bias, rtol=1e-5, atol=1e-6)
    # Adam's moments are of the stem alone.
    assert PARAMS["head"]["kernel"].shape not in {leaf.shape for leaf in jax.tree.leaves(state)}


def test_a_parameter_in_two_groups_is_an_error():
    groups = {name: ParameterGroup(parameters=("head/.*",)) for name in ("a", "b")}
    with pytest.raises(
        UserError, match=r"^config\.optimizer\.groups\.b\.parameters: head/bias is in group 'a'"
    ):
        made(groups=groups)


def test_a_group_without_a_parameter_is_an_error():
    with pytest.raises(UserError, match=r"groups\.a\.parameters: 'haed' matches no whole"):
        made(groups={"a": ParameterGroup(parameters=("haed",))})


def test_lookahead_pulls_parameters_back_every_so_many_steps():
    options = {"name": "sgd", "learning_rate": 0.1, "arguments": {"momentum": 0.0}}
    ahead = LookaheadOptions(every=2, decay=0.8, power=3.0)
    params, _ = updates(steps=5, lookahead=ahead, **options)
    fast = slow = np.asarray(PARAMS["head"]["kernel"], np.float64)
    for step in range(1, 6):
        fast = fast - 0.1 * np.asarray(GRADIENTS["head"]["kernel"], np.float64)
        if step % 2 == 0:
            decay = 0.8 * (step / 100) ** 3
            slow = fast = decay * slow + (1 - decay) * fast
    np.testing.assert_allclose(params["head"]["kernel"], fast, rtol=1e-5, atol=1e-6)
    constant, _ = updates(steps=2, lookahead=LookaheadOptions(every=2, decay=1.0), **options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), constant, PARAMS
    )


def test_only_matching_parameters_decay():
    without, _ = updates(steps=1, name="adamw")
    decayed, _ = updates(steps=1, name="adamw", weight_decay=0.5, learning_rate=1e-3)
    for layer in PARAMS:
        equal(decayed[layer]["bias"], without[layer]["bias"])
        np.testing.assert_allclose(
            decayed[layer]["kernel"] - without[layer]["kernel"],
            -1e-3 * 0.5 * PARAMS[layer]["kernel"],
            rtol=1e-2,  # a difference of float32 numbers 1e-3 apart
        )


def test_patterns_without_a_match_are_errors_at_their_place():
    for field, value in [
        ("freeze", ("haed/.*",)),
        ("decay_patterns", ("haed/.*",)),
        ("learning_rate_factors", (("haed/.*", 2.0),)),
    ]:
        with pytest.raises(UserError, match=rf"^config\.optimizer\.{field}: 'haed/\.\*'.*head/"):
            made(weight_decay=0.1, **{field: value})


def test_decay_patterns_do_not_matter_without_decay():
    made(decay_patterns=("nothing like this",))


def test_where_is_that_of_the_player():
    with pytest.raises(UserError, match=r"^config\.optimizers\.critic\.freeze"):
        options = Optimizer(freeze=("none",))
        make_optimizer(options, PARAMS, 100, to_steps, "config.optimizers.critic")


def test_weight_decay_of_an_optimizer_without_one_is_refused():
    with pytest.raises(UserError, match=r"config\.optimizer\.weight_decay: optax:noisy_sgd"):
        made(name="optax:noisy_sgd", weight_decay=0.1)


def test_shapes_are_enough_to_build():
    shapes = jax.eval_shape(lambda: PARAMS)
    optimizer, _ = make_optimizer(
        Optimizer(weight_decay=0.1, freeze=("head/.*",)), shapes, 100, to_steps
    )
    assert jax.eval_shape(optimizer.init, shapes)
