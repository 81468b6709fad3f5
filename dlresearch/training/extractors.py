"""A trained classifier as what judges generated examples."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from dlresearch.config import build_all, load, validate
from dlresearch.data import apply_all
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import Extractor
from dlresearch.patterns import path_of
from dlresearch.tasks import Classification
from dlresearch.tasks.supervised import PLAYER
from dlresearch.training.generate import learned


def open_run(path: str) -> Extractor:
    """The classifier of a run folder, at its newest checkpoint, with its preprocessing.

    Features are what the network's last layer reads. They are named by the hash of the checkpoint.

    Raises:
      UserError: no run there, or one that is no classification.
    """
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(f"{path} is no run folder: it has no config.json")
    experiment = validate(load(str(folder / "config.json")))
    task, variables, step = learned(experiment, path, "newest")
    if not isinstance(task, Classification):
        raise UserError(f"{path} has learned {experiment.task.name}, and not to classify")
    preprocess = build_all(experiment.data.preprocess, "augmentation", "config.data.preprocess")
    (key,) = task.inputs

    def seen(images: Array) -> Array:
        batch = apply_all(preprocess, jax.random.key(0), {key: images}, "config.data.preprocess")
        return batch[key]

    def features(variables: Any, images: Array) -> Float[Array, "batch features"]:
        params, state = variables.params[PLAYER], variables.state[PLAYER]
        return task.model.features(params, state, seen(images))

    def logits(variables: Any, images: Array) -> Float[Array, "batch classes"]:
        return task.predict(variables, {key: seen(images)})

    name = folder.resolve().name
    about = f"{experiment.model.name} of run {name}, step {step:,}, {_digest(variables)}"
    return Extractor(about, features, variables, logits)


def _digest(variables: PyTree[Array]) -> str:
    """The beginning of the SHA-256 of all arrays, by name."""
    digest = sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(path_of(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return f"sha256 {digest.hexdigest()[:8]}"
