"""What docs/gan.md shows works as it stands there."""

import shutil

import pytest

from helpers.pages import commands, run_command, write_files
from helpers.processes import ROOT

PAGE = "docs/gan.md"
EXPERIMENT = "experiments/gan/digits.py"


@pytest.mark.slow
def test_own_networks_are_checked_and_accepted(tmp_path):
    write_files(PAGE, tmp_path)
    (tmp_path / EXPERIMENT).parent.mkdir(parents=True)
    shutil.copy(ROOT / EXPERIMENT, tmp_path / EXPERIMENT)
    (command,) = commands(PAGE)
    said = run_command(command, tmp_path)
    assert "Nothing found that would fail." in said and "generator: 25,537 parameters" in said
