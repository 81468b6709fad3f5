"""The evaluator `sample_quality`, on a generator that can be known: figures are those of the same
features in one piece, whatever the batches, rounds and devices.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.config import Component
from dlresearch.data import EXAMPLE, evaluation_batches
from dlresearch.errors import UserError
from dlresearch.evaluation.gan import Extractor, SampleQualityEvaluator, quality
from dlresearch.evaluation.gan.distances import frechet_distance, kernel_distance
from dlresearch.evaluation.gan.manifolds import balls, density_coverage, precision_recall
from dlresearch.evaluation.gan.moments import Moments
from dlresearch.parallel import make_mesh
from dlresearch.tasks import Variables
from helpers.evaluation.sample_quality import (
    LABELS,
    REAL,
    VARIABLES,
    Batches,
    numbers,
    predict,
    quality_on_a_mesh,
    quality_on_eight_devices,
    run,
    samples,
)
from helpers.processes import on_eight_devices


def flat(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255


def moments_of(features):
    moments = Moments()
    moments.add(features)
    return moments


def expected(real, fake):
    precision, recall = precision_recall(balls(real, (3,)), balls(fake, (3,)))
    density, coverage = density_coverage(balls(real, (5,)), fake)
    distance, error = kernel_distance(real, fake)
    return {
        "frechet_distance": frechet_distance(moments_of(real), moments_of(fake)),
        "kernel_distance": distance,
        "kernel_distance_error": error,
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "samples": len(fake),
    }


@pytest.mark.parametrize("batch_size", [50, 7, 64])
@pytest.mark.parametrize("count", [None, 130])
def test_figures_are_those_of_all_features_at_once(batch_size, count):
    """Also of more samples than real examples, which take three rounds."""
    found = run(batch_size, samples=count, reference_examples=50 if count else None)
    images, _ = samples(count or 50)
    # XLA divides by 255 as a product, so that features differ by the rounding of float32.
    reference = pytest.approx(expected(flat(REAL), flat(images)), rel=1e-5, abs=1e-7)
    assert numbers(found) == reference
    assert 0 < found["precision"] < 1 and found["frechet_distance"] > 0.01


@pytest.mark.slow
def test_figures_are_the_same_on_eight_devices():
    found = on_eight_devices(quality_on_eight_devices)
    # The features are the same to the bit; what follows is float64, in whatever order.
    assert found == pytest.approx(quality_on_a_mesh(), rel=1e-9)


def test_fewer_samples_than_real_examples_are_spread_over_them():
    found = run(batch_size=7, samples=10)
    images = samples(50)[0][4::5]
    reference = expected(flat(REAL), flat(images))
    assert numbers(found) == pytest.approx(reference, rel=1e-5, abs=1e-7)


def test_all_but_frechet_take_a_random_choice_of_many():
    found = run(batch_size=7, manifold_samples=20)
    kept = np.sort(np.argsort(np.random.default_rng(0).random(50))[:20])
    images = samples(50)[0]
    reference = expected(flat(REAL)[kept], flat(images)[kept])
    reference["frechet_distance"] = expected(flat(REAL), flat(images))["frechet_distance"]
    assert numbers(found) == pytest.approx(reference | {"samples": 50}, rel=1e-5, abs=1e-7)


def test_frechet_alone_keeps_no_features(monkeypatch):
    monkeypatch.setattr("dlresearch.evaluation.gan.comparison.RandomRows", None)
    found = run(batch_size=7, metrics=("frechet",))
    assert numbers(found).keys() == {"frechet_distance", "samples"}


def test_real_examples_are_looked_at_once():
    evaluator = SampleQualityEvaluator()
    first = evaluator.run(predict, VARIABLES, Batches(REAL, 16))
    assert evaluator.run(predict, VARIABLES, Batches(np.zeros_like(REAL), 16)) == first
    other = Variables(params={"shift": jnp.float32(0)}, state={})
    assert evaluator.run(predict, other, Batches(REAL, 16)) != first


@pytest.mark.parametrize("batch_size", [2, 16])
def test_what_one_batch_gave_is_not_taken_for_all(batch_size):
    """As when a run is checked before it starts."""
    floor = Component("arrays")
    evaluator = SampleQualityEvaluator(
        samples=100,
        reference_examples=50,
        floor=floor,
        examples_of=lambda component, name: Batches(REAL[::-1], batch_size),
    )
    tried = evaluator.run(predict, VARIABLES, [next(iter(Batches(REAL, batch_size)))])
    assert tried["samples"] == 2 * batch_size and tried["floor_samples"] == batch_size
    assert np.isnan(tried["precision"]) == np.isnan(tried["floor_coverage"]) == (batch_size == 2)
    found = numbers(evaluator.run(predict, VARIABLES, Batches(REAL, batch_size)))
    assert found.keys() == numbers(tried).keys()
    again = evaluator.run(predict, VARIABLES, [next(iter(Batches(REAL, batch_size)))])
    assert again["samples"] == 2 * batch_size and numbers(again).keys() == found.keys()
    images, _ = samples(100)
    reference = expected(flat(REAL), flat(images))
    floored = expected(flat(REAL), flat(REAL[::-1]))
    reference |= {f"floor_{name}": value for name, value in floored.items()}
    assert found == pytest.approx(reference, rel=1e-5, abs=1e-7)


def test_floor_is_as_many_real_examples_as_samples_and_found_once():
    others = Batches(np.flip(REAL, axis=1), 16)
    asked = []

    def examples_of(component, name):
        asked.append((component, name))
        return others

    source = Component("arrays", path="others.npz")
    evaluator = SampleQualityEvaluator(samples=25, floor=source, examples_of=examples_of)
    found = evaluator.run(predict, VARIABLES, Batches(REAL, 16))
    assert asked == [(source, "floor")]
    reference = expected(flat(REAL), flat(others.images[1::2]))
    floors = {name: found[f"floor_{name}"] for name in reference}
    assert floors == pytest.approx(reference, rel=1e-5, abs=1e-7)
    again = evaluator.run(predict, VARIABLES, Batches(REAL, 16))
    assert again == found and others.read == 4


def test_a_classifier_as_extractor_says_how_many_samples_have_the_label_asked_for(tmp_path):
    def brightness(variables, images):
        return images.astype(jnp.float32).mean(axis=(1, 2)) / variables["scale"]

    def logits(variables, images):
        return -jnp.abs(brightness(variables, images) * 255 - jnp.array([110.0, 125, 140]))

    def open_run(path):
        assert path == str(tmp_path)
        return Extractor("a net", brightness, {"scale": np.float32(255)}, logits)

    evaluator = SampleQualityEvaluator(
        extractor=str(tmp_path), open_run=open_run, samples=120, reference="mnist test"
    )
    found = evaluator.run(predict, VARIABLES, Batches(REAL, 16, make_mesh()))
    images, labels = samples(120)
    mean = images.reshape(120, -1).mean(axis=1)
    nearest = np.abs(mean[:, None] - [110, 125, 140]).argmin(axis=1)
    assert found["accuracy"] == np.mean(nearest == labels)
    assert 0 < found["accuracy"] < 1
    features, real = mean[:, None] / 255, REAL.reshape(50, -1).mean(axis=1, keepdims=True) / 255
    distance = frechet_distance(moments_of(real), moments_of(features))
    assert found["frechet_distance"] == pytest.approx(distance, rel=1e-5)
    assert evaluator.about == "120 samples against 50 of mnist test; a net"


def test_file_has_the_figures_and_what_they_are_of():
    evaluator = SampleQualityEvaluator(reference="tfds mnist test")
    found = dict(evaluator.run(predict, VARIABLES, Batches(REAL, 16)))
    written = json.loads(found.pop("quality.json"))
    assert evaluator.about == "50 samples against 50 of tfds mnist test; pixels"
    assert written == found | {
        "about": evaluator.about,
        "samples": 50,
        "reference": "tfds mnist test",
        "reference_examples": 50,
        "extractor": "pixels",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("frechet", "kernal")}, "metrics: no 'kernal'; did you mean 'kernel'"),
        ({"samples": 5}, "samples=5 is too few; give at least 6"),
        ({"manifold_samples": 5}, "manifold_samples=5 is too few; give at least 6"),
        ({"extractor": "pixel"}, "extractor='pixel' is neither 'pixels' nor the folder"),
        ({"image": "images"}, "image: examples have no 'images'; they have image"),
    ],
)
def test_what_cannot_be_is_the_users_mistake(options, message):
    with pytest.raises(UserError, match=message):
        run(**options)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda images: images.astype(jnp.float32), "generated examples are float32"),
        (
            lambda images: {"images": images},
            "the task gives no output 'image'; did you mean 'images'",
        ),
        (lambda images: images[:, :1], r"\[50, 1, 2, 1\], and the real ones uint8 \[50, 2, 2, 1\]"),
    ],
)
def test_generated_examples_unlike_the_real_ones_are_refused(made, message):
    def other(variables, batch):
        return made(predict(variables, batch)["image"])

    with pytest.raises(UserError, match=message):
        SampleQualityEvaluator().run(other, VARIABLES, Batches(REAL, 50))


def test_rounds_need_the_number_of_each_example():
    batches = evaluation_batches({"image": REAL, "label": LABELS}, (), 50, slice(0, 50))
    with pytest.raises(UserError, match=f"samples: examples have no '{EXAMPLE}'"):
        SampleQualityEvaluator(samples=51).run(predict, VARIABLES, batches)


def test_pixels_are_too_many_for_a_frechet_distance_of_large_images():
    images = np.zeros((8, 64, 64, 3), np.uint8)
    with pytest.raises(UserError, match=r"12,288 features .pixels. are too many"):
        SampleQualityEvaluator().run(
            lambda variables, batch: batch["image"], VARIABLES, Batches(images, 8)
        )


def test_many_arrays_of_an_extractor_keep_their_places_on_a_mesh():
    """More than ten, whose numbers sort otherwise as text."""
    arrays = {"layers": [np.full(number + 1, number) for number in range(12)]}
    placed = quality._everywhere(arrays, make_mesh())
    for expected, found in zip(arrays["layers"], placed["layers"], strict=True):
        np.testing.assert_array_equal(found, expected)
