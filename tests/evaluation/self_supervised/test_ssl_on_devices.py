"""The protocols find the same on eight devices as on one.

As a program, prints what they find on the mesh of all devices of this process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from helpers.evaluation.feature_runs import made, outputs_of, run

from dlresearch.evaluation.self_supervised import (
    FeaturesEvaluator,
    FewShotEvaluator,
    KNNEvaluator,
    LinearProbeEvaluator,
    RepresentationEvaluator,
)
from dlresearch.parallel import make_mesh


def shifted(key, batch):
    shift = jax.random.normal(key, batch["image"].shape)
    return {**batch, "first_view": batch["image"], "second_view": batch["image"] + shift}


def found_on(mesh):
    """Of 70 examples in batches of 32, and 90 training examples: neither divides by 8."""
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


def test_figures_are_the_same_on_eight_devices():
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, here],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "PYTHONPATH": os.pathsep.join([str(here.parents[3]), str(here.parents[1])]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("devices") == 8
    plain = found_on(None)
    accuracies = {name: value for name, value in plain.items() if "accuracy" in name}
    assert len(accuracies) == 5
    assert accuracies == {name: found[name] for name in accuracies}
    assert found == pytest.approx(plain, rel=1e-5)  # sums in float32


if __name__ == "__main__":
    print(json.dumps({"devices": jax.device_count(), **found_on(make_mesh())}))
