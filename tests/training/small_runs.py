"""Small runs for tests: configs, and a way to train one in this process or in another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from dlresearch import preemption
from dlresearch.config import component, default_config, to_dict, validate
from dlresearch.training import Result, Setup, open_workdir, train
from dlresearch.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]


def classification_config() -> ConfigDict:
    """24 steps on scikit-learn's digits; averages, accumulation and augmentation are on."""
    config = default_config()
    config.duration = "24 steps"
    config.batch_size = 32
    config.accumulate = 2
    config.average.decay = 0.9
    config.model = component("convnet", widths=(4,), convs_per_stage=1, head="flatten", dropout=0.1)
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    config.data.augmentations = (component("shifted_crop", padding=1),)
    config.optimizer.schedule = component("cosine", warmup="4 steps")
    config.evaluators.test = dict(
        name="classification",
        source=component("digits", split="test"),
        every="8 steps",
        batch_size=100,
    )
    config.checkpoint.every = "6 steps"
    config.log.every = "5 steps"
    return config


def regression_config() -> ConfigDict:
    """The same for a target that is a number: how dark an image is."""
    config = classification_config()
    config.task = component("regression", inputs="image", target="darkness")
    config.model = component("mlp", hidden=(16,), norm="batch", dropout=0.1)
    config.data.source = component("toy_sources:Darkness", split="train")
    config.evaluators.test = dict(
        name="regression",
        target="darkness",
        source=component("toy_sources:Darkness", split="test"),
        every="8 steps",
        batch_size=100,
    )
    return config


def toy_config(name: str) -> ConfigDict:
    """As above, for a task of `toy_tasks`."""
    config = classification_config()
    config.task = component(f"toy_tasks:{name}")
    config.evaluators = {}
    config.average.decay = 0.0
    return config


def run(config: ConfigDict, path: Path) -> Result:
    """Train in this process, as the entry point would."""
    preemption.reset()
    return train(Setup(validate(config)), open_workdir(str(path)))


def final_state(config: ConfigDict, path: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path."""
    setup = Setup(validate(config))
    checkpoints = Checkpoints(path / "checkpoints", lambda step: None, read_only=True)
    state = checkpoints.restore(setup.abstract_state, checkpoints.steps()[-1]).state
    checkpoints.close()
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in leaves}


def assert_same_run(config: ConfigDict, one: Path, other: Path) -> None:
    """All arrays of the newest checkpoints, and metrics.jsonl, are the same to the bit."""
    expected, actual = final_state(config, one), final_state(config, other)
    assert expected.keys() == actual.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(actual[path], values, err_msg=path)
    assert (other / "metrics.jsonl").read_bytes() == (one / "metrics.jsonl").read_bytes()


def write_config(config: ConfigDict, path: Path) -> Path:
    """The config as a file that --config takes."""
    path.write_text(json.dumps(to_dict(config)))
    return path


def environment(devices: int = 1) -> dict[str, str]:
    """For a child process: CPU, so many devices, tests importable, the shared compilation cache."""
    paths = [str(ROOT), str(ROOT / "tests/training")]
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def start(config: Path, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen:
    """`python -m dlresearch.train` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "dlresearch.train",
        f"--config={config}",
        f"--workdir={workdir}",
        *flags,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(devices),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
