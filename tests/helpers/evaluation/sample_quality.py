"""The evaluator `sample_quality` on a generator that can be known."""

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch.data import EXAMPLE, evaluation_batches
from dlresearch.evaluation.gan import SampleQualityEvaluator
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

REAL = np.random.default_rng(0).integers(0, 256, (50, 2, 2, 1)).astype(np.uint8)
LABELS = (np.arange(50) % 3).astype(np.int32)
VARIABLES = Variables(params={"shift": jnp.float32(20)}, state={})


def predict(variables, batch):
    """Noise that depends on the number of the example, on its label, and on what was learned."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(batch[EXAMPLE])
    noise = jax.vmap(lambda key: jax.random.uniform(key, (2, 2, 1), maxval=200))(keys)
    moved = noise + variables.params["shift"] + 5 * batch["label"][:, None, None, None]
    return {"image": moved.astype(jnp.uint8)}


def samples(count):
    """Return what `predict` gives for so many samples, in rounds over the examples."""
    label = LABELS[np.arange(count) % 50]
    batch = {EXAMPLE: np.arange(count, dtype=np.int32), "label": label}
    return np.asarray(predict(VARIABLES, batch)["image"]), label


class Batches:
    def __init__(self, images, batch_size, mesh=None):
        self.images, self.batch_size, self.mesh = images, batch_size, mesh
        self.read = 0

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        count = len(self.images)
        arrays = {"image": self.images, "label": (np.arange(count) % 3).astype(np.int32)}
        arrays[EXAMPLE] = np.arange(count, dtype=np.int32)
        for batch in evaluation_batches(arrays, (), self.batch_size, slice(0, self.batch_size)):
            self.read += 1
            yield batch if self.mesh is None else put_batch(self.mesh, batch)


def run(batch_size=50, mesh=None, **options):
    evaluator = SampleQualityEvaluator(**options)
    return evaluator.run(predict, VARIABLES, iter(Batches(REAL, batch_size, mesh)))


def numbers(found):
    return {name: value for name, value in found.items() if isinstance(value, float)}


def quality_on_a_mesh():
    return numbers(run(batch_size=16, samples=130, mesh=make_mesh(), reference_examples=50))


def quality_on_eight_devices():
    assert jax.device_count() == 8
    return quality_on_a_mesh()
