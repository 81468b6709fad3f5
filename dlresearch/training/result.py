"""How a run ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlresearch import preemption
from dlresearch.config import Experiment, config_hash
from dlresearch.training.console import duration, table
from dlresearch.training.records import without_nan
from dlresearch.training.workdir import Workdir, device_name


@dataclass(frozen=True)
class Result:
    """The end of an execution, for the one who started it."""

    status: str
    step: int
    metrics: Mapping[str, float]

    @property
    def exit_status(self) -> int:
        return {"completed": 0, "resume": preemption.RESUME_STATUS}.get(self.status, 1)


def content(
    experiment: Experiment,
    status: str,
    step: int,
    metrics: Mapping[str, float],
    about: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """What result.json holds.

    Args:
      about: by evaluation, what its figures were measured with, where it says so.
    """
    return {
        "status": status,
        "step": step,
        "metrics": without_nan(metrics),
        **({"about": dict(about)} if about else {}),
        "seed": experiment.seed,
        "wall_seconds": round(seconds, 1),
        "device": device_name(),
        "config_hash": config_hash(experiment),
    }


def summary(result: Result, workdir: Workdir, seconds: float) -> str:
    """The last words of a run."""
    return (
        f"{result.status} at step {result.step} after {duration(seconds)}\n"
        f"{table(result.metrics)}\n{workdir.path}"
    )
