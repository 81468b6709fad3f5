"""Files that evaluators make are kept by step, and shown in TensorBoard and report.html."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.training import Setup
from dlresearch.training.artifacts import newest_files, write_files
from helpers.training.small_runs import classification_config, run
from helpers.verbs import call

EXAMPLES = 359  # of the test set
GREY = EXAMPLES % 256


def make_config(**options):
    config = classification_config()
    config.duration = "4 steps"
    config.model = component("mlp", hidden=(4,))
    config.accumulate = 1
    config.evaluators.files = dict(
        name="helpers.training.toy_files:Files",
        source=component("digits", split="test"),
        every="2 steps",
        batch_size=100,
        **options,
    )
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert run(make_config(), folder, report=True).status == "completed"
    return folder


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def grey_of(content):
    return set(np.asarray(Image.open(io.BytesIO(content)).convert("L")).flat)


def test_files_are_kept_for_every_evaluated_step(folder):
    expected = [f"files/{step}/{name}" for step in (2, 4) for name in ("grey.png", "table.csv")]
    assert files_below(folder / "artifacts") == expected
    assert (folder / "artifacts/files/4/table.csv").read_text() == f"examples\n{EXAMPLES}\n"
    assert grey_of((folder / "artifacts/files/2/grey.png").read_bytes()) == {GREY}


def test_files_are_no_metrics(folder):
    lines = (folder / "metrics.jsonl").read_text()
    assert "files/examples" in lines
    assert ".png" not in lines and ".csv" not in lines


def test_pictures_are_in_tensorboard(folder):
    images = {}
    for path in (folder / "tensorboard").iterdir():
        for event in events(path):
            for value in event.summary.value:
                if value.HasField("image"):
                    images[event.step, value.tag] = value.image.encoded_image_string
    assert images.keys() == {(2, "files/grey.png"), (4, "files/grey.png")}
    assert all(grey_of(content) == {GREY} for content in images.values())


def events(path):
    """Of a file of TFRecords: length (8 bytes), checksum (4), record, checksum (4)."""
    content, position = path.read_bytes(), 0
    while position < len(content):
        length = int.from_bytes(content[position : position + 8], "little")
        yield Event.FromString(content[position + 12 : position + 12 + length])
        position += length + 16


def test_the_report_shows_the_newest_pictures_and_links_the_rest(folder):
    page = (folder / "report.html").read_text()
    (picture,) = re.findall(r"data:image/png;base64,([^']+)'", page)
    assert grey_of(base64.b64decode(picture)) == {GREY}
    assert "files/grey, step 4" in page and "step 2" not in page
    (link,) = re.findall(r"href='([^']+)'", page)
    assert (folder / link).read_text() == f"examples\n{EXAMPLES}\n"


def test_a_report_without_files_has_no_such_section(tmp_path):
    config = make_config()
    del config.evaluators.files
    run(config, tmp_path, report=True)
    assert "<h2>Files" not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "artifacts").exists()


def test_evaluate_writes_the_files_of_the_step(folder):
    target = folder / "artifacts/files/2/table.csv"
    target.write_text("old")
    answer = call("evaluate", f"--workdir={folder}", "--checkpoint=4")
    assert (answer.status, answer.err) == (0, "")
    assert target.read_text() == "old"
    target = folder / "artifacts/files/4/table.csv"
    target.write_text("old")
    assert call("evaluate", f"--workdir={folder}").status == 0
    assert target.read_text() == f"examples\n{EXAMPLES}\n"


def test_files_are_apart_from_metrics_where_one_batch_is_tried():
    setup = Setup(validate(make_config()))
    feed = setup.make_feed()
    feed.start(0)
    variables = setup.initial_state(feed).variables
    feed.close()
    outcome = setup.evaluations["files"].run_on_one_batch(setup.predict, variables)
    assert outcome.metrics == {"files/examples": 100.0}
    assert outcome.files.keys() == {"files/grey.png", "files/table.csv"}
    assert outcome.files["files/table.csv"] == b"examples\n100\n"


@pytest.mark.parametrize("name", ["table", "../table.csv", "a/table.csv", ""])
def test_a_name_that_is_none_for_a_file_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"^config.evaluators.files: .* no name for one"):
        run(make_config(file=name), tmp_path)


def test_the_newest_step_is_that_of_the_largest_number(tmp_path):
    for step in (9, 100, 20):
        write_files(tmp_path, step, {"b/x.csv": b"%d" % step})
    write_files(tmp_path, 3, {"a/y.png": b"", "a/x.csv": b""})
    (tmp_path / "evaluation-9.json").touch()
    found = [(step, path.name) for step, path in newest_files(tmp_path)]
    assert found == [(3, "x.csv"), (3, "y.png"), (100, "x.csv")]


def test_no_file_is_left_half_written(tmp_path, monkeypatch):
    write_files(tmp_path, 1, {"a/x.csv": b"old"})

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError):
        write_files(tmp_path, 1, {"a/x.csv": b"new"})
    assert (tmp_path / "a/1/x.csv").read_bytes() == b"old"
    assert [path.name for _, path in newest_files(tmp_path)] == ["x.csv"]
