"""Heads of self-supervised methods against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from dlresearch.config import Component, build
from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.models.self_supervised import DINOHead, Projector, Prototypes, unit_length

INPUTS = np.random.default_rng(0).normal(1.0, 2.0, (6, 4)).astype(np.float32)


def made(constructor, **arguments):
    """The model, its parameters and its state, none of which is 0 or 1."""
    model = functional(constructor, **arguments)
    params, state = jax.jit(model.init)(jax.random.key(0), INPUTS)
    rng = np.random.default_rng(1)
    params, state = (
        jax.tree.map(lambda x: jnp.asarray(x + rng.uniform(0.1, 0.9, x.shape), x.dtype), tree)
        for tree in (params, state)
    )
    return model, params, state


def dense(x, layer):
    return x @ np.float64(layer["kernel"]) + np.float64(layer.get("bias", 0.0))


def batch_norm(x, layer=None, known=None):
    mean, var = (x.mean(0), x.var(0)) if known is None else (known["mean"], known["var"])
    x = (x - mean) / np.sqrt(np.float64(var) + 1e-5)
    return x if layer is None else x * np.float64(layer["scale"]) + np.float64(layer["bias"])


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def unit(x, axis=-1):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("last_norm", ["none", "batch", "batch without affine"])
def test_a_projector_is_dense_layers_with_batch_norm_between_them(last_norm, train):
    model, params, state = made(Projector, widths=(5, 3), last_norm=last_norm)
    assert ("bias" in params["Dense_1"]) == (last_norm == "none")
    assert ("BatchNorm_1" in params) == (last_norm == "batch")
    known = {} if train else state["batch_stats"]
    x = batch_norm(
        dense(np.float64(INPUTS), params["Dense_0"]),
        params["BatchNorm_0"],
        known.get("BatchNorm_0"),
    )
    x = dense(np.maximum(x, 0), params["Dense_1"])
    if last_norm != "none":
        x = batch_norm(x, params.get("BatchNorm_1"), known.get("BatchNorm_1"))
    outputs, after = model.apply(params, state, INPUTS, train=train)
    assert outputs.dtype == jnp.float32
    np.testing.assert_allclose(outputs, x, rtol=1e-4, atol=1e-4)
    moved = any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), state, after)))
    assert moved == train


def test_a_projector_without_batch_norm_has_biases_and_no_state():
    model, params, state = made(Projector, widths=(5, 3), norm=False, activation="tanh")
    assert not state
    x = dense(np.tanh(dense(np.float64(INPUTS), params["Dense_0"])), params["Dense_1"])
    outputs, _ = model.apply(params, state, INPUTS, train=True)
    np.testing.assert_allclose(outputs, x, rtol=1e-4, atol=1e-4)


def test_the_last_layer_of_a_projector_can_be_without_bias():
    _, params, _ = made(Projector, widths=(5, 3), last_bias=False)
    assert "bias" not in params["Dense_1"]


def test_dinos_head_gives_cosines_with_the_columns_of_its_last_layer():
    model, params, state = made(DINOHead, num_outputs=7, hidden=(5, 6), bottleneck=3)
    assert not state
    x = np.float64(INPUTS)
    for number in range(2):
        x = gelu(dense(x, params[f"Dense_{number}"]))
    x = unit(dense(x, params["Dense_2"])) @ unit(np.float64(params["last"]["kernel"]), axis=0)
    outputs, _ = model.apply(params, state, INPUTS, train=True)
    np.testing.assert_allclose(outputs, x, atol=1e-5)


def test_dinos_head_has_the_published_sizes():
    model = functional(DINOHead)
    params, _ = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 384)))
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if len(leaf.shape) == 2]
    assert sorted(kernels) == [(256, 65536), (384, 2048), (2048, 256), (2048, 2048)]


def test_dinos_head_has_batch_norm_where_asked():
    _, params, state = made(DINOHead, num_outputs=7, hidden=(5,), bottleneck=3, norm=True)
    assert "BatchNorm_0" in params and "batch_stats" in state


def test_prototypes_give_cosines_whatever_the_lengths():
    model, params, _ = made(Prototypes, count=5)
    kernel = np.float64(params["last"]["kernel"])
    for factor in (1.0, 30.0):
        outputs, _ = model.apply(params, {}, factor * INPUTS, train=True)
        np.testing.assert_allclose(outputs, unit(np.float64(INPUTS)) @ unit(kernel, 0), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("constructor", "arguments"),
    [
        (Projector, {"widths": (5, 3), "last_norm": "batch"}),
        (DINOHead, {"num_outputs": 7, "hidden": (5,), "bottleneck": 3}),
        (Prototypes, {"count": 5}),
    ],
)
def test_outputs_are_float32_in_half_precision(constructor, arguments, dtype):
    model = functional(constructor, **arguments, dtype=dtype)
    params, state = jax.eval_shape(model.init, jax.random.key(0), INPUTS)
    outputs, _ = jax.eval_shape(lambda p, s: model.apply(p, s, INPUTS, train=True), params, state)
    assert outputs.dtype == jnp.float32


def test_a_vector_of_length_zero_stays_zero_and_gets_no_gradient():
    value, slope = jax.value_and_grad(lambda x: unit_length(x).sum())(jnp.zeros((2, 3)))
    assert value == 0 and not np.any(slope)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("projector", {"widths": ()}, r"widths=\(\): a projector has one layer or more"),
        ("projector", {"widths": (4, 0)}, r"widths=\(4, 0\): must be at least 1"),
        ("projector", {"last_norm": "layer"}, r"last_norm.*none.*batch without affine"),
        ("projector", {"activation": "relo"}, r"activation.*relu"),
        ("projector", {"width": (4,)}, r"width'?.*'widths'"),
        ("dino_head", {"bottleneck": 0}, "bottleneck=0: must be at least 1"),
        ("dino_head", {"num_outputs": 0}, "num_outputs=0: must be at least 1"),
        ("prototypes", {"count": 0}, "count=0: must be at least 1"),
        ("prototypes", {"param_dtype": "int8"}, "param_dtype=int8: use float32"),
    ],
)
def test_a_wrong_argument_is_named(name, arguments, message):
    with pytest.raises(UserError, match=rf"^config\.task\.projector.*{message}") as caught:
        build(Component(name, **arguments), "model", "config.task.projector")
    assert "\n" not in str(caught.value)
