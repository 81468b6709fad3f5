"""metrics.jsonl: one line a step, nothing twice, nothing cut short."""

import json
import math

import pytest

from dlresearch.training.records import Records, read_records


def write(path, steps, resume_step=-1):
    records = Records(path, None, resume_step=resume_step, write=True)
    for step in steps:
        records.write(step, {"loss": step / 10})
    records.close()
    return records


def test_lines_after_the_restored_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [5, 10, 15])
    write(path, [15, 20], resume_step=10)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]


def test_a_line_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [5, 10])
    path.write_text(path.read_text()[:-9])
    assert list(read_records(path)) == [5]
    write(path, [10], resume_step=9)
    assert list(read_records(path)) == [5, 10]


def test_a_step_cannot_be_written_twice(tmp_path):
    with pytest.raises(ValueError, match="step 5 is recorded"):
        write(tmp_path / "metrics.jsonl", [5, 5])


def test_what_is_not_finite_is_null_on_the_disk_and_nan_in_memory(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = Records(path, None, resume_step=-1, write=True)
    records.write(1, {"loss": math.inf, "accuracy": 0.5})
    assert json.loads(path.read_text()) == {"step": 1, "accuracy": 0.5, "loss": None}
    assert math.isnan(read_records(path)[1]["loss"])


def test_the_latest_value_of_every_metric_is_kept(tmp_path):
    records = Records(tmp_path / "metrics.jsonl", None, resume_step=-1, write=True)
    records.write(1, {"train/loss": 3.0, "test/loss": 4.0})
    records.write(2, {"train/loss": 2.0})
    assert records.latest() == {"train/loss": 2.0, "test/loss": 4.0}


def test_other_processes_write_nothing(tmp_path):
    records = Records(tmp_path / "m.jsonl", tmp_path / "tb", resume_step=-1, write=False)
    records.write(1, {"loss": 1.0})
    assert records.value(1, "loss") == 1.0
    assert list(tmp_path.iterdir()) == []
