"""Mixup and CutMix against loops in NumPy; what is drawn against SciPy; labels that follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dlresearch.data.augmentations import CutMix, Mixup, apply_all
from dlresearch.data.augmentations.mixing import draw_patch, mix, symmetric_beta
from dlresearch.errors import UserError
from helpers.data.pictures import KEY, noise

TYPES = (np.uint8, np.float32)
COUNT, CLASSES = 2000, 5
LABELS = np.random.default_rng(0).integers(0, CLASSES, COUNT).astype(np.int32)
ONE_HOT = np.eye(CLASSES)[LABELS]


def run(augmentation, image, label=LABELS, key=KEY):
    batch = {"image": jnp.asarray(image), "label": jnp.asarray(label)}
    return {k: np.asarray(v) for k, v in jax.jit(augmentation)(key, batch).items()}


def own_part(labels: np.ndarray) -> np.ndarray:
    """What each example kept of itself, as its label says; where its partner has another class."""
    other = np.roll(LABELS, 1) != LABELS
    return labels[np.arange(COUNT), LABELS][other]


@pytest.mark.parametrize("dtype", TYPES)
def test_mix_is_the_weighted_mean_with_the_example_before(dtype):
    image, part = noise(6, dtype=dtype), np.array([0, 0.25, 0.5, 0.9, 1, 0.33], np.float32)
    result = mix(jnp.asarray(image), jnp.asarray(part))
    assert result.dtype == dtype
    for i in range(6):
        # Before the first comes the last.
        expected = part[i] * image[i].astype(np.float64) + (1 - part[i]) * image[i - 1]
        # uint8 is rounded to the nearest.
        assert np.abs(result[i] - expected).max() <= (0.5001 if dtype == np.uint8 else 1e-4)


@pytest.mark.parametrize(("alpha", "probability"), [(0.2, 1.0), (1.0, 0.6)])
def test_mixup_mixes_labels_as_images(alpha, probability):
    image = noise(COUNT, 4, 3, dtype=np.float32)
    result = run(Mixup(alpha, probability, num_classes=CLASSES), image)
    before = np.roll(image, 1, axis=0)
    difference = image - before
    part = np.sum((result["image"] - before) * difference, (1, 2, 3), dtype=np.float64)
    part = part / np.sum(difference**2, (1, 2, 3), dtype=np.float64)
    weights = part[:, None] * ONE_HOT + (1 - part[:, None]) * np.roll(ONE_HOT, 1, axis=0)
    np.testing.assert_allclose(result["label"], weights, atol=1e-4)
    whole = np.isclose(part, 1, atol=1e-7)
    mixed = part[~whole]
    if probability < 1:
        # Binomial, five standard deviations; Beta(1, 1) itself does not come to 1.
        assert abs(len(mixed) / COUNT - probability) < 0.055
    else:
        mixed = part
    assert scipy.stats.kstest(mixed, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alpha", [0.4, 1.0, 8.0])
def test_draws_of_symmetric_beta_have_its_distribution(alpha):
    drawn = np.asarray(symmetric_beta(KEY, alpha, 100_000), np.float64)
    assert scipy.stats.kstest(drawn, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01
    tiny = np.asarray(symmetric_beta(KEY, 0.01, 100_000))  # all but all at its ends
    assert np.all((tiny >= 0) & (tiny <= 1)) and abs(tiny.mean() - 0.5) < 0.008


def test_cutmix_pastes_a_box_and_mixes_labels_by_its_area():
    image = noise(COUNT, 12, 10)
    result = run(CutMix(probability=0.7, num_classes=CLASSES), image)
    assert result["image"].dtype == np.uint8
    parts = []
    for i in range(COUNT):
        kept = np.all(result["image"][i] == image[i], axis=-1)
        pasted = np.all(result["image"][i] == image[i - 1], axis=-1)
        assert np.all(kept | pasted)
        if np.any(~kept):
            rows, columns = (np.flatnonzero((~kept).any(axis=axis)) for axis in (1, 0))
            box = np.zeros_like(kept)
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            assert np.all(pasted[box])
            part = 1 - box.sum() / 120
        else:
            part = 1.0
        expected = part * ONE_HOT[i] + (1 - part) * ONE_HOT[i - 1]
        np.testing.assert_allclose(result["label"][i], expected, atol=1e-6)
        parts.append(part)
    # Some of the 70 % draw a box of less than two pixels to a side, which is none.
    assert 0.55 < np.mean(np.array(parts) < 1) < 0.7


def authors_patch(rng, part, height, width):
    """`rand_bbox` of the code that Yun et al. published, as top, left, height and width."""
    cut_height, cut_width = int(height * np.sqrt(1 - part)), int(width * np.sqrt(1 - part))
    row, column = rng.integers(height), rng.integers(width)
    top, bottom = np.clip([row - cut_height // 2, row + cut_height // 2], 0, height)
    left, right = np.clip([column - cut_width // 2, column + cut_width // 2], 0, width)
    return top, left, bottom - top, right - left


def test_patches_of_cutmix_are_drawn_as_by_its_authors():
    rng = np.random.default_rng(0)
    parts = rng.uniform(size=4000).astype(np.float32)
    patches = np.asarray(draw_patch(KEY, jnp.asarray(parts), 32, 48))
    expected = np.array([authors_patch(rng, part, 32, 48) for part in parts])
    for column in range(4):
        assert scipy.stats.ks_2samp(patches[:, column], expected[:, column]).pvalue > 0.01
    covered = [each[:, 2] * each[:, 3] for each in (patches, expected)]
    assert scipy.stats.ks_2samp(*covered).pvalue > 0.01


def test_two_mixtures_follow_each_other():
    image = noise(COUNT, 4, 4, dtype=np.float32)
    both = Mixup(num_classes=CLASSES), CutMix(num_classes=CLASSES)
    result = run(lambda key, batch: apply_all(both, key, batch), image)
    assert result["label"].shape == (COUNT, CLASSES)
    np.testing.assert_allclose(result["label"].sum(axis=1), 1, atol=1e-6)
    assert np.mean(np.count_nonzero(result["label"] > 1e-6, axis=1) > 2) > 0.1  # parts of three


def test_a_target_that_is_a_number_is_mixed_as_it_is():
    target = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    image = np.broadcast_to(target[:, None, None, None], (COUNT, 2, 2, 1))
    result = run(Mixup(labels="label"), image, target)
    np.testing.assert_allclose(result["label"], result["image"][:, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixup(alpha=0), "mixup: alpha=0 must be positive"),
        (lambda: CutMix(probability=2), "cutmix: probability=2"),
        (lambda: Mixup(num_classes=0), "num_classes=0 is not at least 1"),
        (lambda: run(Mixup(), noise(COUNT)), "the source does not say how many classes there are"),
        (lambda: run(Mixup(labels="lable"), noise(COUNT)), "has no 'lable'; did you mean 'label'"),
        (
            lambda: run(Mixup(num_classes=3), noise(4), np.zeros((4, 3), np.int32)),
            r"'label' has shape \(4, 3\); it mixes one class an example",
        ),
    ],
)
def test_a_mistake_names_the_augmentation(make, message):
    with pytest.raises(UserError, match=message):
        make()
