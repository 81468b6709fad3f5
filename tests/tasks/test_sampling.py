"""What may be drawn, and how often, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.tasks.sampling import check_sampling, kept, sample

LOGITS = (2 * np.random.default_rng(0).standard_normal((6, 11))).astype(np.float32)
jitted = jax.jit(kept, static_argnames="top_k")
draw = jax.jit(sample, static_argnames="top_k")


def expected(logits, top_k, top_p):
    """Which symbols stay, one by one from the likeliest."""
    order = np.argsort(-logits)[: top_k or None]
    p = np.exp(logits[order].astype(np.float64))
    p, total, stays = p / p.sum(), 0.0, np.zeros(len(logits), bool)
    for symbol, share in zip(order, p, strict=True):
        stays[symbol] = True
        total += share
        if top_p < 1 and total >= top_p:
            break
    return stays


@pytest.mark.parametrize("top_k", [None, 1, 4, 50])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 1.0])
def test_kept_symbols_are_the_nucleus_of_the_likeliest(top_k, top_p):
    found = np.asarray(jitted(LOGITS, top_k, top_p))
    for row, logits in zip(found, LOGITS, strict=True):
        stays = expected(logits, top_k, top_p)
        np.testing.assert_array_equal(np.isfinite(row), stays)
        np.testing.assert_array_equal(row[stays], logits[stays])


def test_equal_logits_keep_exactly_k_symbols():
    assert np.isfinite(jitted(jnp.zeros((1, 11)), 3, 1.0)).sum() == 3


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, None, 1.0), (1.5, 5, 0.9)])
def test_symbols_are_drawn_as_often_as_their_probability_says(temperature, top_k, top_p):
    draws = 20_000
    rows = jnp.broadcast_to(LOGITS[0], (draws, 11))
    symbols = draw(rows, jax.random.key(1), temperature, top_k, top_p)
    scaled = LOGITS[0].astype(np.float64) / temperature
    p = np.exp(scaled) * expected(scaled, top_k, top_p)
    p /= p.sum()
    counts = np.bincount(symbols, minlength=11)
    # Five standard deviations of a binomial count.
    assert np.all(np.abs(counts - draws * p) <= 5 * np.sqrt(draws * p * (1 - p)) + 1e-9)


def test_temperature_zero_takes_the_likeliest_whatever_the_key():
    for seed in range(3):
        symbols = draw(LOGITS, jax.random.key(seed), 0.0)
        np.testing.assert_array_equal(symbols, LOGITS.argmax(axis=-1))


def test_a_forbidden_symbol_is_never_drawn():
    rows = jnp.broadcast_to(jnp.asarray([0.0, -jnp.inf, 0.0]), (1000, 3))
    assert set(np.asarray(draw(rows, jax.random.key(0)))) == {0, 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "--temperature=-1.0: use 0"),
        ({"temperature": float("nan")}, "--temperature=nan"),
        ({"top_k": 0}, "--top_k=0: use 1 or more"),
        ({"top_p": 0.0}, "--top_p=0.0: use more than 0"),
        ({"top_p": 1.5}, "--top_p=1.5"),
    ],
)
def test_values_out_of_range_are_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        check_sampling(**options)
