"""Codes, teachers and queues against the equations of their papers, in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised import distillation
from dlresearch.tasks.self_supervised.queue import Queue, enqueue, nearest, new_queue
from dlresearch.tasks.self_supervised.sinkhorn import sinkhorn_knopp

RNG = np.random.default_rng(0)
TAU = 0.3


def f32(*arrays):
    return [jnp.asarray(each, jnp.float32) for each in arrays]


def sinkhorn(scores, epsilon, iterations):
    """Algorithm A.1 of SwAV, as printed there: prototypes by rows."""
    q = np.exp(scores / epsilon).T
    q /= np.sum(q)
    prototypes, batch = q.shape
    for _ in range(iterations):
        q *= (1 / prototypes / np.sum(q, axis=1))[:, None]
        q *= (1 / batch / np.sum(q, axis=0))[None]
    return (q / np.sum(q, axis=0)).T


@pytest.mark.parametrize(
    ("iterations", "epsilon"), [(0, 0.05), (1, 0.05), (3, 0.05), (3, 0.5), (30, 0.5)]
)
def test_codes_are_those_of_sinkhorn_and_knopp(iterations, epsilon):
    scores = np.random.default_rng(2).uniform(-1, 1, (6, 3))
    codes = sinkhorn_knopp(*f32(scores), epsilon, iterations)
    expected = sinkhorn(scores, epsilon, iterations)
    np.testing.assert_allclose(codes, expected, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(np.sum(codes, axis=1), 1, rtol=1e-6)
    if iterations == 30:  # and then every prototype has as much
        np.testing.assert_allclose(np.sum(codes, axis=0), 2, rtol=1e-3)


def test_codes_are_finite_where_exponentials_are_not():
    scores = jnp.array([[1.0, -1.0], [1.0, -1.0], [0.99, 1.0], [-1.0, 1.0]])
    codes = sinkhorn_knopp(scores, 0.001, 3)  # exp(1000) is no number
    np.testing.assert_allclose(np.sum(codes, axis=1), 1, rtol=1e-6)


def test_predictions_across_views_leave_out_the_view_itself():
    """The sum of DINO's equation 3 and of SwAV's equation 6, as a mean over pairs."""
    logits = RNG.normal(size=(5, 4, 3))
    targets = RNG.dirichlet(np.ones(3), size=(5, 2))
    shares = np.exp(logits / TAU) / np.exp(logits / TAU).sum(-1, keepdims=True)
    pairs = [(t, v) for t in range(2) for v in range(4) if v != t]
    entropies = [-(targets[:, t] * np.log(shares[:, v])).sum(-1).mean() for t, v in pairs]
    value = distillation.across_views(*f32(targets, logits), TAU)
    assert value == pytest.approx(np.mean(entropies), rel=1e-5)


def test_the_teacher_is_centred_and_sharpened():
    """Equations 1 and 4, and algorithm 1, of DINO."""
    logits, centre = RNG.normal(size=(5, 2, 3)), RNG.normal(size=3)
    raised = np.exp((logits - centre) / 0.04)
    shares = distillation.centred_softmax(*f32(logits, centre), 0.04)
    np.testing.assert_allclose(shares, raised / raised.sum(-1, keepdims=True), rtol=1e-4, atol=1e-7)
    moved = distillation.moved_centre(*f32(centre, logits), 0.9)
    expected = 0.9 * centre + 0.1 * np.concatenate([logits[:, 0], logits[:, 1]]).mean(0)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_entropy_tells_both_ways_of_collapse():
    assert distillation.entropy(jnp.eye(4)) == 0
    assert distillation.entropy(jnp.full((2, 4), 0.25)) == pytest.approx(np.log(4))


def test_a_single_view_is_refused():
    with pytest.raises(UserError, match=r"^config\.data\.views: .* two views or more"):
        distillation.across_views(jnp.ones((3, 1, 2)) / 2, jnp.ones((3, 1, 2)), TAU)


# --- the queue ----------------------------------------------------------------------------------


def test_a_queue_replaces_its_oldest_rows_and_wraps_around():
    keys = np.eye(7)[:, :4] + np.eye(7, 4, -3)
    queue = new_queue(5, 4)
    np.testing.assert_allclose(np.linalg.norm(queue.rows, axis=1), 1, rtol=1e-6)
    expected, place = np.array(queue.rows), 0
    put = jax.jit(enqueue)
    for start in (0, 3, 1, 4):
        queue = put(queue, jnp.asarray(3 * keys[start : start + 3], jnp.float32))
        for row in keys[start : start + 3]:
            expected[place], place = row / np.linalg.norm(row), (place + 1) % 5
        np.testing.assert_allclose(queue.rows, expected, rtol=1e-5)
        assert queue.oldest == place and queue.oldest.dtype == jnp.int32


def test_the_nearest_row_has_the_largest_cosine():
    rows = jnp.eye(3)
    found = nearest(Queue(rows, jnp.int32(0)), jnp.array([[0.1, 5.0, 1.0], [-1.0, -2.0, -0.1]]))
    np.testing.assert_array_equal(found, rows[jnp.array([1, 2])])


def test_a_batch_larger_than_the_queue_is_refused():
    with pytest.raises(UserError, match=r"^config\.task\.queue: 4 rows do not hold a batch of 5"):
        enqueue(new_queue(4, 2), jnp.ones((5, 2)))
