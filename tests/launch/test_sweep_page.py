"""What docs/launch/sweeps.md shows beside its commands is so."""

import re

import pytest

from dlresearch.errors import UserError
from helpers.pages import snippets, write_files
from helpers.processes import ROOT
from launch.sweeps.check import Checker
from launch.sweeps.file import from_file
from launch.sweeps.grammar import grid, space
from launch.sweeps.points import points_of

PAGE = "docs/launch/sweeps.md"
TEXT = (ROOT / PAGE).read_text()
BASE = ("python", "-m", "dlresearch.train", f"--config={ROOT}/experiments/cnn/digits.py")


def test_the_file_it_shows_is_a_sweep(tmp_path):
    write_files(PAGE, tmp_path)
    assert snippets(PAGE) == []
    points = points_of(from_file(tmp_path / "widths.py"))
    Checker(BASE).check_points(points)
    assert len(points) == 3 and points[1].settings[0] == ("model.widths", "(16, 32)")


def test_the_mistake_it_shows_is_said_so():
    shown = re.search(r"^    error: (.*)$", TEXT, re.M)
    assert shown
    with pytest.raises(UserError) as error:
        Checker(BASE).check_points(points_of(grid(["optimizer.learning_rat=1,2"])))
    assert str(error.value) == shown[1]


def test_its_tables_are_of_the_language():
    cells = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    values = [text for cell in cells for text in cell.split("`")[1::2] if "(" in text]
    assert len(values) >= 9
    for text in values:
        assert space([f"a={text}"])["a"] != space([f"a='{text}'"])["a"], text
    assert len(grid(["a=1,2; b=3,4"])) == 4 and len(grid(["a=1,2 & b=3,4"])) == 2
