"""What docs/extending.md shows works as it stands there."""

import pytest

from helpers.pages import commands, run, run_command, write_files

PAGE = "docs/extending.md"
LAST_WORDS = {
    "check": "Nothing found that would fail.",
    "train": "completed at step 2 ",
    "evaluate": "worst/worst_class_accuracy",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    write_files(PAGE, folder)
    return folder


def test_documented_commands_succeed_in_their_order(repository):
    for command in commands(PAGE):
        assert LAST_WORDS[command[1]] in run_command(command, repository), command


def test_notebook_example_trains(repository):
    assert run(["notebook.py"], repository).splitlines()[-1].startswith("completed ")
