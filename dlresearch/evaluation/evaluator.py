"""What an evaluator is, and the one most of them are: a sum over examples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree

from dlresearch import preemption
from dlresearch.parallel import replicated
from dlresearch.tasks import Batch, Variables

Predict: TypeAlias = Callable[[Variables, Batch], Any]


class Evaluator(Protocol):
    """Turns predictions over a set of examples into named numbers."""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, float]:
        """The metrics of `variables`.

        Args:
          predict: pure; `batch` goes in as `batches` gives it, on any mesh.
          variables: those of the step, with moving averages in place where the run evaluates them.
          batches: all examples in order, each once; `batch["mask"]` is False where the last batch
            was filled up.
        """
        ...


class Summed(ABC):
    """An evaluator whose metrics follow from sums over examples.

    `update` runs on the device, compiled once; sums are added up on the host in float64, so that
    neither the batch size nor the mesh shows in a count, and in a mean only by float32 rounding
    within a batch.
    """

    def __init__(self) -> None:
        self._compiled: dict[Predict, Callable[[Variables, Batch], PyTree]] = {}

    @abstractmethod
    def update(self, outputs: Any, batch: Batch) -> Mapping[str, Any]:
        """Sums over the examples of one batch where `batch["mask"]` is True; arrays of any
        shape.
        """

    @abstractmethod
    def finish(self, sums: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """The metrics, as numbers, from the sums over all batches."""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, float]:
        pending: list[PyTree] = []
        for batch in batches:
            preemption.check()
            pending.append(self._step(predict, variables, batch)(variables, batch))
        sums = jax.device_get(pending)
        totals = jax.tree.map(lambda *parts: np.sum(np.asarray(parts, np.float64), axis=0), *sums)
        return {name: float(value) for name, value in self.finish(totals).items()}

    def _step(
        self, predict: Predict, variables: Variables, batch: Batch
    ) -> Callable[[Variables, Batch], PyTree]:
        if predict not in self._compiled:

            def step(variables: Variables, batch: Batch) -> Mapping[str, Any]:
                return self.update(predict(variables, batch), batch)

            # Whole on every device, so that every process can read them.
            mesh = getattr(getattr(batch["mask"], "sharding", None), "mesh", None)
            whole = None if mesh is None else replicated(mesh)
            lowered = jax.jit(step, out_shardings=whole).lower(variables, batch)
            self._compiled[predict] = preemption.interruptible(lowered.compile)
        return self._compiled[predict]
