"""What a run writes down as it goes: one line a step in metrics.jsonl, and TensorBoard's event
files.

`metrics.jsonl` holds only what follows from seed and data, so a run that was killed and resumed
ends with the same file as one that never was. Speeds and waiting times go to TensorBoard and the
console.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from dlresearch.errors import UserError
from dlresearch.parallel import from_first
from dlresearch.training.artifacts import IMAGES, pixels


class Records:
    """The metrics of a run, step by step, on the disk and in memory.

    Args:
      path: the .jsonl file; what is in it after `resume_step` is dropped, and a line cut short too.
      tensorboard: folder of event files, or None.
      resume_step: where the run goes on; -1 starts anew.
      write: False only keeps them in memory, for all processes but one.
    """

    def __init__(self, path: Path, tensorboard: Path | None, *, resume_step: int, write: bool):
        # What is there decides what is done, so all processes go by what the first one reads.
        rows = from_first(lambda: list(read_records(path).items()))
        self.history = {step: metrics for step, metrics in rows if step <= resume_step}
        self._file, self._tensorboard = None, None
        if not write:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text("".join(_line(step, row) for step, row in self.history.items()))
        temporary.replace(path)
        self._file = path.open("a")
        if tensorboard is not None:
            self._tensorboard = SummaryWriter(str(tensorboard), purge_step=resume_step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line; it is on the disk when this returns. A step is written once."""
        if step in self.history:
            raise ValueError(f"step {step} is recorded already")
        self.history[step] = dict(metrics)
        if self._file is not None:
            self._file.write(_line(step, metrics))
            self._file.flush()
            os.fsync(self._file.fileno())
        self.show(step, metrics)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """To TensorBoard only: what depends on the hour, such as examples a second."""
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)

    def show_images(self, step: int, files: Mapping[str, bytes]) -> None:
        """To TensorBoard: the image files among those of an evaluation, by name."""
        if self._tensorboard is not None:
            for name, content in files.items():
                if Path(name).suffix.lower() in IMAGES:
                    self._tensorboard.add_image(name, pixels(content), step, dataformats="HWC")

    def value(self, step: int, name: str) -> float | None:
        """What was recorded under `name` at a step."""
        return self.history.get(step, {}).get(name)

    def latest(self) -> dict[str, float]:
        """The newest value of every metric."""
        newest: dict[str, float] = {}
        for step in sorted(self.history):
            newest |= self.history[step]
        return newest

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_records(path: Path) -> dict[int, dict[str, float]]:
    """The metrics in a .jsonl file by step; a last line that was cut short is left out.

    Raises:
      UserError: another line is no record.
    """
    rows: dict[int, dict[str, float]] = {}
    if path.exists():
        lines = path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                step = row.pop("step")
            except (ValueError, AttributeError, KeyError, TypeError):
                if number == len(lines):
                    break
                raise UserError(
                    f"{path}:{number}: no record of metrics; restore the file or delete it"
                ) from None
            rows[step] = {name: math.nan if value is None else value for name, value in row.items()}
    return rows


def without_nan(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity and no NaN; `null` is what other readers take for "not a number"."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _line(step: int, metrics: Mapping[str, float]) -> str:
    return json.dumps({"step": step, **without_nan(dict(sorted(metrics.items())))}) + "\n"
