"""Sweeps on this machine: what is there is kept, what is missing is run."""

import csv
import json

import pytest

from helpers.launch.launches import (
    await_that,
    call,
    make_repository,
    quick_python,
    start,
    status,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("sweeps") / "lab")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Trains nothing, so that a run takes milliseconds."""
    return quick_python(tmp_path_factory.mktemp("bin"))


def words(folder, *more: str) -> tuple[str, ...]:
    return (
        "sweep",
        "--config=digits.py",
        f"--workdir={folder}",
        "--objective=test/accuracy",
        *more,
    )


def results(folder) -> list[dict]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.cluster
def test_a_sweep_whose_launcher_was_killed_runs_the_missing_ones_only(repository, python, tmp_path):
    """When it is killed, three runs have ended, two go on and one has not begun."""
    folder, gate = tmp_path / "sweep", tmp_path / "gate"
    sweep = words(folder, "--sweep=optimizer.learning_rate=0.01,0.1; seed=range(3)",
                  "--max_parallel=2", f"--python={python}", f"--env=GATE={gate}")  # fmt: skip
    process = start(*sweep, cwd=repository)
    runs = folder / "runs"
    begun = "*/launch/attempts/1/process-0.json"
    await_that(lambda: len(list(runs.glob(begun))) == 5)
    process.kill()
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in runs.glob("*/result.json")}
    assert len(done) == 3 and len(list(runs.glob(begun))) == 5
    gate.touch()
    again = call(*sweep, cwd=repository)
    assert again.status == 0, again
    for path, time in done.items():
        assert path.stat().st_mtime_ns == time
    found = status(folder, cwd=repository)
    assert [each["state"] for each in found] == ["completed"] * 6
    assert all(each["attempt"] == 1 for each in found)  # also those that went on meanwhile
    rows = results(folder)
    assert {(row["optimizer.learning_rate"], row["seed"]) for row in rows} == {
        (rate, str(seed)) for rate in ("0.01", "0.1") for seed in range(3)
    }
    table = (folder / "results.md").read_text()
    assert "6 of 6 done" in table and "Best by `test/accuracy`" in table
    assert "6 runs, 0 to start" in call(*sweep, cwd=repository).out


@pytest.mark.cluster
def test_a_failed_run_is_told_retried_when_asked_and_new_points_are_added(
    repository, python, tmp_path
):
    """The runs read a folder that is not there, until it is."""
    folder, before = tmp_path / "sweep", tmp_path / "before"
    sweep = words(folder, f"--python={python}", f"--config.start_from.path={before}",
                  "--sweep=seed=0,1")  # fmt: skip
    failed = call(*sweep, cwd=repository)
    assert failed.status == 1 and "failed" in failed.out, failed
    assert "2 runs, 0 to start" in call(*sweep, cwd=repository).out
    before.mkdir()
    retried = call(*sweep, "--retry", cwd=repository)
    assert retried.status == 0, retried
    more = call(*sweep[:-1], "--sweep=seed=0,1,2", cwd=repository)
    assert "3 runs, 1 to start" in more.out and more.status == 0, more
    other = call(*sweep[:-1], "--sweep=seed=1,2", cwd=repository)
    other.assert_mistake("holds a sweep with run 0000-", "keep its settings")
    call(*sweep, "--config.batch_size=16", cwd=repository).assert_mistake("of another command")


@pytest.mark.cluster
def test_a_search_goes_on_where_its_launcher_was_killed(repository, python, tmp_path):
    folder = tmp_path / "sweep"
    search = words(folder, "--sweep=optimizer.learning_rate=loguniform(1e-4, 1e-2)",
                   "--search=bayesian", "--trials=6", "--direction=maximize", "--max_parallel=2",
                   f"--python={python}")  # fmt: skip
    process = start(*search, cwd=repository)
    await_that(lambda: len(list(folder.glob("runs/*/result.json"))) >= 2)
    process.kill()
    process.communicate()
    names = {path.name for path in folder.glob("runs/*")}
    again = call(*search, cwd=repository)
    assert again.status == 0, again
    found = {path.name for path in folder.glob("runs/*")}
    assert len(found) == 6 and names <= found
    rows = results(folder)
    assert [row["state"] for row in rows] == ["completed"] * 6
    drawn = [float(row["optimizer.learning_rate"]) for row in rows]
    assert len(set(drawn)) == 6 and all(1e-4 <= each <= 1e-2 for each in drawn)
    call(*search, "--trials=8", cwd=repository)
    assert len(results(folder)) == 8


@pytest.mark.cluster
def test_a_vectorised_sweep_has_the_folders_and_the_table_of_any_other(repository, tmp_path):
    folder = tmp_path / "sweep"
    sweep = words(folder, "--sweep=optimizer.learning_rate=1e-3,1e-2; seed=0,1", "--vectorised")
    answer = call(*sweep, cwd=repository)
    assert answer.status == 0, answer
    rows = results(folder)
    assert [row["state"] for row in rows] == ["completed"] * 4
    single = call("run", "--config=digits.py", f"--workdir={tmp_path}/run", "--config.seed=1",
                  "--config.optimizer.learning_rate=1e-2", cwd=repository)  # fmt: skip
    assert single.status == 0, single
    alone = json.loads((tmp_path / "run/result.json").read_text())["metrics"]["test/loss"]
    assert float(rows[3]["test/loss"]) == pytest.approx(alone, rel=1e-4)
    assert "4 runs, 0 to start" in call(*sweep, cwd=repository).out


@pytest.mark.cluster
def test_a_cancelled_sweep_starts_no_further_runs(repository, python, tmp_path):
    """Its first run waits for a file that never comes."""
    folder = tmp_path / "sweep"
    sweep = words(folder, "--sweep=seed=range(50)", "--config.optimizer.learning_rate=0.1",
                  f"--python={python}", f"--env=GATE={tmp_path}/never")  # fmt: skip
    process = start(*sweep, cwd=repository)
    await_that(lambda: any(folder.glob("runs/*/launch/attempts/1/process-0.json")))
    call(*sweep, cwd=repository).assert_mistake("is running already")
    assert call("cancel", str(folder), cwd=repository).status == 0
    out, err = process.communicate(timeout=120)
    assert "is cancelled; no further runs" in out, (out, err)
    assert len(list(folder.glob("runs/*"))) == 1


@pytest.mark.cluster
def test_a_detached_sweep_trains_by_itself(repository, tmp_path):
    """With the trainer itself."""
    folder = tmp_path / "sweep"
    answer = call(*words(folder, "--sweep=seed=0,1"), "--detach", cwd=repository)
    assert answer.status == 0, answer
    await_that(lambda: (folder / "results.md").exists(), seconds=240)
    await_that(lambda: "2 of 2 done" in (folder / "results.md").read_text(), seconds=240)
    rows = results(folder)
    assert [row["state"] for row in rows] == ["completed"] * 2
    assert all(0 <= float(row["test/accuracy"]) <= 1 for row in rows)
    first, second = (float(row["test/loss"]) for row in rows)
    assert first != second  # each has its own seed


def test_a_dry_run_lists_every_run_and_writes_nothing(repository, tmp_path):
    planned = call(*words(tmp_path / "sweep", "--sweep=seed=range(3)"), "--dry_run", cwd=repository)
    assert planned.out.count("$ ") == 3 and planned.out.count("--config.seed=") >= 3
    assert not (tmp_path / "sweep").exists()
