"""What every generator and discriminator promises; a new one is a row of a table."""

from functools import cache, partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.models import functional
from dlresearch.models.gan import (
    BigGANDiscriminator,
    BigGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)
from helpers.references import reference

BATCH, LATENT, SIZE = 4, 6, 8
LABEL = jnp.array([0, 2, 1, 2])
# name -> (constructor, arguments, names of its state)
GENERATORS = {
    "dcgan": (DCGANGenerator, {"widths": (4, 3), "num_classes": 3}, {"batch_stats"}),
    "dcgan nearest": (DCGANGenerator, {"widths": (4,), "upsample": "nearest"}, {"batch_stats"}),
    "resnet": (ResNetGenerator, {"widths": (4, 3), "num_classes": 3}, {"batch_stats"}),
    "sagan": (
        ResNetGenerator,
        {"widths": (4, 3), "attention": (8,), "spectral": True},
        {"batch_stats", "spectral"},
    ),
    "biggan": (
        BigGANGenerator,
        {"width": 1, "embedding": 3, "num_classes": 3, "attention": (8,)},
        {"batch_stats", "spectral"},
    ),
}
DISCRIMINATORS = {
    "dcgan batch": (DCGANDiscriminator, {"widths": (3, 4), "num_classes": 3}, {"batch_stats"}),
    "dcgan planes": (
        DCGANDiscriminator,
        {"widths": (3, 4), "num_classes": 3, "norm": "layer", "labels": "planes"},
        set(),
    ),
    "dcgan none": (DCGANDiscriminator, {"widths": (3, 4), "norm": "none"}, set()),
    "dcgan spectral": (DCGANDiscriminator, {"widths": (3, 4), "norm": "spectral"}, {"spectral"}),
    "resnet": (
        ResNetDiscriminator,
        {"widths": (3,), "last_widths": (3,), "num_classes": 3, "attention": (4,)},
        {"spectral"},
    ),
    "resnet plain": (
        ResNetDiscriminator,
        {"widths": (3,), "last_widths": (4,), "spectral": False},
        set(),
    ),
    "biggan": (BigGANDiscriminator, {"width": 2, "num_classes": 3}, {"spectral"}),
}
every_generator = pytest.mark.parametrize("name", GENERATORS)
every_discriminator = pytest.mark.parametrize("name", DISCRIMINATORS)


def adapted(table, name, **more):
    constructor, arguments, _ = table[name]
    size = {"size": SIZE, "channels": 2} if table is GENERATORS else {}
    return functional(constructor, **{**size, **arguments, **more})


def inputs(table, name):
    shape = (BATCH, LATENT) if table is GENERATORS else (BATCH, SIZE, SIZE, 2)
    first = jax.random.normal(jax.random.key(1), shape)
    return (first, LABEL) if "num_classes" in table[name][1] else (first,)


def filled(tree):
    """Values for shapes: compiling all initialisers would take longer than all else here."""
    random = np.random.default_rng(0)

    def values(path, leaf):
        value = random.normal(0.1, 0.4, leaf.shape)
        if path[-1].key in ("u", "v"):
            value /= np.linalg.norm(value)
        return np.asarray(np.abs(value) if path[-1].key == "var" else value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(values, tree)


@cache  # so that each model is compiled once
def computed(kind, name, **more):
    """What a training step, with a gradient penalty for a discriminator, and an evaluation make."""
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    model, (first, *label) = adapted(table, name, **more), inputs(table, name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), first, *label)
    params, state = filled(shapes[0]), filled(shapes[1])

    @jax.jit
    def compute(params, state):
        def loss(params):
            if table is GENERATORS:
                outputs, new_state = model.apply(params, state, first, *label, train=True)
                return jnp.mean(jnp.square(outputs - 1)), (outputs, new_state, None)

            def total(first):
                outputs, new_state = model.apply(params, state, first, *label, train=True)
                return outputs.sum(), (outputs, new_state)

            slope, (outputs, new_state) = jax.grad(total, has_aux=True)(first)
            return jnp.mean(jnp.square(slope)) + outputs.mean(), (outputs, new_state, slope)

        gradients, (trained, new_state, slope) = jax.grad(loss, has_aux=True)(params)
        values = {"gradients": gradients, "slope": slope, "trained": trained}
        return {**values, "new state": new_state}

    @jax.jit
    def evaluate(params, state, *inputs):
        return model.apply(params, state, *inputs, train=False)

    evaluated, same_state = evaluate(params, state, first, *label)
    values = {"params": params, "state": state, "evaluated": evaluated, "same state": same_state}
    if label:
        values["of other classes"] = evaluate(params, state, first, (label[0] + 1) % 3)[0]
    return {**values, **compute(params, state)}


def both(test):
    rows = [("generator", name) for name in GENERATORS]
    rows += [("discriminator", name) for name in DISCRIMINATORS]
    return pytest.mark.parametrize(("kind", "name"), rows)(test)


@every_generator
def test_images_are_float32_within_1_and_of_the_asked_size(name):
    values = computed("generator", name)
    for images in (values["trained"], values["evaluated"]):
        assert images.shape == (BATCH, SIZE, SIZE, 2) and images.dtype == jnp.float32
        assert np.all(np.abs(images) <= 1) and np.std(images) > 0.01


@every_discriminator
def test_logits_are_float32_one_for_each_image(name):
    values = computed("discriminator", name)
    for logits in (values["trained"], values["evaluated"]):
        assert logits.shape == (BATCH,) and logits.dtype == jnp.float32


@both
def test_every_parameter_has_a_gradient(kind, name):
    values = computed(kind, name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(values["gradients"]):
        # A batch norm behind them takes the mean away, or so nearly that rounding is left.
        assert np.isfinite(leaf).all() and np.any(leaf != 0), path
    if kind == "discriminator":
        assert np.all(np.abs(values["slope"]).sum((1, 2, 3)) > 0)


@both
def test_state_moves_in_training_only(kind, name):
    values = computed(kind, name)
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    assert set(values["state"]) == table[name][2]
    jax.tree.map(np.testing.assert_array_equal, values["same state"], values["state"])
    new = dict(jax.tree_util.tree_leaves_with_path(values["new state"]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(values["state"]):
        # The vector of a kernel with one output is 1 and nothing else.
        assert leaf.shape == (1,) or not np.array_equal(new[path], leaf), path


@both
def test_the_class_matters_where_there_are_classes(kind, name):
    values = computed(kind, name)
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    assert ("of other classes" in values) == ("num_classes" in table[name][1])
    if "of other classes" in values:
        change = np.abs(values["of other classes"] - values["evaluated"]).reshape(BATCH, -1)
        assert np.all(change.max(1) > 1e-3)


@both
def test_bfloat16_keeps_parameters_state_and_outputs_in_float32(kind, name):
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    model, arguments = adapted(table, name, dtype=jnp.bfloat16), inputs(table, name)
    params, state = jax.eval_shape(model.init, jax.random.key(0), *arguments)
    results = jax.eval_shape(lambda *a: model.apply(*a, train=True), params, state, *arguments)
    kept = jax.tree.leaves((params, state, results))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}


@both
def test_param_dtype_is_the_type_of_the_parameters(kind, name):
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    model = adapted(table, name, param_dtype=jnp.bfloat16)
    params, state = jax.eval_shape(model.init, jax.random.key(0), *inputs(table, name))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("kind", "name"), [("generator", "resnet"), ("discriminator", "dcgan spectral")]
)
def test_bfloat16_is_near_float32(kind, name):
    exact = computed(kind, name)
    table = GENERATORS if kind == "generator" else DISCRIMINATORS
    evaluate = jax.jit(partial(adapted(table, name, dtype=jnp.bfloat16).apply, train=False))
    low, _ = evaluate(exact["params"], exact["state"], *inputs(table, name))
    difference = np.linalg.norm(low - exact["evaluated"])
    # bfloat16 has 8 bits: some roundings of 2**-9, not all of one sign.
    assert 0 < difference < 0.03 * np.linalg.norm(exact["evaluated"])


@pytest.mark.parametrize(("kind", "name"), [("generator", "biggan"), ("discriminator", "resnet")])
def test_remat_changes_neither_parameters_nor_results(kind, name):
    plain, saving = computed(kind, name), computed(kind, name, remat=True)
    assert jax.tree.structure(plain["params"]) == jax.tree.structure(saving["params"])
    for part in ("trained", "new state", "gradients"):
        for leaf, other in zip(
            jax.tree.leaves(plain[part]), jax.tree.leaves(saving[part]), strict=True
        ):
            # What is computed twice may be fused, and so rounded, in two ways.
            np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [28, 48, 256])
@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        (DCGANGenerator, DCGANDiscriminator),
        (ResNetGenerator, ResNetDiscriminator),
        (BigGANGenerator, BigGANDiscriminator),
    ],
)
def test_a_discriminator_reads_what_its_generator_makes(generator, discriminator, size):
    label = jnp.zeros(2, jnp.int32)

    def both(key):
        maker = functional(generator, size=size, channels=3, num_classes=5)
        judge = functional(discriminator, num_classes=5)
        latent = jnp.zeros((2, 420))  # 420 divides by 2 to 7
        images, _ = maker.apply(*maker.init(key, latent, label), latent, label, train=False)
        logits, _ = judge.apply(*judge.init(key, images, label), images, label, train=False)
        return images, logits

    images, logits = jax.eval_shape(both, jax.random.key(0))
    assert images.shape == (2, size, size, 3) and logits.shape == (2,)


def test_a_generator_and_its_discriminator_reach_1024_pixels():
    maker = functional(ResNetGenerator, size=1024, channels=3, widths=(8,) * 9, attention=(64,))
    params, state = jax.eval_shape(maker.init, jax.random.key(0), jnp.zeros((1, 4)))
    assert "attention_64" in params and set(state) == {"batch_stats"}
    maker = functional(DCGANGenerator, size=1024, channels=3)
    params, _ = jax.eval_shape(maker.init, jax.random.key(0), jnp.zeros((1, 4)))
    assert params["to_pixels"]["kernel"].shape == (4, 4, 128, 3)


DCGAN_64 = 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3
# Parameters, of the networks as published.
PUBLISHED = [
    # compare_gan, resnet_biggan_test, "matches the original BigGAN architecture".
    (BigGANGenerator, 120, 1000, {"size": 128, "attention": (64,)}, 70_433_988),
    (BigGANDiscriminator, 128, 1000, {"attention": (64,)}, 87_982_370),
    # By hand: a linear layer, three blocks of 256 channels, batch norms, the last convolution.
    (
        ResNetGenerator,
        128,
        0,
        {"size": 32},
        129 * 4096 + 3 * (2 * (9 * 256 + 1) * 256 + 257 * 256) + 7 * 512 + (9 * 256 + 1) * 3,
    ),
    # Four blocks of 128 channels, of which two have a convolution in their shortcut.
    (
        ResNetDiscriminator,
        32,
        0,
        {},
        (9 * 3 + 1) * 128 + 7 * (9 * 128 + 1) * 128 + (3 + 1) * 128 + 129 * 128 + 129,
    ),
    # Radford et al. 2016, figure 1: a linear layer, transposed convolutions, batch norms.
    (
        DCGANGenerator,
        100,
        0,
        {"size": 64},
        101 * 16 * 1024 + 16 * DCGAN_64 + 3 + 2 * (1024 + 512 + 256 + 128),
    ),
]


@pytest.mark.parametrize(("constructor", "first", "num_classes", "arguments", "count"), PUBLISHED)
def test_parameters_are_as_many_as_published(constructor, first, num_classes, arguments, count):
    if "size" in arguments:
        model = functional(constructor, channels=3, num_classes=num_classes, **arguments)
        shape = (2, first)
    else:
        model = functional(constructor, num_classes=num_classes, **arguments)
        shape = (2, first, first, 3)
    label = (jnp.zeros(2, jnp.int32),) if num_classes else ()
    params, _ = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape), *label)
    assert sum(prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count


def test_a_gradient_penalty_has_the_gradients_of_pytorch():
    recorded = reference("gan_models")
    model = adapted(DISCRIMINATORS, "dcgan none")

    def ours(name):  # PyTorch's kernels are [out, in, height, width]
        return recorded[name].transpose(2, 3, 1, 0)

    stages = {
        f"stages_{number}": {
            "conv": {
                "kernel": ours(f"weights/stages_{number}.kernel"),
                "bias": recorded[f"weights/stages_{number}.bias"],
            }
        }
        for number in (0, 1)
    }
    head = {"kernel": recorded["weights/head"], "bias": np.zeros(1, np.float32)}

    def penalty(params):
        images = recorded["images"]
        slope = jax.grad(lambda x: model.apply(params, {}, x, train=True)[0].sum())(images)
        return jnp.mean(jnp.square(slope))

    value, got = jax.jit(jax.value_and_grad(penalty))({**stages, "head": head})
    np.testing.assert_allclose(value, recorded["penalty"], rtol=1e-4)
    tolerance = {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(got["head"]["kernel"], recorded["gradients/head"], **tolerance)
    for stage in stages:
        kernel = got[stage]["conv"]["kernel"]
        np.testing.assert_allclose(kernel, ours(f"gradients/{stage}.kernel"), **tolerance)
