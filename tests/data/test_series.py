"""Windows of a series: what they hold, how they are split, and the mistakes of a file."""

import numpy as np
import pytest

from dlresearch.data.series import Series, Waves, Windows
from dlresearch.errors import UserError

VALUES = np.stack([np.arange(20.0), np.arange(20.0) ** 2], axis=1)


def windows(split, **options):
    source = Windows(VALUES, split, **{"window": 4, "horizon": 2, "held_out": 0.25, **options})
    mean, std = VALUES[:15].mean(axis=0), VALUES[:15].std(axis=0)
    arrays = source.arrays()
    # Back in units of the series: there the value of the first channel is its place.
    return arrays["window"] * std + mean, arrays["target"] * std[0] + mean[0], source.metadata


@pytest.mark.parametrize(
    ("split", "first", "last"), [("train", 4, 13), ("test", 15, 18), ("all", 4, 18)]
)
def test_windows_are_followed_by_their_targets(split, first, last):
    window, target, _ = windows(split)
    assert len(window) == last - first + 1
    for row, start in enumerate(range(first, last + 1)):
        np.testing.assert_allclose(window[row], VALUES[start - 4 : start], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(target[row], VALUES[start : start + 2, 0], rtol=1e-5, atol=1e-5)


def test_normalisation_is_that_of_the_training_part_in_every_split():
    for split in ("train", "test", "all"):
        metadata = windows(split)[2]
        assert metadata["scale"] == pytest.approx(VALUES[:15, 0].std())
        assert metadata["offset"] == pytest.approx(VALUES[:15, 0].mean())
        assert metadata["horizon"] == 2


def test_constant_channel_becomes_zero():
    source = Windows(np.ones((9, 1)), "all", 2, 1, 0.0)
    assert not source.arrays()["window"].any()


def test_columns_of_a_file_are_channels_in_the_order_asked_for(tmp_path):
    path = tmp_path / "series.csv"
    rows = "\n".join(f"x{row},{row**2},{row}" for row in range(20))
    path.write_text(f"day,square,place\n{rows}\n")
    source = Series(str(path), "place", ("square",), "all", 4, 2, held_out=0.25)
    expected = Windows(VALUES, "all", 4, 2, 0.25)
    for key, array in expected.arrays().items():
        np.testing.assert_array_equal(source.arrays()[key], array)
    assert source[0]["window"].shape == (4, 2)


def test_made_up_series_is_the_same_every_time_and_has_the_period_of_a_day():
    values = Waves(length=400, window=1, split="all").arrays()["target"][:, 0]
    np.testing.assert_array_equal(values, Waves(length=400, window=1).arrays()["target"][:, 0])
    assert not np.array_equal(values, Waves(length=400, window=1, seed=1).arrays()["target"][:, 0])
    spectrum = np.abs(np.fft.rfft(values - values.mean()))
    assert abs(spectrum[5:].argmax() + 5 - 399 / 24) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "there is no split 'tset'; did you mean 'test'?"),
        ({"window": 0}, "window=0: must be at least 1"),
        ({"horizon": 0}, "horizon=0: must be at least 1"),
        ({"held_out": 1.0}, "held_out=1.0 is not in"),
        ({"window": 15}, "15 of them for training, has no window of 15 steps and 2 after it"),
        ({"split": "test", "horizon": 6}, "and 6 after it in 'test'"),
    ],
)
def test_numbers_that_cannot_be_are_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        windows(**{"split": "train", **options})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plcae\n1\n", "there is no column 'place'; did you mean 'plcae'?"),
        ("place,b\n1,\n,2\n", "column 'place' is missing in 1 rows, first in data row 2"),
        ("place\n1\nx\n", "column 'place' has 'x', which is no finite number"),
        ("place\n", "has no rows"),
    ],
)
def test_a_file_with_a_mistake_names_itself_and_the_place(content, message, tmp_path):
    path = tmp_path / "series.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as mistake:
        Series(str(path), "place", window=1)
    assert str(path) in str(mistake.value)
