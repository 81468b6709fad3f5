import pytest

from dlresearch.config import Duration
from dlresearch.errors import UserError


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [
        ("20 epochs", 20, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("0.5 epochs", 0.5, "epochs"),
        ("5000 steps", 5000, "steps"),
        ("1e6 examples", 1e6, "examples"),
        ("10%", 10, "percent"),
        ("2.5 %", 2.5, "percent"),
        ("10 percent", 10, "percent"),
        (5000, 5000, "steps"),
        ("5000", 5000, "steps"),
        (1e3, 1000, "steps"),
        ("5_000 steps", 5000, "steps"),
        ("20epochs", 20, "epochs"),
        ("0 steps", 0, "steps"),
    ],
)
def test_forms_that_are_read(written, amount, unit):
    assert Duration.parse(written) == Duration(amount, unit)


def test_text_of_a_duration_is_read_back():
    for text in ("1 epoch", "20 epochs", "10%", "0.5 epochs", "5000 steps", "1000000 examples"):
        assert str(Duration.parse(text)) == text
        assert Duration.parse(Duration.parse(text)) == Duration.parse(text)


@pytest.mark.parametrize("wrong", ["", "ten epochs", "epochs", True, None, "1.2.3 steps", (1,)])
def test_what_is_no_duration_shows_how_to_write_one(wrong):
    with pytest.raises(UserError, match=r"is not a duration; write .*'20 epochs'"):
        Duration.parse(wrong)


def test_negative_and_infinite_durations_are_refused():
    for wrong in (-1, "-5 epochs", "1e999 steps"):
        with pytest.raises(UserError, match="finite and not negative"):
            Duration.parse(wrong)


def test_misspelt_unit_names_the_closest_valid_one():
    with pytest.raises(UserError, match="no unit 'epohcs'; did you mean 'epochs'"):
        Duration.parse("3 epohcs")


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("7 steps", 7),
        ("2 epochs", 25),  # 12.5 steps an epoch
        ("1 epoch", 13),  # 12.5, half rounds up
        ("1000 examples", 31),  # 31.25
        ("10%", 20),
        ("0 steps", 0),
    ],
)
def test_steps_are_rounded_to_the_nearest(written, steps):
    duration = Duration.parse(written)
    assert duration.steps(steps_per_epoch=12.5, batch_size=32, total_steps=200) == steps


def test_percentage_without_a_total_is_an_error():
    with pytest.raises(UserError, match="'10%'"):
        Duration.parse("10%").steps(steps_per_epoch=1, batch_size=1, total_steps=None)
