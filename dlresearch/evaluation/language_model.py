"""How well a language model predicts a whole text."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch import preemption
from dlresearch.evaluation.evaluator import Finding, Predict, Summed, mesh_of
from dlresearch.parallel import replicated
from dlresearch.tasks import Batch, Variables


class LanguageModelEvaluator(Summed):
    """The mean cross-entropy of the tokens, each predicted once; its perplexity; and accuracy.

    Where the source cuts the text in streams, the network carries its state from window to window
    over the whole of it, as in training.

    Args:
      characters_per_token: from the source, for `bits_per_character`, which can be compared between
        vocabularies.

    Metrics: `loss` (nats a token), `perplexity`, `accuracy`, `tokens`, and `bits_per_character`.
    """

    def __init__(self, characters_per_token: float | None = None):
        super().__init__()
        self.characters_per_token = characters_per_token

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        pending, carry = [], None
        for batch in batches:
            preemption.check()
            if "start" in batch:
                carry = _zeros(predict, variables, batch) if carry is None else carry
                batch = {**batch, "carry": carry}
            sums, carry = self._call(self._read, predict, variables, batch)
            pending.append(sums)
        return self._total(pending)

    def update(self, outputs: Any, batch: Batch) -> Mapping[str, Any]:
        counts = {name: outputs[name] for name in ("nll", "count", "correct")}
        return {
            name: jnp.sum(jnp.where(batch["mask"], values, 0)) for name, values in counts.items()
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        loss = sums["nll"] / sums["count"]
        found = {
            "loss": loss,
            "perplexity": np.exp(loss),
            "accuracy": sums["correct"] / sums["count"],
            "tokens": sums["count"],
        }
        if self.characters_per_token is not None:
            found["bits_per_character"] = loss / np.log(2) / self.characters_per_token
        return found

    def _read(self, outputs: Any, batch: Batch) -> Any:
        return self.update(outputs, batch), outputs["carry"] if "carry" in batch else None


def _zeros(predict: Predict, variables: Variables, batch: Batch) -> Any:
    """What the network carries at the start, whole on every device."""
    shapes = jax.eval_shape(predict, variables, batch)["carry"]
    mesh = mesh_of(batch)
    if isinstance(batch["mask"], jax.ShapeDtypeStruct):  # inside `trace_only`
        place = None if mesh is None else replicated(mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes
        )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros if mesh is None else jax.device_put(zeros, replicated(mesh))
