"""Labelled sentences and music; data sets that TFDS lacks are prepared without TensorFlow."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from dlresearch.config.catalog import target_of
from dlresearch.config.fields import Component
from dlresearch.config.signatures import settable
from dlresearch.data.chorales import Chorales
from dlresearch.data.labelled_text import LabelledText
from dlresearch.data.parallel_text import ParallelText
from dlresearch.data.prepare import main as prepare
from dlresearch.data.text import Text
from dlresearch.errors import UserError

LINES = "1 a good film\n0 a bad bad film\n1 good\n"
PIECES = {
    "train": [[[60, 64], [], [21, 108]], [[62]]],
    "valid": [[[60]]],
    "test": [[[61], [62]]],
}


@pytest.fixture
def lines(tmp_path):
    (tmp_path / "t.txt").write_text(LINES)
    return str(tmp_path / "t.txt")


def test_lines_with_a_label_become_padded_tokens_and_classes(lines):
    source = LabelledText(lines, max_length=5)
    vocabulary = source.metadata["vocabularies"]["tokens"]
    assert vocabulary.symbols[4:] == ("a", "bad", "film", "good")
    arrays = source.arrays()
    assert arrays["tokens"].tolist() == [[4, 7, 6, 0, 0], [4, 5, 5, 6, 0], [7, 0, 0, 0, 0]]
    assert arrays["length"].tolist() == [3, 4, 1]
    assert arrays["label"].tolist() == [1, 0, 1]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    assert source.metadata["class_counts"] == (1, 2)
    assert source.metadata["sequences"] == {"tokens": "length"}
    assert source.texts == ["a good film", "a bad bad film", "good"]


def test_what_is_too_long_is_cut_counted_and_noted(lines):
    source = LabelledText(lines, max_length=3)
    assert source.arrays()["length"].tolist() == [3, 3, 1]
    assert source.metadata["truncated"] == 1
    assert source.metadata["notes"] == (
        f"{lines}: 1 of 3 were cut to max_length=3; raise it to keep all",
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_tables_are_read_by_the_names_of_their_columns(lines, tmp_path, suffix):
    separator = "\t" if "tsv" in suffix else ","
    rows = [["mood", "id", "review"], ["1", "7", "a good film"], ["0", "8", "a bad bad film"]]
    rows.append(["1", "9", "good"])
    content = "\n".join(separator.join(row) for row in rows).encode()
    path = tmp_path / f"t{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    table = LabelledText(str(path), text="review", label="mood")
    expected = LabelledText(lines)
    for key, array in expected.arrays().items():
        np.testing.assert_array_equal(table.arrays()[key], array)


def test_classes_that_are_names_are_numbered_as_the_config_says(tmp_path):
    (tmp_path / "t").write_text("pos null\nneg NA\n")
    source = LabelledText(str(tmp_path / "t"), classes=("neg", "pos", "none"))
    assert source.arrays()["label"].tolist() == [1, 0]
    assert source.metadata["class_names"] == ("neg", "pos", "none")
    with pytest.raises(UserError, match=r"labels are no numbers.*here 'neg', 'pos'"):
        LabelledText(str(tmp_path / "t"))
    with pytest.raises(UserError, match=r"line 2: no class is 'neg'"):
        LabelledText(str(tmp_path / "t"), classes=("pos", "nag"))


def test_evaluation_reads_with_the_vocabulary_of_training(lines, tmp_path):
    vocabularies = LabelledText(lines).metadata["vocabularies"]
    (tmp_path / "v").write_text("0 a new film\n")
    source = LabelledText(str(tmp_path / "v"), vocabularies=vocabularies)
    assert source[0]["tokens"][:3].tolist() == [4, 3, 6]


@pytest.fixture
def a_run(lines, tmp_path):
    """A folder with a vocabulary, as runs keep them."""
    (tmp_path / "run/vocabularies").mkdir(parents=True)
    vocabulary = LabelledText(lines).metadata["vocabularies"]["tokens"]
    vocabulary.save(tmp_path / "run/vocabularies/tokens.json")
    return tmp_path / "run"


@pytest.mark.parametrize("file", ["", "vocabularies/tokens.json"])
def test_the_vocabulary_of_a_run_is_taken(lines, a_run, tmp_path, file):
    (tmp_path / "v").write_text("0 a new film")
    path = str(a_run / file)
    labelled = LabelledText(str(tmp_path / "v"), vocabulary=path)
    assert labelled[0]["tokens"][:4].tolist() == [4, 3, 6, 0]
    text = Text(str(tmp_path / "v"), unit="words", vocabulary=path)
    assert text[0]["tokens"][:4].tolist() == [3, 4, 3, 6]
    expected = LabelledText(lines).metadata["vocabularies"]
    assert labelled.metadata["vocabularies"] == text.metadata["vocabularies"] == expected
    # In an evaluation that of the training source counts.
    other = LabelledText(str(tmp_path / "v")).metadata["vocabularies"]
    given = LabelledText(lines, vocabulary=path, vocabularies=other)
    assert given.metadata["vocabularies"] == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "characters"}, r"unit is 'characters', and 'words' in vocabulary=.*/run; set"),
        ({"vocabulary": "nowhere"}, r"there is no vocabulary nowhere"),
        ({"vocabulary": "."}, r"there is no vocabulary vocabularies/tokens\.json"),
        ({"vocabulary": "t.txt"}, r"t\.txt is no vocabulary"),
        ({"vocabulary_size": 9}, r"leave out vocabulary_size"),
        ({"min_count": 2}, r"leave out min_count"),
        ({"lowercase": True}, r"leave out lowercase"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_one_line(
    lines, a_run, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    for source, unit in ((LabelledText, {}), (Text, {"unit": "words"})):
        with pytest.raises(UserError, match=message) as error:
            source(lines, **{"vocabulary": str(a_run), **unit, **arguments})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"1 a\n1\n", {}, r"t\.txt: line 2 is '1'; write a label, a space, the text"),
        (b"1 a\n\n", {}, r"t\.txt: line 2 is ''"),
        (b"1 caf\xe9\n", {}, r"t\.txt: line 1 is not UTF-8"),
        (b"", {}, r"t\.txt is empty"),
        (b"2 a\n", {"classes": ("n", "p")}, r"label 2 is outside 0 to 1"),
        (b"1 a\n", {"classes": ("n", "n")}, r"classes names one twice"),
        (b"1 a\n", {"max_length": 0}, r"max_length is 0"),
        (b"1 ...\n", {"unit": "sentences"}, r"t\.txt: there is no unit 'sentences'"),
        (b"1 a\n", {"dataset": "x"}, r"set either path, a file, or dataset"),
    ],
)
def test_a_mistake_with_labelled_text_is_one_line(tmp_path, content, arguments, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        LabelledText(str(tmp_path / "t.txt"), **arguments)
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("labels,text\n1,a\n")
    with pytest.raises(UserError, match=r"no column 'label'; did you mean 'labels'"):
        LabelledText(str(tmp_path / "t.csv"))


@pytest.fixture
def music(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(PIECES))
    return str(tmp_path / "m.json")


def test_music_is_a_piano_roll_padded_to_the_longest_piece(music):
    source = Chorales(music)
    notes = source.arrays()["notes"]
    assert notes.shape == (2, 3, 88) and notes.dtype == np.uint8
    assert source.arrays()["length"].tolist() == [3, 1]
    sounding = [[[int(n) + 21 for n in np.flatnonzero(step)] for step in piece] for piece in notes]
    assert sounding == [[[60, 64], [], [21, 108]], [[62], [], []]]
    cut = Chorales(music, max_length=2)
    assert cut.arrays()["length"].tolist() == [2, 1] and cut.metadata["truncated"] == 1


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("{", {}, r"m\.json is no JSON"),
        ("[]", {}, r"expected a mapping from splits to pieces"),
        ('{"trian": []}', {}, r"has no split 'train'; did you mean 'trian'"),
        ('{"train": []}', {}, r"train has no pieces"),
        ('{"train": [[]]}', {}, r"a piece without time steps"),
        ('{"train": [[[60, 109]]]}', {}, r"109 is no key of a piano, MIDI 21 to 108"),
        ('{"train": [[["c"]]]}', {}, r"'c' is no key of a piano"),
        ("{}", {"max_length": 0}, r"max_length is 0"),
    ],
)
def test_a_mistake_with_music_is_one_line(tmp_path, content, arguments, message):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        Chorales(str(tmp_path / "m.json"), **arguments)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """All built data sets from tiny files, written where TensorFlow cannot be imported."""
    folder = tmp_path_factory.mktemp("manual")
    for split in ("train", "valid", "test"):
        (folder / f"ptb.{split}.txt").write_text(f" the {split} <unk> \n of words \n")
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("de", "en", "fr"):
            text = f"{split} {language}\nzwei\n"
            (folder / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    for split in ("train", "dev", "test"):
        (folder / f"stsa.fine.{split}").write_text(f"4 {split} fine\n0 bad\n")
    (folder / "jsb-chorales-quarter.json").write_text(json.dumps(PIECES))
    data_dir = tmp_path_factory.mktemp("tfds")
    (data_dir / "tensorflow.py").write_text("raise AssertionError('imported TensorFlow')")
    program = "\n".join(
        [
            f"import sys; sys.path.insert(0, {str(data_dir)!r})",
            "from dlresearch.data.prepare import main",
            *(
                f"assert main(['--dataset={name}', '--data_dir={data_dir}',"
                f" '--manual_dir={folder}']) == 0"
                for name in ("penn_treebank", "multi30k", "sst_sentences/fine", "jsb_chorales")
            ),
            "assert 'tensorflow' not in sys.modules",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return str(data_dir), folder


def same_arrays(first, second):
    for key, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[key])


@pytest.mark.slow
def test_a_prepared_data_set_reads_as_its_files_do(prepared):
    data_dir, folder = prepared
    words = {"unit": "words", "end_of_line": True}
    text = Text(dataset="penn_treebank", split="test", data_dir=data_dir, **words)
    file = Text(str(folder / "ptb.test.txt"), **words)
    same_arrays(text, file)
    assert text.metadata["characters_per_token"] == file.metadata["characters_per_token"]
    pairs = ParallelText(
        dataset="multi30k", split="validation", data_dir=data_dir, source="fr", unit="words"
    )
    assert (pairs.sources, pairs.references) == (["val fr", "zwei"], ["val en", "zwei"])
    labelled = LabelledText(dataset="sst_sentences/fine", data_dir=data_dir)
    same_arrays(labelled, LabelledText(str(folder / "stsa.fine.train")))
    assert labelled.metadata["class_names"][4] == "very positive"
    music = Chorales(dataset="jsb_chorales", data_dir=data_dir)
    same_arrays(music, Chorales(str(folder / "jsb-chorales-quarter.json")))


def test_a_feature_of_another_kind_is_refused(prepared):
    data_dir, _ = prepared
    arguments = {"dataset": "sst_sentences/fine", "data_dir": data_dir}
    with pytest.raises(UserError, match=r"'label' is no text"):
        LabelledText(**arguments, text="label")
    with pytest.raises(UserError, match=r"'label' is no text"):
        ParallelText(**arguments, source="text", target="label")
    with pytest.raises(UserError, match=r"no feature 'labels'; did you mean 'label'"):
        LabelledText(**arguments, label="labels")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("multi30k", "there is no train.de or train.de.gz in"),
        ("sst_sentences/fin", "sst_sentences has no config 'fin'; did you mean 'fine'?"),
        ("sst_sentences:9.9.9", "cannot be loaded at version 9.9.9"),
    ],
)
def test_a_mistake_when_preparing_is_one_line(tmp_path, capsys, dataset, message):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "other").touch()
    arguments = [
        f"--dataset={dataset}",
        f"--data_dir={tmp_path}",
        f"--manual_dir={tmp_path}/manual",
    ]
    assert prepare(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


def test_a_data_set_of_ours_that_is_not_prepared_needs_no_tensorflow(tmp_path):
    with pytest.raises(UserError, match=r"not prepared.*prepare --dataset=multi30k.*--manual_dir"):
        ParallelText(dataset="multi30k", data_dir=str(tmp_path))


def test_names_are_not_those_of_tfds():
    program = (
        "import tensorflow_datasets as tfds; from dlresearch.data.builders import BUILDERS;"
        "assert not set(BUILDERS) & set(tfds.list_builders(with_community_datasets=False))"
    )
    # A process of its own: here they may be registered.
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["text", "python_docs", "labelled_text", "parallel_text", "dates"])
def test_a_user_cannot_set_the_vocabularies(name):
    target = target_of(Component(name), "source", "config.data.source")
    assert "vocabularies" not in settable(target, "source")
    assert "split" in settable(target, "source")


def test_sentiment_and_chorales_have_the_published_sizes(real_data):
    raw = real_data / "raw"
    train = LabelledText(str(raw / "sst" / "stsa.binary.train.gz"))
    dev = LabelledText(
        str(raw / "sst" / "stsa.binary.dev.gz"), vocabularies=train.metadata["vocabularies"]
    )
    assert train.metadata["class_counts"] == (3310, 3610)
    assert dev.metadata["class_counts"] == (428, 444)
    pieces = Chorales(str(raw / "jsb_chorales" / "jsb-chorales-quarter.json.gz"), split="test")
    assert len(pieces) == 77 and pieces.arrays()["length"].sum() == 4725
