"""The first examples of a source with what a method of the task makes of them, for pictures."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Predict, _Compiled
from dlresearch.tasks import Batch, Variables, require


class FirstExamples(_Compiled):
    """Rows of a picture; reads one batch.

    Args:
      examples: rows.
      scale: pixels of the picture that one of an image has along each side.
      image: key of the images.
      method: of the task.
      outputs_of: from the trainer.

    Raises:
      UserError: a number that cannot be, or a task without this method.
    """

    def __init__(
        self,
        examples: int,
        scale: int,
        image: str,
        method: str,
        outputs_of: Callable[[str], Predict] | None,
    ):
        super().__init__()
        for name, number in {"examples": examples, "scale": scale}.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        if outputs_of is None:
            raise UserError(f"{method}: there is no task here that could give it")
        self.examples, self.scale, self.image = examples, scale, image
        self._outputs = outputs_of(method)

    def _first(self, variables: Variables, batches: Iterable[Batch]) -> tuple[np.ndarray, Any]:
        """Images as the source gives them, and the outputs, on the host."""
        found = self._call_step("first", self._made, variables, next(iter(batches)))
        found = jax.device_get(found)
        rows = np.flatnonzero(found["mask"])[: self.examples]
        return found["image"][rows], jax.tree.map(lambda values: values[rows], found["outputs"])

    def _made(self, variables: Variables, batch: Batch) -> PyTree:
        image = require(batch, self.image, "images")
        return {"image": image, "outputs": self._outputs(variables, batch), "mask": batch["mask"]}
