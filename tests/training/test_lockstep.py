"""Programs that differ in numbers become one; those that differ in more are told apart."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.training.vectorised.lockstep import Lockstep, OtherProgram

X = np.linspace(-2.0, 2.0, 5, dtype=np.float32)


@jax.jit
def inside(x, slope):
    return jax.nn.leaky_relu(x, slope) + jnp.where(x > 0, 0.25, x)


def function(rate, weights, x):
    """With numbers in a product, in a function under jit, in an array, and derived from another."""
    y = rate * x + inside(x, 1.0 - rate) * jnp.asarray(weights)
    return {"y": y, "sum": jnp.sum(y) + 3.0}


def test_each_row_of_numbers_gives_its_function():
    weights = np.float32([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 4, 5]])
    functions = [partial(function, *pair) for pair in zip((0.1, 0.2, 0.3), weights, strict=True)]
    one = Lockstep(functions, X)
    assert sorted(rows.shape for rows in one.numbers) == [(3,), (3,), (3, 5)]
    together = jax.vmap(one, (0, None))([jnp.asarray(rows) for rows in one.numbers], X)
    for number, each in enumerate(functions):
        for name, expected in each(X).items():
            np.testing.assert_allclose(together[name][number], expected, rtol=1e-6)


def test_what_is_the_same_in_all_is_no_number():
    assert Lockstep([partial(function, 0.5, X), partial(function, 0.5, X.copy())], X).numbers == []


def test_a_number_that_is_not_finite_is_one_too():
    one = Lockstep([lambda x: x + jnp.inf, lambda x: x + 1.0], X)
    np.testing.assert_array_equal(one.numbers, [[np.inf, 1.0]])


def scanned(slope):
    return lambda x: jax.lax.scan(lambda sum, y: (sum + slope * y, None), 0.0, x)[0]


OTHERS = {
    "operation": (jnp.sin, jnp.cos),
    "more operations": (lambda x: x + 1.0, lambda x: (x + 1.0) * 2.0),
    "exponent": (lambda x: x**2, lambda x: x**3),
    "wiring": (lambda x: jnp.sin(x) - x, lambda x: x - jnp.sin(x)),
    "outputs": (lambda x: (x, x + 1.0), lambda x: (x + 1.0, x)),
    "number or none": (lambda x: x * 2.0, lambda x: x * x),
    "shape of a constant": (lambda x: x * X, lambda x: x * X[:1]),
    "type": (lambda x: x + 1.0, lambda x: x.astype(jnp.float16) + 1.0),
    "inside a loop": (scanned(1.0), scanned(2.0)),
    "structure of what is given": (lambda x: {"a": x}, lambda x: {"b": x}),
}


@pytest.mark.parametrize("difference", OTHERS)
def test_other_differences_are_told(difference):
    with pytest.raises(OtherProgram):
        Lockstep(OTHERS[difference], X)


def test_the_same_loop_is_the_same():
    assert Lockstep([scanned(2.0), scanned(2.0)], X).numbers == []


def test_convolutions_with_a_kernel_each_are_not_grouped_on_cpu():
    def convolved(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    draw = np.random.default_rng(0).normal
    images, kernels = draw(size=(3, 2, 4, 4, 2)), draw(size=(3, 3, 3, 2, 5))
    images, kernels = np.float32(images), np.float32(kernels)
    one = Lockstep([convolved], images[0], kernels[0])
    together = jax.jit(jax.vmap(lambda *arguments: one([], *arguments)))
    program = together.lower(images, kernels).as_text()
    assert "feature_group_count = 1" in program and "feature_group_count = 3" not in program
    expected = [convolved(*pair) for pair in zip(images, kernels, strict=True)]
    np.testing.assert_allclose(together(images, kernels), expected, rtol=1e-4, atol=1e-5)
