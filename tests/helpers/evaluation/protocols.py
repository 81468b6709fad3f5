"""The protocols that judge features, on given features and on a mesh."""

import jax

from dlresearch.evaluation.self_supervised import (
    FeaturesEvaluator,
    FewShotEvaluator,
    KNNEvaluator,
    LinearProbeEvaluator,
    RepresentationEvaluator,
)
from dlresearch.parallel import make_mesh
from helpers.evaluation.feature_runs import made, outputs_of, run


def shifted(key, batch):
    shift = jax.random.normal(key, batch["image"].shape)
    return {**batch, "first_view": batch["image"], "second_view": batch["image"] + shift}


def found_on(mesh):
    """Return the figures of 70 examples in batches of 32, and 90 training examples.

    Neither divides by 8.
    """
    views = {"alignment": True, "make_views": shifted, "outputs_of": outputs_of}
    evaluators = {
        "knn": made(KNNEvaluator, mesh=mesh, k=(5, 40)),  # 40 are more than a device has
        "linear_probe": made(LinearProbeEvaluator, mesh=mesh, epochs=5, train_batch_size=20),
        "few_shot": made(FewShotEvaluator, mesh=mesh, shares=(), shots=(5,), seeds=2),
        "representation": RepresentationEvaluator(**views),
        "features": FeaturesEvaluator(outputs_of=outputs_of),
    }
    return {
        f"{name}/{metric}": value
        for name, evaluator in evaluators.items()
        for metric, value in run(evaluator, mesh=mesh).items()
        if isinstance(value, float)
    }


def found_on_eight_devices():
    assert jax.device_count() == 8
    return found_on(make_mesh())
