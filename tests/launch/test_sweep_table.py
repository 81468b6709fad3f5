"""The tables of a sweep, also while it is going on."""

import csv
import io
import statistics

import pytest

from dlresearch.errors import UserError
from helpers.launch.fake_sweeps import write_result
from launch.sweeps.grammar import grid
from launch.sweeps.points import points_of
from launch.sweeps.table import Row, csv_text, markdown, rows_of, write_tables

ACCURACY = {("1e-3", 0): 0.90, ("1e-3", 1): 0.96, ("3e-4", 0): 0.94, ("3e-4", 1): 0.95}


def rows(states=None):
    found = []
    for point in points_of(grid(["lr=1e-3,3e-4; seed=range(2)"])):
        overrides = dict(point.overrides)
        accuracy = ACCURACY[overrides["lr"], int(overrides["seed"])]
        metrics = {
            "train/loss": 0.1,
            "test/accuracy": accuracy,
            "test/loss": 1 - accuracy,
            "test/examples": 359.0,
        }
        found.append(Row(point, (states or {}).get(point.index, "completed"), 100, 7.5, metrics))
    return found


def text(*arguments):
    return "\n".join(markdown(*arguments))


def test_the_best_group_is_that_of_the_best_mean_over_the_seeds():
    values = [ACCURACY["3e-4", seed] * 100 for seed in (0, 1)]
    spread = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} % (94.00 to 95.00)"
    page = text(rows(), "test/accuracy", "maximize")
    assert f"Best by `test/accuracy` (maximize): `lr=3e-4`; {spread}; `0002-" in page
    assert f"| 3e-4 | 2 | {spread} | 0.0550 ± 0.0071 (0.0500 to 0.0600) |" in page
    assert "Best by `test/accuracy` (minimize): `lr=1e-3`" in text(
        rows(), "test/accuracy", "minimize"
    )


def test_without_seeds_the_best_is_a_run():
    single = [row for row in rows() if ("seed", "1") in row.point.overrides]
    single = [
        Row(point, "completed", row.step, row.seconds, row.metrics)
        for row, point in zip(single, points_of(grid(["lr=1e-3,3e-4"])), strict=True)
    ]
    page = text(single, "test/loss", "minimize")
    assert "Best by `test/loss` (minimize): `lr=1e-3`; 0.0400; `0000-" in page
    assert "Over the seeds" not in page


def test_only_runs_that_are_done_are_compared():
    page = text(rows({1: "failed", 2: "running"}), "test/accuracy", "maximize")
    assert page.startswith("# 2 of 4 done: 1 failed, 1 running\n")
    assert "Best by `test/accuracy` (maximize): `lr=3e-4`; 95.00 %; `0003-" in page
    assert "| 3e-4 | 1 | 95.00 % | 0.0500 |" in page


def test_a_sweep_that_has_not_begun_has_a_table_without_figures():
    points = points_of(grid(["model='a|b',\"c\nd\""]))
    page = text([Row(point, "unstarted") for point in points], "test/accuracy", "maximize")
    assert page.startswith("# 0 of 2 done: 2 unstarted\n") and "Best" not in page
    assert "| a\\|b | unstarted |  |  |  |" in page and "| c d |" in page


def test_the_csv_has_every_number_as_it_was_recorded():
    lines = list(csv.DictReader(io.StringIO(csv_text(rows({3: "failed"})))))
    assert [float(line["test/accuracy"]) for line in lines] == list(ACCURACY.values())
    assert lines[1]["lr"] == "1e-3" and lines[1]["seed"] == "1" and lines[1]["train/loss"] == "0.1"
    assert [line["state"] for line in lines] == ["completed"] * 3 + ["failed"]


def test_an_objective_that_no_run_has_is_an_error_with_the_closest_one():
    with pytest.raises(UserError, match=r"--objective=test/acuracy: .*'test/accuracy'"):
        text(rows(), "test/acuracy", "maximize")
    text(rows({i: "running" for i in range(4)}), "test/acuracy", "maximize")  # not known yet


def test_the_tables_are_made_from_the_folders_of_the_runs(tmp_path):
    points = points_of(grid(["seed=range(3)"]))
    for point in points[:2]:
        folder = tmp_path / "runs" / point.name
        write_result(folder, test_loss=0.5 + point.index, test_text=None)
    (tmp_path / "runs" / points[2].name).mkdir()
    found = rows_of(tmp_path, points, lambda each: ["completed", "failed", "running"][each.index])
    assert [row.step for row in found] == [10, 10, None]
    write_tables(tmp_path, found, "test/loss", "minimize")
    assert "the experiment as it is; 0.5000" in (tmp_path / "results.md").read_text()
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 4
