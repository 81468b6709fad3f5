"""How parameters, and what belongs to them, are split: by shapes alone, then on eight devices."""

import re
from math import prod

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax.sharding import PartitionSpec

from dlresearch.config import Component, Optimizer, component, default_config, validate
from dlresearch.config.catalog import names, target_of
from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.optim import make_optimizer
from dlresearch.parallel import (
    abstract_mesh,
    bytes_per_device,
    in_words,
    parameter_shardings,
    state_shardings,
)
from dlresearch.patterns import path_of
from dlresearch.training import Setup
from helpers.processes import on_eight_devices
from helpers.training.split_state import check_state_on_eight_devices
from helpers.verbs import SMALL, call

MIN_SIZE = 16384


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def mesh_of(data=1, fsdp=1, tensor=1):
    return abstract_mesh(data * fsdp * tensor, data, fsdp, tensor)


def by_path(tree):
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def words(params, rules=(), min_size=MIN_SIZE, **mesh):
    """How each parameter is split, by its path."""
    shardings = parameter_shardings(params, mesh_of(**mesh), rules, min_size)
    shapes = by_path(params)
    return {path: in_words(each, shapes[path].ndim) for path, each in by_path(shardings).items()}


def kernel(*shape):
    return {"model": {"Dense_0": {"kernel": array(*shape)}}}


def of_kernel(*shape, **options):
    (split,) = words(kernel(*shape), **options).values()
    return split


# --- built-in rules -----------------------------------------------------------------------------


@pytest.mark.parametrize("mesh", [{"fsdp": 8}, {"tensor": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_parameters_below_the_limit_are_whole(mesh):
    assert of_kernel(127, 129, **mesh) == "whole"  # one element less
    assert of_kernel(128, 128, **mesh) != "whole"
    assert of_kernel(16, 8, min_size=128, **mesh) != "whole"
    assert words({"model": {"scale": array()}}, min_size=0, **mesh) == {"model/scale": "whole"}


def test_nothing_is_split_over_data():
    assert of_kernel(1024, 1024, data=8) == "whole"


@pytest.mark.parametrize(
    ("shape", "split"),
    [
        ((512, 256), "fsdp -"),
        ((256, 512), "- fsdp"),
        ((512, 512), "fsdp -"),
        ((513, 256), "- fsdp"),
        ((3, 3, 64, 128), "- - - fsdp"),
        ((3, 3, 64, 100), "- - fsdp -"),
        ((65536,), "fsdp"),
    ],
)
def test_fsdp_splits_the_largest_axis_that_divides(shape, split):
    assert of_kernel(*shape, fsdp=8) == split


class LinenLayers(nn.Module):
    @nn.compact
    def __call__(self, tokens, images):
        x = nn.Embed(4096, 64, name="embed")(tokens)
        x = nn.MultiHeadDotProductAttention(8, qkv_features=256, out_features=128, name="a")(x)
        x = nn.Conv(128, (3,), name="conv1d")(x)
        x = nn.RNN(nn.OptimizedLSTMCell(256, name="lstm"))(x)
        x = nn.RNN(nn.GRUCell(256, name="gru"))(x)
        y = nn.ConvTranspose(128, (3, 3), name="transposed")(nn.Conv(64, (3, 3), name="c")(images))
        z = nn.Conv(64, (3, 3, 3), name="conv3d")(images[:, :, :, None])
        return nn.Dense(512, name="dense")(x).sum() + y.sum() + z.sum()


LINEN = {
    "embed/embedding": "- tensor",
    "a/query/kernel": "- tensor -",
    "a/key/kernel": "- tensor -",
    "a/value/kernel": "- tensor -",
    "a/out/kernel": "tensor - -",
    "conv1d/kernel": "- - tensor",
    **{f"lstm/{gate}/kernel": "- tensor" for gate in ("ii", "if", "ig", "io")},
    **{f"lstm/{gate}/kernel": "- tensor" for gate in ("hi", "hf", "hg", "ho")},
    **{f"gru/{gate}/kernel": "- tensor" for gate in ("ir", "iz", "in", "hr", "hz", "hn")},
    "c/kernel": "- - - tensor",
    "transposed/kernel": "- - - tensor",
    "conv3d/kernel": "- - - - tensor",
    "dense/kernel": "- tensor",
}


def test_linen_layers_are_split_over_tensor_along_what_they_put_out():
    model = functional(LinenLayers)
    params, _ = jax.eval_shape(
        model.init, jax.random.key(0), array(2, 8, dtype=jnp.int32), array(2, 8, 8, 16)
    )
    split = words({"model": params}, min_size=4096, tensor=4)
    assert {path: how for path, how in split.items() if how != "whole"} == {
        f"model/{path}": how for path, how in LINEN.items()
    }
    both = words({"model": params}, min_size=4096, tensor=4, fsdp=2)
    assert both["model/a/out/kernel"] == "tensor - fsdp"
    assert both["model/a/query/kernel"] == "fsdp tensor -"
    assert both["model/embed/embedding"] == "fsdp tensor"
    assert both["model/conv3d/kernel"] == "- - - fsdp tensor"


class NNXLayers(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(4096, 64, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(8, 64, 256, decode=False, rngs=rngs)
        self.conv = nnx.Conv(64, 128, (3, 3), rngs=rngs)
        self.cell = nnx.OptimizedLSTMCell(64, 128, rngs=rngs)
        self.dense = nnx.Linear(128, 512, rngs=rngs)

    def __call__(self, x):
        return x


def test_nnx_layers_are_split_as_their_linen_twins():
    params, _ = jax.eval_shape(functional(NNXLayers).init, jax.random.key(0), array(2, 8))
    split = words({"model": params}, min_size=4096, tensor=4)
    assert {path: how for path, how in split.items() if how != "whole"} == {
        "model/embed/embedding": "- tensor",
        "model/attention/query/kernel": "- tensor -",
        "model/attention/key/kernel": "- tensor -",
        "model/attention/value/kernel": "- tensor -",
        "model/attention/out/kernel": "tensor - -",
        "model/conv/kernel": "- - - tensor",
        "model/cell/dense_i/kernel": "- tensor",
        "model/cell/dense_h/kernel": "- tensor",
        "model/dense/kernel": "- tensor",
    }


def test_fused_recurrent_kernel_is_split_along_its_hidden_units():
    params = {"model": {"lstm": {"recurrent_kernel": array(256, 4, 256)}}}
    assert words(params, tensor=4) == {"model/lstm/recurrent_kernel": "- - tensor"}
    params = {"model": {"lstm": {"recurrent_kernel": array(256, 4, 250)}}}
    assert words(params, tensor=4) == {"model/lstm/recurrent_kernel": "tensor - -"}


@pytest.mark.parametrize(
    ("path", "shape", "split"),
    [
        ("Dense_0/kernel", (512, 1001), "tensor -"),
        ("Conv_0/kernel", (4, 4, 512, 1001), "- - tensor -"),
        ("Conv_0/kernel", (4, 512, 1001), "- tensor -"),
        ("Embed_0/embedding", (50000, 301), "tensor -"),
        ("Attention_0/query/kernel", (512, 6, 64), "tensor - -"),
        ("Attention_0/out/kernel", (6, 64, 512), "- - tensor"),
        ("Attention_0/query/bias", (256, 64), "tensor -"),
        # Layers of these names outside of attention are what their kernels look like.
        ("head/out/kernel", (4, 512, 512), "- - tensor"),
        ("head/out/kernel", (4, 4, 64, 512), "- - - tensor"),
        ("head/query/kernel", (512, 512), "- tensor"),
    ],
)
def test_the_other_axis_of_a_layer_is_taken_where_the_first_does_not_divide(path, shape, split):
    params = {"model": {path: array(*shape)}}
    if path.startswith("Attention"):
        params["model"]["Attention_0/query/kernel"] = array(512, 6, 64)
    if path == "Attention_0/query/kernel":
        params = {"model": {path: array(*shape)}}
    assert words(params, tensor=4)[f"model/{path}"] == split


def test_fsdp_takes_what_tensor_leaves():
    assert of_kernel(512, 512, fsdp=2, tensor=2) == "fsdp tensor"
    assert of_kernel(3, 3, 512, 512, fsdp=2, tensor=2) == "- - fsdp tensor"
    assert of_kernel(513, 512, fsdp=2, tensor=2) == "- fsdp+tensor"
    assert words({"model": {"bias": array(65536)}}, fsdp=2, tensor=2) == {"model/bias": "fsdp"}


def test_what_both_share_is_gathered_over_fsdp_in_one_piece():
    shardings = parameter_shardings(kernel(513, 512), mesh_of(fsdp=2, tensor=2), (), MIN_SIZE)
    assert jax.tree.leaves(shardings)[0].spec == PartitionSpec(None, ("tensor", "fsdp"))


def tokens(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


PAIR = tokens(2, 9), tokens(2), tokens(2, 9)
LATENT, IMAGES, LABEL = array(2, 120), array(2, 64, 64, 3), tokens(2)
# Further arguments and inputs of the models that do not read images alone.
INPUTS = {
    **{
        name: ({"size": 64, "channels": 3, "num_classes": 1000}, (LATENT, LABEL))
        for name in names("model", "*_generator")
    },
    **{
        name: ({"num_classes": 1000}, (IMAGES, LABEL)) for name in names("model", "*_discriminator")
    },
    "stylegan2_discriminator": ({"size": 64, "num_classes": 1000}, (IMAGES, LABEL)),
    "attention_seq2seq": ({"num_outputs": 1000, "source_vocabulary": 1000}, PAIR),
    "transformer": ({"num_outputs": 1000, "source_vocabulary": 1000}, PAIR),
    "transformer_encoder": ({"num_outputs": 1000, "vocabulary_size": 1000}, PAIR[:2]),
    "masked_token_head": ({}, (array(2, 9, 128), array(1000, 128))),
    "mae_decoder": (
        {"num_outputs": 768},
        (array(2, 4, 768), array(2, 4, dtype=jnp.int32), array(2, 4, 4, dtype=jnp.bool_)),
    ),
    "projector": ({}, (array(2, 512),)),
    "dino_head": ({}, (array(2, 512),)),
    "prototypes": ({}, (array(2, 128),)),
    "recurrent_classifier": ({"num_outputs": 1000, "vocabulary_size": 1000}, PAIR[:2]),
    "recurrent_forecaster": ({"num_outputs": 1000}, (array(2, 9, 3),)),
    "recurrent_frames": ({"num_outputs": 1000}, (array(2, 9, 88),)),
    "recurrent_language_model": ({"num_outputs": 1000}, PAIR[:1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", names("model"))
def test_a_built_in_model_is_split_without_rules_of_the_user(name):
    constructor = target_of(Component(name), "model", "config.model")
    arguments, inputs = INPUTS.get(name, ({"num_outputs": 1000}, (IMAGES,)))
    model = functional(constructor, **arguments)
    params, _ = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    for mesh in ({"fsdp": 8}, {"tensor": 2}, {"data": 2, "fsdp": 2, "tensor": 2}):
        split = words({"model": params}, **mesh)
        shapes = by_path({"model": params})
        for path, how in split.items():
            if shapes[path].ndim > 1:  # a bias is never split over tensor
                assert (how == "whole") == (shapes[path].size < MIN_SIZE), path


# --- rules of the user --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "split"),
    [
        ("replicated", "whole"),
        ("fsdp", "fsdp -"),
        ("- -", "whole"),
        ("- fsdp", "- fsdp"),
        ("fsdp tensor", "fsdp tensor"),
        ("tensor fsdp", "tensor fsdp"),
        ("- fsdp+tensor", "- fsdp+tensor"),
    ],
)
def test_a_rule_comes_before_the_built_in_ones(rule, split):
    rules = ((".*kernel", rule),)
    assert of_kernel(512, 256, fsdp=2, tensor=4, rules=rules) == split
    assert of_kernel(16, 8, fsdp=2, tensor=4, rules=rules) == split  # whatever the size


def test_the_first_rule_that_matches_a_whole_path_counts():
    params = {name: {"Dense_0": {"kernel": array(256, 256)}} for name in ("one", "two")}
    rules = (("one/.*", "- fsdp"), (".*/kernel", "replicated"))
    expected = {"one/Dense_0/kernel": "- fsdp", "two/Dense_0/kernel": "whole"}
    assert words(params, rules, fsdp=2) == expected
    with pytest.raises(UserError, match=r"^config\.mesh\.rules\.0: 'one' matches no whole"):
        words(params, (("one", "fsdp"),), fsdp=2)


WRONG_RULES = {
    "fspd -": "'fspd' is no way to split an axis; did you mean 'fsdp'?",
    "data -": "'data' is no way to split an axis; valid: -, fsdp, fsdp+tensor, replicated, tensor",
    "tensor": "words: 1, axes: 2; write a word for each axis, such as '- fsdp'",
    "- - fsdp": "words: 3, axes: 2; write a word for each axis",
    "": "words: 0, axes: 2; write a word for each axis",
    "replicated -": "'replicated' is no way to split an axis",
    "fsdp fsdp": "an array is split over fsdp along one axis only",
    "tensor fsdp+tensor": "an array is split over tensor along one axis only",
    "- tensor": "axis 1 does not divide by tensor=4",
    "- fsdp+tensor": "axis 1 does not divide by tensor=4 x fsdp=2",
}


@pytest.mark.parametrize("rule", WRONG_RULES)
def test_a_rule_that_does_not_fit_is_named_with_its_parameter(rule):
    rules = ((".*/none", "-"), (".*kernel", rule))
    params = {"model": {"kernel": array(256, 258), "none": array(3)}}
    with pytest.raises(UserError) as caught:
        words(params, rules, fsdp=2, tensor=4)
    assert str(caught.value).startswith(
        f"config.mesh.rules.1: {rule!r} for model/kernel [256, 258]"
    )
    assert f"[256, 258]: {WRONG_RULES[rule]}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_fsdp_needs_an_axis_that_divides():
    with pytest.raises(UserError, match=r"'fsdp' for .*\[5, 7\]: no axis divides by fsdp=2"):
        of_kernel(5, 7, rules=((".*", "fsdp"),), fsdp=2)


@pytest.mark.parametrize("rule", ["fspd -", "tensor", "fsdp fsdp"])
def test_rules_are_checked_where_nothing_is_split(rule):
    with pytest.raises(UserError, match=r"^config\.mesh\.rules\.0: "):
        of_kernel(8, 8, rules=((".*", rule),))
    assert of_kernel(5, 7, rules=((".*", "fsdp tensor"),)) == "whole"


@pytest.mark.parametrize(
    ("params", "mesh", "message"),
    [
        (
            kernel(129, 131),
            {"fsdp": 2},
            "config.mesh.fsdp: no axis of model/Dense_0/kernel [129, 131] divides by 2;"
            " config.mesh.rules=(('model/Dense_0/kernel', 'replicated'),) keeps it whole",
        ),
        (
            kernel(129, 131),
            {"tensor": 2},
            "config.mesh.tensor: model/Dense_0/kernel [129, 131] does not divide by 2 along the"
            " axes of its layer: neither 131 nor 129 does;"
            " config.mesh.rules=(('model/Dense_0/kernel', 'replicated'),) keeps it whole",
        ),
        (
            {"model": {"my_matrix": array(256, 256)}},
            {"tensor": 2},
            "config.mesh.tensor: no rule knows how to split model/my_matrix [256, 256]; add one,"
            " such as config.mesh.rules=(('model/my_matrix', '- tensor'),)",
        ),
        (
            {"model": {"my_matrix": array(256, 255)}},
            {"tensor": 2},
            "config.mesh.tensor: no rule knows how to split model/my_matrix [256, 255]; add one,"
            " such as config.mesh.rules=(('model/my_matrix', 'replicated'),)",
        ),
    ],
)
def test_a_large_parameter_that_no_rule_splits_is_an_error_with_its_remedy(params, mesh, message):
    with pytest.raises(UserError) as caught:
        words(params, **mesh)
    assert str(caught.value) == message
    # The remedy it names works.
    rules = eval(message.partition("config.mesh.rules=")[2].partition(" keeps")[0])
    assert words(params, rules, **mesh).keys() == words(params).keys()


# --- what belongs to a parameter ----------------------------------------------------------------

PLAYERS = {
    "generator": {"Dense_0": {"kernel": array(128, 256), "bias": array(256)}},
    "discriminator": {"Dense_0": {"kernel": array(128, 256), "bias": array(256)}},
}
RULES = (("generator/.*kernel", "- fsdp"), ("discriminator/.*kernel", "fsdp -"))


def state_words(state, params=PLAYERS, rules=RULES, min_size=MIN_SIZE, **mesh):
    mesh = mesh_of(**mesh)
    shardings = parameter_shardings(params, mesh, rules, min_size)
    found = by_path(state_shardings(state, params, shardings, mesh, min_size))
    shapes = by_path(state)
    return {path: in_words(each, shapes[path].ndim) for path, each in found.items()}


# Moments of the size of a parameter; muon has one for matrices and two for embeddings.
MOMENTS = {
    "sgd": 3,
    "lars": 3,
    "rmsprop": 3,
    "lion": 3,
    "adam": 6,
    "adamw": 6,
    "lamb": 6,
    "muon": 4,
}


@pytest.mark.parametrize("name", names("optimizer"))
@pytest.mark.parametrize("mesh", [{"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_optimizer_state_is_split_as_the_parameters(name, mesh):
    params = {
        "Dense_0": {"kernel": array(128, 256), "bias": array(256)},
        "Conv_0": {"kernel": array(3, 3, 64, 128)},
        "Embed_0": {"embedding": array(1000, 64)},
    }
    optimizer, _ = make_optimizer(Optimizer(name=name), params, 10, lambda duration: 1)
    state = {"optimizers": {"model": jax.eval_shape(optimizer.init, params)}}
    split = state_words(state, {"model": params}, (), **mesh)
    expected = words({"model": params}, **mesh)
    split_ones = 0
    for path, leaf in by_path(state).items():
        belongs = [each for each in expected if path.endswith(each.removeprefix("model"))]
        if belongs:
            assert split[path] == expected[belongs[0]]
            split_ones += split[path] != "whole"
        else:
            assert leaf.size < MIN_SIZE and split[path] == "whole"
    assert split_ones == MOMENTS[name]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("variables/params/discriminator/Dense_0/kernel", "fsdp -"),
        ("optimizers/generator/0/mu/Dense_0/kernel", "- fsdp"),
        ("optimizers/discriminator/0/mu/Dense_0/kernel", "fsdp -"),
        ("variables/averages/generator/Dense_0/kernel", "- fsdp"),
        ("variables/averages/evaluation/params/discriminator/Dense_0/kernel", "fsdp -"),
        ("variables/averages/slow/discriminator/Dense_0/kernel", "fsdp -"),
        ("variables/averages/generator/Dense_0/bias", "whole"),
    ],
)
def test_what_ends_like_the_path_of_a_parameter_is_split_like_it(path, split):
    leaf = PLAYERS["generator"]["Dense_0"][path.split("/")[-1]]
    assert state_words({path: leaf}, fsdp=2) == {path: split}


def test_an_average_of_a_part_of_the_parameters_is_split_like_it():
    params = {"online": {"encoder": {"Dense_0": {"kernel": array(128, 256)}}}}
    rules = (("online/encoder/Dense_0/kernel", "fsdp -"),)
    path = "variables/averages/target/Dense_0/kernel"
    assert state_words({path: array(128, 256)}, params, rules, fsdp=2) == {path: "fsdp -"}


def test_the_longest_common_end_counts():
    params = {"model": {"kernel": array(128, 256), "head": {"kernel": array(128, 256)}}}
    rules = (("model/kernel", "fsdp -"), ("model/head/kernel", "- fsdp"))
    state = {"mu/head/kernel": array(128, 256), "mu/kernel": array(128, 256)}
    expected = {"mu/head/kernel": "- fsdp", "mu/kernel": "fsdp -"}
    assert state_words(state, params, rules, fsdp=2) == expected


def test_other_arrays_are_split_where_they_are_large_and_divide():
    state = {
        "factored/Dense_0/kernel": array(129, 256),  # another shape than the parameter's
        "queue": array(4096, 128),
        "odd": array(4097, 129),
        "small": array(64),
        "step": array(dtype=jnp.int32),
        "key": jax.eval_shape(lambda: jax.random.key(0)),
        "keys": jax.eval_shape(lambda: jax.random.split(jax.random.key(0), MIN_SIZE)),
    }
    assert state_words(state, fsdp=8) == {
        "factored/Dense_0/kernel": "- fsdp",
        "queue": "fsdp -",
        **dict.fromkeys(("odd", "small", "step", "key", "keys"), "whole"),
    }
    assert set(state_words(state, rules=(), tensor=8).values()) == {"whole"}


def test_a_device_holds_its_share_of_the_large_and_all_of_the_small():
    params = {
        "model": {
            **{f"Dense_{i}": {"kernel": array(512, 512), "bias": array(512)} for i in range(4)},
            "half": {"kernel": array(1024, 512, dtype=jnp.bfloat16)},
        }
    }
    state = {
        "params": params,
        "optimizers": {"model": jax.eval_shape(optax.adam(0.1).init, params["model"])},
        "step": array(dtype=jnp.int32),
    }
    mesh = mesh_of(fsdp=8)
    shardings = parameter_shardings(params, mesh, (), MIN_SIZE)
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(state, params, shardings, mesh, MIN_SIZE),
    )
    sizes = [(leaf.size, leaf.size * leaf.dtype.itemsize) for leaf in jax.tree.leaves(state)]
    small = sum(size for count, size in sizes if count < MIN_SIZE)
    large = sum(size for count, size in sizes if count >= MIN_SIZE)
    assert bytes_per_device(placed) == large // 8 + small
    assert small == 3 * 4 * 512 * 4 + 4 + 4  # biases with two moments; two counters


# --- in a run -----------------------------------------------------------------------------------


def planned(devices=8, **mesh):
    """A run on devices that are not there."""
    config = default_config()
    config.batch_size = 64
    config.accumulate = 2
    config.average.decay = 0.9
    config.model = component("mlp", hidden=(256, 128))
    config.mesh.update(mesh)
    return Setup(validate(config), devices)


def test_gradients_and_their_sums_have_to_lie_as_the_parameters():
    setup = planned(data=1, fsdp=8)
    step = (
        jax.jit(setup.step)
        .trace(setup.abstract_state, setup.batch_shapes)
        .lower(lowering_platforms=("cpu",))
    )
    demanded = re.findall(
        r"sdy\.sharding_constraint %\S+ <@mesh, \[(.*?)\]> : tensor<(.*?)xf32>", step.as_text()
    )
    # The kernels [64, 256] and [256, 128]: of two microbatches and of their sum.
    assert demanded.count(('{}, {"fsdp"}', "64x256")) >= 2
    assert demanded.count(('{"fsdp"}, {}', "256x128")) >= 2
    assert demanded.count(("{}, {}", "64x256")) >= 1  # gathered for the loss


def test_averages_and_moments_lie_with_the_parameters():
    state = planned(data=2, fsdp=2, tensor=2).abstract_state
    (kernel,) = {
        leaf.sharding.spec
        for path, leaf in by_path(state).items()
        if path.endswith("model/Dense_0/kernel") or path.endswith("mu/Dense_0/kernel")
    }
    assert kernel == PartitionSpec("fsdp", "tensor")
    assert state.step.sharding.is_fully_replicated


def test_check_plans_for_devices_that_are_not_there(tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    answer = call(
        "check",
        f"--config={tmp_path}/small.py",
        "--devices=32",
        "--config.model=mlp(hidden=(512,512))",
        "--config.mesh.data=2",
        "--config.mesh.fsdp=-1",
        "--config.mesh.tensor=2",
        "--config.evaluators.test.batch_size=32",
    )
    assert (answer.status, answer.err) == (0, "")
    for pattern in (
        r"^Parameters, and their parts on devices: data=2, fsdp=8, tensor=2$",
        r"Dense_0/kernel +float32 +32,768 +\[64, 512\] +fsdp tensor +\[8, 256\]$",
        r"Dense_2/bias +float32 +10 +\[10\] +whole +\[10\]$",
        r"^  parameters +1\.1 MiB +0\.1 MiB$",
        r"^  optimizer state +2\.3 MiB +0\.2 MiB$",
        r"^  the whole state +3\.4 MiB +0\.3 MiB$",
        r"FLOP in matrix products and convolutions$",
        r"Left out, as it needs the 32 devices: the compiled step and evaluation\.$",
    ):
        assert re.search(pattern, answer.out, re.M), (pattern, answer.out)
    assert "the first one gives" not in answer.out


# --- eight devices ------------------------------------------------------------------------------


@pytest.mark.slow
def test_state_lies_on_eight_devices_as_promised_and_stays_there(tmp_path):
    on_eight_devices(check_state_on_eight_devices, tmp_path)


def test_a_part_is_what_the_words_say():
    shardings = parameter_shardings(kernel(512, 256), mesh_of(2, 2, 2), (), MIN_SIZE)
    (sharding,) = jax.tree.leaves(shardings)
    assert sharding.shard_shape((512, 256)) == (256, 128)
    assert prod(sharding.shard_shape((512, 256))) == 512 * 256 // 4
