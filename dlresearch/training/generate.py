"""What a run has learned, without its training data: to make something new with it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from dlresearch.config import Experiment
from dlresearch.errors import UserError
from dlresearch.tasks import Task, Variables
from dlresearch.training.arrays import nested
from dlresearch.training.checkpoints import Checkpoints, DamagedCheckpoint
from dlresearch.training.choose import choose_step
from dlresearch.training.evaluations import best_score
from dlresearch.training.metadata import read_metadata
from dlresearch.training.models import make_task
from dlresearch.training.records import read_records
from dlresearch.training.state import EVALUATION_AVERAGE
from dlresearch.training.workdir import Workdir

_BASE = "variables/"


def learned(experiment: Experiment, path: str, which: str) -> tuple[Task, Variables, int]:
    """The task of a run, the variables of a checkpoint as evaluation reads them, and its step.

    Nothing is read but the run folder: what the task needs to know of its training source, such as
    vocabularies, lies there. The arrays are on one device.

    Args:
      path: the run folder.
      which: `newest`, `best` as the config defines it, or the number of a step.

    Raises:
      UserError: no such run or checkpoint, a damaged one, or a task that needs its training source.
    """
    workdir = Workdir(Path(path).expanduser().absolute())
    if not workdir.checkpoints.is_dir():
        raise UserError(f"--workdir: {path} holds no checkpoints")
    task: Task = make_task(experiment, read_metadata(workdir))
    history = read_records(workdir.metrics)
    score = best_score(experiment, lambda step, name: history.get(step, {}).get(name))
    checkpoints = Checkpoints(workdir.checkpoints, score, read_only=True)
    step = choose_step(checkpoints, which, experiment.checkpoint.best, "--step")
    try:
        return task, _variables(checkpoints, step), step
    except DamagedCheckpoint as damage:
        raise UserError(
            f"{workdir.checkpoints}/{step} is damaged ({damage}); choose another with --step"
        ) from damage


def _variables(checkpoints: Checkpoints, step: int) -> Variables:
    """Parameters and state, or their moving average where the run keeps one.

    Nothing of the task is asked for shapes, which would need a batch: a checkpoint knows them.
    """
    saved = checkpoints.arrays(step)
    average = f"averages/{EVALUATION_AVERAGE}/"
    averaged = any(name.startswith(f"{_BASE}{average}") for name in saved)
    # In place of parameters and state, where the run keeps their average.
    left_out = ("params/", "state/") if averaged else (average,)
    here = SingleDeviceSharding(jax.devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(spec.shape, jnp.dtype(spec.dtype), sharding=here)
        for name, spec in saved.items()
        if name.startswith(_BASE) and not name.removeprefix(_BASE).startswith(left_out)
    }
    arrays = checkpoints.restore_arrays(wanted, step)
    tree: dict[str, Any] = nested(
        {name.removeprefix(_BASE): array for name, array in arrays.items()}
    )
    averages = tree.get("averages", {})
    tree |= averages.pop(EVALUATION_AVERAGE, {})
    params, state = tree["params"], tree.get("state", {})
    # A network without a state has no arrays there, and an empty dict all the same.
    return Variables(
        params=params, state={**{player: {} for player in params}, **state}, averages=averages
    )
