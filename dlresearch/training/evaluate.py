"""Evaluation of a run that is over, or still going on."""

from pathlib import Path

import jax

from dlresearch.errors import UserError
from dlresearch.training.artifacts import write_files
from dlresearch.training.checkpoints import Checkpoints, DamagedCheckpoint
from dlresearch.training.choose import choose_step
from dlresearch.training.evaluations import best_score
from dlresearch.training.metadata import check_vocabularies
from dlresearch.training.records import read_records
from dlresearch.training.setup import Setup
from dlresearch.training.workdir import Workdir, write_json


def evaluate_checkpoint(setup: Setup, path: str, which: str) -> tuple[int, dict[str, float], Path]:
    """The metrics of a checkpoint, its step, and the file they were written to; files that
    evaluators make are written beside it.

    Args:
      path: the run folder.
      which: `newest`, `best` as the config defines it, or the number of a step.

    Raises:
      UserError: no such run or checkpoint, a damaged one, no evaluators, or a training text that
        has changed.
    """
    workdir = Workdir(Path(path).expanduser().absolute())
    if not workdir.checkpoints.is_dir():
        raise UserError(f"--workdir: {path} holds no checkpoints")
    if not setup.evaluations:
        raise UserError("config.evaluators: there are none")
    check_vocabularies(workdir, setup.metadata)
    history = read_records(workdir.metrics)
    score = best_score(setup.experiment, lambda step, name: history.get(step, {}).get(name))
    checkpoints = Checkpoints(workdir.checkpoints, score, read_only=True)
    best = setup.experiment.checkpoint.best
    step = choose_step(checkpoints, which, best, "--checkpoint")
    try:
        restored = checkpoints.restore(setup.abstract_state, step)
    except DamagedCheckpoint as damage:
        raise UserError(
            f"{workdir.checkpoints}/{step} is damaged ({damage});"
            f" others: {', '.join(str(other) for other in checkpoints.steps() if other != step)}"
        ) from damage
    variables = setup.evaluation_variables(restored.state.variables)
    metrics: dict[str, float] = {}
    for evaluation in setup.evaluations.values():
        outcome = evaluation.run(setup.predict, variables)
        metrics |= outcome.metrics
        if jax.process_index() == 0:
            later = evaluation.over_training(workdir.artifacts, step, outcome.files)
            write_files(workdir.artifacts, step, {**outcome.files, **later})
    target = workdir.artifacts / f"evaluation-{step}.json"
    if jax.process_index() == 0:
        target.parent.mkdir(exist_ok=True)
        write_json(target, {"step": step, "metrics": metrics})
    return step, metrics, target
