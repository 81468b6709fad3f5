"""A run that is stopped at any instant and started again ends as one that never was."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from small_runs import (
    classification_config,
    final_state,
    regression_config,
    run,
    start,
    toy_config,
    write_config,
)

from dlresearch import preemption
from dlresearch.training.records import read_records

CONFIGS = {
    "classification": classification_config,
    "regression": regression_config,
    "two players": lambda: toy_config("TwoPlayers"),
    "moving target": lambda: toy_config("MovingTarget"),
}


@pytest.fixture(scope="module", params=CONFIGS)
def straight(request, tmp_path_factory):
    """A config, and the folder of a run of it that was never stopped."""
    config = CONFIGS[request.param]()
    folder = tmp_path_factory.mktemp("straight")
    assert run(config, folder).status == "completed"
    return config, folder


def assert_same_run(config, one: Path, other: Path):
    expected, actual = final_state(config, one), final_state(config, other)
    assert expected.keys() == actual.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(actual[path], values, err_msg=path)
    assert (other / "metrics.jsonl").read_bytes() == (one / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("checks", [1, 4, 13])
def test_preempted_run_resumes_bit_identically(straight, tmp_path, monkeypatch, checks):
    config, folder = straight
    left = iter(range(checks, -1, -1))
    monkeypatch.setattr(preemption, "requested", lambda: next(left, 1) == 0)
    assert run(config, tmp_path).status == "resume"
    monkeypatch.undo()
    assert run(config, tmp_path).status == "completed"
    assert_same_run(config, folder, tmp_path)


def test_finished_run_started_again_changes_nothing(straight):
    config, folder = straight
    before = (folder / "metrics.jsonl").read_bytes()
    result = run(config, folder)
    assert (result.status, result.step) == ("completed", 24)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_streamed_and_resident_runs_are_the_same(straight, tmp_path):
    config, folder = straight
    config = config.copy_and_resolve_references()
    config.data.placement = "streamed"
    run(config, tmp_path)
    assert_same_run(config, folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classification", "regression"])
def test_killed_run_resumes_bit_identically(name, tmp_path):
    """kill -9, three times in one run, at random instants from start-up to the last save."""
    config = CONFIGS[name]()
    config.duration = "400 steps"
    config.checkpoint.every = "10 steps"
    path = write_config(config, tmp_path / "config.json")
    began = time.monotonic()
    assert start(path, tmp_path / "straight").wait() == 0
    whole = time.monotonic() - began
    instants = random.Random(0)
    for _ in range(3):
        process = start(path, tmp_path / "killed")
        time.sleep(instants.uniform(0.4, 1.0) * whole)
        process.kill()
        process.wait()
    assert start(path, tmp_path / "killed").wait() == 0
    assert_same_run(config, tmp_path / "straight", tmp_path / "killed")
    lines = (tmp_path / "killed/metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(read_records(tmp_path / "killed/metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("awaited", ["compiling a step", "step 5/", "completed"])
def test_sigterm_saves_and_says_resume(tmp_path, awaited):
    config = classification_config()
    config.duration = "300 steps"
    path = write_config(config, tmp_path / "config.json")
    process = start(path, tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:
        if awaited in line:
            break
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    # The last line comes after all work is done: the signal may find nothing left to stop.
    assert process.wait() == (0 if awaited == "completed" else preemption.RESUME_STATUS)
    assert start(path, tmp_path / "run").wait() == 0
