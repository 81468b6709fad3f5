"""The evaluator `probabilities` on made-up outputs."""

import jax
import numpy as np

from dlresearch.data import evaluation_batches
from dlresearch.evaluation import ProbabilitiesEvaluator
from dlresearch.parallel import make_mesh, process_rows, put_batch
from dlresearch.tasks import Variables

VARIABLES = Variables(params={}, state={})


def outputs_and_labels(classes=4, examples=500):
    """Logits that are right about as often as not, and too sure of themselves."""
    rng = np.random.default_rng(classes)
    labels = rng.choice(classes, examples, p=np.arange(1, classes + 1) / (classes**2 + classes) * 2)
    logits = 3 * rng.standard_normal((examples, classes)) + 3 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels.astype(np.int32)


def predict(variables, batch):
    return batch["outputs"]


def findings(logits, label, batch_size, mesh=None, **options):
    rows = slice(0, batch_size) if mesh is None else process_rows(mesh, batch_size)
    batches = evaluation_batches({"outputs": logits, "label": label}, (), batch_size, rows)
    placed = batches if mesh is None else (put_batch(mesh, batch) for batch in batches)
    return ProbabilitiesEvaluator(**options).run(predict, VARIABLES, placed)


def metrics_of(found):
    return {name: value for name, value in found.items() if isinstance(value, float)}


def metrics_on_eight_devices(batch_size: int) -> dict[str, float]:
    assert jax.device_count() == 8
    found = findings(*outputs_and_labels(), batch_size, make_mesh(), temperature_share=0.3)
    return metrics_of(found)
