"""Weights that a run can start from: those of another run, or of a file; names first, then arrays.

Every process reads them by itself and puts on its devices the parts that lie there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import jax
from jaxtyping import Array

from dlresearch.config import Checkpoint, Experiment, StartFrom
from dlresearch.errors import UserError
from dlresearch.tasks import TEACHER
from dlresearch.training.arrays import Spec
from dlresearch.training.checkpoints import Checkpoints, DamagedCheckpoint
from dlresearch.training.choose import choose_step
from dlresearch.training.evaluations import best_score
from dlresearch.training.records import read_records
from dlresearch.training.state import EVALUATION_AVERAGE
from dlresearch.training.weight_files import WHERE, FileWeights
from dlresearch.training.workdir import Workdir, read_json


class Weights(Protocol):
    """Where weights come from.

    Attributes:
      title: for messages.
      arrays: shapes and dtypes as they have them here, by name.
      origin: the name there, where it is another one.
    """

    title: str
    arrays: Mapping[str, Spec]
    origin: Mapping[str, str]

    def read(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Array]:
        """Arrays by name, laid out as the shardings of `wanted` say.

        Raises:
          UserError: they cannot be read.
        """
        ...


def open_weights(options: StartFrom) -> Weights:
    """Raises UserError where there are none at `options.path`, or they cannot be read."""
    path = Path(str(options.path)).expanduser().absolute()
    if path.is_file():
        return FileWeights(path, options.format)
    if not path.exists():
        raise UserError(f"{WHERE}: there is no file or folder {path}")
    return _RunWeights(path, options)


class _RunWeights:
    """The parameters and state in a checkpoint of another run."""

    def __init__(self, path: Path, options: StartFrom):
        if options.format == "torchvision":
            raise UserError(f"config.start_from.format: torchvision is for files; {path} is none")
        workdir, which = _run_and_checkpoint(path, options.checkpoint)
        self._folder = workdir.checkpoints
        best, score = _best(workdir)
        checkpoints = Checkpoints(self._folder, score, read_only=True)
        self._step = choose_step(checkpoints, which, best, "config.start_from.checkpoint")
        with self._whole():
            saved = checkpoints.arrays(self._step)
        average = f"variables/averages/{EVALUATION_AVERAGE}"
        averaged = options.average and any(path.startswith(f"{average}/") for path in saved)
        bases = ["variables"]
        if averaged:
            bases = [average]
        elif options.average:
            bases.append(f"variables/averages/{TEACHER}")  # in place of what is called the same
        self.title = f"{workdir.path}, step {self._step}{', average' if averaged else ''}"
        self.origin: Mapping[str, str] = {}
        self._saved = {
            path.removeprefix(prefix): path
            for base in bases
            for prefix in (f"{base}/params/", f"{base}/state/")
            for path in saved
            if path.startswith(prefix)
        }
        self.arrays: Mapping[str, Spec] = {name: saved[path] for name, path in self._saved.items()}

    def read(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Array]:
        checkpoints = Checkpoints(self._folder, lambda step: None, read_only=True)
        with self._whole():
            found = checkpoints.restore_arrays(
                {self._saved[name]: leaf for name, leaf in wanted.items()}, self._step
            )
        return {name: found[self._saved[name]] for name in wanted}

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except DamagedCheckpoint as damage:
            raise UserError(
                f"{WHERE}: {self._folder / str(self._step)} is damaged ({damage}); choose another"
                " with config.start_from.checkpoint"
            ) from damage


def _run_and_checkpoint(path: Path, which: str) -> tuple[Workdir, str]:
    if (path / "checkpoints").is_dir():
        return Workdir(path), which
    if path.name == "checkpoints":
        return Workdir(path.parent), which
    if path.parent.name == "checkpoints" and path.name.isdecimal():
        return Workdir(path.parent.parent), path.name
    raise UserError(
        f"{WHERE}: {path} is no run, it has no folder `checkpoints`; give the folder of a run, one"
        " of its checkpoints, or a file .npz or .safetensors"
    )


def _best(workdir: Workdir) -> tuple[str | None, Callable[[int], float | None]]:
    """What is best in a run, by its own config, and how good each step is."""
    settings = (read_json(workdir.config) or {}).get("checkpoint", {})
    own = Checkpoint(**{name: settings[name] for name in ("best", "best_is") if name in settings})
    history = read_records(workdir.metrics)
    score = best_score(
        Experiment(checkpoint=own), lambda step, name: history.get(step, {}).get(name)
    )
    return own.best, score
