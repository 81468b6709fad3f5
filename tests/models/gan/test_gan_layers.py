"""Conditional batch norm, self-attention and projection are their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlresearch.models.gan.attention import SelfAttention
from dlresearch.models.gan.conditional_norm import ConditionalBatchNorm
from dlresearch.models.gan.heads import logits
from dlresearch.models.gan.layers import Style

STYLE = Style(False, nn.initializers.normal(0.5), jnp.float32, jnp.float32)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(2.0, 3.0, (4, 2, 4, 8)).astype(np.float32)
LABEL = jnp.array([2, 0, 2, 1])


def randomised(tree):
    """Every parameter replaced by noise, so that none is hidden by its start."""
    return jax.tree.map(lambda leaf: RANDOM.normal(size=leaf.shape).astype(np.float32), tree)


@pytest.mark.parametrize("condition", [LABEL, RANDOM.normal(size=(4, 5)).astype(np.float32)])
def test_conditional_batch_norm_is_its_formula(condition):
    norm = ConditionalBatchNorm(STYLE, num_classes=3)
    variables = norm.init(jax.random.key(0), X, condition, train=True)
    params = randomised(variables["params"])
    if jnp.issubdtype(condition.dtype, jnp.integer):
        scale, bias = (params[name]["embedding"][LABEL] for name in ("scale", "bias"))
    else:
        scale = 1 + condition @ params["scale"]["kernel"]
        bias = condition @ params["bias"]["kernel"]
    variables = {**variables, "params": params}
    result, state = norm.apply(variables, X, condition, train=True, mutable=["batch_stats"])
    exact = X.astype(np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))

    def formula(mean, variance):
        return (exact - mean) / np.sqrt(variance + 1e-5) * scale[:, None, None] + bias[
            :, None, None
        ]

    np.testing.assert_allclose(result, formula(mean, variance), rtol=1e-4, atol=1e-4)
    evaluated = norm.apply({**variables, **state}, X, condition, train=False)
    # Averages with momentum 0.9 that started at 0 and 1.
    np.testing.assert_allclose(
        evaluated, formula(0.1 * mean, 0.9 + 0.1 * variance), rtol=1e-4, atol=1e-4
    )


def test_conditional_batch_norm_starts_as_batch_norm():
    norm = ConditionalBatchNorm(STYLE, num_classes=3)
    plain, _ = norm.init_with_output(jax.random.key(0), X, None, train=True)
    classes, _ = norm.init_with_output(jax.random.key(0), X, LABEL, train=True)
    np.testing.assert_allclose(classes, plain, rtol=1e-6, atol=1e-6)


def test_self_attention_is_its_formula_and_starts_as_the_identity():
    attention = SelfAttention(STYLE)
    result, variables = attention.init_with_output(jax.random.key(0), X, train=True)
    np.testing.assert_array_equal(result, X)
    params = randomised(variables["params"])
    result = attention.apply({"params": params}, X, train=True)

    exact = X.astype(np.float64)
    query, key, value = (exact @ params[n]["kernel"][0, 0] for n in ("query", "key", "value"))
    assert query.shape[-1] == key.shape[-1] == 1 and value.shape[-1] == 4

    def reduced(y):  # the maximum over 2x2 blocks, then rows of positions
        return y.reshape(4, 1, 2, 2, 2, -1).max((2, 4)).reshape(4, 2, -1)

    scores = query.reshape(4, 8, -1) @ reduced(key).swapaxes(1, 2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    attended = (weights @ reduced(value)).reshape(4, 2, 4, 4) @ params["out"]["kernel"][0, 0]
    np.testing.assert_allclose(result, exact + params["gamma"] * attended, rtol=1e-4, atol=1e-3)


class Head(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, features, label):
        return logits(STYLE, features, label, self.num_classes, train=True)


def test_a_logit_is_a_linear_map_and_a_projection_on_the_class():
    features = X[:, 0, 0]
    head = Head(3)
    params = randomised(head.init(jax.random.key(0), features, LABEL)["params"])
    linear = features @ params["head"]["kernel"][:, 0] + params["head"]["bias"]
    projection = np.sum(params["projection"]["embedding"][LABEL] * features, axis=1)
    got = head.apply({"params": params}, features, LABEL)
    np.testing.assert_allclose(got, linear + projection, rtol=1e-4, atol=1e-4)
    got = head.apply({"params": {"head": params["head"]}}, features, None)
    np.testing.assert_allclose(got, linear, rtol=1e-4, atol=1e-4)
