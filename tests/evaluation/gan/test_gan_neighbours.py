"""Nearest neighbours are those of a search by hand, whatever the batches and the devices."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlresearch.config import Component
from dlresearch.data import evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import NearestNeighboursEvaluator
from dlresearch.evaluation.grid import GAP
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

RNG = np.random.default_rng(0)
VARIABLES = Variables(params={}, state={})
TRAIN = RNG.integers(0, 256, (45, 3, 2, 3), dtype=np.uint8)
HELD_OUT = RNG.integers(0, 256, (20, 3, 2, 3), dtype=np.uint8)
MADE = np.concatenate([TRAIN[[7]], RNG.integers(0, 256, (9, 3, 2, 3), dtype=np.uint8)])


def predict(variables, batch):
    return {"image": jnp.asarray(MADE)[batch["example"]]}


def batches(images, batch_size, mesh=None):
    arrays = {"image": images, "example": np.zeros(len(images), np.int32)}
    for batch in evaluation_batches(arrays, (), batch_size, slice(0, batch_size)):
        yield batch if mesh is None else put_batch(mesh, batch)


def by_hand(queries, images):
    """Distances, and the order of the images, for each query."""
    apart = (queries[:, None].astype(float) - images.astype(float)) / 255
    distance = np.sqrt(np.mean(apart**2, axis=(2, 3, 4)))
    return distance.min(axis=1), np.argsort(distance, axis=1)


@pytest.mark.parametrize("batch_size", [4, 45, 64])
def test_neighbours_equal_a_search_through_all_images(batch_size):
    evaluator = NearestNeighboursEvaluator(
        count=10,
        neighbours=5,
        scale=1,
        floor=Component("held_out"),
        examples_of=lambda component, argument: list(batches(HELD_OUT, 8)),
    )
    found = evaluator.run(predict, VARIABLES, batches(TRAIN, batch_size))
    distance, order = by_hand(MADE, TRAIN)
    assert distance[0] == 0  # the first was copied
    assert found["nearest_distance"] == pytest.approx(distance.mean(), rel=1e-5)
    held_out, _ = by_hand(HELD_OUT[:10], TRAIN)
    assert found["real_nearest_distance"] == pytest.approx(held_out.mean(), rel=1e-5)
    assert evaluator.about == "10 generated, among 45 of the source, in pixels"

    picture = np.asarray(Image.open(io.BytesIO(found["neighbours.png"])))
    assert picture.shape == (10 * (3 + GAP) - GAP, 2 + 3 * GAP + 5 * (2 + GAP) - GAP, 3)
    for row in range(10):
        line = picture[row * (3 + GAP) :][:3]
        np.testing.assert_array_equal(line[:, :2], MADE[row])
        for place, column in enumerate(range(2 + 3 * GAP, line.shape[1], 2 + GAP)):
            np.testing.assert_array_equal(line[:, column : column + 2], TRAIN[order[row, place]])


def test_copies_have_no_distance():
    def copy(variables, batch):
        return jnp.asarray(TRAIN)[batch["example"]]

    found = NearestNeighboursEvaluator(count=9).run(copy, VARIABLES, batches(TRAIN, 8))
    assert found["nearest_distance"] == 0


def test_floats_are_measured_on_the_scale_of_bytes():
    def as_floats(images):
        return (images / 127.5 - 1).astype(np.float32)

    def floats(variables, batch):
        return jnp.asarray(as_floats(MADE))[batch["example"]]

    evaluator = NearestNeighboursEvaluator(count=10)
    found = evaluator.run(floats, VARIABLES, batches(as_floats(TRAIN), 8))
    assert found["nearest_distance"] == pytest.approx(by_hand(MADE, TRAIN)[0].mean(), rel=1e-5)


def test_fewer_images_than_neighbours_are_all_shown():
    evaluator = NearestNeighboursEvaluator(count=2, neighbours=7, scale=1)
    found = evaluator.run(predict, VARIABLES, batches(TRAIN[:3], 8))
    picture = Image.open(io.BytesIO(found["neighbours.png"]))
    assert picture.width == 2 + 3 * GAP + 3 * (2 + GAP) - GAP


def test_neighbours_are_the_same_on_the_mesh_of_all_devices():
    evaluator, mesh = NearestNeighboursEvaluator(count=10), make_mesh()
    rows = 4 * mesh.size
    meshed = evaluator.run(predict, VARIABLES, batches(TRAIN, rows, mesh))
    assert meshed == evaluator.run(predict, VARIABLES, batches(TRAIN, 7))


@pytest.mark.parametrize("name", ["count", "neighbours", "scale"])
def test_numbers_that_cannot_be(name):
    with pytest.raises(UserError, match=f"{name}=0: must be at least 1"):
        NearestNeighboursEvaluator(**{name: 0})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            np.zeros((10, 4, 2, 3), np.uint8),
            r"generated images are uint8\[4, 2, 3\], and those of the source uint8\[3, 2, 3\]",
        ),
        (np.zeros((10, 3, 2, 3), np.float32), r"generated images are float32\[3, 2, 3\]"),
    ],
)
def test_images_that_cannot_be_compared(made, message):
    with pytest.raises(UserError, match=message):
        NearestNeighboursEvaluator(count=10).run(
            lambda variables, batch: jnp.asarray(made)[batch["example"]],
            VARIABLES,
            batches(TRAIN, 8),
        )
