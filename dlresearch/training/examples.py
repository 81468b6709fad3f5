"""The examples of an evaluator, as batches on the mesh."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dlresearch.data import EXAMPLE, Arrays, Buckets, evaluation_batches, load_all
from dlresearch.parallel import batch_sharding, process_rows, put_batch
from dlresearch.tasks import Batch, Task


@dataclass
class Examples:
    """All examples of a source in order, each once.

    A batch also has `mask`, False where it was filled up, and, unless the source has a key of that
    name, `example`: which one of the source each row is.

    Attributes:
      resident: keep the batches on the device once they were read.
    """

    source: Any
    transforms: tuple[Any, ...]
    batch_size: int
    mesh: Mesh
    task: Task
    resident: bool
    buckets: Buckets | None = None
    _loaded: Arrays | None = None
    _kept: list[Batch] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.source)

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of the first batch on the mesh, whose devices need not be here."""
        rows = np.arange(self.batch_size)
        batch = next(evaluation_batches(self.source, self.transforms, self.batch_size, rows))
        self.task.check(batch)
        batch.setdefault(EXAMPLE, rows.astype(np.int32))
        sharding = batch_sharding(self.mesh)
        return {
            name: jax.ShapeDtypeStruct(values.shape, values.dtype, sharding=sharding)
            for name, values in batch.items()
        }

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            yield from self._kept
            return
        rows = process_rows(self.mesh, self.batch_size)
        examples, transforms = self.source, self.transforms
        if self.resident:
            # Once, also for one who never reads beyond the first batch.
            if self._loaded is None:
                self._loaded = load_all(self.source, self.transforms)
            examples, transforms = self._loaded, ()
        kept, last = [], len(self.source) - 1
        batches = evaluation_batches(examples, transforms, self.batch_size, rows)
        for number, batch in enumerate(batches):
            places = np.minimum(number * self.batch_size + np.arange(self.batch_size), last)
            if self.buckets is not None:
                # Those of all processes, so that they agree.
                batch = self.buckets.trim(batch, self.buckets.width(np.unique(places)))
            self.task.check(batch)
            batch.setdefault(EXAMPLE, places[rows].astype(np.int32))
            on_device = put_batch(self.mesh, batch)
            if self.resident:
                kept.append(on_device)
            yield on_device
        if self.resident:
            # Only once all were read: a preempted evaluation keeps nothing.
            self._kept, self._loaded = kept, None
