"""Greedy and beam search against all sequences of a small vocabulary, in NumPy float64."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.tasks.decoding import Symbols, beam_search, better, greedy, length_penalty

PAD, BOS, EOS, *WORDS = range(5)
SYMBOLS = Symbols(PAD, BOS, EOS)
LENGTH, SENTENCES, WIDTH = 4, 8, 3
RNG = np.random.default_rng(0)
RECURRENT, EMBEDDED, OUT = (
    RNG.standard_normal(shape) for shape in ((WIDTH, WIDTH), (5, WIDTH), (WIDTH, 5))
)
STARTS = 2 * RNG.standard_normal((SENTENCES, WIDTH))  # where all that follows depends on


def step(state, tokens):
    """A small recurrent language model."""
    state = jnp.tanh(state @ RECURRENT + jnp.asarray(EMBEDDED)[tokens])
    return state, 2 * state @ OUT


def log_prob(start, sequence):
    """Of a sequence behind a start, in float64."""
    state, total = start, 0.0
    for last, token in zip((BOS, *sequence), sequence, strict=False):
        state = np.tanh(state @ RECURRENT + EMBEDDED[last])
        logits = 2 * state @ OUT
        total += logits[token] - np.log(np.exp(logits).sum())
    return total


def penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def best_of_all(start, alpha):
    """The best-scored sequence that ends within LENGTH tokens."""
    ended = [(*words, EOS) for count in range(LENGTH) for words in product(WORDS, repeat=count)]
    scores = {each: log_prob(start, each) / penalty(len(each), alpha) for each in ended}
    return max(scores, key=lambda each: scores[each]), max(scores.values())


@jax.jit
def searched_greedily(starts):
    return greedy(step, starts, len(starts), SYMBOLS, LENGTH, 1.0)


def searched(starts, beam, alpha=1.0):
    @jax.jit
    def search(starts):
        repeated = jnp.repeat(starts, beam, axis=0)
        return beam_search(step, repeated, len(starts), SYMBOLS, LENGTH, alpha, beam)

    return search(jnp.asarray(starts, jnp.float32))


def filled_up(sequence):
    return [*sequence, *[PAD] * (LENGTH - len(sequence))]


def test_greedy_search_takes_the_likeliest_token_at_every_step():
    found = searched_greedily(STARTS)
    lengths = set()
    for row, start in enumerate(STARTS):
        sequence = ()
        while len(sequence) < LENGTH and EOS not in sequence:
            sequence += (max((EOS, *WORDS), key=lambda x: log_prob(start, (*sequence, x))),)
        assert found.tokens[row].tolist() == filled_up(sequence)
        expected = log_prob(start, sequence)
        np.testing.assert_allclose(found.log_prob[row], expected, rtol=1e-5)
        np.testing.assert_allclose(
            found.scores[row], expected / penalty(len(sequence), 1.0), rtol=1e-5
        )
        lengths.add(len(sequence))
    assert len(lengths) > 1, "the example tries no ends"


def test_beam_of_one_is_greedy_search():
    one, expected = searched(STARTS, beam=1), searched_greedily(STARTS)
    ended = (np.asarray(expected.tokens) == EOS).any(axis=1)
    np.testing.assert_array_equal(one.tokens, expected.tokens)
    np.testing.assert_allclose(one.scores, expected.scores, rtol=1e-5)  # of two programs
    assert ended.any()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_wide_beam_finds_the_best_of_all_sequences(alpha):
    found = searched(STARTS, beam=16, alpha=alpha)
    differs = 0
    for row, start in enumerate(STARTS):
        sequence, score = best_of_all(start, alpha)
        assert found.tokens[row].tolist() == filled_up(sequence)
        np.testing.assert_allclose(found.scores[row], score, rtol=1e-5)
        np.testing.assert_allclose(found.log_prob[row], log_prob(start, sequence), rtol=1e-5)
        differs += found.tokens[row].tolist() != searched_greedily(STARTS).tokens[row].tolist()
    assert differs, "greedy search would do"


@pytest.mark.parametrize("beam", [1, 3])
def test_other_sentences_of_the_batch_change_nothing(beam):
    together = searched(STARTS, beam)
    for row in (0, SENTENCES - 1):
        alone = searched(STARTS[row : row + 1], beam)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_allclose(
            alone.scores[0], together.scores[row], rtol=1e-5
        )  # of two programs


@pytest.mark.parametrize("beam", [1, 2])
def test_sentence_that_does_not_end_is_cut_off(beam):
    def endless(state, tokens):
        logits = jnp.array([0.0, 0.0, -jnp.inf, 5.0, 0.0])
        return state, jnp.broadcast_to(logits, (len(tokens), 5))

    searches = (
        greedy(endless, jnp.zeros((1, 1)), 1, SYMBOLS, LENGTH, 1.0),
        beam_search(endless, jnp.zeros((beam, 1)), 1, SYMBOLS, LENGTH, 1.0, beam),
    )
    for found in searches:
        assert found.tokens.tolist() == [[WORDS[0]] * LENGTH]
        assert np.isfinite(found.scores).all()


def test_padding_and_beginning_are_never_predicted():
    def insistent(state, tokens):
        logits = jnp.array([50.0, 60.0, 1.0, 2.0, 0.0])
        return state, jnp.broadcast_to(logits, (len(tokens), 5))

    found = greedy(insistent, jnp.zeros((1, 1)), 1, SYMBOLS, 1, 0.0)
    assert found.tokens.tolist() == [[3]]
    np.testing.assert_allclose(found.log_prob, 2.0 - np.log(np.exp([50, 60, 1, 2, 0.0]).sum()))


def test_better_takes_the_higher_score_of_what_ended():
    narrow, wide = searched_greedily(STARTS), searched(STARTS, beam=3)
    chosen = better(wide, narrow, SYMBOLS)
    for row in range(SENTENCES):
        ended = [each.scores[row] for each in (narrow, wide) if EOS in each.tokens[row].tolist()]
        assert chosen.scores[row] == max(ended or [narrow.scores[row], wide.scores[row]])


def test_length_penalty_is_that_of_wu_et_al():
    np.testing.assert_allclose(length_penalty(7, 0.6), (12 / 6) ** 0.6)
    assert length_penalty(100, 0.0) == 1
