"""Rematerialisation changes what is kept for the gradient, and nothing else."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.models import MLP, ConvNet, KeepProducts, functional
from dlresearch.training import Setup
from dlresearch.training.call import make_call
from helpers.training.small_runs import classification_config

POLICIES = ("none", "dots", "blocks")
# XLA:CPU of jaxlib 0.10 takes the barriers that `jax.checkpoint` sets away before it merges equal
# operations for the last time. Later ones, and XLA on accelerators, keep them until after that.
KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


class Small(nnx.Module):
    """Batch statistics and dropout between two layers."""

    def __init__(self, num_outputs: int, width: int = 12, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(width, num_outputs, rngs=rngs)

    def __call__(self, images):
        x = images.reshape(images.shape[0], -1)
        return self.last(self.dropout(nnx.gelu(self.norm(self.first(x)))))


CONVNET = {"widths": (4, 6), "hidden": (9,), "dropout": 0.3}
PERCEPTRON = {"hidden": (12, 10), "norm": "batch", "activation": "gelu", "dropout": 0.3}
# name -> (constructor, arguments, policies)
MODELS = {
    "convnet": (ConvNet, CONVNET, ("dots", "blocks")),
    "mlp": (MLP, PERCEPTRON, ("dots", "blocks")),
    "nnx": (Small, {}, ("dots",)),
}
CASES = [(name, policy) for name, (*_, policies) in MODELS.items() for policy in policies]


def made(constructor, policy, **arguments):
    more = {"remat": True} if policy == "blocks" else {}
    model = functional(constructor, num_outputs=3, **arguments, **more)
    return KeepProducts(model) if policy == "dots" else model


def trained_once(model, images):
    """Parameters, outputs, state and gradients; all randomness from fixed keys."""

    def loss(params, state):
        outputs, state = model.apply(params, state, images, train=True, key=jax.random.key(2))
        return jnp.mean(jnp.square(outputs - 1)), (outputs, state)

    params, state = jax.jit(model.init)(jax.random.key(0), images)
    gradients, aux = jax.jit(jax.grad(loss, has_aux=True))(params, state)
    evaluated = jax.jit(lambda *a: model.apply(*a, train=False))(params, state, images)
    return {"init": (params, state), "computed": (gradients, aux, evaluated)}


def assert_close(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        other = dict(jax.tree_util.tree_leaves_with_path(actual))[path]
        np.testing.assert_allclose(other, leaf, err_msg=str(path), **tolerance)


@pytest.mark.parametrize(("name", "policy"), CASES)
def test_parameters_outputs_statistics_and_gradients_are_those_without(name, policy):
    constructor, arguments, _ = MODELS[name]
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    plain = trained_once(made(constructor, "none", **arguments), images)
    saving = trained_once(made(constructor, policy, **arguments), images)
    assert_close(saving["init"], plain["init"], rtol=0)
    # Some ulps of float32: what is computed twice may be fused, and so rounded, in two ways.
    # Another dropout mask would differ in the first digit.
    assert_close(saving["computed"], plain["computed"], rtol=1e-5, atol=1e-6)


@cache
def after_two_steps(name, policy):
    """The state of a run with two microbatches in a step."""
    constructor, arguments, _ = MODELS[name]
    builtin = {ConvNet: "convnet", MLP: "mlp"}.get(constructor, f"{__name__}:Small")
    config = classification_config()
    config.model = component(builtin, **arguments)
    config.optimizer.name = "sgd"  # Adam divides by gradients: rounding of tiny ones would show
    config.optimizer.learning_rate = 0.05
    config.evaluators = {}
    config.remat = policy
    setup = Setup(validate(config))
    assert setup.experiment.accumulate == 2
    feed = setup.make_feed()
    feed.start(0)
    call = jax.jit(make_call(setup.step, feed.pick, 1))
    state = setup.initial_state(feed)
    for _ in range(2):
        state, _ = call(state, feed.resident, feed.take(1))
    feed.close()
    return state


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), CASES)
def test_steps_of_a_run_are_those_without(name, policy):
    expected = after_two_steps(name, "none")
    assert_close(after_two_steps(name, policy), expected, rtol=1e-4, atol=1e-5)


def kept(model, inputs):
    """Shapes, but for the batch, of what is kept for the gradient and has a row for each input."""

    def pull(params, state):
        def loss(params):
            return model.apply(params, state, inputs, train=True, key=jax.random.key(2))[0].sum()

        return jax.vjp(loss, params)[1]

    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    leaves = jax.tree.leaves(jax.eval_shape(pull, *variables))
    return sorted(leaf.shape[1:] for leaf in leaves if leaf.shape[:1] == inputs.shape[:1])


def test_kept_are_products_with_dots_and_inputs_of_blocks_with_blocks():
    inputs = jnp.ones((50, 5))
    arguments = {"hidden": (7, 6), "norm": "layer", "activation": "gelu", "dropout": 0.5}
    shapes = {policy: kept(made(MLP, policy, **arguments), inputs) for policy in POLICIES}
    assert shapes["dots"] == [(5,), (6,), (7,)]
    assert shapes["blocks"] == [(5,), (6,), (7,)]
    assert len(shapes["none"]) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("constructor", "shape", "arguments", "most"),
    [
        # Of 16 layers, three arrays or more each, one each is left, and those of one layer.
        (
            MLP,
            (4096, 16),
            {"hidden": (32,) * 16, "norm": "layer", "activation": "gelu", "dropout": 0.1},
            {"dots": 0.4, "blocks": 0.4},
        ),
        # The first of three stages has most of the memory, so a whole stage at a time saves less.
        (
            ConvNet,
            (32, 32, 32, 3),
            {"widths": (16, 16, 16), "convs_per_stage": 4, "norm": "layer"},
            {"dots": 0.5, "blocks": 0.9},
        ),
    ],
)
def test_compiled_gradient_needs_less_memory(constructor, shape, arguments, most):
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
    temporaries, operations = {}, {}
    for policy in POLICIES:
        model = made(constructor, policy, **arguments)

        def gradient(params, state, inputs, key, model=model):
            def loss(params):
                outputs, new_state = model.apply(params, state, inputs, train=True, key=key)
                return jnp.sum(jnp.square(outputs)), new_state

            return jax.grad(loss, has_aux=True)(params)

        key = jax.eval_shape(lambda: jax.random.key(0))
        params, state = jax.eval_shape(model.init, key, inputs)
        compiled = jax.jit(gradient).lower(params, state, inputs, key).compile(KEEP_BARRIERS)
        temporaries[policy] = compiled.memory_analysis().temp_size_in_bytes
        operations[policy] = compiled.cost_analysis()["flops"]
    for policy, share in most.items():
        assert temporaries[policy] < share * temporaries["none"], temporaries
    # XLA did not merge the second computation with the first one.
    assert operations["none"] < operations["dots"] < operations["blocks"]
    assert operations["blocks"] > 1.2 * operations["none"]


def test_blocks_of_a_model_that_knows_none_are_refused():
    config = classification_config()
    config.model = component(f"{__name__}:Small")
    config.remat = "blocks"
    with pytest.raises(UserError, match=r"^config\.remat: config\.model\.name=.*'remat'.*'dots'$"):
        Setup(validate(config))
