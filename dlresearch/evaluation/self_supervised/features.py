"""Features of all examples of a source, in a file."""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Gathered, Predict
from dlresearch.evaluation.self_supervised.features_of import features_of
from dlresearch.tasks import Batch, Variables, require


class FeaturesEvaluator(Gathered):
    """Writes `features.npz`, to be read by `numpy.load`: `features` [example, features] float32 as
    the task gives them, without augmentation; `example`, which one of the source each row is; and
    what else `keys` asks for. Metric: `examples`, how many.

    Args:
      keys: of the examples that go into the file as they are; None takes `label` where there is
        one.
      outputs_of: methods of the task by name; from the trainer.
      reference: what the source is called; from the trainer.

    Raises:
      UserError: a task without features, or a key that examples do not have.
    """

    def __init__(
        self,
        keys: tuple[str, ...] | None = None,
        outputs_of: Callable[[str], Predict] | None = None,
        reference: str = "the source",
    ):
        super().__init__()
        if "features" in (keys or ()):
            raise UserError(
                "keys: 'features' is what the task gives; rename that of the source with the"
                " transform rename"
            )
        self.keys, self.reference, self.about = keys, reference, ""
        self._features = features_of(outputs_of)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        return super().run(self._features, variables, batches)

    def collect(self, outputs: Float[Array, "batch features"], batch: Batch) -> dict[str, Array]:
        keys = (("label",) if "label" in batch else ()) if self.keys is None else self.keys
        also = {key: require(batch, key, "keys") for key in keys}
        if EXAMPLE in batch:
            also[EXAMPLE] = batch[EXAMPLE]
        return {"features": outputs.astype(jnp.float32), **also}

    def finish(self, examples: Mapping[str, np.ndarray]) -> dict[str, Any]:
        count, size = examples["features"].shape
        self.about = f"{size:,} features of {count:,} of {self.reference}, no augmentation"
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **examples)
        return {"examples": count, "features.npz": file.getvalue()}
