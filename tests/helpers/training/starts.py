"""What a run starts with, and configs to start from something."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dlresearch.config import validate
from dlresearch.tasks import Variables
from dlresearch.training import Setup
from dlresearch.training.arrays import leaves_by_path, parameters_and_state
from helpers.training.small_runs import classification_config


def starting_config(path: Any, **options: Any) -> ConfigDict:
    """`classification_config` that starts from `path`."""
    config = classification_config()
    config.start_from.update(path=str(path), **options)
    return config


def first_variables(config: ConfigDict) -> Variables:
    """The variables at step 0."""
    setup = Setup(validate(config))
    feed = setup.make_feed()
    feed.start(0)
    state = setup.initial_state(feed)
    feed.close()
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    assert shardings == jax.tree.map(lambda leaf: leaf.sharding, setup.abstract_state)
    return jax.device_get(state.variables)


def network(config: ConfigDict) -> dict[str, np.ndarray]:
    """Its parameters and state, by path."""
    return parameters_and_state(first_variables(config))


def assert_equal(actual: Any, expected: Any) -> None:
    """Two trees have the same paths and values, to the bit."""
    one, other = leaves_by_path(actual), leaves_by_path(expected)
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)
