"""Losses and their slopes on one device and on all, in a process that has several.

Prints as JSON, by name: how many devices had rows; how far value and slopes differ from those of
one device, as a part of the largest; and, to show that it matters, how far off the value would be
if devices knew their own rows alone.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from test_ssl_losses import LOSSES

from dlresearch.parallel import batch_sharding, make_mesh
from dlresearch.tasks.self_supervised import contrastive
from dlresearch.tasks.self_supervised.sinkhorn import sinkhorn_knopp

ROWS = 32


def difference(found, expected) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def codes(first, second):
    """Sinkhorn's codes, each with a weight of its own, so that none makes up for another."""
    weights = jnp.cos(jnp.arange(first.size, dtype=jnp.float32)).reshape(first.shape)
    return jnp.sum(weights * sinkhorn_knopp(first / 4, 0.05, 3)) + 0 * jnp.sum(second)


def main() -> None:
    rng = np.random.default_rng(1)
    labels = jnp.asarray(rng.integers(0, 5, ROWS))
    # Some agreement, as two views have.
    first = rng.normal(size=(ROWS, 4))
    views = [jnp.asarray(x, jnp.float32) for x in (first, first + rng.normal(size=(ROWS, 4)))]
    losses = {name: loss for name, (_, loss) in LOSSES.items()}
    losses["supervised_contrastive"] = lambda a, b: contrastive.supervised_contrastive(
        a, b, labels[: len(a)], 0.3
    )[0]
    losses["sinkhorn"] = codes
    split = batch_sharding(make_mesh())
    apart, found = [jax.device_put(view, split) for view in views], {}
    for name, loss in losses.items():
        both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        value, slopes = both(*views)
        split_value, split_slopes = both(*apart)
        parts = [loss(*(view[i : i + 4] for view in views)) for i in range(0, ROWS, 4)]
        found[name] = {
            "devices": len({shard.device for shard in apart[0].addressable_shards}),
            "value": difference(split_value, value),
            "slopes": difference(np.stack(split_slopes), np.stack(slopes)),
            "alone": difference(np.mean(parts), value),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
