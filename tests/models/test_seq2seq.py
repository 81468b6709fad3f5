"""The recurrent translator against its formulas in NumPy, and the promises of its methods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import AttentionSeq2Seq, functional

SIZES = {"num_outputs": 11, "source_vocabulary": 9, "width": 6, "embedding": 4, "dropout": 0.0}
SOURCE = jnp.array([[4, 5, 6, 2, 0], [7, 2, 0, 0, 0]])
LENGTHS = jnp.array([4, 2])
TARGET = jnp.array([[1, 5, 9], [1, 4, 4]])


def made(**options):
    model = functional(AttentionSeq2Seq, **{**SIZES, **options})
    params, state = jax.eval_shape(model.init, jax.random.key(0), SOURCE, LENGTHS, TARGET)
    rng = np.random.default_rng(0)
    # Biases begin at 0, which would hide where they are used; and `init` takes long to compile.
    noise = jax.tree.map(lambda leaf: np.float32(0.5 * rng.standard_normal(leaf.shape)), params)
    return model, noise, state


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(name, w, x, states):
    """Cho et al. 2014 as cuDNN has it, and Hochreiter and Schmidhuber 1997, of one sentence."""
    projected = x @ w["kernel"] + w["bias"]
    product = states[0] @ w["recurrent_kernel"]
    if name == "gru":
        (r, z, n), (hr, hz, hn) = np.split(projected, 3), np.split(product, 3)
        z = sigmoid(z + hz)
        new = np.tanh(n + sigmoid(r + hr) * (hn + w["recurrent_bias"]))
        return (z * states[0] + (1 - z) * new,)
    i, f, g, o = np.split(projected + product, 4)
    c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def reference(params, source, target, *, name, layers, attention, coverage, feeding, tied):
    """Logits [time, outputs] of one sentence without padding, and attention [time, source]."""
    p = jax.tree.map(lambda each: np.asarray(each, np.float64), params)
    width, parts = SIZES["width"], 2 if name == "lstm" else 1
    below, last = p["source_embedding"]["embedding"][source], []
    for layer in range(layers):
        sides = []
        for suffix, order in (("", 1), ("_reverse", -1)):
            states, outputs = (np.zeros(width),) * parts, []
            for x in below[::order]:
                states = cell(name, p["encoder"][f"layer_{layer}{suffix}"], x, states)
                outputs.append(states[0])
            sides.append(np.array(outputs[::order]))
            last += states
        below = np.concatenate(sides, axis=1)
    start = np.tanh(np.concatenate(last) @ p["bridge"]["kernel"] + p["bridge"]["bias"])
    hidden = [tuple(layer) for layer in start.reshape(layers, parts, width)]
    d = p["decoder"]
    keys = below @ d["keys"]["kernel"] + d["keys"].get("bias", 0)
    # W_c h_i without the product with the weights first, unlike in the model.
    covered, fed, logits, attended = np.zeros(len(source)), np.zeros(SIZES["embedding"]), [], []
    for token in target:
        word = p["target_embedding"]["embedding"][token]
        x = word
        for layer in range(layers):
            w = dict(d[f"layer_{layer}"])
            if layer == 0 and feeding:
                w["kernel"] = np.concatenate([w["kernel"], d["feeding"]["kernel"]])
                x = np.concatenate([word, fed])
            hidden[layer] = cell(name, w, x, hidden[layer])
            x = hidden[layer][0]
        if attention == "additive":
            query, own = x @ d["top"]["kernel"][:, :width], x @ d["top"]["kernel"][:, width:]
            seen = covered[:, None] * d["covered"]["kernel"] if coverage else 0
            scores = np.tanh(keys + query + seen) @ d["scores"]["kernel"][:, 0]
        else:
            scores, own = keys @ x, x @ d["top"]["kernel"]
        weights = softmax(scores)
        context = weights @ below
        spoken = word @ d["words"]["kernel"] + d["words"]["bias"]
        fed = np.tanh(own + spoken + context @ d["values"]["kernel"])
        covered = covered + weights
        last_matrix = p["target_embedding"]["embedding"].T if tied else p["head"]["kernel"]
        logits.append(fed @ last_matrix + p["head"]["bias"])
        attended.append(weights)
    return np.array(logits), np.array(attended)


VARIANTS = {
    "gru": {},
    "lstm": {"cell": "lstm"},
    "two_layers": {"layers": 2},
    "multiplicative": {"attention": "multiplicative"},
    "coverage": {"coverage": True},
    "no_feeding": {"input_feeding": False, "tied_embeddings": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_attention_are_those_of_the_formulas_whatever_the_padding(variant):
    options = VARIANTS[variant]
    model, params, state = made(**options)

    @jax.jit
    def both(source, lengths, target):
        def call(method, *inputs):
            return model.apply(params, state, *inputs, train=False, method=method)[0]

        memory, carried = call("encode", source, lengths, 3)
        steps = []
        for tokens in target.T:
            carried, *found = call("step", memory, carried, tokens)
            steps.append(found)
        stepwise = jax.tree.map(lambda *each: jnp.stack(each, axis=1), *steps)
        return call("__call__", source, lengths, target), stepwise

    logits, (stepped, attention) = both(SOURCE, LENGTHS, TARGET)
    for row, length in enumerate(LENGTHS):
        expected, attended = reference(
            params,
            np.asarray(SOURCE[row, :length]),
            np.asarray(TARGET[row]),
            name=options.get("cell", "gru"),
            layers=options.get("layers", 1),
            attention=options.get("attention", "additive"),
            coverage=options.get("coverage", False),
            feeding=options.get("input_feeding", True),
            tied=options.get("tied_embeddings", True),
        )
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stepped[row], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(attention[row, :, :length], attended, rtol=1e-4, atol=1e-6)
        assert not np.any(attention[row, :, length:])


def test_dropout_is_random_in_training_only_and_the_same_for_the_same_key():
    model, params, state = made(dropout=0.5, word_dropout=0.2, layers=2, locked=True)

    @jax.jit
    def logits(key):
        return model.apply(params, state, SOURCE, LENGTHS, TARGET, train=True, key=key)[0]

    first, again, other = (logits(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_without_a_bridge_the_decoder_begins_at_zero():
    model, params, state = made(bridge=False)
    assert "bridge" not in params

    @jax.jit
    def encoded(params):
        return model.apply(params, state, SOURCE, LENGTHS, 3, train=False, method="encode")[0]

    _, carried = encoded(params)
    assert all(not np.any(each) for each in jax.tree.leaves(carried))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "aditive"}, "attention='aditive': must be one of additive, multiplicative"),
        ({"cell": "rnn"}, "cell='rnn': must be one of gru, lstm"),
        ({"dropout": 1.0}, r"dropout=1.0 is not in \[0, 1\)"),
        ({"coverage": True, "attention": "multiplicative"}, "coverage=True needs attention="),
        ({"width": 0}, "width"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        functional(AttentionSeq2Seq, **{**SIZES, **options})
    assert "\n" not in str(raised.value)
