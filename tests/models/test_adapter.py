from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from dlresearch.errors import UserError
from dlresearch.models import MLP, functional

INPUTS = jax.random.normal(jax.random.key(7), (6, 3))


class Small(nnx.Module):
    """Layers in a list, batch statistics, two sources of randomness."""

    def __init__(self, width: int = 4, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)]
        )
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.first = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(width, 2, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = self.first(self.norm(layer(x)))
        return self.head(self.second(x))


class Noisy(linen.Module):
    rng_streams = ("noise",)

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(x) + jax.random.normal(self.make_rng("noise"), (2,))


class Partitioned(linen.Module):
    @linen.compact
    def __call__(self, x):
        kernel = linen.with_partitioning(linen.initializers.ones, ("fsdp", None))
        return linen.Dense(2, kernel_init=kernel)(x)


def builder(width: int, *, rngs: nnx.Rngs):
    return Small(width, rngs=rngs)


def native(params, state):
    """`Small` run by NNX itself, on the same parameters."""
    module = Small(rngs=nnx.Rngs(1))
    params = {**params, "layers": {int(i): layer for i, layer in params["layers"].items()}}
    nnx.update(module, nnx.State(params))
    nnx.update(module, nnx.State(state))
    return module


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def string_keys(tree):
    if isinstance(tree, dict):
        return all(type(name) is str and string_keys(value) for name, value in tree.items())
    return isinstance(tree, jax.Array)


def test_linen_outputs_are_the_modules_own():
    module = MLP(num_outputs=2, norm="batch")
    model = functional(MLP, num_outputs=2, norm="batch")
    params, state = model.init(jax.random.key(0), INPUTS)
    variables = {"params": params, **state}
    outputs, new_state = model.apply(params, state, INPUTS, train=True)
    expected, changed = module.apply(variables, INPUTS, train=True, mutable=["batch_stats"])
    equal((outputs, new_state), (expected, changed))
    equal(
        model.apply(params, state, INPUTS, train=False)[0],
        module.apply(variables, INPUTS, train=False),
    )


def test_linen_random_streams_are_those_the_module_names():
    model = functional(Noisy)
    params, state = model.init(jax.random.key(0), INPUTS)
    outputs = [
        model.apply(params, state, INPUTS, train=True, key=jax.random.key(seed))[0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.any(outputs[0] != outputs[2])


def test_linen_partitioning_metadata_is_taken_off():
    params, _ = functional(Partitioned).init(jax.random.key(0), INPUTS)
    assert string_keys(params)


@pytest.mark.parametrize(
    "constructor", [Small, builder, partial(Small)], ids=["class", "function", "partial"]
)
def test_nnx_params_and_state_are_plain_dicts(constructor):
    model = functional(constructor, width=4)
    params, state = jax.jit(model.init)(jax.random.key(0), INPUTS)
    assert string_keys(params) and string_keys(state)
    assert set(params) == {"layers", "norm", "head"}
    assert set(params["layers"]) == {"0", "1"}
    assert set(state) == {"norm"}
    other, _ = model.init(jax.random.key(1), INPUTS)
    assert np.any(other["head"]["kernel"] != params["head"]["kernel"])


def test_nnx_evaluation_is_what_the_module_gives_natively():
    model = functional(Small)
    params, state = model.init(jax.random.key(0), INPUTS)
    state = jax.tree.map(lambda leaf: leaf + 0.5, state)
    module = native(params, state)
    module.eval()
    outputs, new_state = model.apply(params, state, INPUTS, train=False)
    equal(outputs, module(INPUTS))
    equal(new_state, state)


def test_nnx_training_gives_the_native_outputs_and_batch_statistics():
    model = functional(Small)
    params, state = model.init(jax.random.key(0), INPUTS)
    key = jax.random.key(5)
    module = native(params, state)
    module.train()
    # The streams `apply` makes: one key for each leaf of the random state, counts at zero.
    randomness = jax.tree.leaves(nnx.state(module, nnx.RngState))
    keys = iter(jax.random.split(key, len(randomness)))
    fresh = [
        key if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for leaf, key in zip(randomness, keys, strict=True)
    ]
    structure = jax.tree.structure(nnx.state(module, nnx.RngState))
    nnx.update(module, jax.tree.unflatten(structure, fresh))
    outputs, new_state = model.apply(params, state, INPUTS, train=True, key=key)
    equal(outputs, module(INPUTS))
    equal(new_state, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    assert np.any(new_state["norm"]["mean"] != state["norm"]["mean"])


def test_nnx_works_under_jit_and_grad_and_does_not_compile_twice():
    model = functional(Small)
    params, state = model.init(jax.random.key(0), INPUTS)
    traces = []

    @jax.jit
    def step(params, state, key):
        traces.append(None)

        def loss(params):
            outputs, new_state = model.apply(params, state, INPUTS, train=True, key=key)
            return jnp.sum(jnp.square(outputs - 1)), new_state

        return jax.value_and_grad(loss, has_aux=True)(params)

    (first, state), gradient = step(params, state, jax.random.key(0))
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
    (second, state), _ = step(params, state, jax.random.key(0))
    (third, _), _ = step(params, state, jax.random.key(1))
    assert len(traces) == 1
    np.testing.assert_array_equal(first, second)  # dropout is a function of the key alone
    assert third != second


def test_two_dropouts_of_an_nnx_module_do_not_share_a_mask():
    class Twice(nnx.Module):
        def __init__(self, *, rngs):
            self.a, self.b = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.a(x), self.b(x)

    model = functional(Twice)
    params, state = model.init(jax.random.key(0), INPUTS)
    (a, b), _ = model.apply(params, state, jnp.ones((4, 32)), train=True, key=jax.random.key(0))
    assert params == {} and state == {}
    assert np.any(a != b)


def test_nnx_training_without_a_key_is_refused_where_it_would_repeat_its_noise():
    model = functional(Small)
    params, state = model.init(jax.random.key(0), INPUTS)
    with pytest.raises(ValueError, match="key"):
        model.apply(params, state, INPUTS, train=True)


def test_nnx_call_that_takes_train_is_given_it():
    class Flagged(nnx.Module):
        def __init__(self, *, rngs):
            self.scale = nnx.Param(jnp.ones(()))

        def __call__(self, x, *, train):
            return self.scale * (x if train else -x)

    model = functional(Flagged)
    params, state = model.init(jax.random.key(0), INPUTS)
    equal(model.apply(params, state, INPUTS, train=True)[0], INPUTS)
    equal(model.apply(params, state, INPUTS, train=False)[0], -INPUTS)


class LinenPair(linen.Module):
    def setup(self):
        self.dense = linen.Dense(2)

    def __call__(self, x):
        return self.dense(x)

    def twice(self, x, *, train):
        return 2 * self.dense(x) + train


class NNXPair(nnx.Module):
    def __init__(self, *, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return self.dense(x)

    def twice(self, x, *, train):
        return 2 * self.dense(x) + train


@pytest.mark.parametrize("constructor", [LinenPair, NNXPair])
def test_other_methods_are_called_by_name_and_given_train_where_they_take_it(constructor):
    model = functional(constructor)
    params, state = model.init(jax.random.key(0), INPUTS)
    plain, _ = model.apply(params, state, INPUTS, train=True)
    for train in (True, False):
        twice, _ = model.apply(params, state, INPUTS, train=train, method="twice")
        np.testing.assert_allclose(twice, 2 * plain + train, rtol=1e-6)
    with pytest.raises(UserError, match="Pair has no method 'thrice', which the task calls"):
        model.apply(params, state, INPUTS, train=False, method="thrice")


def test_nnx_variables_of_other_kinds_and_arrays_are_state():
    class Counting(nnx.Module):
        def __init__(self, *, rngs):
            self.calls = nnx.Variable(jnp.zeros((), jnp.int32))
            self.table = nnx.data(jnp.arange(3.0))

        def __call__(self, x):
            self.calls[...] = self.calls[...] + 1
            return x * self.table

    model = functional(Counting)
    params, state = model.init(jax.random.key(0), INPUTS)
    _, state = model.apply(params, state, INPUTS, train=True)
    _, state = model.apply(params, state, INPUTS, train=True)
    assert state["calls"] == 2
    np.testing.assert_array_equal(state["table"], np.arange(3))


def test_nnx_array_that_tracing_would_hide_is_named():
    class Hiding(nnx.Module):
        def __init__(self, *, rngs):
            self.table = jnp.arange(3.0)

    with pytest.raises(UserError, match=r"Hiding: attribute 'table' .* nnx\.Variable"):
        functional(Hiding)


def test_function_that_takes_rngs_may_still_make_a_linen_module():
    def either(num_outputs, rngs):
        return MLP(num_outputs)

    params, _ = functional(either, num_outputs=2).init(jax.random.key(0), INPUTS)
    assert set(params) == {"Dense_0", "Dense_1"}


@pytest.mark.parametrize("takes_rngs", [False, True])
def test_what_is_no_module_is_named(takes_rngs):
    def wrong(rngs):
        return len

    with pytest.raises(UserError, match=r"makes a \w+; a model is a flax"):
        functional(wrong if takes_rngs else lambda: len)


def test_nnx_module_made_without_rngs_is_refused():
    def seeded():
        return Small(rngs=nnx.Rngs(0))

    with pytest.raises(UserError, match=r"seeded .* 'rngs'"):
        functional(seeded)
