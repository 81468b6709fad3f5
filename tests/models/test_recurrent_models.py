"""Networks around recurrent layers: what they pool and carry, and that padding is nothing."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.models.recurrent import Recurrent
from dlresearch.models.recurrent_classifier import RecurrentClassifier
from dlresearch.models.recurrent_forecaster import RecurrentForecaster
from dlresearch.models.recurrent_frames import RecurrentFrames

RNG = np.random.default_rng(0)
LENGTHS = np.array([5, 1, 3], np.int32)
TOKENS = RNG.integers(0, 9, (3, 5)).astype(np.int32)
FRAMES = RNG.integers(0, 2, (2, 6, 4)).astype(np.uint8)
POOLINGS = ("last", "mean", "max", "attention")
every_pooling = pytest.mark.parametrize("pooling", POOLINGS)


@cache  # so that each is compiled once
def classifier(pooling):
    model = functional(
        RecurrentClassifier,
        num_outputs=2,
        vocabulary_size=9,
        embedding=3,
        width=4,
        pooling=pooling,
        word_dropout=0.5,
        embedding_scale=1.0,
    )
    params, _ = jax.jit(model.init)(jax.random.key(0), TOKENS, LENGTHS)
    return params, jax.jit(model.apply, static_argnames="train")


def classify(pooling, tokens, **options):
    params, apply = classifier(pooling)
    return apply(params, {}, tokens, LENGTHS, train=False, **options)[0]


def pooled(pooling, params, x, length):
    """One row [time, features] in float64."""
    x = x[:length]
    if pooling == "mean":
        return x.mean(axis=0)
    if pooling == "max":
        return x.max(axis=0)
    if pooling == "last":  # the reverse direction ends at the first step
        return np.concatenate([x[-1, :4], x[0, 4:]])
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.tanh(x @ first["kernel"] + first["bias"])
    return scipy.special.softmax(hidden @ second["kernel"][:, 0]) @ x


@every_pooling
def test_pooling_is_that_of_the_valid_steps(pooling):
    params, _ = classifier(pooling)
    embedded = params["Embed_0"]["embedding"][TOKENS]
    layers = Recurrent(4, bidirectional=True)
    x, _ = jax.jit(
        lambda params, x: layers.apply({"params": params}, x, lengths=LENGTHS, train=False)
    )(params["Recurrent_0"], embedded)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    last = params["Dense_2" if pooling == "attention" else "Dense_0"]
    for row, length, outputs in zip(x, LENGTHS, classify(pooling, TOKENS), strict=True):
        vector = pooled(pooling, params, np.asarray(row, np.float64), length)
        expected = vector @ last["kernel"] + last["bias"]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@every_pooling
def test_neither_padding_nor_what_lies_in_it_changes_a_class(pooling):
    wider = np.pad(TOKENS, ((0, 0), (0, 3)), constant_values=8)
    wider = np.where(np.arange(8) < LENGTHS[:, None], wider, 8)
    np.testing.assert_allclose(
        classify(pooling, wider), classify(pooling, TOKENS), rtol=1e-5, atol=1e-6
    )


def test_words_are_dropped_in_training_alone():
    params, apply = classifier("max")

    def drawn(seed, train):
        return apply(params, {}, TOKENS, LENGTHS, train=train, key=jax.random.key(seed))[0]

    assert not np.array_equal(drawn(0, True), drawn(1, True))
    np.testing.assert_array_equal(drawn(0, False), drawn(1, False))


def test_what_is_no_tokens_is_a_mistake():
    model = functional(RecurrentClassifier, num_outputs=2, vocabulary_size=9)
    with pytest.raises(UserError, match=r"reads tokens, integers \[batch, time\], not .* float32"):
        model.init(jax.random.key(0), jnp.zeros((2, 3)), LENGTHS[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "pooling='median': must be one of last, mean"),
        ({"word_dropout": 1.0}, "word_dropout=1.0 is not in"),
        ({"width": 0}, "width=0: must be at least 1"),
    ],
)
def test_arguments_of_the_classifier_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        RecurrentClassifier(num_outputs=2, vocabulary_size=9, **options)


@cache
def frames_model():
    model = functional(RecurrentFrames, num_outputs=3, width=4, layers=2, embedding=5)
    params, _ = jax.jit(model.init)(jax.random.key(0), FRAMES)
    return params, jax.jit(model.apply, static_argnames="train")


def test_frames_read_one_by_one_give_what_they_give_together():
    params, apply = frames_model()
    together, _ = apply(params, {}, FRAMES, None, None, train=False)[0]
    carry = None
    for time in range(FRAMES.shape[1]):
        one, carry = apply(params, {}, FRAMES[:, time : time + 1], None, carry, train=False)[0]
        np.testing.assert_allclose(one[:, 0], together[:, time], rtol=1e-5, atol=1e-6)


def test_outputs_know_nothing_of_later_frames():
    params, apply = frames_model()
    changed = FRAMES.copy()
    changed[:, 4:] = 1 - changed[:, 4:]
    before, after = (
        apply(params, {}, frames, None, None, train=False)[0][0] for frames in (FRAMES, changed)
    )
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.array_equal(before[:, 4], after[:, 4])


def test_forecast_from_the_last_value_is_a_change_of_it():
    window = RNG.standard_normal((3, 5, 2)).astype(np.float32)
    outputs = {}
    for from_last in (True, False):
        model = functional(RecurrentForecaster, num_outputs=2, width=3, from_last=from_last)
        params, _ = model.init(jax.random.key(0), window)
        outputs[from_last], _ = jax.jit(model.apply, static_argnames="train")(
            params, {}, window, train=False
        )
    # A sum of order 1, which may be near 0.
    expected = outputs[False] + window[:, -1, :1]
    np.testing.assert_allclose(outputs[True], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [RecurrentFrames, RecurrentForecaster])
def test_what_is_no_sequence_of_vectors_is_a_mistake(model):
    with pytest.raises(UserError, match=r"not an array \[3, 5\]"):
        functional(model, num_outputs=2).init(jax.random.key(0), jnp.zeros((3, 5)))
