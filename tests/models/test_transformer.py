"""The encoder-decoder Transformer against its formulas in NumPy float64, whole and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import Transformer, functional

SIZES = {
    "num_outputs": 9,
    "source_vocabulary": 8,
    "width": 8,
    "layers": 2,
    "heads": 2,
    "hidden": 5,
    "dropout": 0.0,
}
SOURCE = jnp.array([[4, 5, 6, 2, 0], [7, 2, 0, 0, 0]])
LENGTHS = jnp.array([4, 2])
TARGET = jnp.array([[1, 5, 8], [1, 4, 4]])


@pytest.fixture(scope="module")
def made():
    model = functional(Transformer, **SIZES)
    params, state = jax.jit(model.init)(jax.random.key(0), SOURCE, LENGTHS, TARGET)
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    noisy = [each + 0.3 * rng.standard_normal(each.shape).astype(np.float32) for each in leaves]
    return model, structure.unflatten(noisy), state


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def normalised(p, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def attention(p, x, read, causal):
    """The output, and the mean over heads of the weights (Vaswani et al. 2017, eq. 1)."""
    parts, weights = [], []
    for head in np.split(np.arange(8), 2):
        q, k, v = (
            dense(p[name], given)[:, head]
            for name, given in (("query", x), ("key", read), ("value", read))
        )
        scores = q @ k.T / 2.0  # the root of 4 features a head
        if causal:
            scores[np.triu_indices(len(x), 1)] = -np.inf
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        parts.append(shares @ v)
        weights.append(shares)
    return dense(p["out"], np.concatenate(parts, axis=1)), np.mean(weights, axis=0)


def embedded(p, tokens):
    place, pair = np.arange(len(tokens))[:, None], np.arange(4)
    angles = place * 10_000.0 ** (-pair / 3)
    return p["embedding"][tokens] * 8**0.5 + np.concatenate([np.sin(angles), np.cos(angles)], 1)


def block(p, x, encoded=None, causal=False):
    y = normalised(p["norm_1"], x)
    x, shares = x + attention(p["own"], y, y, causal)[0], np.zeros(())
    if encoded is not None:
        y, shares = attention(p["other"], normalised(p["norm_2"], x), encoded, False)
        x = x + y
    y = np.maximum(dense(p["mlp"]["expand"], normalised(p["norm_3"], x)), 0)
    return x + dense(p["mlp"]["project"], y), shares


def reference(params, source, target):
    p = jax.tree.map(lambda each: np.asarray(each, np.float64), params)
    x, shares = embedded(p["source_embedding"], source), np.zeros(())
    for layer in range(2):
        x, _ = block(p[f"encoder_{layer}"], x)
    encoded = normalised(p["encoder_norm"], x)
    x = embedded(p["target_embedding"], target)
    for layer in range(2):
        x, shares = block(p[f"decoder_{layer}"], x, encoded, causal=True)
    last = normalised(p["decoder_norm"], x)
    return last @ p["target_embedding"]["embedding"].T + p["head"]["bias"], shares


@pytest.mark.slow
def test_logits_and_attention_are_those_of_the_formulas_whatever_the_padding(made):
    model, params, state = made

    @jax.jit
    def both(source, lengths, target):
        def call(method, *inputs):
            return model.apply(params, state, *inputs, train=False, method=method)[0]

        memory, past = call("encode", source, lengths, 4)
        steps = []
        for tokens in target.T:
            past, *found = call("step", memory, past, tokens)
            steps.append(found)
        stepped, attended = jax.tree.map(lambda *each: jnp.stack(each, axis=1), *steps)
        return call("__call__", source, lengths, target), stepped, attended

    logits, stepped, attended = both(SOURCE, LENGTHS, TARGET)
    for row, length in enumerate(LENGTHS):
        expected, shares = reference(params, *map(np.asarray, (SOURCE[row, :length], TARGET[row])))
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(stepped[row], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(attended[row, :, :length], shares, rtol=1e-4, atol=1e-5)
        assert not np.any(attended[row, :, length:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width=8 does not divide into heads=3"),
        ({"dropout": -0.1}, "dropout=-0.1 is not in"),
        ({"layers": 0}, "layers"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        functional(Transformer, **{**SIZES, **options})
    assert "\n" not in str(raised.value)
