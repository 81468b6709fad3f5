"""What every built-in model promises, whatever its kind; a new model is one more row of MODELS."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import MLP, ConvNet, functional

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


one_of_each_family = pytest.mark.parametrize("name", ["mlp batch norm", "convnet"])


def inputs(name):
    return jax.random.normal(jax.random.key(1), MODELS[name][2])


def adapted(name, **more):
    constructor, arguments, *_ = MODELS[name]
    return functional(constructor, **{"num_outputs": 3, **arguments, **more})


def last_layer(params):
    return max((key for key in params if key.startswith("Dense")), key=lambda key: int(key[6:]))


def without_last_layer(params):
    return {key: value for key, value in params.items() if key != last_layer(params)}


@cache  # so that each model is compiled once
def computed(name):
    """Parameters, state, and what a training step and an evaluation make of them."""
    model, backbone = adapted(name), adapted(name, num_outputs=None)
    params, state = jax.jit(model.init)(jax.random.key(0), inputs(name))

    @jax.jit
    def compute(key):
        def loss(params):
            outputs, new_state = model.apply(params, state, inputs(name), train=True, key=key)
            return jnp.sum(jnp.square(outputs - 1)), (outputs, new_state)

        gradients, (trained, new_state) = jax.grad(loss, has_aux=True)(params)
        evaluated, same_state = model.apply(params, state, inputs(name), train=False, key=key)
        body = without_last_layer(params)
        return {
            "gradients": gradients,
            "trained": trained,
            "new state": new_state,
            "evaluated": evaluated,
            "same state": same_state,
            "features": backbone.apply(body, state, inputs(name), train=False)[0],
        }

    return {"params": params, "state": state, **compute(jax.random.key(2))}, compute


def differ(a, b):
    return not np.array_equal(a, b)


@every_model
def test_outputs_are_float32_of_the_asked_size(name):
    values, _ = computed(name)
    assert values["evaluated"].shape == values["trained"].shape == (6, 3)
    assert values["evaluated"].dtype == values["trained"].dtype == jnp.float32


@one_of_each_family
def test_outputs_are_the_same_without_jit(name):
    values, _ = computed(name)
    eager, _ = adapted(name).apply(values["params"], values["state"], inputs(name), train=False)
    # Fusion reorders sums of numbers of order 1.
    np.testing.assert_allclose(values["evaluated"], eager, rtol=1e-5, atol=1e-5)


@every_model
def test_every_parameter_has_a_gradient(name):
    values, _ = computed(name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(values["gradients"]):
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path


@every_model
def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32(name):
    model = adapted(name, dtype=jnp.bfloat16)
    params, state = jax.eval_shape(model.init, jax.random.key(0), inputs(name))
    step = partial(model.apply, train=True, key=jax.random.key(2))
    results = jax.eval_shape(step, params, state, inputs(name))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state, results))} == {
        jnp.dtype(jnp.float32)
    }


@one_of_each_family
def test_bfloat16_is_near_float32(name):
    exact, _ = computed(name)
    evaluate = jax.jit(partial(adapted(name, dtype=jnp.bfloat16).apply, train=False))
    low, _ = evaluate(exact["params"], exact["state"], inputs(name))
    # bfloat16 has 8 bits: 2**-8 a rounding, a handful of layers, outputs of order 1.
    np.testing.assert_allclose(low, exact["evaluated"], atol=0.1)
    assert differ(low, exact["evaluated"])


@every_model
def test_param_dtype_is_the_type_of_the_parameters(name):
    model = adapted(name, param_dtype=jnp.bfloat16)
    shape = jax.ShapeDtypeStruct(MODELS[name][2], jnp.float32)
    params, _ = jax.eval_shape(model.init, jax.random.key(0), shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


@every_model
def test_batch_statistics_change_in_training_only(name):
    values, _ = computed(name)
    has_statistics = MODELS[name][3]
    assert bool(values["state"]) == has_statistics
    after = (values["new state"], values["same state"])
    same = [jax.tree.all(jax.tree.map(np.array_equal, values["state"], s)) for s in after]
    assert same == [not has_statistics, True]


@every_model
def test_dropout_depends_on_the_key_in_training_only(name):
    values, compute = computed(name)
    again, other = compute(jax.random.key(2)), compute(jax.random.key(3))
    assert differ(values["trained"], other["trained"]) == MODELS[name][4]
    assert not differ(values["trained"], again["trained"])
    assert not differ(values["evaluated"], other["evaluated"])


@every_model
def test_without_outputs_a_model_gives_what_its_last_layer_reads(name):
    values, _ = computed(name)
    last = values["params"][last_layer(values["params"])]
    body = without_last_layer(values["params"])
    assert values["features"].shape == (6, last["kernel"].shape[0])
    expected = values["features"] @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(values["evaluated"], expected, rtol=1e-5, atol=1e-5)
    for dtype in (jnp.float32, jnp.bfloat16):
        backbone = adapted(name, num_outputs=None, dtype=dtype)
        needed, state = jax.eval_shape(backbone.init, jax.random.key(0), inputs(name))
        assert jax.tree.structure(needed) == jax.tree.structure(body)
        evaluate = partial(backbone.apply, train=False)
        features, _ = jax.eval_shape(evaluate, needed, state, inputs(name))
        assert features.dtype == jnp.float32


@pytest.mark.parametrize("constructor", [MLP, ConvNet])
def test_no_outputs_at_all_are_refused(constructor):
    with pytest.raises(UserError, match="num_outputs=0: must be at least 1"):
        functional(constructor, num_outputs=0)


def test_mlp_is_the_formula():
    values, _ = computed("mlp")
    x, params = np.asarray(inputs("mlp"), np.float64), values["params"]
    layers = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p) for p in params.values()]
    for layer in layers[:-1]:
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    x = x @ layers[-1]["kernel"] + layers[-1]["bias"]
    # Sums of some ten products in float32, of outputs of order 1.
    np.testing.assert_allclose(values["evaluated"], x, rtol=1e-4, atol=1e-5)


def test_batch_norm_averages_are_of_the_batch_with_momentum_a_tenth():
    values, _ = computed("mlp batch norm")
    kernel = np.asarray(values["params"]["Dense_0"]["kernel"], np.float64)
    hidden = np.asarray(inputs("mlp batch norm"), np.float64) @ kernel
    statistics = values["new state"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * hidden.var(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value", "closest"),
    [("activation", "rellu", "relu"), ("norm", "bach", "batch"), ("head", "meen", "mean")],
)
def test_misspelt_choice_names_the_closest(argument, value, closest):
    model = functional(ConvNet, num_outputs=3, **{argument: value})
    with pytest.raises(UserError, match=closest):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(IMAGES))


def test_too_many_stages_for_the_image_is_explained():
    model = functional(ConvNet, num_outputs=3, widths=(2, 2, 2, 2))
    with pytest.raises(UserError, match="8x8"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(IMAGES))
