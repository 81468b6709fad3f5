"""Factors of the learning rate by layer, against tables written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlresearch.config import Optimizer
from dlresearch.errors import UserError
from dlresearch.models import ConvNeXt, ResNet, ViT, functional
from dlresearch.models.transformer_encoder import TransformerEncoder
from dlresearch.optim import make_optimizer
from dlresearch.optim.layer_decay import layer_factors
from dlresearch.patterns import path_of

WHERE = "config.optimizer.layer_decay"


def shapes(constructor, *inputs, **arguments):
    model = functional(constructor, num_outputs=3, **arguments)
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)[0]


def image(side):
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)


def exponents(params, decay=0.5):
    """How often each parameter's rate is halved, by the path of what it belongs to."""
    factors = jax.tree_util.tree_leaves_with_path(layer_factors(params, decay, WHERE))
    return {path_of(path): round(np.log(factor) / np.log(decay)) for path, factor in factors}


def by_layer(params, depth):
    """The exponents of parameters with the same beginning, which are all the same."""
    found = {}
    for path, exponent in exponents(params).items():
        found.setdefault("/".join(path.split("/")[:depth]), set()).add(exponent)
    assert all(len(each) == 1 for each in found.values())
    return {name: each.pop() for name, each in found.items()}


def test_a_vision_transformer_has_the_layers_of_beit():
    # `get_num_layer_for_vit` there: embeddings 0, block i the layer i + 1, all else 13; the factor
    # of layer l is decay^(13 - l).
    params = shapes(ViT, image(32), size="tiny", registers=1)
    assert by_layer(params, 1) == {
        "patches": 13,
        "class_token": 13,
        "positions": 13,
        "registers": 13,
        "blocks_0": 12,
        "blocks_1": 11,
        "blocks_2": 10,
        "blocks_3": 9,
        "blocks_4": 8,
        "blocks_5": 7,
        "blocks_6": 6,
        "blocks_7": 5,
        "blocks_8": 4,
        "blocks_9": 3,
        "blocks_10": 2,
        "blocks_11": 1,
        "final_norm": 0,
        "head": 0,
    }


def test_blocks_of_a_residual_network_go_on_from_stage_to_stage():
    assert by_layer(shapes(ResNet, image(32), depth=18, width=2), 2) == {
        "stem_conv/kernel": 9,
        "stem_norm/scale": 9,
        "stem_norm/bias": 9,
        "stages_0/blocks_0": 8,
        "stages_0/blocks_1": 7,
        "stages_1/blocks_0": 6,
        "stages_1/blocks_1": 5,
        "stages_2/blocks_0": 4,
        "stages_2/blocks_1": 3,
        "stages_3/blocks_0": 2,
        "stages_3/blocks_1": 1,
        "head/kernel": 0,
        "head/bias": 0,
    }


def test_what_leads_into_a_stage_is_a_part_of_its_first_block():
    found = by_layer(shapes(ConvNeXt, image(16), blocks=(2, 1), widths=(4, 6), patch_size=2), 2)
    assert {name: each for name, each in found.items() if "/" in name and "_n" not in name} == {
        "stem_conv/kernel": 4,
        "stem_conv/bias": 4,
        "stages_0/blocks_0": 3,
        "stages_0/blocks_1": 2,
        "stages_1/downsample_conv": 1,
        "stages_1/blocks_0": 1,
        "head/kernel": 0,
        "head/bias": 0,
    }
    assert found["stem_norm/scale"] == 4 and found["stages_1/downsample_norm"] == 1
    assert found["final_norm/scale"] == 0


def test_a_transformer_over_tokens_has_its_embedding_below_all():
    tokens = jax.ShapeDtypeStruct((2, 5), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.int32)
    sizes = {"vocabulary_size": 7, "width": 4, "layers": 2, "heads": 1, "hidden": 4}
    assert by_layer(shapes(TransformerEncoder, *tokens, **sizes), 1) == {
        "embedding": 3,
        "positions": 3,
        "blocks_0": 2,
        "blocks_1": 1,
        "norm": 0,
        "head": 0,
    }


def test_a_backbone_within_a_task_has_the_same_layers():
    params = {"backbone": shapes(ViT, image(16), width=8, depth=2, heads=1), "probe": {"bias": 0}}
    found = exponents(params)
    assert found["backbone/blocks_0/norm_1/scale"] == 2 and found["backbone/patches/kernel"] == 3
    assert found["probe/bias"] == found["backbone/final_norm/scale"] == 0


PARAMS = {
    "patches": {"kernel": jnp.ones(2)},
    "blocks_0": {"kernel": jnp.ones(2)},
    "blocks_1": {"kernel": jnp.ones(2)},
    "head": {"kernel": jnp.ones(2)},
}


def to_steps(duration):
    return duration.steps(steps_per_epoch=10, batch_size=5, total_steps=10)


def moved(**options):
    """How far each layer goes in a step of SGD with weight decay."""
    options = Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.5, **options)
    optimizer, _ = make_optimizer(options, PARAMS, 10, to_steps)
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    new = optax.apply_updates(PARAMS, updates)
    return {name: float(1 - new[name]["kernel"][0]) for name in PARAMS}


def test_the_whole_update_shrinks_weight_decay_included():
    plain, found = moved(), moved(layer_decay=0.75)
    for name, power in {"patches": 3, "blocks_0": 2, "blocks_1": 1, "head": 0}.items():
        assert found[name] == pytest.approx(plain[name] * 0.75**power, rel=1e-5)


def test_factors_by_pattern_multiply_those_by_layer():
    found = moved(layer_decay=0.5, learning_rate_factors=(("head/.*", 3.0),))
    assert found["head"] / found["blocks_1"] == pytest.approx(6, rel=1e-5)


@pytest.mark.parametrize(
    ("params", "decay", "message"),
    [
        (PARAMS, 0.0, "0.0 is not above 0 and at most 1"),
        (PARAMS, 1.5, "1.5 is not above 0 and at most 1"),
        (
            {"Dense_0": {"bias": 0, "kernel": 0}},
            0.5,
            r"no parameter is in a numbered block, such as 'blocks_3/\.\.\.'.*Dense_0/bias",
        ),
        (
            {"backbone": PARAMS, "decoder": PARAMS},
            0.5,
            "there are numbered blocks of several networks, backbone, decoder;",
        ),
    ],
)
def test_what_cannot_be_is_told_at_its_place(params, decay, message):
    with pytest.raises(UserError, match=rf"^config\.optimizer\.layer_decay: {message}"):
        layer_factors(params, decay, WHERE)
