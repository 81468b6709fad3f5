"""Examples generated for rows that an evaluator makes up, such as fixed latents."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from dlresearch import preemption
from dlresearch.data import EXAMPLE
from dlresearch.evaluation.evaluator import Predict, _Compiled, mesh_of
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.parallel import process_rows, put_batch
from dlresearch.tasks import Batch, Variables


class Generating(_Compiled):
    """Calls a task's `predict` on rows in batches of the run's own size, compiled once.

    Args:
      key: of the generated examples among the outputs.
    """

    def __init__(self, key: str):
        super().__init__()
        self.key = key

    def __call__(
        self,
        predict: Predict,
        variables: Variables,
        batch: Batch,
        rows: Mapping[str, Shaped[np.ndarray, "row ..."]],
    ) -> Shaped[np.ndarray, "row ..."]:
        """The generated example of each row.

        Args:
          batch: any batch of the evaluation; its size, place and other keys are kept.
          rows: what stands in place of the keys of the batch, such as `example` (which fixes the
            latent) and `label`, for any number of rows.
        """
        size, count = len(batch["mask"]), len(rows[EXAMPLE])
        made = []
        for first in range(0, count, size):
            preemption.check()
            places = np.minimum(np.arange(first, first + size), count - 1)
            filled = with_rows(batch, {key: values[places] for key, values in rows.items()})
            found = self._call(self._generated, predict, variables, filled)
            made.append(np.asarray(jax.device_get(found)))
        return np.concatenate(made)[:count]

    def _generated(self, outputs: Any, batch: Batch) -> Array:
        del batch
        return jnp.asarray(generated(outputs, self.key))


def with_rows(batch: Batch, rows: Mapping[str, Shaped[np.ndarray, "batch ..."]]) -> Batch:
    """The batch with other values under some keys, which lie on the devices as its own do."""
    mesh = mesh_of(batch)
    if mesh is None:
        return {**batch, **{key: jnp.asarray(values) for key, values in rows.items()}}
    here = process_rows(mesh, len(batch["mask"]))
    return {**batch, **put_batch(mesh, {key: values[here] for key, values in rows.items()})}
