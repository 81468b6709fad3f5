"""What is wrong with the folder of a run is answered by one line, and the run stays as it is."""

import fcntl
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from dlresearch.training import loop
from dlresearch.training.call import Program
from helpers.verbs import SMALL, call, process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`run`, of four steps with checkpoints at 2 and 4, and folders that are no runs."""
    path = tmp_path_factory.mktemp("runs")
    (path / "small.py").write_text(SMALL)
    (path / "file").write_text("no folder")
    assert call("train", f"--config={path}/small.py", f"--workdir={path}/run").status == 0
    (path / "unstarted").mkdir()
    shutil.copy(path / "run/config.json", path / "unstarted")
    shutil.copytree(path / "unstarted", path / "unsaved")
    (path / "unsaved/checkpoints").mkdir()
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


TRAIN = "train --config=small.py --workdir="
EVALUATE = "evaluate --workdir="
MISTAKES = {
    f"{TRAIN}file": "--workdir: cannot write in file: File exists",
    f"{TRAIN}file/run": "--workdir: cannot write in file/run: Not a directory",
    f"{TRAIN}/proc/run": "--workdir: cannot write in /proc/run: ",
    f"{TRAIN}gs://bucket/run": "gs://bucket/run is not a local path; mount the bucket",
    "train --workdir=nowhere": "nowhere holds no run; give --config=FILE to start one",
    f"{TRAIN}run --config.optimizer.learning_rate=0.5": "run holds a run with other settings: "
    "config.optimizer.learning_rate is 0.001 there and 0.5 here; take another folder",
    f"{TRAIN}run --config.seed=3 --config.model.head=flatten": "config.seed is 0 there and 3 here "
    "and 1 more; take another folder, or --accept_changed_config",
    f"{TRAIN}run --config.model.widths=5 --accept_changed_config": "checkpoints/4: a checkpoint of "
    "another model: variables/params/model/BatchNorm_0/bias is float32[4] in it and float32[5]",
    f"{TRAIN}run --config.duration=2 --accept_changed_config": "config.duration: 2 steps, and ",
    f"{EVALUATE}nowhere": "nowhere holds no run; give --config=FILE",
    f"{EVALUATE}unstarted": "--workdir: unstarted holds no checkpoints",
    f"{EVALUATE}unsaved": "the run holds no finished checkpoint",
    f"{EVALUATE}run --checkpoint=77": "--checkpoint=77: there are newest, best and 2, 4",
    f"{EVALUATE}run --checkpoint=bset": "--checkpoint=bset: there are newest, best and 2, 4",
    f"{EVALUATE}run --checkpoint=best": "config.checkpoint.best does not name a metric",
    f"{EVALUATE}run --config.evaluators={{}}": "config.evaluators: there are none",
    f"{EVALUATE}run --config.model.widths=5": "a checkpoint of another model: ",
    "evaluate --config=small.py": "--workdir=DIR is missing: the folder of the run",
    "report": "--workdir=DIR is missing: the folder of the run",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_wrong_folder_or_another_run(command, folder):
    def contents():
        return {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}

    before = contents()
    verb, *argv = command.split()
    call(verb, *argv).assert_mistake(MISTAKES[command])
    assert contents() == before


@pytest.mark.parametrize("text", ["{broken", "[3]", ""])
def test_broken_config_of_a_run(tmp_path, folder, text):
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run/config.json").write_text(text)
    workdir = f"--workdir={tmp_path / 'run'}"
    call("train", "--config=small.py", workdir).assert_mistake("config.json: not a JSON file")
    call("evaluate", workdir).assert_mistake("config.json: it ")


def test_broken_metrics_of_a_run(tmp_path, folder):
    shutil.copytree(folder / "run", tmp_path / "run")
    metrics = tmp_path / "run/metrics.jsonl"
    metrics.write_text("no metrics\n" + metrics.read_text())
    answer = call("train", "--config=small.py", f"--workdir={tmp_path / 'run'}")
    answer.assert_mistake("metrics.jsonl:1: no record of metrics; restore the file or delete it")


@pytest.mark.slow
def test_damaged_checkpoints_are_never_silently_begun_anew(tmp_path, folder):
    shutil.copytree(folder / "run", tmp_path / "run")
    for file in (tmp_path / "run/checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    workdir = f"--workdir={tmp_path / 'run'}"
    process("dlresearch.evaluate", workdir).assert_mistake("checkpoints/4 is damaged")
    for _ in range(2):
        answer = call("train", "--config=small.py", workdir)
        answer.assert_mistake("all 2 checkpoints are damaged; take another --workdir")


def test_folder_in_which_another_process_trains(tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = call("train", "--config=small.py", f"--workdir={tmp_path}")
    answer.assert_mistake("--workdir: another process is training in ")


def test_best_metric_that_no_evaluator_gives(tmp_path):
    argv = ["--config=small.py", f"--workdir={tmp_path}", "--config.checkpoint.best=test/acuracy"]
    call("train", *argv).assert_mistake("there is no 'test/acuracy'; did you mean 'test/accuracy'?")


@pytest.mark.slow
def test_missing_checkpoint_in_a_process_of_its_own():
    answer = process("dlresearch.cli", "evaluate", "--workdir=run", "--checkpoint=77")
    answer.assert_mistake("--checkpoint=77: there are newest, best and 2, 4")


# --- a device that is too small -------------------------------------------------------------------


class _Full:
    """A compiled step whose device has no memory left."""

    def memory_analysis(self):
        return SimpleNamespace(
            argument_size_in_bytes=2**30,
            output_size_in_bytes=2**20,
            alias_size_in_bytes=2**20,
            temp_size_in_bytes=2**31,
        )

    def __call__(self, *_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2147483648 bytes.\nmore"
        )


def test_a_device_without_memory_is_one_line_with_the_estimate_and_what_helps(monkeypatch):
    monkeypatch.setattr(loop, "compiled", lambda *_: Program(_Full(), 1.0, 1.0))
    answer = call("train", "--config=small.py", "--workdir=full")
    assert answer.status == 1 and answer.err.count("\n") == 1, answer
    said = "Out of memory while trying to allocate 2147483648 bytes.; a step needs 3.00 GiB"
    assert answer.err.startswith(f"error: a device is out of memory: {said}"), answer.err
    for setting in ("batch_size", "accumulate", "remat", "mesh.fsdp"):
        assert f"--config.{setting}" in answer.err
    assert "RESOURCE_EXHAUSTED" not in answer.err
    result = json.loads(Path("full/result.json").read_text())
    assert result["status"] == "failed" and "out of memory" in result["error"]


def test_another_error_of_the_device_keeps_its_traceback(monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    monkeypatch.setattr(loop, "compiled", lambda *_: Program(broken, 1.0, 1.0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        call("train", "--config=small.py", "--workdir=broken")
