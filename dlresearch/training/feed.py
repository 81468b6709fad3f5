"""How training examples reach the jitted step: whole batches, or places in a resident set."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from dlresearch.data import EPOCH, EXAMPLE, TrainingOrder, load_all, stream
from dlresearch.parallel import batch_sharding, process_rows, put_batch, put_replicated

Check = Callable[[Mapping[str, np.ndarray]], None]


class Feed:
    """The examples of every step, from any step on.

    Args:
      check: raises `UserError` for examples the task cannot learn from.
      visits: batches have the keys `EXAMPLE` and `EPOCH` as well: which examples, and how often
        each was seen before.
      resident: the set where another feed has put it, to be shared.

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
        visits: bool = False,
        resident: dict[str, Array] | None = None,
    ):
        self.resident = {} if resident is None else resident
        self.waiting = 0.0
        self._source, self._transforms, self._order, self._mesh = source, transforms, order, mesh
        self._workers, self._prefetch, self._check = workers, prefetch, check
        self._visits = visits
        self._rows = process_rows(mesh, order.examples_per_step)
        self._batches: Iterator[Any] | None = None
        self._stop: Callable[[], None] = lambda: None
        if placement == "resident" and not self.resident:
            examples = load_all(source, transforms)
            check(examples)
            self.resident = put_replicated(mesh, examples)
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
            rows=self._rows,
            workers=self._workers,
            prefetch=self._prefetch,
        )
        self._batches, self._stop = self._as_wide_as_needed(batches, step), batches.close
        if self._visits:
            pairs = zip(self._batches, self._places(step), strict=False)  # neither ends
            self._batches = ({**batch, **places} for batch, places in pairs)

    def peek(self) -> Any:
        """As `take(1)`, but the step stays the next one."""
        assert self._batches is not None, "start() comes first"
        batch = next(self._batches)
        self._batches = chain([batch], self._batches)
        return put_batch(self._mesh, batch)

    def take(self, steps: int) -> Any:
        """What the jitted call over `steps` steps reads; a leading axis for the steps if
        several.
        """
        assert self._batches is not None, "start() comes first"
        begin = time.perf_counter()
        batches = [next(self._batches) for _ in range(steps)]
        self.waiting += time.perf_counter() - begin
        if not self._is_resident:
            for batch in batches:
                self._check(batch)
        taken = batches[0]
        if steps > 1:
            taken = {name: np.stack([batch[name] for batch in batches]) for name in taken}
        if self._is_resident and self._mesh.size == 1:
            return taken  # the jitted call itself is the cheapest way to the device
        return put_batch(self._mesh, taken, leading=int(steps > 1))

    def pick(
        self, resident: dict[str, Array], taken: Any, width: int | None = None
    ) -> dict[str, Array]:
        """The batch, inside the jitted step, with sequences of a width."""
        if not self._is_resident:
            return taken
        sharding = batch_sharding(self._mesh)
        batch = {
            name: jax.lax.with_sharding_constraint(values[taken[EXAMPLE]], sharding)
            for name, values in resident.items()
        }
        batch = self._order.cut(batch, width)
        return {**batch, **taken} if self._visits else batch

    def close(self) -> None:
        """Stop the host's workers."""
        self._stop()
        self._batches, self._stop = None, lambda: None

    def _as_wide_as_needed(
        self, batches: Iterator[dict[str, np.ndarray]], step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        for number, batch in enumerate(batches, start=step):
            yield self._order.cut(batch, self._order.width(number))

    def _places(self, step: int) -> Iterator[dict[str, np.ndarray]]:
        """Which examples this process's rows of every step are, from one on."""
        while True:
            places = {EXAMPLE: self._order.indices(step)[self._rows]}
            if self._visits:
                places[EPOCH] = self._order.epochs(step)[self._rows]
            yield places
            step += 1
