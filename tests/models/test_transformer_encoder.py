"""The bidirectional encoder against PyTorch's, whatever the padding, in both of its uses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.models.self_supervised import MaskedTokenHead
from dlresearch.models.transformer_encoder import TransformerEncoder
from helpers.references import part, reference

SIZES = {"vocabulary_size": 9, "width": 8, "layers": 2, "heads": 2, "hidden": 12, "dropout": 0.0}
# 9 is the mask token.
TOKENS = np.array([[4, 9, 6, 2, 1, 1], [7, 2, 3, 3, 5, 5], [8, 8, 1, 0, 0, 0]])
LENGTHS = np.array([4, 2, 0])


def noisy(params):
    """Parameters of which none is 0 or 1, as biases and scales are at the start."""
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    return structure.unflatten(
        [each + 0.3 * rng.standard_normal(each.shape).astype(np.float32) for each in leaves]
    )


def made(num_outputs, **options):
    model = functional(TransformerEncoder, num_outputs=num_outputs, **{**SIZES, **options})
    params, _ = jax.jit(model.init)(jax.random.key(0), TOKENS, LENGTHS)
    return model, noisy(params)


@pytest.fixture(scope="module", params=["learned", "sinusoidal"])
def encoder(request):
    return *made(3, positions=request.param, max_length=7), request.param


def from_torch(kind):
    """The recorded weights of PyTorch's encoder as parameters of ours."""
    weights = part(reference("transformer_encoder"), "weights")

    def dense(name):
        return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}

    def norm(name):
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    def block(name):
        kernels = np.split(weights[f"{name}.self_attn.in_proj_weight"], 3)
        biases = np.split(weights[f"{name}.self_attn.in_proj_bias"], 3)
        own = {
            part: {"kernel": kernel.T, "bias": bias}
            for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
        }
        return {
            "own": {**own, "out": dense(f"{name}.self_attn.out_proj")},
            "mlp": {"expand": dense(f"{name}.linear1"), "project": dense(f"{name}.linear2")},
            "norm_1": norm(f"{name}.norm1"),
            "norm_3": norm(f"{name}.norm2"),
        }

    params = {
        "embedding": {"embedding": weights["embedding"]},
        **{f"blocks_{number}": block(f"layers.{number}") for number in range(2)},
        "norm": norm("norm"),
        "head": dense("head"),
    }
    if kind == "learned":
        params["positions"] = {"bias": weights["positions"][None]}
    return params


def test_tokens_and_classes_are_those_of_pytorch_whatever_the_padding(encoder):
    model, own, kind = encoder
    params = from_torch(kind)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, own)

    @jax.jit
    def both(tokens, lengths):
        call = (tokens, lengths)
        encoded, _ = model.apply(params, {}, *call, train=False, method="encode")
        return encoded, model.apply(params, {}, *call, train=False)[0]

    encoded, outputs = both(TOKENS, LENGTHS)
    assert encoded.dtype == outputs.dtype == jnp.float32
    recorded = reference("transformer_encoder")
    for row, length in enumerate(LENGTHS[:2]):
        np.testing.assert_array_equal(TOKENS[row, :length], recorded[f"tokens/sentence_{row}"])
        expected = part(recorded, f"{kind}/sentence_{row}")
        close = {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(encoded[row, :length], expected["encoded"], **close)
        np.testing.assert_allclose(outputs[row], expected["scores"], **close)
    # Of nothing, the last layer of zeros.
    np.testing.assert_allclose(outputs[2], params["head"]["bias"], rtol=1e-6)


def test_a_wider_batch_and_other_padding_change_nothing(encoder):
    model, params, _ = encoder
    call = jax.jit(lambda tokens: model.apply(params, {}, tokens, LENGTHS, train=False)[0])
    other = np.where(np.arange(6) < LENGTHS[:, None], TOKENS, 3)
    wider = np.pad(other, ((0, 0), (0, 1)), constant_values=8)
    for padded in (other, wider, TOKENS[:, :4]):
        np.testing.assert_allclose(call(padded), call(TOKENS), rtol=1e-5, atol=1e-6)


def test_without_outputs_it_gives_what_the_head_reads_and_has_the_other_parameters(encoder):
    model, params, kind = encoder
    backbone, own = made(None, positions=kind, max_length=7)
    body = {name: each for name, each in params.items() if name != "head"}
    assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, body)
    vectors, _ = jax.jit(lambda *a: backbone.apply(body, {}, *a, train=False))(TOKENS, LENGTHS)
    assert vectors.shape == (3, 8) and vectors.dtype == jnp.float32
    features = jax.jit(lambda *a: model.features(params, {}, *a))(TOKENS, LENGTHS)
    np.testing.assert_allclose(vectors, features, rtol=1e-5, atol=1e-5)  # of two programs


@pytest.mark.slow
def test_dropout_needs_a_key_and_changes_training_alone():
    model, params = made(3, dropout=0.5, word_dropout=0.5)
    call = jax.jit(
        lambda train, key: model.apply(params, {}, TOKENS, LENGTHS, train=train, key=key)[0],
        static_argnums=0,
    )
    one, other = jax.random.key(0), jax.random.key(1)
    np.testing.assert_array_equal(call(True, one), call(True, one))
    assert np.abs(call(True, one) - call(True, other))[:2].max() > 1e-3
    np.testing.assert_array_equal(call(False, one), call(False, other))


def test_with_all_words_dropped_but_rounding_only_their_number_and_places_matter():
    model, params = made(3, word_dropout=1 - 1e-9)
    call = jax.jit(
        lambda tokens: model.apply(params, {}, tokens, LENGTHS, train=True, key=jax.random.key(0))[
            0
        ]
    )
    np.testing.assert_array_equal(call(TOKENS), call((TOKENS + 3) % 9))


def test_logits_of_masked_tokens_are_those_of_the_formula():
    model = functional(MaskedTokenHead)
    rng = np.random.default_rng(1)
    encoded = jnp.asarray(rng.standard_normal((2, 3, 8)), jnp.float32)
    embedding = jnp.asarray(rng.standard_normal((9, 8)), jnp.float32)
    params, _ = model.init(jax.random.key(0), encoded, embedding)
    params = noisy(params)
    logits, _ = model.apply(params, {}, encoded, embedding, train=False)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = encoded @ p["transform"]["kernel"] + p["transform"]["bias"]
    x = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["norm"]["scale"] + p["norm"]["bias"]
    np.testing.assert_allclose(logits, x @ embedding.T + p["logits"]["bias"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width=8 does not divide into heads=3"),
        ({"layers": 0}, "layers"),
        ({"dropout": 1.0}, r"dropout=1.0 is not in \[0, 1\)"),
        ({"word_dropout": -0.1}, "word_dropout=-0.1 is not in"),
        ({"positions": "relative"}, "positions='relative': must be one of learned, sinusoidal"),
        ({"positions": "sinusoidal", "width": 9, "heads": 3}, "width=9: must be even"),
        ({"num_outputs": 0}, "num_outputs"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        functional(TransformerEncoder, **{"num_outputs": 3, **SIZES, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (TOKENS, "sequences of 6 tokens are longer than max_length=5; raise it"),
        (TOKENS[:, :2].astype(np.float32), r"reads tokens, integers .* \[3, 2\] of float32"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tokens, message):
    model = functional(TransformerEncoder, num_outputs=3, **SIZES, max_length=5)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), tokens, LENGTHS)
