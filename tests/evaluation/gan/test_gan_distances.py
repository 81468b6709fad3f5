"""Distances and manifolds of features against closed forms, SciPy, and the definitions written out
in NumPy.
"""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from dlresearch.errors import UserError
from dlresearch.evaluation.gan.distances import frechet_distance, kernel_distance
from dlresearch.evaluation.gan.manifolds import balls, density_coverage, precision_recall
from dlresearch.evaluation.gan.moments import Moments
from dlresearch.evaluation.sampling import RandomRows, evenly


def moments_of(features, batch_size=None):
    moments = Moments()
    for first in range(0, len(features), batch_size or len(features)):
        moments.add(features[first : first + (batch_size or len(features))])
    return moments


def whitened(count, size, seed=0):
    """Features whose mean is exactly 0 and whose covariance exactly 1."""
    features = np.random.default_rng(seed).standard_normal((count, size))
    features -= features.mean(axis=0)
    return features @ np.linalg.inv(np.linalg.cholesky(np.cov(features.T))).T


def gaussian(mean, root, seed=0):
    """Moments that are exactly this mean and root @ root.T."""
    return moments_of(mean + whitened(60, len(root), seed) @ np.asarray(root, float).T)


# --- moments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 500])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_streamed_moments_are_numpys_of_all_at_once(batch_size, offset):
    features = np.random.default_rng(0).standard_normal((500, 6)) * np.arange(1, 7)
    moments = moments_of(features + offset, batch_size)
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean - offset, features.mean(axis=0), atol=1e-7)
    # Adding 1e8 itself rounds features to 1.5e-8.
    np.testing.assert_allclose(moments.covariance, np.cov(features.T), rtol=0, atol=1e-6)
    if not offset:
        np.testing.assert_allclose(moments.covariance, np.cov(features.T), rtol=1e-12, atol=1e-12)


def test_float32_features_are_summed_in_float64():
    features = (1000 + np.random.default_rng(0).standard_normal((20_000, 2))).astype(np.float32)
    exact = np.cov(features.astype(np.float64).T)
    np.testing.assert_allclose(moments_of(features, 64).covariance, exact, rtol=1e-9)


def test_an_empty_batch_changes_nothing_and_one_example_has_no_covariance():
    moments = Moments()
    moments.add(np.zeros((0, 3)))
    moments.add(np.ones((1, 3)))
    moments.add(np.zeros((0, 3)))
    np.testing.assert_array_equal(moments.mean, 1)
    with pytest.raises(UserError, match="1 examples have no covariance"):
        _ = moments.covariance


# --- Frechet distance -----------------------------------------------------------------------------


def test_frechet_distance_of_axis_aligned_gaussians_is_the_sum_over_axes():
    a, b = np.array([0.5, 2.0, 3.0]), np.array([1.5, 0.1, 3.0])
    mean = np.array([1.0, -2.0, 0.5])
    expected = np.sum(mean**2) + np.sum((a - b) ** 2)
    found = frechet_distance(gaussian(np.zeros(3), np.diag(a)), gaussian(mean, np.diag(b), seed=1))
    assert found == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_rotated_gaussians_is_that_of_the_plane():
    """tr sqrt(AB) in the plane is sqrt(tr AB + 2 sqrt(det AB)), by Cayley and Hamilton."""
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a, b = np.diag([4.0, 0.25]), turn @ np.diag([2.0, 0.5]) @ turn.T
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = 9 + np.trace(a) + np.trace(b) - 2 * root
    found = frechet_distance(
        gaussian(np.zeros(2), np.sqrt(a)), gaussian([3.0, 0], np.linalg.cholesky(b), seed=1)
    )
    assert found == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_is_that_with_scipys_matrix_root():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 20)) @ rng.standard_normal((20, 20))
    b = rng.standard_normal((300, 20)) @ rng.standard_normal((20, 20)) + 0.3
    of_a, of_b = np.cov(a.T), np.cov(b.T)
    root = np.trace(sqrtm(of_a @ of_b)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(of_a) + np.trace(of_b) - 2 * root
    assert frechet_distance(moments_of(a), moments_of(b)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_singular_gaussians_is_exact():
    """Three axes of forty: one shared, one of the first alone, one of the second alone."""
    a, b = np.zeros(40), np.zeros(40)
    a[[0, 1]], b[[0, 2]] = (2.0, 3.0), (0.5, 1.0)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    found = frechet_distance(
        gaussian(np.zeros(40), turn @ np.diag(a)), gaussian(np.zeros(40), turn @ np.diag(b), seed=1)
    )
    assert found == pytest.approx((2 - 0.5) ** 2 + 9 + 1, rel=1e-10)


def test_frechet_distance_with_fewer_samples_than_features_is_zero_to_itself():
    features = np.random.default_rng(0).standard_normal((10, 200))
    assert 0 <= frechet_distance(moments_of(features), moments_of(features)) < 1e-10
    shifted = moments_of(features + np.eye(200)[0])
    assert frechet_distance(moments_of(features), shifted) == pytest.approx(1, rel=1e-10)


def test_frechet_distance_of_constant_features_is_that_of_their_means():
    a, b = moments_of(np.ones((5, 3))), moments_of(np.zeros((5, 3)))
    assert frechet_distance(a, b) == 3


def test_frechet_distance_of_what_is_not_finite_is_nan():
    features = np.random.default_rng(0).standard_normal((10, 3))
    broken = np.where(np.arange(10)[:, None] == 4, np.nan, features)
    assert np.isnan(frechet_distance(moments_of(features), moments_of(broken)))


# --- kernel distance ------------------------------------------------------------------------------


def double_sum(x, y):
    """Equation 4 of Binkowski et al. 2018, term by term."""
    n, d = x.shape

    def kernel(one, other):
        return (sum(p * q for p, q in zip(one, other, strict=True)) / d + 1) ** 3

    within = sum(
        kernel(x[i], x[j]) + kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j
    )
    between = sum(kernel(x[i], y[j]) for i in range(n) for j in range(n))
    return within / (n * (n - 1)) - 2 * between / n**2


def test_kernel_distance_is_the_mean_of_double_sums_over_disjoint_subsets():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((43, 3)), rng.standard_normal((40, 3)) + 0.5
    seen = np.random.default_rng(0)
    of_a, of_b = seen.permutation(43)[:40], seen.permutation(40)
    estimates = [
        double_sum(a[of_a[first : first + 4]], b[of_b[first : first + 4]])
        for first in range(0, 40, 4)
    ]
    distance, error = kernel_distance(a, b)
    assert distance == pytest.approx(np.mean(estimates), rel=1e-10)
    assert error == pytest.approx(np.std(estimates, ddof=1) / np.sqrt(10), rel=1e-10)


def test_kernel_distance_is_unbiased_and_its_error_is_honest():
    """Over many pairs of sets from one distribution the mean is 0, and as far from it as each says
    it may be.
    """
    rng = np.random.default_rng(0)
    found = np.array([kernel_distance(*rng.standard_normal((2, 60, 3))) for _ in range(400)])
    distances, errors = found.T
    assert abs(distances.mean()) < 3 * distances.std() / np.sqrt(400)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(distances.std(), rel=0.15)
    far, error = kernel_distance(rng.standard_normal((400, 3)), rng.standard_normal((400, 3)) + 1)
    assert far > 5 * error


# --- precision, recall, density, coverage ---------------------------------------------------------


def by_definition(real, fake):
    """Example by example, with SciPy's distances."""

    def radius(points, index, k):
        others = np.delete(points, index, axis=0)
        return np.sort(cdist(points[index : index + 1], others)[0])[k - 1]

    def in_some_ball(point, points):
        return any(
            np.linalg.norm(point - each) <= radius(points, index, 3)
            for index, each in enumerate(points)
        )

    inside = np.array(
        [
            [np.linalg.norm(y - x) < radius(real, index, 5) for y in fake]
            for index, x in enumerate(real)
        ]
    )
    return (
        np.mean([in_some_ball(y, real) for y in fake]),
        np.mean([in_some_ball(x, fake) for x in real]),
        inside.sum() / (5 * len(fake)),
        np.mean(inside.any(axis=1)),
    )


def figures(real, fake):
    around = balls(real, (3, 5))
    return *precision_recall(around, balls(fake, (3,))), *density_coverage(around, fake)


def cloud(count, centre=0.0, seed=0, features=2):
    return centre + np.random.default_rng(seed).standard_normal((count, features))


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_figures_are_those_of_the_definitions(rows, offset, monkeypatch):
    """In blocks of any number of rows, and far from the origin, too."""
    real, fake = cloud(40), 0.6 * cloud(35, 2.0, seed=1)
    monkeypatch.setattr("dlresearch.evaluation.gan.manifolds._BLOCK_BYTES", rows * 8 * 40)
    found = figures(real + offset, fake + offset)
    assert found == pytest.approx(by_definition(real, fake), abs=1e-12)
    assert len(set(found)) == 4 and not {0, 1} & set(found)


def test_identical_sets_have_all_figures_of_one():
    """Each ball of density holds its centre and the four before the one it ends at."""
    points = cloud(30)
    assert figures(points, points) == pytest.approx((1, 1, 1, 1), abs=1e-12)


def test_sets_far_apart_have_all_figures_of_zero():
    assert figures(cloud(30), cloud(30, 100.0)) == (0, 0, 0, 0)


def test_equal_distributions_have_density_one():
    """In the mean over sets (Naeem et al. 2020, section 4.1)."""
    density = [figures(cloud(60, seed=2 * n), cloud(60, seed=2 * n + 1))[2] for n in range(20)]
    assert np.mean(density) == pytest.approx(1, abs=3 * np.std(density) / np.sqrt(20))


def test_a_dropped_mode_costs_recall_and_coverage_but_not_precision():
    real = np.concatenate([cloud(100, centre, seed) for seed, centre in enumerate((0, 20, 40, 60))])
    fake = np.concatenate([cloud(200, centre, 7 + centre) for centre in (0, 20)])
    precision, recall, _, coverage = figures(real, fake)
    assert precision > 0.9
    assert 0.4 < recall < 0.55 and 0.4 < coverage < 0.55


def test_an_outlier_costs_precision_much_and_density_little():
    """The reason for density (Naeem et al. 2020, figure 1)."""
    real = np.concatenate([cloud(100), np.array([[12.0, 0.0]])])
    fake = cloud(100, np.array([12.0, 0.0]), seed=1)
    precision, _, density, _ = figures(real, fake)
    assert precision > 0.9 and density < 0.3


def test_copies_of_one_example_lie_in_each_others_balls():
    """Balls of radius 0: a collapsed generator that gives one real example is precise, and recalls
    it alone.
    """
    real = cloud(30, 5.0, features=50)
    fake = np.repeat(real[:1], 20, axis=0)
    precision, recall, density, coverage = figures(real, fake)
    assert (precision, recall) == (1, 1 / 30)
    assert coverage < 0.7 and density > 0


def test_ties_are_ties_whatever_the_rounding():
    """On a grid most distances occur many times."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 2), -1).reshape(-1, 2)
    third = figures(grid / 3, (grid + 1) / 3)
    assert third == pytest.approx(figures(3.0 * grid, 3.0 * (grid + 1)), abs=1e-12)


def test_figures_of_what_is_not_finite_are_nan():
    broken = cloud(10)
    broken[3, 1] = np.inf
    assert np.isnan(figures(cloud(10), broken)).all()


def test_too_few_examples_for_the_neighbours_are_refused():
    with pytest.raises(UserError, match="5 examples are too few for 5 nearest neighbours"):
        balls(cloud(5), (3, 5))
    with pytest.raises(UserError, match="3 examples are too few for a kernel distance"):
        kernel_distance(cloud(3), cloud(10))


# --- choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_a_random_choice_does_not_depend_on_batches_or_their_order(batch_size):
    features = np.arange(100)[:, None]

    def chosen(order):
        rows = RandomRows(10, 100)
        for first in range(0, 100, batch_size):
            places = order[first : first + batch_size]
            rows.add(places, features[places])
        return rows.rows()[:, 0]

    expected = np.sort(np.argsort(np.random.default_rng(0).random(100))[:10])
    np.testing.assert_array_equal(chosen(np.arange(100)), expected)
    np.testing.assert_array_equal(chosen(np.arange(100)[::-1]), expected)


def test_few_rows_are_all_kept():
    rows = RandomRows(10, 100)
    rows.add(np.array([5, 3, 99]), np.array([50, 30, 990]))
    np.testing.assert_array_equal(rows.rows(), [30, 50, 990])


@pytest.mark.parametrize(("count", "total"), [(1, 7), (3, 7), (7, 7), (9, 7)])
def test_an_even_choice_has_as_many_as_it_should_with_gaps_alike(count, total):
    places = np.flatnonzero(evenly(np.arange(total), count, total))
    assert len(places) == min(count, total)
    gaps = np.diff(places)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
