"""What every built-in model promises, whatever its kind; a new model is one more row of MODELS."""

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.errors import UserError
from dlresearch.models import MLP, ConvNet, functional
from dlresearch.models.layers import halve_by_max

IMAGES = (6, 8, 8, 2)
# name -> (constructor, arguments, input shape, has batch statistics, has dropout)
MODELS = {
    "linear": (MLP, {"hidden": ()}, (6, 5), False, False),
    "mlp": (MLP, {"hidden": (7, 6)}, (6, 5), False, False),
    "mlp on images": (MLP, {"hidden": (7,), "norm": "layer"}, IMAGES, False, False),
    "mlp batch norm": (MLP, {"norm": "batch", "dropout": 0.5}, (6, 5), True, True),
    "convnet": (ConvNet, {"widths": (4, 6), "convs_per_stage": 1}, IMAGES, True, False),
    "convnet deep stage": (ConvNet, {"widths": (4,), "norm": "none"}, IMAGES, False, False),
    "convnet flatten": (
        ConvNet,
        {
            "widths": (4,),
            "convs_per_stage": 1,
            "kernel_size": 5,
            "head": "flatten",
            "hidden": (9,),
            "dropout": 0.5,
            "norm": "layer",
            "activation": "gelu",
        },
        IMAGES,
        False,
        True,
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)


@cache  # so that each model is compiled once
def made(name):
    model = jitted(adapted(name))
    inputs = jax.random.normal(jax.random.key(1), MODELS[name][2])
    return model, inputs, *model.init(jax.random.key(0), inputs)


def adapted(name, **more):
    constructor, arguments, *_ = MODELS[name]
    return functional(constructor, num_outputs=3, **arguments, **more)


def jitted(model):
    """Eagerly, each operation of each shape would be compiled by itself."""
    apply = jax.jit(model.apply, static_argnames="train")
    return SimpleNamespace(init=jax.jit(model.init), apply=apply, eager=model.apply)


def differ(a, b):
    return not np.array_equal(a, b)


@every_model
def test_outputs_are_float32_of_the_asked_size_and_the_same_under_jit(name):
    model, inputs, params, state = made(name)
    outputs, _ = model.apply(params, state, inputs, train=False)
    assert outputs.shape == (6, 3)
    assert outputs.dtype == jnp.float32
    eager, _ = model.eager(params, state, inputs, train=False)
    np.testing.assert_allclose(outputs, eager, rtol=1e-5, atol=1e-5)  # fusion reorders sums


@every_model
def test_every_parameter_has_a_gradient(name):
    model, inputs, params, state = made(name)

    @jax.jit
    def gradient(params):
        def loss(params):
            outputs, _ = model.apply(params, state, inputs, train=True, key=jax.random.key(2))
            return jnp.sum(jnp.square(outputs - 1))

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path


@every_model
def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32(name):
    exact, inputs, params, state = made(name)
    model = jitted(adapted(name, dtype=jnp.bfloat16))
    outputs, new_state = model.apply(params, state, inputs, train=True, key=jax.random.key(2))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, new_state, outputs))} == {
        jnp.dtype(jnp.float32)
    }
    low, _ = model.apply(params, state, inputs, train=False)
    high, _ = exact.apply(params, state, inputs, train=False)
    # bfloat16 has 8 bits: 2**-8 a rounding, a handful of layers, outputs of order 1.
    np.testing.assert_allclose(low, high, atol=0.1)
    assert MODELS[name][1].get("hidden") == () or differ(low, high)


@every_model
def test_param_dtype_is_the_type_of_the_parameters(name):
    model = adapted(name, param_dtype=jnp.bfloat16)
    shape = jax.ShapeDtypeStruct(MODELS[name][2], jnp.float32)
    params, _ = jax.eval_shape(model.init, jax.random.key(0), shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


@every_model
def test_batch_statistics_change_in_training_only(name):
    model, inputs, params, state = made(name)
    has_statistics = MODELS[name][3]
    assert bool(state) == has_statistics
    _, trained = model.apply(params, state, inputs, train=True, key=jax.random.key(2))
    _, evaluated = model.apply(params, state, inputs, train=False)
    same = [jax.tree.all(jax.tree.map(np.array_equal, state, s)) for s in (trained, evaluated)]
    assert same == [not has_statistics, True]


@every_model
def test_dropout_depends_on_the_key_in_training_only(name):
    model, inputs, params, state = made(name)

    def outputs(seed, train):
        return model.apply(params, state, inputs, train=train, key=jax.random.key(seed))[0]

    assert differ(outputs(1, True), outputs(2, True)) == MODELS[name][4]
    assert not differ(outputs(1, True), outputs(1, True))
    assert not differ(outputs(1, False), outputs(2, False))


@every_model
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_without_outputs_a_model_gives_what_its_last_layer_reads(name, dtype):
    constructor, arguments, *_ = MODELS[name]
    model, inputs, params, state = made(name)
    last = max((key for key in params if key.startswith("Dense")), key=lambda key: int(key[6:]))
    body = {key: value for key, value in params.items() if key != last}
    backbone = functional(constructor, num_outputs=None, dtype=dtype, **arguments)
    features, _ = jitted(backbone).apply(body, state, inputs, train=False)
    assert features.shape == (6, params[last]["kernel"].shape[0])
    assert features.dtype == jnp.float32
    needed, _ = jax.eval_shape(backbone.init, jax.random.key(0), inputs)
    assert jax.tree.structure(needed) == jax.tree.structure(body)
    if dtype == jnp.float32:
        outputs, _ = model.apply(params, state, inputs, train=False)
        expected = features @ params[last]["kernel"] + params[last]["bias"]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("constructor", [MLP, ConvNet])
def test_no_outputs_at_all_are_refused(constructor):
    with pytest.raises(UserError, match="num_outputs=0: must be at least 1"):
        functional(constructor, num_outputs=0)


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (2, 7, 5, 3)])
def test_halving_is_max_pooling_and_so_is_its_gradient(shape):
    images = jax.random.normal(jax.random.key(3), shape)

    def pooled(images):
        return nn.max_pool(images, (2, 2), strides=(2, 2))

    outputs, backward = jax.vjp(halve_by_max, images)
    expected, expected_backward = jax.vjp(pooled, images)
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(backward(outputs)[0], expected_backward(outputs)[0])


def test_mlp_is_the_formula():
    model, inputs, params, state = made("mlp")
    x = np.asarray(inputs, np.float64)
    layers = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p) for p in params.values()]
    for layer in layers[:-1]:
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    x = x @ layers[-1]["kernel"] + layers[-1]["bias"]
    np.testing.assert_allclose(model.apply(params, state, inputs, train=False)[0], x, rtol=1e-4)


def test_batch_norm_averages_are_of_the_batch_with_momentum_a_tenth():
    model, inputs, params, state = made("mlp batch norm")
    hidden = np.asarray(inputs, np.float64) @ np.asarray(params["Dense_0"]["kernel"], np.float64)
    _, new_state = model.apply(params, state, inputs, train=True, key=jax.random.key(2))
    statistics = new_state["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * hidden.var(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value", "closest"),
    [("activation", "rellu", "relu"), ("norm", "bach", "batch"), ("head", "meen", "mean")],
)
def test_misspelt_choice_names_the_closest(argument, value, closest):
    model = functional(ConvNet, num_outputs=3, **{argument: value})
    with pytest.raises(UserError, match=closest):
        model.init(jax.random.key(0), jnp.zeros(IMAGES))


def test_too_many_stages_for_the_image_is_explained():
    model = functional(ConvNet, num_outputs=3, widths=(2, 2, 2, 2))
    with pytest.raises(UserError, match="8x8"):
        model.init(jax.random.key(0), jnp.zeros(IMAGES))
