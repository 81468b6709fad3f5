"""The name that a job has at its scheduler."""

import re
from pathlib import Path

from launch.job import job_name


def test_folders_of_one_name_in_two_places_are_two_jobs():
    assert job_name(Path("/runs/first/digits")) != job_name(Path("/runs/second/digits"))
    assert job_name(Path("/runs/digits")) == job_name(Path("/runs/digits"))


def test_a_name_is_a_label_that_leaves_room_for_what_is_added():
    for folder in ("/runs/My Run_1", "/runs/" + 100 * "long-", "/runs/---", "/"):
        name = job_name(Path(folder))
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 40
