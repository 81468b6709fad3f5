"""The evaluator `probabilities` on made-up outputs, on all devices of this process.

    python tests/helpers/evaluation/probability_runs.py BATCH_SIZE

prints the metrics as JSON.
"""

import json
import sys

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


def main() -> None:
    mesh = make_mesh()
    assert mesh.size == len(jax.devices())
    found = findings(*outputs_and_labels(), int(sys.argv[1]), mesh, temperature_share=0.3)
    print(json.dumps({"devices": mesh.size, **metrics_of(found)}))


if __name__ == "__main__":
    main()
