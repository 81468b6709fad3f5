"""All views of a batch through networks, and what methods with several crops change over a run."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dlresearch.data import LOCAL
from dlresearch.tasks.self_supervised.base import SelfSupervised
from dlresearch.tasks.self_supervised.networks import Trees
from dlresearch.tasks.task import Batch, Time


def of_all_views(
    task: SelfSupervised,
    params: Trees,
    state: Trees,
    batch: Batch,
    key: Key[Array, ""],
    last: str,
) -> tuple[Float[Array, "batch views features"], tuple[dict[str, Array], dict[str, Array]], Trees]:
    """What the network `last` gives for the first, the second and the local views, if there are
    any; what every network gives for the first and for the second ones; the new state.

    The local views of all images are one batch, so batch norm goes by all of them (Caron et al.
    2020, arXiv:2006.09882, section 3.2, introduce such views).
    """
    both_key, local_key = jax.random.split(key)
    one, two, state = task.both(params, state, batch, both_key, last)
    outputs = jnp.stack([one[last], two[last]], axis=1)
    if LOCAL in batch:
        local = batch[LOCAL]
        flat = local.reshape(-1, *local.shape[2:])
        found, state = task.networks.apply(params, state, flat, local_key, last=last)
        more = found[last].reshape(*local.shape[:2], -1)
        outputs = jnp.concatenate([outputs, more], axis=1)
    return outputs, (one, two), state


def held(params: Trees, path: Sequence[str], share: float, time: Time) -> Trees:
    """The parameters, with those under `path` constants in the first share of the run.

    Their gradient is zero as long; weight decay still reaches them where the optimizer has any.
    """
    name, *rest = path
    if rest:
        return {**params, name: held(params[name], rest, share, time)}
    free = time.progress >= share
    return {
        **params,
        name: jax.tree.map(
            lambda leaf: jnp.where(free, leaf, jax.lax.stop_gradient(leaf)), params[name]
        ),
    }


def warming(start: float, end: float, share: float) -> Callable[[Time], Float[Array, ""]]:
    """From `start` to `end` on a line in the first share of the run, then constant."""

    def value(time: Time) -> Float[Array, ""]:
        done = jnp.minimum(time.progress / share, 1.0) if share else jnp.float32(1)
        return start + (end - start) * done

    return value
