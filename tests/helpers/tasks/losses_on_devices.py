"""Self-supervised losses of two views, on one device and split over eight."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch.parallel import batch_sharding, make_mesh
from dlresearch.tasks.self_supervised import contrastive, cosine, redundancy
from dlresearch.tasks.self_supervised.sinkhorn import sinkhorn_knopp

LABELS = np.array([0, 1, 0, 2, 1])
PAST = np.random.default_rng(2).normal(size=(7, 4))
PAST /= np.linalg.norm(PAST, axis=1, keepdims=True)
TAU = 0.3
ROWS, DEVICES = 32, 8


def f32(*arrays: np.ndarray) -> list[jax.Array]:
    return [jnp.asarray(each, jnp.float32) for each in arrays]


LOSSES: dict[str, Any] = {
    "nt_xent": lambda a, b: contrastive.nt_xent(a, b, TAU)[0],
    "supervised_contrastive": (
        lambda a, b: contrastive.supervised_contrastive(a, b, jnp.asarray(LABELS), TAU)[0]
    ),
    "info_nce": lambda a, b: contrastive.info_nce(a, b, *f32(PAST), TAU)[0],
    "in_batch_info_nce": lambda a, b: contrastive.in_batch_info_nce(a, b, TAU)[0],
    "moco_v3": lambda a, b: contrastive.moco_v3(a, b, TAU)[0],
    "barlow_twins": lambda a, b: redundancy.barlow_twins(a, b, 0.005)[0],
    "vicreg": lambda a, b: redundancy.vicreg(a, b, 25.0, 20.0, 2.0)[0],
    "byol": cosine.byol,
    "simsiam": cosine.negative_cosine,
}


def difference(found, expected) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def codes(first, second):
    """Sinkhorn's codes, each with a weight of its own, so that none makes up for another."""
    weights = jnp.cos(jnp.arange(first.size, dtype=jnp.float32)).reshape(first.shape)
    return jnp.sum(weights * sinkhorn_knopp(first / 4, 0.05, 3)) + 0 * jnp.sum(second)


def losses_on_eight_devices() -> dict[str, dict[str, float]]:
    """Compute each loss of 32 images on one device, and with its rows split over eight.

    Returns:
        By name of the loss, as a part of the largest: how far the `value` and the `slopes` are
        from those of one device, and how far the value would be if devices knew their own rows
        `alone`.
    """
    rng = np.random.default_rng(1)
    labels = jnp.asarray(rng.integers(0, 5, ROWS))
    # Some agreement, as two views have.
    first = rng.normal(size=(ROWS, 4))
    views = f32(first, first + rng.normal(size=(ROWS, 4)))
    losses = {**LOSSES, "sinkhorn": codes}
    losses["supervised_contrastive"] = lambda a, b: contrastive.supervised_contrastive(
        a, b, labels[: len(a)], 0.3
    )[0]
    split = batch_sharding(make_mesh())
    apart, found = [jax.device_put(view, split) for view in views], {}
    assert len({shard.device for shard in apart[0].addressable_shards}) == DEVICES
    own_rows = [view.reshape(DEVICES, ROWS // DEVICES, 4) for view in views]
    for name, loss in losses.items():
        both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        value, slopes = both(*views)
        split_value, split_slopes = both(*apart)
        found[name] = {
            "value": difference(split_value, value),
            "slopes": difference(np.stack(split_slopes), np.stack(slopes)),
            "alone": difference(np.mean(jax.jit(jax.vmap(loss))(*own_rows)), value),
        }
    return found
