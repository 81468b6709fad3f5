"""Every optimizer against its formula in NumPy float64, over several steps of given gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.optim import optimizers

SHAPES = {"kernel": (4, 3), "bias": (3,)}
DECAYS = {"kernel": True, "bias": False}
STEPS = 5
DECAY = 0.1


def rate(step):
    return 0.1 / (step + 1)


def draw(seed, shapes=SHAPES):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def ours(name, weight_decay=DECAY, shapes=SHAPES, decays=DECAYS, steps=STEPS, **arguments):
    """Parameters after `steps` updates."""
    make = getattr(optimizers, name)
    optimizer = make(rate, weight_decay, decays, **arguments)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), draw(0, shapes))
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for step in range(steps):
        gradients = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float32), draw(step + 1, shapes)
        )
        updates, state = update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def formula(rule, weight_decay=DECAY, shapes=SHAPES, steps=STEPS):
    """`rule(p, g, memory, t, rate, decay) -> p`, with memory a dict that starts empty."""
    params, memories = draw(0, shapes), {name: {} for name in shapes}
    for step in range(steps):
        for name, gradient in draw(step + 1, shapes).items():
            decay = weight_decay * name.startswith("kernel")
            params[name] = rule(params[name], gradient, memories[name], step + 1, rate(step), decay)
    return params


def close(actual, expected, rtol=2e-5):
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=rtol, atol=1e-6)


def average(memory, name, decay, value):
    memory[name] = decay * memory.get(name, 0) + (1 - decay) * value
    return memory[name]


def adam_direction(g, memory, t, b1=0.9, b2=0.999, eps=1e-8):
    m = average(memory, "m", b1, g) / (1 - b1**t)
    v = average(memory, "v", b2, g**2) / (1 - b2**t)
    return m / (np.sqrt(v) + eps)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum, nesterov):
    def rule(p, g, memory, t, rate, decay):
        g = g + decay * p
        memory["m"] = momentum * memory.get("m", 0) + g
        return p - rate * (g + momentum * memory["m"] if nesterov else memory["m"])

    close(ours("sgd", momentum=momentum, nesterov=nesterov), formula(rule))


def test_adam():
    def rule(p, g, memory, t, rate, decay):
        return p - rate * adam_direction(g + decay * p, memory, t, 0.8, 0.95, 1e-3)

    close(ours("adam", b1=0.8, b2=0.95, eps=1e-3), formula(rule))


def test_adamw_decays_beside_the_gradient():
    def rule(p, g, memory, t, rate, decay):
        return p - rate * (adam_direction(g, memory, t) + decay * p)

    close(ours("adamw"), formula(rule))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(centered, momentum):
    def rule(p, g, memory, t, rate, decay):
        g = g + decay * p
        v = average(memory, "v", 0.9, g**2)
        if centered:
            v = v - average(memory, "m", 0.9, g) ** 2
        memory["step"] = momentum * memory.get("step", 0) + rate * g / (np.sqrt(v) + 1e-3)
        return p - memory["step"]

    close(ours("rmsprop", eps=1e-3, momentum=momentum, centered=centered), formula(rule))


def test_lars():
    def rule(p, g, memory, t, rate, decay):
        g = g + decay * p
        if p.ndim > 1:
            g = g * 0.001 * np.linalg.norm(p) / np.linalg.norm(g)
        memory["m"] = 0.9 * memory.get("m", 0) + rate * g
        return p - memory["m"]

    close(ours("lars"), formula(rule))


@pytest.mark.parametrize("coefficient", [0.001, 1.0])
def test_lars_with_the_trust_ratio_as_a_limit(coefficient):
    """The first limits every rate here, the second none."""

    def rule(p, g, memory, t, rate, decay):
        g = g + decay * p
        if p.ndim > 1:
            rate = min(rate, coefficient * np.linalg.norm(p) / np.linalg.norm(g))
        memory["m"] = 0.9 * memory.get("m", 0) + rate * g
        return p - memory["m"]

    close(ours("lars", clip=True, trust_coefficient=coefficient), formula(rule))


def test_lamb():
    def rule(p, g, memory, t, rate, decay):
        direction = adam_direction(g, memory, t, eps=1e-6) + decay * p
        return p - rate * direction * np.linalg.norm(p) / np.linalg.norm(direction)

    close(ours("lamb"), formula(rule))


def test_lion():
    def rule(p, g, memory, t, rate, decay):
        m = memory.get("m", 0)
        direction = np.sign(0.9 * m + 0.1 * g)
        average(memory, "m", 0.99, g)
        return p - rate * (direction + decay * p)

    close(ours("lion"), formula(rule))


def newton_schulz(x, steps=5):
    """Jordan's quintic iteration, on the wide orientation of the matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def test_muon_treats_convolution_kernels_as_matrices_and_the_rest_with_adamw():
    shapes = {
        "kernel": (4, 3),
        "kernel_conv": (3, 3, 2, 5),
        "kernel_heads": (4, 2, 3),
        "bias": (3,),
        "embedding": (6, 4),
    }

    def rule(p, g, memory, t, rate, decay):
        if p.shape not in (shapes["kernel"], shapes["kernel_conv"]):
            return p - rate * (adam_direction(g, memory, t) + decay * p)
        m = average(memory, "m", 0.95, g)
        # Nesterov, with bias corrections of the next step for m and of this one for g.
        g = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * g / (1 - 0.95**t)
        matrix = newton_schulz(g.reshape(-1, g.shape[-1]))
        direction = 0.2 * np.sqrt(max(matrix.shape)) * matrix.reshape(g.shape)
        return p - rate * (direction + decay * p)

    decays = {name: name.startswith("kernel") for name in shapes}
    # float32 Newton-Schulz steps magnify rounding by their slope at zero, 3.4 each.
    close(ours("muon", shapes=shapes, decays=decays), formula(rule, shapes=shapes), rtol=2e-3)


def test_muon_of_the_speed_runs_steps_from_kernels_of_one_norm_in_an_orthogonal_direction():
    shapes = {"kernel": (3, 3, 2, 5)}

    def rule(p, g, memory, t, rate, _):
        m = average(memory, "m", 0.6, g)
        g = 0.6 * m / (1 - 0.6 ** (t + 1)) + 0.4 * g / (1 - 0.6**t)
        step = newton_schulz(g.reshape(-1, 5), steps=3).reshape(p.shape)
        return p * np.sqrt(5) / np.sqrt(np.sum(p**2)) - rate * step

    after = ours(
        "muon", 0.0, shapes, {"kernel": False}, beta=0.6, ns_steps=3, rms=None, fixed_norm=True
    )
    close(after, formula(rule, 0.0, shapes), rtol=2e-3)


def test_a_fixed_norm_and_weight_decay_exclude_each_other():
    with pytest.raises(UserError, match="fixed_norm undoes weight_decay"):
        optimizers.muon(0.1, 0.1, None, fixed_norm=True)


def test_muon_steps_are_about_as_long_as_adams():
    shapes = {"kernel": (64, 16)}
    before = draw(0, shapes)["kernel"]
    after = ours("muon", 0.0, shapes, {"kernel": True}, steps=1)["kernel"]
    # Newton-Schulz leaves singular values between 0.7 and 1.2.
    assert np.sqrt(np.mean((after - before) ** 2)) == pytest.approx(0.2 * rate(0), rel=0.3)


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "adamw", "rmsprop", "lars", "lamb", "lion", "muon"]
)
def test_state_holds_arrays_only_and_the_mask_may_be_a_function(name):
    optimizer = getattr(optimizers, name)(
        rate, DECAY, lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    )
    params = jax.tree.map(jnp.asarray, draw(0))
    state = optimizer.init(params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    _, after = optimizer.update(params, state, params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
