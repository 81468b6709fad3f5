"""How training examples reach the jitted step: whole batches, or places in a resident set."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from dlresearch.data import TrainingOrder, load_all, stream
from dlresearch.parallel import batch_sharding, process_rows, put_batch, replicated

Check = Callable[[Mapping[str, np.ndarray]], None]


class Feed:
    """The examples of every step, from any step on.

    Args:
      check: raises `UserError` for examples the task cannot learn from.

    Attributes:
      resident: the whole set on every device; empty where it is streamed.
      waiting: seconds that `take` has waited for the host's workers.
    """

    def __init__(
        self,
        source: Any,
        transforms: tuple[Any, ...],
        order: TrainingOrder,
        mesh: Mesh,
        *,
        placement: str,
        workers: int,
        prefetch: int,
        check: Check,
    ):
        self.resident: dict[str, Array] = {}
        self.waiting = 0.0
        self._source, self._transforms, self._order, self._mesh = source, transforms, order, mesh
        self._workers, self._prefetch, self._check = workers, prefetch, check
        self._rows = process_rows(mesh, order.examples_per_step)
        self._batches: Iterator[Any] | None = None
        self._stop: Callable[[], None] = lambda: None
        if placement == "resident":
            examples = load_all(source, transforms)
            check(examples)
            self.resident = jax.device_put(examples, replicated(mesh))
        self._is_resident = placement == "resident"

    def start(self, step: int) -> None:
        """The next batch will be that of `step`."""
        self.close()
        if self._is_resident:
            self._batches = self._places(step)
            return
        batches = stream(
            self._source,
            self._transforms,
            self._order,
            start_step=step,
            process_slice=self._rows,
            workers=self._workers,
            prefetch=self._prefetch,
        )
        self._batches, self._stop = batches, batches.close

    def take(self, steps: int) -> Any:
        """What the jitted call over `steps` steps reads; a leading axis for the steps if
        several.
        """
        assert self._batches is not None, "start() comes first"
        begin = time.perf_counter()
        batches = [next(self._batches) for _ in range(steps)]
        self.waiting += time.perf_counter() - begin
        if self._is_resident:
            places = batches[0] if steps == 1 else np.stack(batches)
            if self._mesh.size == 1:
                return places  # the jitted call itself is the cheapest way to the device
            return put_batch(self._mesh, {"places": places}, leading=int(steps > 1))["places"]
        for batch in batches:
            self._check(batch)
        if steps == 1:
            return put_batch(self._mesh, batches[0])
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        return put_batch(self._mesh, stacked, leading=1)

    def pick(self, resident: dict[str, Array], taken: Any) -> dict[str, Array]:
        """The batch, inside the jitted step."""
        if not self._is_resident:
            return taken
        sharding = batch_sharding(self._mesh)
        return {
            name: jax.lax.with_sharding_constraint(values[taken], sharding)
            for name, values in resident.items()
        }

    def close(self) -> None:
        """Stop the host's workers."""
        self._stop()
        self._batches, self._stop = None, lambda: None

    def _places(self, step: int) -> Iterator[np.ndarray]:
        while True:
            yield self._order.indices(step)[self._rows]
            step += 1
