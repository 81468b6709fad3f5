"""Attention maps and reconstructions show what the task gives, pixel by pixel."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlresearch.data import evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.grid import GAP
from dlresearch.evaluation.self_supervised.attention_maps import AttentionMapsEvaluator
from dlresearch.evaluation.self_supervised.reconstructions import ReconstructionsEvaluator
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

RNG = np.random.default_rng(0)
VARIABLES = Variables(params={}, state={})
IMAGES = RNG.integers(0, 256, (11, 4, 6, 3), dtype=np.uint8)
ATTENTION = RNG.uniform(size=(11, 2, 2, 3)).astype(np.float32)
MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.25])
BOTH = pytest.mark.parametrize("kind", [AttentionMapsEvaluator, ReconstructionsEvaluator])


def normalised(images):
    return (images / 255 - MEAN) / STD


def outputs_of(name):
    """A task that looks as a table says, and tells the negative of an image's right half."""

    def attention(variables, batch):
        return jnp.asarray(ATTENTION)[batch["example"]]

    def reconstruct(variables, batch):
        right = jnp.arange(6)[:, None] >= 3
        return {
            "image": normalised(batch["image"]),
            "masked": jnp.where(right, normalised(100.0), normalised(batch["image"])),
            "reconstruction": normalised(jnp.where(right, 255 - batch["image"], batch["image"])),
        }

    return {"attention": attention, "reconstruct": reconstruct}[name]


def run(kind, size=8, mesh=None, images=IMAGES, outputs_of=outputs_of, **arguments):
    arrays = {"image": images, "example": np.arange(len(images), dtype=np.int32)}
    batches = evaluation_batches(arrays, (), size, slice(0, size))
    if mesh is not None:
        batches = (put_batch(mesh, batch) for batch in batches)
    evaluator = kind(outputs_of=outputs_of, **arguments)
    (content,) = evaluator.run(None, VARIABLES, batches).values()
    return np.asarray(Image.open(io.BytesIO(content)))


def cells(picture, row, scale=1):
    """The images of a row."""
    height, width = 4 * scale + GAP, 6 * scale + GAP
    line = picture[row * height :][: 4 * scale]
    return [line[:, left : left + 6 * scale] for left in range(0, line.shape[1], width)]


def test_maps_stand_beside_their_image_white_where_a_head_looks_most():
    picture = run(AttentionMapsEvaluator, examples=3, scale=2)
    assert picture.shape == (3 * (8 + GAP) - GAP, 3 * (12 + GAP) - GAP, 3)
    for row in range(3):
        image, *maps = cells(picture, row, scale=2)
        np.testing.assert_array_equal(image[::2, ::2], IMAGES[row])
        for head, shown in zip(ATTENTION[row], maps, strict=True):
            levels = np.round(255 * head / head.max()).astype(np.uint8)
            expected = np.kron(levels, np.ones((4, 4), np.uint8))  # patches of 2x2, twice as large
            np.testing.assert_array_equal(shown, np.repeat(expected[..., None], 3, axis=2))


def test_reconstructions_are_in_the_colours_of_the_source():
    picture = run(ReconstructionsEvaluator, examples=4, scale=1)
    for row in range(4):
        image, masked, told = cells(picture, row)
        np.testing.assert_array_equal(image, IMAGES[row])
        np.testing.assert_array_equal(masked[:, :3], IMAGES[row][:, :3])
        assert (masked[:, 3:] == 100).all()
        np.testing.assert_array_equal(told[:, :3], IMAGES[row][:, :3])
        np.testing.assert_array_equal(told[:, 3:], 255 - IMAGES[row][:, 3:])


@BOTH
def test_images_of_floats_go_from_black_to_white(kind):
    floats = (IMAGES.astype(np.float32) - 100) / 7
    low, high = floats[:2].min(), floats[:2].max()
    picture = run(kind, images=floats, examples=2, scale=1)
    expected = 255 * (floats[0] - low) / (high - low)
    # Rounded to a level after two ways in float32.
    np.testing.assert_allclose(cells(picture, 0)[0], expected, atol=0.6)


def test_images_that_are_resized_for_the_model_are_shown_as_it_reads_them():
    def smaller(name):
        def reconstruct(variables, batch):
            image = batch["image"][:, :2, :2] / 255.0
            return dict.fromkeys(("image", "masked", "reconstruction"), image)

        return reconstruct

    picture = run(ReconstructionsEvaluator, outputs_of=smaller, examples=2, scale=1)
    assert picture.shape == (2 * (2 + GAP) - GAP, 3 * (2 + GAP) - GAP, 3)
    read = IMAGES[:2, :2, :2].astype(float)
    expected = 255 * (read[0] - read.min()) / (read.max() - read.min())
    np.testing.assert_allclose(picture[:2, :2], expected, atol=0.6)


@BOTH
def test_fewer_examples_than_rows_are_all_shown(kind):
    picture = run(kind, images=IMAGES[:3], scale=1)
    assert len(picture) == 3 * (4 + GAP) - GAP


@BOTH
def test_pictures_are_the_same_on_the_mesh_of_all_devices(kind):
    mesh = make_mesh()
    np.testing.assert_array_equal(run(kind, 8 * mesh.size, mesh), run(kind))


@pytest.mark.parametrize("name", ["examples", "scale"])
@BOTH
def test_numbers_that_cannot_be(kind, name):
    with pytest.raises(UserError, match=f"^{name}=0: must be at least 1$"):
        kind(outputs_of=outputs_of, **{name: 0})


@pytest.mark.parametrize(
    ("kind", "method"),
    [(AttentionMapsEvaluator, "attention"), (ReconstructionsEvaluator, "reconstruct")],
)
def test_without_a_task_there_is_nothing_to_show(kind, method):
    with pytest.raises(UserError, match=f"^{method}: there is no task here"):
        kind()


def test_patches_that_do_not_divide_the_image_are_explained():
    with pytest.raises(UserError, match=r"the model reads 2x3 patches, and images .* are 5x6"):
        run(AttentionMapsEvaluator, images=np.zeros((4, 5, 6, 3), np.uint8))
