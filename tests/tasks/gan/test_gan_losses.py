"""Adversarial losses against their formulas in float64, and slopes against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.tasks.gan.losses import KINDS, PAIRED, discriminator_loss, generator_loss

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(0.5, 2, 7), RNG.normal(-0.5, 2, 7)


def softplus(x):
    return np.logaddexp(0, x)


DISCRIMINATOR = {
    "non_saturating": lambda r, f: (
        -np.mean(np.log(1 / (1 + np.exp(-r)))) - np.mean(np.log(1 - 1 / (1 + np.exp(-f))))
    ),
    "hinge": lambda r, f: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)),
    "least_squares": lambda r, f: 0.5 * np.mean((r - 1) ** 2) + 0.5 * np.mean(f**2),
    "wasserstein": lambda r, f: f.mean() - r.mean(),
    "relativistic": lambda r, f: np.mean(softplus(-(r - f))),
}
GENERATOR = {
    "non_saturating": lambda r, f: -np.mean(np.log(1 / (1 + np.exp(-f)))),
    "hinge": lambda r, f: -f.mean(),
    "least_squares": lambda r, f: 0.5 * np.mean((f - 1) ** 2),
    "wasserstein": lambda r, f: -f.mean(),
    "relativistic": lambda r, f: np.mean(softplus(-(f - r))),
}
PLAYERS = {
    "discriminator": (DISCRIMINATOR, discriminator_loss),
    "generator": (GENERATOR, lambda kind, real, fake: generator_loss(kind, fake, real)),
}


def slopes(formula, *values):
    """Of a formula in float64, by central differences."""
    result = [np.zeros_like(each) for each in values]
    for which, each in enumerate(values):
        for i in range(each.size):
            moved = [[v.copy() for v in values] for _ in range(2)]
            moved[0][which][i] += 1e-5
            moved[1][which][i] -= 1e-5
            result[which][i] = (formula(*moved[0]) - formula(*moved[1])) / 2e-5
    return result


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_their_slopes_are_those_of_the_formula(kind, player):
    formulas, loss = PLAYERS[player]
    real, fake = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)
    slopes_of = jax.jit(jax.value_and_grad(loss, argnums=(1, 2)), static_argnums=0)
    value, gradients = slopes_of(kind, real, fake)
    assert value.shape == () and value.dtype == jnp.float32
    assert value == pytest.approx(formulas[kind](REAL, FAKE), rel=1e-5)
    for gradient, slope in zip(gradients, slopes(formulas[kind], REAL, FAKE), strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_finite_where_the_discriminator_is_sure(kind):
    real, fake = jnp.array([500.0, -500.0]), jnp.array([-500.0, 500.0])
    for _, loss in PLAYERS.values():
        slopes_of = jax.jit(jax.value_and_grad(loss, argnums=(1, 2)), static_argnums=0)
        value, gradients = slopes_of(kind, real, fake)
        assert np.isfinite(value) and np.all(np.isfinite(gradients))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != PAIRED])
def test_the_generator_of_an_unpaired_loss_needs_no_real_images(kind):
    fake = jnp.asarray(FAKE, jnp.float32)
    assert generator_loss(kind, fake) == generator_loss(kind, fake, jnp.zeros(3))
    assert np.isfinite(discriminator_loss(kind, fake[:3], fake))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: discriminator_loss("hing", x, x), "no adversarial loss 'hing'.*'hinge'"),
        (lambda x: generator_loss("wasserstien", x), "'wasserstien'.*'wasserstein'"),
        (lambda x: generator_loss("relativistic", x), "needs the logits of real images"),
        (lambda x: discriminator_loss("relativistic", x, x[:2]), r"\(2,\) and \(3,\) differ"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message) as raised:
        call(jnp.zeros(3))
    assert "\n" not in str(raised.value)
