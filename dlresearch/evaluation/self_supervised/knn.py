"""Weighted nearest-neighbour classification of features."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Predict, _Compiled
from dlresearch.evaluation.self_supervised.features_of import (
    LabelledFeatures,
    TrainAndTest,
)
from dlresearch.evaluation.sources import Examples
from dlresearch.models.layers import check_sizes
from dlresearch.parallel import (
    batch_sharding,
    batch_shards,
    process_rows,
    put_batch,
    put_replicated,
)
from dlresearch.tasks import Batch, Variables

_QUERIES = 256  # classified at once: their similarities to a million examples take 1 GiB


class KNNEvaluator(_Compiled):
    """Classifies each example by the training examples most like it, in the features of the task
    (Wu et al. 2018, arXiv:1805.01978, section 3.4).

    The `k` training examples with the largest cosine similarity s each give their class
    exp(s / temperature) votes. No augmentation, nothing is learned. Metric: `accuracy`; for several
    `k` one for each, such as `accuracy_k20`. The training features are split over the devices.

    Args:
      train: the training set.
      k: how many neighbours vote; several give a metric each.
      temperature: small ones let the nearest decide.
      labels: key of the integer labels, shape [batch].
      outputs_of: methods of the task by name; from the trainer.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference: what the source is called; from the trainer.
      reference_examples: how many examples it has; from the trainer.

    Raises:
      UserError: numbers that cannot be, such as more neighbours than training examples, or a task
        without features.
    """

    def __init__(
        self,
        train: Component,
        k: int | tuple[int, ...] = 200,
        temperature: float = 0.1,
        labels: str = "label",
        outputs_of: Callable[[str], Predict] | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference: str = "the source",
        reference_examples: int | None = None,
    ):
        super().__init__()
        check_sizes(k=k)
        self.ks = (k,) if isinstance(k, int) else k
        if not self.ks:
            raise UserError("k=(): give at least one number of neighbours")
        if temperature <= 0:
            raise UserError(f"temperature={temperature}: must be above 0")
        self.temperature = temperature
        self.about = ""
        self._features = LabelledFeatures(
            train, labels, outputs_of, examples_of, reference, reference_examples
        )
        if max(self.ks) > self._features.train_examples:
            raise UserError(
                f"k={max(self.ks)}: train has only {self._features.train_examples:,} examples; use"
                " that or less"
            )

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        examples = self._features(variables, batches)
        ks = ", ".join(str(k) for k in self.ks)
        self.about = (
            f"k={ks}, temperature {self.temperature:g}, cosine similarity;"
            f" {self._features.about(examples)}"
        )
        names = [f"accuracy_k{k}" for k in self.ks] if len(self.ks) > 1 else ["accuracy"]
        if not examples.finite:
            return dict.fromkeys(names, float("nan"))
        right = self._predicted(examples) == examples.test.labels
        return dict(zip(names, right.mean(axis=1).tolist(), strict=True))

    def _predicted(self, examples: TrainAndTest) -> Int[np.ndarray, "k example"]:
        """The class of each example of the source, for each number of neighbours."""
        train, (queries, _), mesh = examples.train, examples.test, examples.mesh
        shards = 1 if mesh is None else batch_shards(mesh)
        size = shards * -(-len(train.labels) // shards)
        rows = np.minimum(np.arange(size), len(train.labels) - 1)
        bank = {
            "features": _normalised(train.features)[rows],
            "labels": train.labels[rows],
            "real": np.arange(size) == rows,
        }
        if mesh is None:
            placed = jax.device_put(bank)
        else:
            here = process_rows(mesh, size)
            placed = put_batch(mesh, {key: values[here] for key, values in bank.items()})
        queries, found = _normalised(queries), []

        def step(bank: Mapping[str, Array], batch: Batch) -> Int[Array, "k query"]:
            nearest = partial(_nearest, most=max(self.ks))
            if mesh is not None:
                # By itself XLA sorts the similarities to all examples on every device.
                spec = batch_sharding(mesh, leading=1).spec
                nearest = jax.shard_map(
                    nearest,
                    mesh=mesh,
                    in_specs=(batch_sharding(mesh).spec, PartitionSpec()),
                    out_specs=(spec, spec),
                )
            return self._votes(*nearest(bank, batch["queries"]), examples.num_classes)

        for first in range(0, len(queries), _QUERIES):
            preemption.check()
            places = np.minimum(np.arange(first, first + _QUERIES), len(queries) - 1)
            block = {"queries": queries[places], "mask": places >= first}
            block = jax.device_put(block) if mesh is None else put_replicated(mesh, block)
            found.append(self._call_step((size, examples.num_classes), step, placed, block))
        return np.concatenate(jax.device_get(found), axis=1)[:, : len(queries)]

    def _votes(
        self,
        similarities: Float[Array, "query candidate"],
        labels: Int[Array, "query candidate"],
        num_classes: int,
    ) -> Int[Array, "k query"]:
        """The class with most votes, of the nearest among candidates of all devices."""
        # Fewer than asked for where an evaluator is only tried.
        most = min(max(self.ks), similarities.shape[1])
        nearest, places = jax.lax.top_k(similarities, most)
        neighbours = jnp.take_along_axis(labels, places, axis=1)
        # Relative to the nearest, which changes no vote: exp overflows at small temperatures.
        weights = jnp.exp((nearest - nearest[:, :1]) / self.temperature)
        voting = jnp.arange(most) < jnp.asarray(self.ks)[:, None]
        votes = jnp.einsum(
            "kn,qn,qnc->kqc",
            voting.astype(weights.dtype),
            weights,
            jax.nn.one_hot(neighbours, num_classes),
            precision=jax.lax.Precision.HIGHEST,
        )
        return votes.argmax(axis=2)


def _nearest(
    bank: Mapping[str, Array], queries: Float[Array, "query features"], most: int
) -> tuple[Float[Array, "query candidate"], Int[Array, "query candidate"]]:
    """Similarities and labels of the nearest of the examples that a device has."""
    similarities = jnp.matmul(queries, bank["features"].T, precision=jax.lax.Precision.HIGHEST)
    similarities = jnp.where(bank["real"], similarities, -jnp.inf)
    nearest, places = jax.lax.top_k(similarities, min(most, similarities.shape[1]))
    return nearest, bank["labels"][places]


def _normalised(
    features: Float[np.ndarray, "example features"],
) -> Float[np.ndarray, "example features"]:
    """Of length 1; what is 0 stays so."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
