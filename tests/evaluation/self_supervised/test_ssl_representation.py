"""Figures of collapse equal their formulas in NumPy and SciPy, and say what they should."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from dlresearch.errors import UserError
from dlresearch.evaluation.self_supervised import RepresentationEvaluator, collapse
from dlresearch.evaluation.self_supervised import representation as module
from helpers.evaluation.feature_runs import SCALE, TEST, Examples, features, outputs_of, run

RNG = np.random.default_rng(0)


def units(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def expected(values, ranked=None):
    directions = units(values)
    singular = np.linalg.svd(values if ranked is None else values[ranked], compute_uv=False)
    return {
        "deviation": np.mean(directions.std(axis=0) * np.sqrt(values.shape[1])),
        "effective_rank": np.exp(entropy(singular)),
        "uniformity": np.log(np.exp(-2 * pdist(directions, "sqeuclidean")).mean()),
    }


@pytest.mark.parametrize("batch_size", [7, 70])
def test_figures_are_their_formulas(batch_size):
    evaluator = RepresentationEvaluator(outputs_of=outputs_of, reference="tfds toy test")
    found = run(evaluator, batch_size=batch_size)
    # RankMe adds 1e-7 to each share.
    assert found == pytest.approx(expected(features(TEST)), rel=1e-5)
    assert evaluator.about == (
        "6 features of 70 of tfds toy test, no augmentation; rank of 70, uniformity of 70"
    )


def test_few_of_many_are_spread_evenly(monkeypatch):
    evaluator = RepresentationEvaluator(most=35, outputs_of=outputs_of)
    every_second = expected(features(TEST), ranked=slice(1, None, 2))
    assert run(evaluator) == pytest.approx(every_second, rel=1e-5)
    monkeypatch.setattr(module, "_PAIRED", 35)
    uniformity = expected(features(TEST)[1::2])["uniformity"]
    assert run(evaluator)["uniformity"] == pytest.approx(uniformity, rel=1e-5)


def test_more_pairs_than_fit_in_a_block():
    values = RNG.normal(size=(1100, 4))
    assert collapse.uniformity(values) == pytest.approx(expected(values)["uniformity"], rel=1e-9)


def test_collapsed_features_are_seen():
    same = np.tile(RNG.normal(size=(1, 8)), (50, 1)).astype(np.float32)
    assert collapse.relative_deviation(same) == pytest.approx(0, abs=1e-7)
    assert collapse.effective_rank(same) == pytest.approx(1, abs=1e-4)
    assert collapse.uniformity(same) == pytest.approx(0, abs=1e-6)
    nothing = np.zeros((50, 8), np.float32)
    assert collapse.relative_deviation(nothing) == 0 and collapse.uniformity(nothing) == 0
    assert collapse.effective_rank(nothing) == pytest.approx(1, abs=1e-4)


def test_features_spread_evenly_over_the_sphere_have_the_best_figures():
    spread = RNG.normal(size=(4000, 64))
    # The mean length of 4,000 random directions of 64 dimensions is 1/sqrt(4000), squared small.
    assert collapse.relative_deviation(spread) == pytest.approx(1, abs=2e-3)
    assert collapse.effective_rank(spread) == pytest.approx(64, rel=0.01)
    # exp(-2 |x - y|^2) with |x - y|^2 = 2 - 2c, where c has variance 1/64: -4 + 16 / 128.
    assert collapse.uniformity(spread) == pytest.approx(-4 + 16 / 128, abs=0.01)


def shifted(key, batch):
    shift = jax.random.normal(key, batch["image"].shape)
    return {**batch, "first_view": batch["image"], "second_view": batch["image"] + shift}


def test_alignment_is_the_mean_squared_distance_of_two_views():
    evaluator = RepresentationEvaluator(alignment=True, outputs_of=outputs_of, make_views=shifted)
    found = run(evaluator, batch_size=32)
    total = 0.0
    for batch in Examples(TEST, 32):
        key = jax.random.fold_in(jax.random.key(0), batch["example"][0])
        views = shifted(key, {"image": batch["image"]})
        first, second = (
            units(SCALE * np.asarray(views[name], np.float64))
            for name in ("first_view", "second_view")
        )
        total += (((first - second) ** 2).sum(axis=1) * batch["mask"]).sum()
    assert found["alignment"] == pytest.approx(total / 70, rel=1e-5)
    without = run(RepresentationEvaluator(outputs_of=outputs_of))
    assert found == {**without, "alignment": found["alignment"]}
    assert run(evaluator) == found


def test_features_that_are_not_finite_have_no_figures():
    broken = {**TEST, "image": np.full_like(TEST["image"], np.nan)}
    found = run(RepresentationEvaluator(outputs_of=outputs_of), broken)
    assert len(found) == 3 and all(np.isnan(each) for each in found.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"most": 0}, "most=0: must be at least 1"),
        ({"alignment": True}, "alignment: there is no run here that could make views"),
        ({"outputs_of": None}, "features: there is no task here that could give them"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        RepresentationEvaluator(**{"outputs_of": outputs_of, **arguments})
