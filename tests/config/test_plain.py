import json
import subprocess
import sys

import numpy as np

from dlresearch.config import (
    Component,
    component,
    config_hash,
    default_config,
    differences,
    to_dict,
    validate,
)


def test_dict_of_an_experiment_survives_json():
    config = default_config()
    config.model = component("mlp", widths=(1, 2), dtype=np.float32)
    config.optimizer.clip_norm = float("inf")
    stored = to_dict(validate(config))
    assert json.loads(json.dumps(stored, allow_nan=False)) == stored
    assert stored["model"] == {"name": "mlp", "widths": [1, 2], "dtype": "numpy:float32"}
    assert stored["optimizer"]["clip_norm"] == "inf"
    assert to_dict(validate(stored)) == stored


def test_numpy_values_become_numbers():
    assert to_dict({"a": np.int64(3), "b": np.ones(2)}) == {"a": 3, "b": [1.0, 1.0]}


def test_hash_does_not_depend_on_spelling():
    config = default_config()
    config.batch_size = 1e3
    config.model = component("mlp", widths=[1, 2])
    experiment = validate(config)
    other = validate({"model": {"widths": (1.0, "2"), "name": "mlp"}, "batch_size": 1000})
    assert config_hash(experiment) == config_hash(other) == config_hash(to_dict(other))
    assert len(config_hash(experiment)) == 12
    assert config_hash(experiment) != config_hash(validate({"batch_size": 1000}))


def test_hash_is_the_same_in_another_process():
    program = "from dlresearch.config import *; print(config_hash(default_config()))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == config_hash(default_config())


def test_hash_does_not_depend_on_addresses():
    class Thing:
        pass

    assert config_hash({"a": Thing()}) == config_hash({"a": Thing()})


def test_differences_name_the_paths():
    a = {"seed": 1, "model": {"name": "mlp", "widths": [1, 2]}, "old": 3, "list": [1]}
    b = {"seed": 1, "model": {"name": "mlp", "widths": [1, 3]}, "new": 4, "list": [1, 2]}
    assert differences(a, b) == [
        ("model.widths.1", 2, 3),
        ("old", 3, None),
        ("list", [1], [1, 2]),
        ("new", None, 4),
    ]
    assert differences(a, a) == []


def test_component_is_written_as_a_config_dict():
    assert component("mlp", width=3).to_dict() == {"name": "mlp", "width": 3}
    assert to_dict(Component("mlp", inner=Component("x"))) == {
        "name": "mlp",
        "inner": {"name": "x"},
    }
