"""Points lie around their centres, as many at each, and other seeds give others."""

import numpy as np
import pytest

from dlresearch.data.gaussians import Gaussians
from dlresearch.errors import UserError


def test_points_are_spread_around_the_centre_of_their_mode():
    source = Gaussians(count=20_000)
    centres = np.array(source.metadata["centres"])
    assert source.metadata["num_classes"] == len(centres) == 25
    assert sorted(set(centres.ravel())) == [-4, -2, 0, 2, 4]
    assert len({tuple(centre) for centre in centres}) == 25
    arrays = source.arrays()
    assert arrays["point"].dtype == np.float32 and arrays["label"].dtype == np.int32
    away = (arrays["point"] - centres[arrays["label"]]) / source.metadata["deviation"]
    # Of 40,000 standard normal numbers mean and deviation are within 5 standard errors.
    assert abs(away.mean()) < 5 / 200 and abs(away.std() - 1) < 5 / 283
    shares = np.bincount(arrays["label"]) / len(source)
    assert np.abs(shares - 1 / 25).max() < 5 * np.sqrt(0.04 * 0.96 / 20_000)


def test_another_seed_gives_other_points_around_the_same_centres():
    one, same, other = (Gaussians(count=50, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.arrays()["point"], same.arrays()["point"])
    assert not np.isin(one.arrays()["point"], other.arrays()["point"]).any()
    assert one.metadata["centres"] == other.metadata["centres"]


def test_grid_of_any_size_is_centred():
    centres = Gaussians(rows=2, spacing=3, deviation=1, count=4).metadata["centres"]
    assert centres == [[-1.5, -1.5], [-1.5, 1.5], [1.5, -1.5], [1.5, 1.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "rows=0: must be at least 1"),
        ({"count": 0}, "count=0: must be at least 1"),
        ({"deviation": 0.0}, "deviation=0.0"),
        ({"spacing": float("nan")}, "spacing=nan"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_numbers_that_cannot_be(arguments, message):
    with pytest.raises(UserError, match=message):
        Gaussians(**arguments)
