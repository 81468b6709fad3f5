"""Image models against the formulas of their papers, written in NumPy float64 without their code.

Padding, strides and the order of layers are those of torchvision and timm: only so do published
weights give published outputs.
"""

import jax
import numpy as np
import pytest
from scipy.special import erf, softmax

from dlresearch.models import Airbench, ConvNeXt, ResNet, ViT, WideResNet, functional
from dlresearch.models.self_supervised import MAEDecoder


def filled(shapes):
    """Random numbers in place of those of `init`, none of which is a constant.

    Outputs keep the size of inputs; to compile `init` would take as long as all else.
    """
    rng = np.random.default_rng(0)

    def values(leaf):
        noise = rng.standard_normal(leaf.shape)
        inputs = np.prod(leaf.shape[:-1])
        # Scales, variances, means and biases are vectors, of which some have to be positive.
        return np.float32(0.6 + 0.4 * np.abs(noise) if leaf.ndim < 2 else noise / np.sqrt(inputs))

    return jax.tree.map(values, shapes)


def evaluated(constructor, shape, **arguments):
    """Outputs, images, and parameters and state in float64, all of them random and no constants."""
    model = functional(constructor, **{"num_outputs": 3, **arguments})
    images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    params, state = filled(jax.eval_shape(model.init, jax.random.key(0), images))
    outputs, _ = jax.jit(lambda *a: model.apply(*a, train=False))(params, state, images)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (images, params, state))
    return outputs, *exact


def agree(outputs, expected):
    # float32 over some dozen layers.
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def conv(x, kernel, stride=1, padding=0, bias=0.0):
    """Sum over a window, zero outside; [batch, height, width, channels] and [h, w, in, out]."""
    size = kernel.shape[0]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.einsum("bhwcij,ijcd->bhwd", windows[:, ::stride, ::stride], kernel) + bias


def max_pool(x, size, stride, padding=0):
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    x = np.pad(x, pads, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].max((-2, -1))


def batch_norm(x, params, statistics, epsilon=1e-5):
    scale = params.get("scale", 1.0) / np.sqrt(statistics["var"] + epsilon)
    return (x - statistics["mean"]) * scale + params["bias"]


def layer_norm(x, params):
    variance = x.var(-1, keepdims=True)
    normalised = (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
    return normalised * params["scale"] + params["bias"]


def dense(x, params):
    return x @ params["kernel"] + params.get("bias", 0.0)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def relu(x):
    return np.maximum(x, 0)


def blur(x):
    """Reflected, and filtered by the outer product of [1, 2, 1] / 4; every second one."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    line = np.array([1, 2, 1]) / 4
    kernel = np.einsum("i,j,cd->ijcd", line, line, np.eye(x.shape[-1]))
    return conv(x, kernel, stride=2)


@pytest.mark.parametrize("blurred", [False, True])
@pytest.mark.parametrize("side", [31, 32])
def test_resnet_is_torchvisions(blurred, side):
    outputs, x, params, state = evaluated(
        ResNet, (2, side, side, 3), depth=50, blocks=(1, 2), width=3, blur_pool=blurred
    )
    state = state["batch_stats"]
    x = conv(x, params["stem_conv"]["kernel"], 2, 3)
    x = relu(batch_norm(x, params["stem_norm"], state["stem_norm"]))
    x = blur(max_pool(x, 3, 1, 1)) if blurred else max_pool(x, 3, 2, 1)
    for stage, blocks in enumerate((1, 2)):
        for index in range(blocks):
            own, seen = (tree[f"stages_{stage}"][f"blocks_{index}"] for tree in (params, state))
            stride = 2 if stage == 1 and index == 0 else 1
            sparse, kept = (1, blur) if blurred else (stride, lambda y: y)
            y = relu(batch_norm(conv(x, own["conv_1"]["kernel"]), own["norm_1"], seen["norm_1"]))
            y = conv(y, own["conv_2"]["kernel"], sparse if stride > 1 else 1, 1)
            y = relu(batch_norm(y, own["norm_2"], seen["norm_2"]))
            y = kept(y) if stride > 1 else y
            y = batch_norm(conv(y, own["conv_3"]["kernel"]), own["norm_3"], seen["norm_3"])
            if index == 0:
                x = kept(x) if stride > 1 else x
                x = conv(x, own["shortcut_conv"]["kernel"], sparse if stride > 1 else 1)
                x = batch_norm(x, own["shortcut_norm"], seen["shortcut_norm"])
            x = relu(x + y)
    agree(outputs, dense(x.mean((1, 2)), params["head"]))


def test_wide_resnet_is_pre_activated_with_projections_from_behind_the_activation():
    outputs, x, params, state = evaluated(WideResNet, (2, 9, 9, 3), depth=10, widen=1)
    state = state["batch_stats"]
    x = conv(x, params["stem_conv"]["kernel"], 1, 1)
    for stage in range(3):
        own, seen = (tree[f"stages_{stage}"]["blocks_0"] for tree in (params, state))
        stride = 1 if stage == 0 else 2
        first = relu(batch_norm(x, own["norm_1"], seen["norm_1"]))
        y = conv(first, own["conv_1"]["kernel"], stride, 1)
        y = conv(relu(batch_norm(y, own["norm_2"], seen["norm_2"])), own["conv_2"]["kernel"], 1, 1)
        assert ("shortcut_conv" in own) == (stage > 0)
        x = y + (x if stage == 0 else conv(first, own["shortcut_conv"]["kernel"], stride))
    x = relu(batch_norm(x, params["final_norm"], state["final_norm"]))
    agree(outputs, dense(x.mean((1, 2)), params["head"]))


@pytest.mark.parametrize("blurred", [False, True])
def test_resnet_v2_bottleneck_strides_in_its_second_convolution(blurred):
    arguments = {"depth": 50, "version": 2, "blocks": (1, 1), "width": 3, "stem": "cifar"}
    outputs, x, params, state = evaluated(ResNet, (2, 9, 9, 3), blur_pool=blurred, **arguments)
    state = state["batch_stats"]
    x = conv(x, params["stem_conv"]["kernel"], 1, 1)
    for stage in range(2):
        own, seen = (tree[f"stages_{stage}"]["blocks_0"] for tree in (params, state))
        stride = 1 if blurred else stage + 1
        kept = blur if blurred and stage == 1 else lambda y: y
        y = first = relu(batch_norm(x, own["norm_1"], seen["norm_1"]))
        y = conv(y, own["conv_1"]["kernel"])
        y = relu(batch_norm(y, own["norm_2"], seen["norm_2"]))
        y = conv(y, own["conv_2"]["kernel"], stride, 1)
        y = kept(relu(batch_norm(y, own["norm_3"], seen["norm_3"])))
        y = conv(y, own["conv_3"]["kernel"])
        x = y + conv(kept(first), own["shortcut_conv"]["kernel"], stride)
    x = relu(batch_norm(x, params["final_norm"], state["final_norm"]))
    agree(outputs, dense(x.mean((1, 2)), params["head"]))


def test_convnext_is_torchvisions():
    outputs, x, params, _ = evaluated(
        ConvNeXt, (2, 17, 16, 3), blocks=(1, 2), widths=(4, 6), layer_scale=0.5
    )
    x = conv(x, params["stem_conv"]["kernel"], 4, 0, params["stem_conv"]["bias"])
    x = layer_norm(x, params["stem_norm"])
    for stage, blocks in enumerate((1, 2)):
        own = params[f"stages_{stage}"]
        if stage:
            down = own["downsample_conv"]
            x = conv(layer_norm(x, own["downsample_norm"]), down["kernel"], 2, 0, down["bias"])
        for index in range(blocks):
            block = own[f"blocks_{index}"]
            kernel = block["depthwise"]["kernel"]  # [7, 7, 1, channels]
            by_channel = kernel * np.eye(kernel.shape[-1])
            y = conv(x, by_channel, 1, 3, block["depthwise"]["bias"])
            y = dense(gelu(dense(layer_norm(y, block["norm"]), block["expand"])), block["project"])
            x = x + block["layer_scale"] * y
    agree(outputs, dense(layer_norm(x.mean((1, 2)), params["final_norm"]), params["head"]))


def weights_of(x, block):
    """How much each head of a transformer's block looks from one token to another."""
    query, key = (attention_input(x, block, name) for name in ("query", "key"))
    scores = np.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    return softmax(scores, axis=-1)


def attention_input(x, block, name):
    own = block["attention"][name]
    return np.einsum("btf,fhd->bthd", layer_norm(x, block["norm_1"]), own["kernel"]) + own["bias"]


def through_blocks(x, params, depth):
    """The blocks of a transformer, with norms in front."""
    for index in range(depth):
        block = params[f"blocks_{index}"]
        mixed = np.einsum(
            "bhts,bshd->bthd", weights_of(x, block), attention_input(x, block, "value")
        )
        out = block["attention"]["out"]
        x = x + np.einsum("bthd,hdf->btf", mixed, out["kernel"]) + out["bias"]
        hidden = gelu(dense(layer_norm(x, block["norm_2"]), block["expand"]))
        x = x + dense(hidden, block["project"])
    return x


def encoded(x, params, depth):
    return layer_norm(through_blocks(x, params, depth), params["final_norm"])


TRANSFORMER = {"width": 8, "depth": 2, "heads": 2, "patch_size": 4, "mlp_ratio": 3}


def patches_of(x, params):
    x = conv(x, params["patches"]["kernel"], 4, 0, params["patches"]["bias"])
    return x.reshape(len(x), -1, x.shape[-1])


def test_vit_is_timms_with_the_class_token_first_and_positions_behind_it():
    outputs, x, params, _ = evaluated(ViT, (2, 8, 12, 3), registers=2, **TRANSFORMER)
    x = patches_of(x, params)
    token = np.broadcast_to(params["class_token"], (2, 1, 8))
    x = np.concatenate([token, x], axis=1) + params["positions"]["bias"]
    x = np.concatenate([x, np.broadcast_to(params["registers"], (2, 2, 8))], axis=1)
    agree(outputs, dense(encoded(x, params, 2)[:, 0], params["head"]))


def test_vit_without_class_token_averages_over_patches_but_not_over_registers():
    outputs, x, params, _ = evaluated(
        ViT, (2, 8, 12, 3), pool="mean", positions="sincos", registers=2, **TRANSFORMER
    )
    x = patches_of(x, params)
    for row in range(2):
        for column in range(3):
            # Two frequencies, 1 and 1 / 10,000, for a width of 8.
            waves = [f(p * w) for p in (column, row) for f in (np.sin, np.cos) for w in (1, 1e-4)]
            x[:, 3 * row + column] += waves
    x = np.concatenate([x, np.broadcast_to(params["registers"], (2, 2, 8))], axis=1)
    agree(outputs, dense(encoded(x, params, 2)[:, :6].mean(1), params["head"]))


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_attention_is_that_of_the_last_block_to_the_patches(pool):
    arguments = {"num_outputs": None, "registers": 2, "pool": pool, **TRANSFORMER}
    model = functional(ViT, **arguments)
    _, images, params, _ = evaluated(ViT, (2, 8, 12, 3), **arguments)
    maps, _ = jax.jit(lambda *a: model.apply(*a, train=False, method="attention"))(
        jax.tree.map(np.float32, params), {}, images.astype(np.float32)
    )
    x = patches_of(images, params)
    if pool == "token":
        x = np.concatenate([np.broadcast_to(params["class_token"], (2, 1, 8)), x], axis=1)
    x = x + params["positions"]["bias"]
    x = np.concatenate([x, np.broadcast_to(params["registers"], (2, 2, 8))], axis=1)
    weights = weights_of(through_blocks(x, params, 1), params["blocks_1"])
    expected = weights[:, :, 0, 1:7] if pool == "token" else weights[:, :, :6, :6].mean(2)
    assert maps.shape == (2, 2, 2, 3)  # images, heads, rows, columns
    assert maps.dtype == np.float32
    agree(maps, expected.reshape(2, 2, 2, 3))
    assert np.all(maps.sum((2, 3)) < 1)  # the registers have a share


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_decoder_of_a_masked_autoencoder_fills_holes_with_its_mask_token(ahead):
    model = functional(MAEDecoder, num_outputs=5, width=8, depth=2, heads=2)
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, ahead + 2, 6))
    keep = np.array([[1, 4], [0, 2]])
    masked = np.ones((2, 2, 3), bool)
    np.put_along_axis(masked.reshape(2, 6), keep, False, axis=1)
    inputs = tokens.astype(np.float32), keep, masked
    low, _ = filled(jax.eval_shape(model.init, jax.random.key(0), *inputs))
    params = jax.tree.map(np.float64, low)
    outputs, _ = jax.jit(lambda *a: model.apply(*a, train=False))(low, {}, *inputs)

    given = dense(tokens, params["embedding"])
    x = np.broadcast_to(params["mask_token"], (2, 6, 8)).copy()
    for image in range(2):
        for place, patch in enumerate(keep[image]):
            x[image, patch] = given[image, ahead + place]
    for row in range(2):
        for column in range(3):
            waves = [f(p * w) for p in (column, row) for f in (np.sin, np.cos) for w in (1, 1e-4)]
            x[:, 3 * row + column] += waves
    x = encoded(np.concatenate([given[:, :ahead], x], axis=1), params, 2)[:, ahead:]
    agree(outputs, dense(x, params["head"]).reshape(2, 2, 3, 5))


@pytest.mark.parametrize(("convs", "residual"), [(2, False), (3, True)])
def test_airbench_is_that_of_the_speed_runs(convs, residual):
    outputs, x, params, state = evaluated(
        Airbench, (2, 32, 32, 3), widths=(3, 4, 5), convs_per_group=convs, residual=residual
    )
    kernel, state = state["constants"]["whiten"]["kernel"], state["batch_stats"]
    x = gelu(conv(x, kernel) + params["whiten"]["bias"])
    for index in range(3):
        own, seen = (tree[f"groups_{index}"] for tree in (params, state))
        x = max_pool(conv(x, own["conv_1"]["kernel"], 1, 1), 2, 2)
        x = first = gelu(batch_norm(x, own["norm_1"], seen["norm_1"], 1e-12))
        for number in range(2, convs + 1):
            x = conv(x, own[f"conv_{number}"]["kernel"], 1, 1)
            x = batch_norm(x, own[f"norm_{number}"], seen[f"norm_{number}"], 1e-12)
            x = gelu(x + first if residual and number == convs else x)
    assert x.shape[1:3] == (3, 3)
    agree(outputs, max_pool(x, 3, 3)[:, 0, 0] @ params["head"]["kernel"] / 9)


@pytest.mark.parametrize("version", [1, 2])
def test_zero_init_makes_every_block_the_identity_at_the_start(version):
    images = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype(np.float32)
    arguments = {"num_outputs": None, "depth": 18, "stem": "cifar", "width": 4, "version": version}
    one, two = (functional(ResNet, blocks=(blocks,), **arguments) for blocks in (1, 3))

    @jax.jit
    def features():
        variables = [model.init(jax.random.key(0), images) for model in (one, two)]
        outputs = [
            model.apply(*each, images, train=False)[0]
            for model, each in zip((one, two), variables, strict=True)
        ]
        return outputs, variables[1][0]

    (expected, outputs), params = features()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert not np.any(
        params["stages_0"]["blocks_2"]["norm_2"]["scale"]
        if version == 1
        else params["stages_0"]["blocks_2"]["conv_2"]["kernel"]
    )
    assert np.any(params["stages_0"]["blocks_2"]["conv_1"]["kernel"] != 0)
