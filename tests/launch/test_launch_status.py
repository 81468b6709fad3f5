"""The exit status of `status`, which a script reads."""

import pytest

from launch.on_host.process import write_record
from launch.on_host.records import Process
from launch.run_folder import RunFolder
from launch.verbs import status


@pytest.mark.parametrize(
    ("exit", "state", "code"),
    [(0, "completed", 0), (75, "stopped", 0), (1, "failed", 1), (None, "lost", 1)],
)
def test_the_exit_status_is_1_where_a_run_failed_or_is_lost(tmp_path, capsys, exit, state, code):
    run = RunFolder(tmp_path)
    run.note_asked({"verb": "run", "backend": "local", "options": {}})
    record = Process(0, "a-host-that-is-gone", 1, 0.0, None if exit is None else 1.0, exit)
    write_record(run.new_attempt() / "process-0.json", record)
    assert status.main([str(tmp_path)]) == code
    assert state in capsys.readouterr().out
