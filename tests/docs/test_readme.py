"""The experiment that the README tells a reader to write runs as it stands there."""

import pytest

from helpers.pages import commands, run_command, write_files

PAGE = "README.md"
LAST_WORDS = {"check": "Nothing found that would fail.", "train": "completed at step 2 "}


@pytest.mark.slow
def test_first_own_experiment_runs_with_every_documented_command(tmp_path):
    write_files(PAGE, tmp_path)
    for command in commands(PAGE):
        assert LAST_WORDS[command[1]] in run_command(command, tmp_path), command
