"""What an evaluator is, and the two kinds most of them are: sums over examples, and what needs the
outputs of all of them at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Traced
from jaxtyping import PyTree

from dlresearch import preemption
from dlresearch.parallel import replicated
from dlresearch.tasks import Batch, Variables

Predict: TypeAlias = Callable[[Variables, Batch], Any]
Finding: TypeAlias = float | bytes | str
"""A number is a metric; bytes and text are the content of a file."""


class Evaluator(Protocol):
    """Turns predictions over a set of examples into named numbers, and files."""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        """The metrics of `variables` by name, and files by a name with a suffix, `errors.csv`.

        Args:
          predict: pure; `batch` goes in as `batches` gives it, on any mesh.
          variables: those of the step, with moving averages in place where the run evaluates them.
          batches: all examples in order, each once; `batch["mask"]` is False where the last batch
            was filled up.
        """
        ...


class TracedOnly(Exception):
    """Raised by an evaluator inside `trace_only`: its first program, which is not compiled yet."""

    def __init__(self, program: Traced):
        super().__init__()
        self.program = program


@contextmanager
def trace_only() -> Iterator[None]:
    """Stop evaluators at their first program; `variables` and batches may be shapes."""
    token = _TRACE_ONLY.set(True)
    try:
        yield
    finally:
        _TRACE_ONLY.reset(token)


_TRACE_ONLY: ContextVar[bool] = ContextVar("trace_only", default=False)


class _Compiled:
    """A function of predictions and batch that runs on the device, compiled once."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[[PyTree, Batch], PyTree]] = {}

    def _call(
        self,
        of: Callable[[Any, Batch], PyTree],
        predict: Predict,
        variables: Variables,
        batch: Batch,
    ) -> PyTree:
        """`of(predict(variables, batch), batch)`, whole on every device."""

        def step(variables: Variables, batch: Batch) -> PyTree:
            return of(predict(variables, batch), batch)

        return self._call_step(predict, step, variables, batch)

    def _call_step(
        self,
        key: Hashable,
        step: Callable[[Any, Batch], PyTree],
        variables: PyTree,
        batch: Batch,
    ) -> PyTree:
        """`step(variables, batch)`, whole on every device; one program for each `key`."""
        # Sequences may be wider in another batch.
        shapes = tuple(values.shape for values in jax.tree.leaves(batch))
        if (key, shapes) not in self._compiled:
            # Whole on every device, so that every process can read it.
            mesh = mesh_of(batch)
            whole = None if mesh is None else replicated(mesh)
            traced = jax.jit(step, out_shardings=whole).trace(variables, batch)
            if _TRACE_ONLY.get():
                raise TracedOnly(traced)
            self._compiled[key, shapes] = preemption.interruptible(traced.lower().compile)
        return self._compiled[key, shapes](variables, batch)


def mesh_of(batch: Batch) -> Mesh | None:
    """The mesh that a batch of the trainer lies on; None where it is on no mesh."""
    return getattr(getattr(batch["mask"], "sharding", None), "mesh", None)


class Summed(_Compiled, ABC):
    """An evaluator whose metrics follow from sums over examples.

    `update` runs on the device, compiled once; sums are added up on the host in float64, so that
    neither the batch size nor the mesh shows in a count, and in a mean only by float32 rounding
    within a batch.
    """

    @abstractmethod
    def update(self, outputs: Any, batch: Batch) -> Mapping[str, Any]:
        """Sums over the examples of one batch where `batch["mask"]` is True; arrays of any
        shape.
        """

    @abstractmethod
    def finish(self, sums: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """The metrics, as numbers, and files, from the sums over all batches."""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        pending: list[PyTree] = []
        for batch in batches:
            preemption.check()
            pending.append(self._call(self.update, predict, variables, batch))
        return self._total(pending)

    def _total(self, pending: list[PyTree]) -> Mapping[str, Finding]:
        """What `finish` makes of the sums of all batches."""
        sums = jax.device_get(pending)
        totals = jax.tree.map(lambda *parts: np.sum(np.asarray(parts, np.float64), axis=0), *sums)
        return _findings(self.finish(totals))


class Gathered(_Compiled, ABC):
    """An evaluator that needs something of every example at once, such as to rank them.

    `collect` runs on the device, compiled once. What it gives is kept on the host, in the order of
    the examples, so that neither the batch size nor the mesh shows in it.
    """

    @abstractmethod
    def collect(self, outputs: Any, batch: Batch) -> Mapping[str, Any]:
        """What to keep of each example of a batch: arrays [batch, ...], masked or not."""

    @abstractmethod
    def finish(self, examples: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """The metrics, as numbers, and files, from the arrays [example, ...] of all examples."""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        def collect(outputs: Any, batch: Batch) -> PyTree:
            return {"kept": dict(self.collect(outputs, batch)), "mask": batch["mask"]}

        kept: list[dict[str, np.ndarray]] = []
        ahead: PyTree = None  # fetched once the device has the next batch to work on
        for batch in batches:
            preemption.check()
            previous, ahead = ahead, self._call(collect, predict, variables, batch)
            kept += [] if previous is None else [_fetched(previous)]
        kept.append(_fetched(ahead))
        arrays = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
        return _findings(self.finish(arrays))


def _fetched(collected: PyTree) -> dict[str, np.ndarray]:
    """The rows of a batch that are examples, on the host."""
    collected = jax.device_get(collected)
    return {name: values[collected["mask"]] for name, values in collected["kept"].items()}


def _findings(found: Mapping[str, Any]) -> dict[str, Finding]:
    return {
        name: value if isinstance(value, bytes | str) else float(value)
        for name, value in found.items()
    }
