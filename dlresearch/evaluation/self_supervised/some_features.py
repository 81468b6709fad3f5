"""Features of some examples of a source, in the memory of the host."""

from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Shaped

from dlresearch import preemption
from dlresearch.data import EXAMPLE
from dlresearch.evaluation.evaluator import Predict, _Compiled
from dlresearch.evaluation.sampling import evenly
from dlresearch.evaluation.self_supervised.features_of import features_of
from dlresearch.tasks import Batch, Variables

FEATURES = "features"


class SomeFeatures(_Compiled):
    """An evaluator that looks at the features of some examples, spread evenly over a source.

    Args:
      outputs_of: from the trainer.

    Raises:
      UserError: there is no trainer, or its task gives no features.
    """

    def __init__(self, outputs_of: Callable[[str], Predict] | None):
        super().__init__()
        self._features = features_of(outputs_of)

    def _some(
        self,
        variables: Variables,
        batches: Iterable[Batch],
        most: int,
        total: int | None,
        keys: Sequence[str],
    ) -> tuple[dict[str, Shaped[np.ndarray, "example ..."]], bool]:
        """`features` float32 and `example`, the number in the source, of up to `most` examples, the
        first one among them, and what batches have of `keys`; and whether the batches were all: a
        run that only tries its evaluators gives one.

        Args:
          total: examples of the source; None takes the first instead of some from all over it.
        """
        found: list[dict[str, np.ndarray]] = []
        first = 0
        for batch in batches:
            preemption.check()
            places = np.arange(first, first + len(batch["mask"]))
            first += len(places)
            wanted = places < most if total is None else evenly(total - 1 - places, most, total)
            if not wanted.any():
                continue
            names = tuple(key for key in keys if key in batch)

            def step(
                variables: Variables, batch: Batch, names: Sequence[str] = names
            ) -> dict[str, jax.Array]:
                features = self._features(variables, batch)
                return {FEATURES: features} | {name: batch[name] for name in (*names, "mask")}

            here = jax.device_get(self._call_step(names, step, variables, batch))
            wanted &= here.pop("mask")
            here |= {EXAMPLE: places}
            found.append({name: np.asarray(values)[wanted] for name, values in here.items()})
        arrays = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        return arrays, total is None or first >= total
