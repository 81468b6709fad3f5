"""A slow copy of networks that gives the targets of the fast ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dlresearch.errors import UserError
from dlresearch.tasks.self_supervised.networks import Networks, Trees
from dlresearch.tasks.supervised import PLAYER
from dlresearch.tasks.task import Average, Time, Variables

TARGET = "target"


def target_of(
    networks: Networks, last: str, momentum: Callable[[Time], Float[Array, ""] | float]
) -> Average:
    """The moving average of the networks up to `last`, of parameters and state."""
    names = list(networks.models)
    kept = names[: names.index(last) + 1]

    def of(variables: Variables) -> dict[str, Any]:
        trees = {"params": variables.params[PLAYER], "state": variables.state[PLAYER]}
        return {kind: {PLAYER: {name: tree[name] for name in kept}} for kind, tree in trees.items()}

    return Average(of, momentum)


def rising(start: float, end: float = 1.0) -> Callable[[Time], Float[Array, ""]]:
    """A momentum that goes from `start` to `end` over the run on a cosine (Grill et al. 2020,
    arXiv:2006.07733, section 3.2).

    Raises:
      UserError: no momentum.
    """
    for name, value in {"momentum": start, "last_momentum": end}.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name}={value}: is not in [0, 1]")

    def momentum(time: Time) -> Float[Array, ""]:
        return end - (end - start) * (jnp.cos(jnp.pi * time.progress) + 1) / 2

    return momentum


def target_outputs(
    networks: Networks,
    variables: Variables,
    images: Float[Array, "batch ..."],
    key: Key[Array, ""],
    last: str,
    average: str = TARGET,
) -> dict[str, Float[Array, "batch features"]]:
    """What each network of the slow copy gives, without a gradient.

    As in training, so that batch norm goes by the batch (Grill et al. 2020 do so).
    """
    params, state = parts(variables.averages[average])
    outputs, _ = networks.apply(params, state, images, key, last=last)
    return jax.lax.stop_gradient(outputs)


def parts(average: Any) -> tuple[Trees, Trees]:
    """Parameters and state of a slow copy, by network."""
    # A checkpoint has no place for a state without arrays.
    return average["params"][PLAYER], average.get("state", {}).get(PLAYER, {})
