"""Evaluators of features on examples whose features are given: for tests of the protocols."""

import jax.numpy as jnp
import numpy as np

from dlresearch.config import Component
from dlresearch.data import ArraySource, evaluation_batches
from dlresearch.parallel import process_rows, put_batch
from dlresearch.tasks import Variables

CLASSES = 3
SCALE = 0.5
VARIABLES = Variables(params={"model": jnp.float32(SCALE)}, state={})
TRAIN_SOURCE = Component("tfds", dataset="toy", split="train")


def labelled(count, seed, dimensions=6, apart=1.5):
    """Clouds around a point for each class that overlap; features are half of `image`, and the
    last is always the same.
    """
    rng = np.random.default_rng(seed)
    label = rng.permutation(count).astype(np.int32) % CLASSES
    points = rng.normal(size=(count, dimensions))
    points[np.arange(count), label] += apart
    points[:, -1] = 0.25
    example = np.arange(count, dtype=np.int32)
    return {"image": points.astype(np.float32), "label": label, "example": example}


TRAIN, TEST = labelled(90, seed=1), labelled(70, seed=2)


def outputs_of(method):
    assert method == "features"
    return lambda variables, batch: variables.params["model"] * batch["image"]


def features(arrays):
    """What `outputs_of` gives, in float64."""
    return SCALE * arrays["image"].astype(np.float64)


class Examples:
    """As the trainer's: batches of all examples on a mesh, or on none."""

    def __init__(self, arrays, batch_size=32, mesh=None):
        self.arrays, self.batch_size, self.mesh = arrays, batch_size, mesh

    def __len__(self):
        return len(self.arrays["label"])

    def __iter__(self):
        rows = slice(0, self.batch_size)
        if self.mesh is not None:
            rows = process_rows(self.mesh, self.batch_size)
        for batch in evaluation_batches(ArraySource(self.arrays), (), self.batch_size, rows):
            yield batch if self.mesh is None else put_batch(self.mesh, batch)


def made(kind, train=TRAIN, test=TEST, batch_size=32, mesh=None, **arguments):
    """An evaluator that has a training set, as the trainer makes it."""
    given = {
        "outputs_of": outputs_of,
        "examples_of": lambda component, argument: Examples(train, batch_size, mesh),
        "reference": "tfds toy test",
        "reference_examples": len(test["label"]),
        **arguments,
    }
    return kind(TRAIN_SOURCE, **given)


def run(evaluator, test=TEST, batch_size=32, mesh=None):
    return evaluator.run(None, VARIABLES, Examples(test, batch_size, mesh))


def trial(evaluator, test=TEST, batch_size=32):
    """The first batch alone, as `check` does."""
    return evaluator.run(None, VARIABLES, iter([next(iter(Examples(test, batch_size)))]))
