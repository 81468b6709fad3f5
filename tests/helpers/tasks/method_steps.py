"""Steps of every method that learns from views, on tiny inputs, for tests."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlresearch.config import component, default_config, validate
from dlresearch.tasks.self_supervised.base import SelfSupervised
from dlresearch.training.models import make_task
from dlresearch.training.state import TrainState
from dlresearch.training.step import PlayerOptimizer, StepOptions, make_step

ROWS, CODE, STEPS = 8, 4, 4
HEADS: dict[str, Any] = {"projector": (6, CODE)}
BOTH: dict[str, Any] = {**HEADS, "predictor": (5, CODE)}
METHODS: dict[str, dict[str, Any]] = {
    "simclr": HEADS,
    "supervised_contrastive": HEADS,
    "moco_v2": {**HEADS, "queue": 20, "momentum": 0.9},
    "moco_v3": {**BOTH, "momentum": 0.9},
    "byol": {**BOTH, "momentum": 0.9},
    "simsiam": BOTH,
    "barlow_twins": HEADS,
    "vicreg": HEADS,
    "swav": {**HEADS, "prototypes": 5, "prototypes_frozen": 0.5},
    "dino": {
        "outputs": 7,
        "hidden": (6,),
        "bottleneck": CODE,
        "momentum": 0.9,
        "teacher_warmup": 0.5,
        "last_layer_frozen": 0.5,
    },
    "nnclr": {**BOTH, "queue": 20},
}


def batch(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(ROWS, 3, 3, 1))

    def views(*count: int) -> jax.Array:
        noise = 0.5 * rng.normal(size=(ROWS, *count, 3, 3, 1))
        return jnp.asarray(noise + (image[:, None] if count else image), jnp.float32)

    return {
        "image": jnp.asarray(image, jnp.float32),
        "label": jnp.arange(ROWS, dtype=jnp.int32) % 3,
        "first_view": views(),
        "second_view": views(),
        "local_views": views(2),
    }


def task_of(name: str, **arguments: Any) -> SelfSupervised:
    config = default_config()
    config.task = component(name, **{**METHODS.get(name, {}), **arguments})
    config.model = component("mlp", hidden=(6,))
    task = make_task(validate(config), {"num_classes": 3})
    assert isinstance(task, SelfSupervised)
    return task


class Steps(NamedTuple):
    """States before and after each step, and the batch of each."""

    task: SelfSupervised
    states: list[TrainState]
    batches: list[dict[str, jax.Array]]


@cache
def steps(name: str, **arguments: Any) -> Steps:
    """Of plain SGD, in a run of four steps."""
    task = task_of(name, **arguments)
    options = StepOptions(
        optimizers={"model": PlayerOptimizer(optax.sgd(0.1), lambda step: 0.1, None)},
        averages=task.averages,
        augment=lambda key, batch: batch,
        accumulate=1,
        record_every=1,
        scale_loss=False,
        total_steps=STEPS,
    )
    start, step = make_step(task, options)

    @jax.jit
    def first(given):
        variables = task.init(jax.random.key(0), given)
        averages = {name: average.of(variables) for name, average in task.averages.items()}
        return start(jnp.uint32(0), variables.replace(averages=averages), given)

    batches = [batch(seed) for seed in range(STEPS)]
    states, step = [first(batches[0])], jax.jit(step)
    for given in batches:
        states.append(step(states[-1], given))
    return Steps(task, jax.device_get(states), batches)
