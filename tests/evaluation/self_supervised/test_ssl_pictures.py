"""Views, neighbours and maps show what they say, pixel by pixel, on any batches and devices."""

import io

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from dlresearch.config import Component
from dlresearch.data import evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.grid import GAP, stretched
from dlresearch.evaluation.self_supervised.feature_map import (
    FeatureMapEvaluator,
    principal_components,
)
from dlresearch.evaluation.self_supervised.feature_neighbours import FeatureNeighboursEvaluator
from dlresearch.evaluation.self_supervised.views_picture import ViewsEvaluator
from dlresearch.parallel import make_mesh, put_batch
from dlresearch.tasks import Variables

RNG = np.random.default_rng(0)
VARIABLES = Variables(params={}, state={})
COUNT = 45
IMAGES = RNG.integers(0, 256, (COUNT, 3, 2, 3), dtype=np.uint8)
IMAGES[:, 0, 0, 0] = np.arange(COUNT)  # which one it is
LABELS = (np.arange(COUNT) % 3).astype(np.int32)
FEATURES = RNG.standard_normal((COUNT, 5)).astype(np.float32)
OTHERS = IMAGES[::-1]


def outputs_of(name):
    """A task whose features are rows of a table."""
    assert name == "features"
    return lambda variables, batch: jnp.asarray(FEATURES)[batch["image"][:, 0, 0, 0]]


def predict(variables, batch):
    raise AssertionError("nobody asked for predictions")


def batches(images, size, mesh=None, **arrays):
    arrays = {"image": images, "example": np.arange(len(images), dtype=np.int32)} | arrays
    for batch in evaluation_batches(arrays, (), size, slice(0, size)):
        yield batch if mesh is None else put_batch(mesh, batch)


def run(evaluator, size=8, mesh=None, images=IMAGES, **arrays):
    return evaluator.run(predict, VARIABLES, batches(images, size, mesh, **arrays))


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


# --- views ----------------------------------------------------------------------------------------


def make_views(key, batch):
    """Brighter views, the second a part of the image, and smaller local ones."""
    image = batch["image"]
    local = jnp.stack([image[:, :1, :1] + 3, image[:, :1, :1] + 4], axis=1)
    views = {"first_view": image + 1, "second_view": image[:, :2, :1] + 2, "local_views": local}
    return {**batch, **views}


def test_each_row_has_an_image_and_its_views_in_their_sizes():
    images = (IMAGES // 2)[..., :1]
    picture = pixels(
        run(ViewsEvaluator(2, scale=2, make_views=make_views), images=images)["views.png"]
    )
    widths, scale = (2, 2, 1, 1, 1), 2
    assert picture.shape == (2 * (6 + GAP) - GAP, scale * sum(widths) + 4 * GAP, 3)
    lefts = np.cumsum([0] + [scale * width + GAP for width in widths])
    for row, image in enumerate(images[:2]):
        line = picture[row * (6 + GAP) :][:6]
        columns = [
            line[:, left:][:, : scale * width] for left, width in zip(lefts, widths, strict=False)
        ]
        for column, shown, above in (
            (columns[0], image, 0),
            (columns[1], image + 1, 0),
            (columns[2], image[:2, :1] + 2, 0),
            (columns[3], image[:1, :1] + 3, 2),
            (columns[4], image[:1, :1] + 4, 2),
        ):
            large = np.kron(shown[..., 0], np.ones((scale, scale)))
            np.testing.assert_array_equal(column[above : above + len(large), :, 1], large)
            assert (column[:above] == 255).all() and (column[above + len(large) :] == 255).all()


def test_views_are_the_same_on_the_mesh_of_all_devices_and_draw_the_same_each_time():
    evaluator, mesh = ViewsEvaluator(3, make_views=make_views), make_mesh()
    meshed = run(evaluator, 8 * mesh.size, mesh)
    assert meshed == run(evaluator, 8 * mesh.size) == run(evaluator, 4)


def test_floats_of_any_unit_go_from_black_to_white():
    images = np.array([0.0, 16.0, 8.0, 24.0, np.nan], np.float32)[:, None, None, None]
    np.testing.assert_allclose(stretched(images, like=images[:3])[:4, 0, 0, 0], [-1, 1, 0, 2])
    np.testing.assert_allclose(stretched(images[:1])[:, 0, 0, 0], -1)
    assert stretched(IMAGES) is IMAGES


# --- neighbours -----------------------------------------------------------------------------------


def by_hand(queries, others, itself):
    """The order of the others for each query, by cosine."""
    norms = (
        np.linalg.norm(FEATURES[others], axis=1)
        * np.linalg.norm(FEATURES[queries], axis=1)[:, None]
    )
    cosine = FEATURES[queries] @ FEATURES[others].T / norms
    if not itself:
        cosine[queries[:, None] == others] = -2
    return np.argsort(-cosine, axis=1)


def neighbours(content, rows, near, scale=1):
    """The numbers of the images in each row of a picture."""
    height, width = 3 * scale + GAP, 2 * scale + GAP
    picture = pixels(content)
    assert picture.shape == (rows * height - GAP, width + 3 * GAP - GAP + near * width - GAP, 3)
    return picture[::height, 0, 0], picture[::height, 2 * scale + 3 * GAP :: width, 0]


@pytest.mark.parametrize("size", [4, 45, 64])
def test_neighbours_equal_a_search_by_hand(size):
    evaluator = FeatureNeighboursEvaluator(
        queries=4,
        neighbours=6,
        scale=1,
        outputs_of=outputs_of,
        reference="here",
        reference_examples=COUNT,
    )
    found = run(evaluator, size, label=LABELS)
    queries, near = neighbours(found["neighbours.png"], 4, 6)
    np.testing.assert_array_equal(queries, [0, 1, 2, 3])  # of classes 0, 1, 2, and 0 once more
    expected = by_hand(queries, np.arange(COUNT), itself=False)[:, :6]
    np.testing.assert_array_equal(near, expected)
    same = LABELS[expected] == LABELS[queries][:, None]
    assert 0 < same.mean() < 1 and found["same_class"] == pytest.approx(same.mean())
    assert evaluator.about == "4 of here, among 44 of here, by the cosine of features"


def test_neighbours_of_another_source_may_be_the_same_images():
    evaluator = FeatureNeighboursEvaluator(
        queries=5,
        neighbours=3,
        scale=1,
        train=Component("tfds", dataset="mnist", split="train"),
        outputs_of=outputs_of,
        examples_of=lambda component, argument: list(batches(OTHERS, 8)),
    )
    found = run(evaluator)
    assert found.keys() == {"neighbours.png"}  # no labels, no metric
    queries, near = neighbours(found["neighbours.png"], 5, 3)
    np.testing.assert_array_equal(queries, [0, 9, 18, 27, 36])  # spread evenly
    np.testing.assert_array_equal(near, by_hand(queries, np.arange(COUNT), itself=True)[:, :3])
    np.testing.assert_array_equal(near[:, 0], queries)
    assert "among 45 of tfds mnist train," in evaluator.about


def test_a_try_on_one_batch_does_not_read_the_whole_training_set():
    def reading(component, argument):
        return Once(list(batches(OTHERS, 8)))

    class Once(list):
        def __iter__(self):
            yield self[0]
            raise AssertionError("more than a batch was read")

    evaluator = FeatureNeighboursEvaluator(
        train=Component("other"),
        most=2,
        outputs_of=outputs_of,
        examples_of=reading,
        reference_examples=COUNT,
    )
    one = next(batches(IMAGES, 8))
    assert evaluator.run(predict, VARIABLES, [one]).keys() == {"neighbours.png"}


def test_many_examples_are_thinned_out_evenly():
    evaluator = FeatureNeighboursEvaluator(
        queries=9, neighbours=20, most=9, scale=1, outputs_of=outputs_of, reference_examples=COUNT
    )
    queries, near = neighbours(run(evaluator)["neighbours.png"], 9, 8)
    np.testing.assert_array_equal(queries, np.arange(0, COUNT, 5))
    for row, query in zip(near, queries, strict=True):
        assert sorted([*row, query]) == list(range(0, COUNT, 5))


def test_fewer_queries_than_classes_are_of_classes_from_all_over():
    evaluator = FeatureNeighboursEvaluator(queries=3, neighbours=1, scale=1, outputs_of=outputs_of)
    found = run(evaluator, label=np.arange(COUNT, dtype=np.int32)[::-1])
    queries, _ = neighbours(found["neighbours.png"], 3, 1)
    np.testing.assert_array_equal(queries, [44, 29, 14])
    assert found["same_class"] == 0


def test_neighbours_and_maps_are_the_same_on_the_mesh_of_all_devices():
    mesh = make_mesh()
    rows = 4 * mesh.size
    for kind in (FeatureNeighboursEvaluator, FeatureMapEvaluator):
        evaluator = kind(outputs_of=outputs_of, reference_examples=COUNT)
        assert run(evaluator, rows, mesh, label=LABELS) == run(evaluator, 7, label=LABELS)


# --- maps -----------------------------------------------------------------------------------------


def test_principal_components_are_those_of_scikit_learn():
    features = FEATURES * [1, 5, 2, 1, 1]
    points, share = principal_components(features)
    reference = PCA(2, svd_solver="full").fit(features.astype(np.float64))
    expected = reference.transform(features.astype(np.float64))
    # A coordinate may be near 0, so that errors are counted against the largest, which is near 10.
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(share, reference.explained_variance_ratio_, rtol=1e-6)
    # The largest entry of a direction is positive, so that a map does not turn round by chance.
    directions = features.T @ (points / np.linalg.norm(points, axis=0))
    assert (np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], 0) > 0).all()
    np.testing.assert_allclose(principal_components(-features)[0], -points, atol=1e-5)


def test_map_of_points_on_a_line_is_the_line():
    line = np.outer(np.arange(5), [0, -3, 4]).astype(np.float32)
    points, share = principal_components(line)
    np.testing.assert_allclose(points, [[-10, 0], [-5, 0], [0, 0], [5, 0], [10, 0]], atol=1e-9)
    np.testing.assert_allclose(share, [1, 0], atol=1e-12)
    points, share = principal_components(np.ones((1, 3), np.float32))
    assert points.tolist() == [[0, 0]] and share.tolist() == [0, 0]


def test_table_of_the_map_has_coordinates_and_classes():
    evaluator = FeatureMapEvaluator(
        class_names=("cat", "dog", "emu"), outputs_of=outputs_of, reference_examples=COUNT
    )
    found = run(evaluator, label=LABELS)
    table = pd.read_csv(io.StringIO(found["map.csv"]))
    points, share = principal_components(FEATURES)
    np.testing.assert_allclose(table[["x", "y"]], points, rtol=1e-5)
    assert table["class"].tolist() == ["cat", "dog", "emu"] * 15
    assert table["example"].tolist() == list(range(COUNT))
    assert evaluator.about == (
        "45 examples of the source; principal components,"
        f" {100 * share.sum():.1f} % of the variance"
    )
    picture = pixels(found["map.png"])[..., :3].reshape(-1, 3).astype(int)
    for colour in [(31, 119, 180), (255, 127, 14), (44, 160, 44)]:  # one for each class
        seen = 0.7 * np.array(colour) + 0.3 * 255
        assert (np.abs(picture - seen).max(axis=1) <= 1).sum() > 20
    plain = run(FeatureMapEvaluator(outputs_of=outputs_of))
    assert list(pd.read_csv(io.StringIO(plain["map.csv"])).columns) == ["example", "x", "y"]


def test_examples_without_finite_features_are_left_out():
    broken = FEATURES.copy()
    broken[[3, 7], 0] = np.nan, np.inf

    def evaluator(table):
        return FeatureMapEvaluator(
            outputs_of=lambda name: lambda variables, batch: jnp.asarray(table)[batch["example"]]
        )

    found = pd.read_csv(io.StringIO(run(evaluator(broken))["map.csv"]))
    assert found["example"].tolist() == [each for each in range(COUNT) if each not in (3, 7)]
    with pytest.raises(UserError, match="0 of 45 examples have finite features"):
        run(evaluator(np.full_like(FEATURES, np.nan)))


def test_tsne_keeps_clusters_together_and_is_the_same_each_time():
    centres = 20 * np.eye(5)[LABELS]
    evaluator = FeatureMapEvaluator(
        "tsne",
        outputs_of=lambda name: (
            lambda variables, batch: jnp.asarray(FEATURES + centres)[batch["example"]]
        ),
    )
    found = run(evaluator, label=LABELS)
    points = pd.read_csv(io.StringIO(found["map.csv"]))[["x", "y"]].to_numpy()
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(COUNT)
    np.testing.assert_array_equal(LABELS[apart.argmin(axis=1)], LABELS)
    assert run(evaluator, 45, label=LABELS)["map.csv"] == found["map.csv"]
    assert "perplexity 14.6667" in evaluator.about  # 30 is too much for so few


@pytest.mark.parametrize(
    ("evaluator", "arguments", "message"),
    [
        (ViewsEvaluator, {"examples": 0}, "examples=0: must be at least 1"),
        (ViewsEvaluator, {}, "views: there is no trainer here"),
        (FeatureNeighboursEvaluator, {"queries": 0}, "queries=0: must be at least 1"),
        (FeatureNeighboursEvaluator, {}, "features: there is no task here"),
        (
            FeatureNeighboursEvaluator,
            {"train": Component("digits"), "outputs_of": outputs_of},
            "train: there is no trainer here that could open it",
        ),
        (FeatureMapEvaluator, {"method": "tsn"}, "method: there is no 'tsn'; did you mean 'tsne'"),
        (FeatureMapEvaluator, {"most": 3}, "most=3: must be at least 4"),
        (FeatureMapEvaluator, {"perplexity": 0.0}, "perplexity=0.0: must be positive"),
        (FeatureMapEvaluator, {}, "features: there is no task here"),
    ],
)
def test_arguments_that_cannot_be(evaluator, arguments, message):
    with pytest.raises(UserError, match=message):
        evaluator(**arguments)


def test_images_that_cannot_be_shown_beside_each_other():
    evaluator = FeatureNeighboursEvaluator(
        train=Component("digits"),
        outputs_of=outputs_of,
        examples_of=lambda component, argument: list(batches(IMAGES[:, :2], 8)),
    )
    with pytest.raises(UserError, match=r"train: its images are uint8\[2, 2, 3\], and those of"):
        run(evaluator)
    evaluator = FeatureNeighboursEvaluator(image="picture", outputs_of=outputs_of)
    with pytest.raises(UserError, match="image: examples have no 'picture'"):
        run(evaluator)
