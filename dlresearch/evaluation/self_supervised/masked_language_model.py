"""How well a masked language model fills the holes of a text."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Summed
from dlresearch.tasks import Batch


class MaskedLanguageModelEvaluator(Summed):
    """The mean cross-entropy of the tokens that are hidden, each counted once; its perplexity; and
    accuracy.

    Which tokens are hidden follows from the number of the example, so figures do not depend on the
    batch size. They compare only between networks with the same vocabulary, and neither loss nor
    perplexity with those of a `language_model`, which knows only what stands before.

    Metrics: `loss` (nats a token), `perplexity`, `accuracy`, `tokens`.
    """

    def update(self, outputs: Any, batch: Batch) -> Mapping[str, Any]:
        counts = {name: outputs[name] for name in ("nll", "count", "correct")}
        return {
            name: jnp.sum(jnp.where(batch["mask"], values, 0)) for name, values in counts.items()
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        if not sums["count"]:
            raise UserError("it has no token to predict: all are unknown")
        loss = sums["nll"] / sums["count"]
        return {
            "loss": loss,
            "perplexity": np.exp(loss),
            "accuracy": sums["correct"] / sums["count"],
            "tokens": sums["count"],
        }
