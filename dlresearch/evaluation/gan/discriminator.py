"""How well the discriminator tells held-out examples from generated ones."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dlresearch.evaluation.evaluator import Summed
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.tasks import Batch


class DiscriminatorEvaluator(Summed):
    """Metrics: `real_accuracy`, the share of examples with a logit above 0, and `fake_accuracy`, of
    generated ones with a logit below 0; `real_logit` and `fake_logit`, the means.

    On examples that were held out, beside the same figures of training, they show a discriminator
    that has learned its examples by heart: it takes what it has not seen for generated (Karras et
    al. 2020, arXiv:2006.06676, section 2). The critic of a Wasserstein loss is only defined up to a
    constant, so that for it the two accuracies mean little, and only the difference of the mean
    logits says something.
    """

    def update(self, outputs: Any, batch: Batch) -> dict[str, Array]:
        mask = batch["mask"]
        real, fake = (generated(outputs, f"{kind}_logit") for kind in ("real", "fake"))
        return {
            "examples": mask.sum(),
            "real_accuracy": (mask & (real > 0)).sum(),
            "fake_accuracy": (mask & (fake < 0)).sum(),
            "real_logit": jnp.where(mask, real, 0).sum(),
            "fake_logit": jnp.where(mask, fake, 0).sum(),
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            name: total / sums["examples"] for name, total in sums.items() if name != "examples"
        }
