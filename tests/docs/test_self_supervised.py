"""What docs/self_supervised.md shows works as it stands there."""

import shutil

import pytest

from helpers.pages import commands, run_command, write_files
from helpers.processes import ROOT

PAGE = "docs/self_supervised.md"
EXPERIMENT = "experiments/self_supervised/digits.py"


@pytest.mark.slow
def test_a_method_of_ones_own_trains(tmp_path):
    write_files(PAGE, tmp_path)
    (tmp_path / EXPERIMENT).parent.mkdir(parents=True)
    shutil.copy(ROOT / EXPERIMENT, tmp_path / EXPERIMENT)
    (command,) = commands(PAGE)
    said = run_command(command, tmp_path)
    for metric in ("train/agreement", "train/deviation", "knn/accuracy", "linear/accuracy"):
        assert metric in said
