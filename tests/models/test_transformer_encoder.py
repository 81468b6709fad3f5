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


def positions(kind, params, time):
    """Of the same size as the vectors of the tokens after scaling."""
    if kind == "learned":
        return np.asarray(params["positions"]["bias"], np.float64)[0, :time] * math.sqrt(8)
    angles = np.arange(time)[:, None] * 10_000.0 ** (-np.arange(4) / 3)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def in_torch(params, embedded):
    """PyTorch's own encoder, in float64, with these parameters, on one sentence [time, width]."""
    torch = pytest.importorskip("torch")

    def layer(p):
        made = torch.nn.TransformerEncoderLayer(
            8, 2, 12, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True, dtype=torch.float64
        )
        own, mlp = p["own"], p["mlp"]
        parts = [own[name] for name in ("query", "key", "value")]
        values = {
            "self_attn.in_proj_weight": np.concatenate([each["kernel"].T for each in parts]),
            "self_attn.in_proj_bias": np.concatenate([each["bias"] for each in parts]),
        }
        for name, dense in {
            "self_attn.out_proj": own["out"],
            "linear1": mlp["expand"],
            "linear2": mlp["project"],
        }.items():
            values |= {f"{name}.weight": dense["kernel"].T, f"{name}.bias": dense["bias"]}
        for name, norm in {"norm1": p["norm_1"], "norm2": p["norm_3"]}.items():
            values |= {f"{name}.weight": norm["scale"], f"{name}.bias": norm["bias"]}
        made.load_state_dict({name: torch.tensor(np.array(v)) for name, v in values.items()})
        return made.eval()

    with torch.no_grad():
        x = torch.tensor(embedded)[None]
        for number in range(2):
            x = layer(params[f"blocks_{number}"])(x)
        scale, bias = (torch.tensor(np.array(params["norm"][name])) for name in ("scale", "bias"))
        return torch.nn.functional.layer_norm(x, (8,), scale, bias, 1e-6)[0].numpy()


def test_tokens_and_classes_are_those_of_pytorch_whatever_the_padding(encoder):
    model, params, kind = encoder

    @jax.jit
    def both(tokens, lengths):
        call = (tokens, lengths)
        encoded, _ = model.apply(params, {}, *call, train=False, method="encode")
        return encoded, model.apply(params, {}, *call, train=False)[0]

    encoded, outputs = both(TOKENS, LENGTHS)
    assert encoded.dtype == outputs.dtype == jnp.float32
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for row, length in enumerate(LENGTHS[:2]):
        tokens = TOKENS[row, :length]
        x = p["embedding"]["embedding"][tokens] * math.sqrt(8) + positions(kind, params, length)
        expected = in_torch(p, x)
        np.testing.assert_allclose(encoded[row, :length], expected, rtol=1e-4, atol=1e-4)
        scores = expected.mean(0) @ p["head"]["kernel"] + p["head"]["bias"]
        np.testing.assert_allclose(outputs[row], scores, rtol=1e-4, atol=1e-4)
    # Of nothing, the last layer of zeros.
    np.testing.assert_allclose(outputs[2], p["head"]["bias"], rtol=1e-6)


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
    np.testing.assert_array_equal(vectors, features)


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
