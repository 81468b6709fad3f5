"""The train state on eight devices: it lies as promised, before and after steps and on the disk."""

import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from dlresearch.config import component, default_config, validate
from dlresearch.parallel import bytes_per_device, replicated
from dlresearch.training import Setup
from dlresearch.training.call import jit_call
from dlresearch.training.checkpoints import Checkpoints

MESHES = {"fsdp": (1, 8, 1), "mixed": (2, 2, 2)}
BATCH = 96  # unlike the size of any parameter's axis


def config_of(data, fsdp, tensor):
    config = default_config()
    config.batch_size = BATCH
    config.accumulate = 2
    config.average.decay = 0.9
    config.model = component("mlp", hidden=(64, 128), norm="batch")
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    config.optimizer.name = "adamw"
    config.evaluators.test = dict(
        name="classification", source=component("digits", split="test"), batch_size=104
    )
    config.mesh.update(data=data, fsdp=fsdp, tensor=tensor, fsdp_min_size=512)
    return validate(config)


def assert_lies_as(state, promised):
    for leaf, promise in zip(jax.tree.leaves(state), jax.tree.leaves(promised), strict=True):
        assert leaf.sharding == promise.sharding
        part = promise.sharding.shard_shape(leaf.shape)
        assert {shard.data.shape for shard in leaf.addressable_shards} == {part}
    first = jax.devices()[0]
    parts = [
        shard.data.nbytes
        for leaf in jax.tree.leaves(state)
        for shard in leaf.addressable_shards
        if shard.device == first
    ]
    assert sum(parts) == bytes_per_device(promised)


def assert_weights_travel_and_activations_stay(compiled, params):
    """Over `fsdp` alone: each split weight is gathered once, and nothing with rows of the batch."""
    text = compiled.as_text()
    assert not re.search(r"all-to-all|collective-permute", text)
    results = re.findall(r" = (.*?) all-gather(?:-start)?\(", text)
    gathered = sorted(shape for each in results for shape in re.findall(r"\[([\d,]+)\]", each))
    split = [leaf for leaf in jax.tree.leaves(params) if not leaf.sharding.is_fully_replicated]
    assert gathered == sorted(",".join(map(str, leaf.shape)) for leaf in split)
    for each in re.findall(r" = (.*?) all-reduce(?:-start)?\(", text):
        for shape in re.findall(r"\[([\d,]+)\]", each):
            assert not {str(BATCH), str(BATCH // 2)} & set(shape.split(",")), each


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


def check_state_on_eight_devices(folder: Path) -> None:
    """Raise an error where an array of the state does not lie as promised.

    Args:
        folder: for checkpoints.
    """
    assert jax.device_count() == 8
    setups = {name: Setup(config_of(*sizes)) for name, sizes in MESHES.items()}
    for name, setup in setups.items():
        promised = setup.abstract_state
        everything = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(promised))
        assert bytes_per_device(promised) < everything / (5 if name == "fsdp" else 3)
        feed = setup.make_feed()
        feed.start(0)
        state = setup.initial_state(feed)
        assert_lies_as(state, promised)

        call = jit_call(setup.step, feed.pick, 1, promised)
        compiled = call.lower(state, feed.resident, feed.take(1)).compile()
        if name == "fsdp":
            assert_weights_travel_and_activations_stay(compiled, promised.variables.params)
        for _ in range(2):
            state, recorded = compiled(state, feed.resident, feed.take(1))
        feed.close()
        assert recorded.means()["loss"] < 10 and int(recorded.finite_steps) == 2
        assert_lies_as(state, promised)

        variables = setup.evaluation_variables(state.variables)
        (evaluation,) = setup.evaluations.values()
        metrics = evaluation.run(setup.predict, variables).metrics
        whole = jax.device_put(variables, replicated(setup.mesh))
        expected = evaluation.run(partial(setup.predict), whole).metrics  # compiled anew
        assert metrics == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
        assert metrics["test/examples"] == 359

        checkpoints = Checkpoints(folder / name, lambda step: None)
        checkpoints.save(2, state, {})
        checkpoints.wait()
        for other in setups.values():
            restored = checkpoints.restore(other.abstract_state, 2).state
            assert_lies_as(restored, other.abstract_state)
            assert_same(restored, state)
        checkpoints.close()
