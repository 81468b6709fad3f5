"""How features lie on the sphere: whether they have collapsed, and how close two views are."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from dlresearch import preemption
from dlresearch.data import EXAMPLE, FIRST, SECOND
from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Finding, Gathered, Predict
from dlresearch.evaluation.sampling import evenly
from dlresearch.evaluation.self_supervised import collapse
from dlresearch.evaluation.self_supervised.features_of import features_of
from dlresearch.models.layers import check_sizes
from dlresearch.tasks import Batch, Variables, require

_PAIRED = 4096  # examples of which all pairs are compared


class RepresentationEvaluator(Gathered):
    """Whether features have collapsed, which a loss need not show.

    Metrics: `deviation` of normalised features over the examples, 0 where all are the same and 1
    where they are spread evenly over the sphere (Chen and He 2021, arXiv:2011.10566, section 4.1;
    features that are never negative, such as after a ReLU, stay below 1); `effective_rank` (RankMe,
    Garrido et al. 2023, arXiv:2210.02885, equation 1), from 1 to the number of features;
    `uniformity` (Wang and Isola 2020, arXiv:2005.10242, equation 3, t = 2), 0 where all are the
    same and about -4 at best, over all pairs of at most 4,096 examples. With `alignment`, also
    `alignment`: the mean squared distance between the normalised features of two views of an image
    (equation 2, alpha = 2), the same views at every evaluation; 0 is closest, which collapsed
    features are, too.

    All but the alignment are of examples as they are, without augmentation, and of the backbone's
    features; papers often give them of the projector's.

    Args:
      most: examples for the effective rank, spread evenly over the source; 25,600 are published.
      alignment: also make two views of each image as training does; three times the work.
      image: key of the images.
      outputs_of: methods of the task by name; from the trainer.
      make_views: adds the views of the run to a batch; from the trainer.
      reference: what the source is called; from the trainer.

    Raises:
      UserError: a number that cannot be, a task without features, or `alignment` in a run without
        views.
    """

    def __init__(
        self,
        most: int = 25_600,
        alignment: bool = False,
        image: str = "image",
        outputs_of: Callable[[str], Predict] | None = None,
        make_views: Callable[[Key[Array, ""], Batch], Batch] | None = None,
        reference: str = "the source",
    ):
        super().__init__()
        check_sizes(most=most)
        if alignment and make_views is None:
            raise UserError("alignment: there is no run here that could make views")
        self.most, self.image, self.reference, self.about = most, image, reference, ""
        self._features = features_of(outputs_of)
        self._make_views = make_views if alignment else None

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        return super().run(self._measured, variables, batches)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Array]:
        del batch
        return outputs

    def finish(self, examples: Mapping[str, np.ndarray]) -> dict[str, Any]:
        features = examples["features"]
        count = len(features)
        ranked, paired = (_spread(features, each) for each in (self.most, _PAIRED))
        self.about = (
            f"{features.shape[1]:,} features of {count:,} of {self.reference}, no augmentation;"
            f" rank of {len(ranked):,}, uniformity of {len(paired):,}"
        )
        found = {
            "deviation": float("nan"),
            "effective_rank": float("nan"),
            "uniformity": float("nan"),
        }
        if np.isfinite(features).all():
            found = preemption.interruptible(
                lambda: {
                    "deviation": collapse.relative_deviation(features),
                    "effective_rank": collapse.effective_rank(ranked),
                    "uniformity": collapse.uniformity(paired),
                }
            )
        if "apart" in examples:
            found["alignment"] = float(np.mean(examples["apart"], dtype=np.float64))
        return found

    def _measured(self, variables: Variables, batch: Batch) -> PyTree:
        """Features of the examples, and the squared distance between those of their views."""
        found = {"features": self._features(variables, batch)}
        if self._make_views is None:
            return found
        # Other draws for other batches, and the same at every evaluation.
        key = jax.random.fold_in(jax.random.key(0), require(batch, EXAMPLE, "alignment")[0])
        viewed = self._make_views(key, batch)
        first, second = (
            _normalised(
                self._features(variables, {**batch, self.image: require(viewed, name, "alignment")})
            )
            for name in (FIRST, SECOND)
        )
        return {**found, "apart": ((first - second) ** 2).sum(axis=1)}


def _spread(
    features: Float[np.ndarray, "example features"], most: int
) -> Float[np.ndarray, "some features"]:
    return features[evenly(np.arange(len(features)), most, len(features))]


def _normalised(features: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
    lengths = jnp.linalg.norm(features, axis=1, keepdims=True)
    return features / jnp.where(lengths > 0, lengths, 1)
