"""Every sample stands where it belongs: fixed rows, classes, latents, truncations and steps."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlresearch.data import evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import SamplesEvaluator
from dlresearch.evaluation.gan.pictures import between
from dlresearch.evaluation.grid import GAP, grid, to_bytes
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

VARIABLES = Variables(params={}, state={})
SIDE = 4
REAL = np.arange(11, dtype=np.uint8)[:, None, None, None] + np.full(
    (1, SIDE, SIDE, 1), 100, np.uint8
)
LABEL = (np.arange(11) % 3).astype(np.int32)


def paint(variables, batch):
    """Images in the colours (example, 20 times the label, what else the batch has)."""
    other = jnp.zeros(len(batch["mask"]))
    if "truncation" in batch:
        other = 100 * batch["truncation"]
    if "latent" in batch:
        other = 100 + 10 * jnp.linalg.norm(batch["latent"], axis=1)
    colours = jnp.stack([batch["example"], 20 * batch["label"], other], axis=-1).astype("uint8")
    return {"image": jnp.broadcast_to(colours[:, None, None], (len(colours), SIDE, SIDE, 3))}


def run(evaluator, batch_size=4, predict=paint, **arrays):
    arrays = {"image": REAL, "label": LABEL, "example": np.arange(11, dtype=np.int32)} | arrays
    return evaluator.run(
        predict, VARIABLES, evaluation_batches(arrays, (), batch_size, slice(0, batch_size))
    )


def cells(content, scale=2, left=0):
    """The colour in the middle of each image of a grid."""
    pixels = np.asarray(Image.open(io.BytesIO(content)))[:, left:]
    step = SIDE * scale + GAP
    assert (pixels.shape[0] + GAP) % step == 0
    return pixels[step // 2 - 1 :: step, step // 2 - 1 :: step]


@pytest.mark.parametrize("batch_size", [4, 11])
def test_each_row_of_the_grid_has_a_class_and_every_sample_a_latent_of_its_own(batch_size):
    found = run(SamplesEvaluator(columns=5, num_classes=3), batch_size)
    assert found.keys() == {"grid.png", "strip.png", "real.png", "truncation.png"}
    latent, label, _ = np.moveaxis(cells(found["grid.png"]), -1, 0)
    np.testing.assert_array_equal(latent, np.arange(15).reshape(3, 5))
    np.testing.assert_array_equal(label, 20 * np.repeat([[0], [1], [2]], 5, axis=1))
    strip = cells(found["strip.png"])[0]
    np.testing.assert_array_equal(strip[:, 0], range(5))
    np.testing.assert_array_equal(strip[:, 1], [0, 20, 40, 0, 20])
    real = cells(found["real.png"])[..., 0]
    shown = min(batch_size, 11)
    np.testing.assert_array_equal(real.ravel()[:shown], 100 + np.arange(shown))


def test_images_are_enlarged_pixel_by_pixel_with_white_between():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    found = grid([[image, 2 * image], [3 * image]], scale=3)
    assert found.shape == (2 * 12 + GAP, 2 * 12 + GAP, 3)
    np.testing.assert_array_equal(found[:12, :12, 1], np.kron(image[..., 0], np.ones((3, 3))))
    np.testing.assert_array_equal(found[:12, 12 + GAP :, 0], found[:12, :12, 0] * 2)
    assert (found[:, 12 : 12 + GAP] == 255).all() and (found[12 + GAP :, 12:] == 255).all()


def test_more_classes_than_rows_are_chosen_evenly():
    found = run(SamplesEvaluator(rows=4, columns=2, num_classes=12, pictures=("grid",)))
    assert found.keys() == {"grid.png"}
    np.testing.assert_array_equal(cells(found["grid.png"])[:, 0, 1], [0, 60, 120, 180])


def test_labels_are_those_of_the_batch_where_the_source_has_no_classes():
    found = run(SamplesEvaluator(rows=1, columns=4, pictures=("grid",)))
    np.testing.assert_array_equal(cells(found["grid.png"])[0, :, 1], 20 * LABEL[:4])


def test_truncations_are_rows_of_the_same_latents():
    found = run(SamplesEvaluator(columns=4, truncations=(0.5, 1.0), pictures=("truncation",)))
    picture = Image.open(io.BytesIO(found["truncation.png"]))
    margin = picture.width - (4 * (2 * SIDE + GAP) - GAP)
    rows = cells(found["truncation.png"], left=margin)
    np.testing.assert_array_equal(rows[..., 0], [range(4)] * 2)
    np.testing.assert_array_equal(rows[..., 2], [[50] * 4, [100] * 4])
    assert 10 < margin < 60 and np.asarray(picture)[:, :margin].min() < 100  # the numbers


def test_interpolation_keeps_the_class():
    evaluator = SamplesEvaluator(columns=6, num_classes=3, latent=16, pictures=("interpolation",))
    rows = cells(run(evaluator)["interpolation.png"])
    np.testing.assert_array_equal(rows[..., 1], 20 * np.repeat([[0], [1], [2]], 6, axis=1))
    assert len(np.unique(rows[..., 2])) > 3  # other latents along the way


def test_interpolation_runs_along_the_sphere_in_equal_steps():
    ends = np.random.default_rng(1).standard_normal((2, 16))
    np.testing.assert_allclose(between(*ends, 7)[[0, -1]], ends)
    first, last = ends / np.linalg.norm(ends, axis=1, keepdims=True)
    path = between(first, last, 7)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1)  # a straight line is within
    angles = np.arccos(np.sum(path[1:] * path[:-1], axis=1))
    np.testing.assert_allclose(angles, np.arccos(first @ last) / 6)
    np.testing.assert_allclose(between(first, first, 3), [first] * 3)


def strip(brightness):
    """The files of a step at which all samples had this brightness."""

    def predict(variables, batch):
        return jnp.full((len(batch["mask"]), SIDE, SIDE, 1), brightness, "uint8")

    return run(SamplesEvaluator(columns=3, pictures=("strip",)), predict=predict)


def test_film_stacks_the_strips_in_the_order_of_the_steps():
    made = {1000: strip(200), 0: strip(10), 200: strip(60), 300: {"other.png": b""}}
    film = SamplesEvaluator().over_training(made)["film.png"]
    width = 3 * (2 * SIDE + GAP) - GAP
    left = Image.open(io.BytesIO(film)).width - width
    np.testing.assert_array_equal(cells(film, left=left)[..., 0], [[10] * 3, [60] * 3, [200] * 3])


def test_long_film_runs_from_the_first_step_to_the_last():
    evaluator, (first, middle, last) = SamplesEvaluator(), map(strip, (10, 60, 200))
    assert evaluator.over_training({5: first}) == {}
    made = {0: first, **{step: middle for step in range(1, 39)}, 39: last}
    film = evaluator.over_training(made)["film.png"]
    width = 3 * (2 * SIDE + GAP) - GAP
    rows = cells(film, left=Image.open(io.BytesIO(film)).width - width)[:, 0, 0]
    np.testing.assert_array_equal(rows, [10] + [60] * 14 + [200])


def test_pictures_are_the_same_on_the_mesh_of_all_devices():
    evaluator, mesh = SamplesEvaluator(columns=3, num_classes=3, latent=2), make_mesh()
    rows = 4 * mesh.size
    arrays = {"image": REAL, "label": LABEL, "example": np.arange(11, dtype=np.int32)}
    batches = (
        put_batch(mesh, batch) for batch in evaluation_batches(arrays, (), rows, slice(0, rows))
    )
    meshed, plain = evaluator.run(paint, VARIABLES, batches), run(evaluator, rows)
    assert meshed == plain and len(plain) == 5


@pytest.mark.parametrize("type_", [np.float32, np.float16])
def test_floats_go_from_black_at_minus_one_to_white_at_one(type_):
    images = np.array([-2, -1, 0, 1, 3, np.nan], type_)[:, None, None, None]
    assert to_bytes(images)[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pictures": ("gird",)}, "pictures: there is no 'gird'; did you mean 'grid'"),
        ({"rows": 0}, "rows=0: must be at least 1"),
        ({"columns": 0}, "columns=0: must be at least 1"),
        ({"scale": 0}, "scale=0: must be at least 1"),
        ({"truncations": (0.5, 0.0)}, r"truncations=\(0.5, 0.0\): make them positive"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        SamplesEvaluator(**arguments)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (np.zeros((4, 2), np.float32), r"an example is \[2\]; pictures are made of"),
        (np.zeros((4, 2, 2, 4), np.uint8), r"an example is \[2, 2, 4\]"),
        (np.zeros((4, 2, 2, 1), np.int32), "images are int32; pictures are made of uint8"),
    ],
)
def test_what_is_no_image_is_refused(example, message):
    with pytest.raises(UserError, match=message):
        run(SamplesEvaluator(pictures=("strip",)), predict=lambda variables, batch: example)
