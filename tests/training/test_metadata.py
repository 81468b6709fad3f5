"""What a run knows of its source lies in its folder, and a run whose text has changed is not mixed
up.
"""

import json

import pytest

from dlresearch.config import component, validate
from dlresearch.data.vocabulary import make_vocabulary
from dlresearch.errors import UserError
from dlresearch.training import Setup, Workdir, evaluate_checkpoint, open_workdir, train
from dlresearch.training.metadata import (
    check_vocabularies,
    keep_metadata,
    read_metadata,
)
from helpers.training.small_runs import language_model_config, run


def metadata(text: str, unit: str = "characters") -> dict:
    """As a source of text gives it; an array is not for a JSON file."""
    vocabulary = make_vocabulary(unit, [text], special=unit == "words")
    return {"vocabularies": {"tokens": vocabulary}, "streams": 4, "lengths": object()}


@pytest.mark.parametrize("unit", ["characters", "bytes", "words"])
def test_what_was_kept_is_read_again(tmp_path, unit):
    workdir, made = Workdir(tmp_path), metadata("some text of words", unit)
    keep_metadata(workdir, made)
    read = read_metadata(workdir)
    assert read == {"vocabularies": made["vocabularies"], "streams": 4}
    assert read["vocabularies"]["tokens"].encode("text of") == (
        made["vocabularies"]["tokens"].encode("text of")
    )


def test_the_same_text_goes_on_and_another_one_is_refused(tmp_path):
    workdir = Workdir(tmp_path)
    keep_metadata(workdir, metadata("abcab"))
    check_vocabularies(workdir, metadata("cabba"))  # of the same characters
    for changed in (metadata("abcd"), {}):
        with pytest.raises(UserError, match=r"--workdir: .* another vocabulary for 'tokens'"):
            check_vocabularies(workdir, changed)


def test_a_folder_that_kept_none_fits_any(tmp_path):
    check_vocabularies(Workdir(tmp_path), metadata("abc"))


def test_a_source_without_text_leaves_no_vocabularies(tmp_path):
    keep_metadata(Workdir(tmp_path), {"num_classes": 10})
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.json"]
    assert read_metadata(Workdir(tmp_path)) == {"num_classes": 10}


def test_a_vocabulary_that_is_gone_is_told(tmp_path):
    workdir = Workdir(tmp_path)
    keep_metadata(workdir, metadata("abc"))
    files = json.loads(workdir.metadata.read_text())["vocabularies"]
    (workdir.vocabularies / files["tokens"]).unlink()
    with pytest.raises(UserError, match="vocabular"):
        read_metadata(workdir)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_run_is_not_gone_on_with_nor_evaluated_on_other_tokens(tmp_path, verb):
    text = tmp_path / "text.txt"
    text.write_text("abcdefgh" * 40)
    config = language_model_config()
    config.duration = "1 steps"
    config.data.source = component("text", path=str(text), length=8, streams=32)
    config.evaluators.test.source = component("text", path=str(text), length=8, streams=8)
    folder = tmp_path / "run"
    assert run(config, folder).status == "completed"
    text.write_text("abcdefgi" * 40)  # of as many characters, so that all shapes fit
    setup = Setup(validate(config))
    with pytest.raises(UserError, match="another vocabulary"):
        if verb == "train":
            train(setup, open_workdir(str(folder)))
        else:
            evaluate_checkpoint(setup, str(folder), "newest")
