"""Every token of a text is predicted once; what a window continues is where its stream was."""

import gzip
import pickle
from itertools import pairwise

import numpy as np
import pytest

from dlresearch.data import load_all
from dlresearch.data.python_docs import PythonDocs
from dlresearch.data.text import Text
from dlresearch.errors import UserError

TEXT = "".join(chr(ord("a") + i % 23) for i in range(101))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    return str(tmp_path / "t.txt")


def ids(source, text):
    return source.metadata["vocabularies"]["tokens"].encode(text)


def predictions(source):
    """Pairs (input, predicted) of all examples, in their order."""
    pairs = []
    for example in map(source.__getitem__, range(len(source))):
        tokens = example["tokens"][: example["length"]].tolist()
        pairs.extend(pairwise(tokens))
    return pairs


@pytest.mark.parametrize("length", [1, 7, 50, 100, 101, 300])
def test_windows_predict_every_token_but_the_first_once(path, length):
    source = Text(path, length=length)
    expected = ids(source, TEXT)
    assert predictions(source) == list(pairwise(expected))
    assert source[0]["tokens"].shape == (length + 1,)
    assert source[0]["tokens"].dtype == source[0]["length"].dtype == np.int32
    assert "start" not in source[0]


def test_overlapping_windows_start_every_stride_tokens_and_reach_the_end(path):
    source = Text(path, length=10, stride=3)
    expected = ids(source, TEXT)
    for i in range(len(source) - 1):
        assert source[i]["tokens"].tolist() == expected[3 * i : 3 * i + 11]
    last = source[len(source) - 1]
    assert last["tokens"][: last["length"]].tolist() == expected[3 * (len(source) - 1) :]
    assert len(Text(path, length=10, stride=1)) == len(TEXT) - 10


@pytest.mark.parametrize("streams", [1, 3, 8, 60, 200])
@pytest.mark.parametrize("length", [4, 33, 500])
def test_streams_predict_every_token_but_the_first_once(path, streams, length):
    source = Text(path, length=length, streams=streams)
    expected = ids(source, TEXT)
    assert source.metadata["streams"] == streams
    assert len(source) % streams == 0
    assert sorted(predictions(source)) == sorted(pairwise(expected))
    assert source.arrays()["length"].min() >= 1


def test_a_batch_of_streams_continues_the_one_before_it(path):
    streams, length = 4, 6
    source = Text(path, length=length, streams=streams)
    expected = ids(source, TEXT)
    for i in range(len(source)):
        example = source[i]
        assert example["stream"] == i % streams
        assert example["start"] == (i < streams)
        valid = example["tokens"][: example["length"]].tolist()
        # ceil(100 / 4) predictions a stream.
        first = 25 * (i % streams) + length * (i // streams)
        assert valid == expected[first : first + len(valid)]
        if i >= streams:
            before = source[i - streams]
            assert before["length"] == length + 1  # only the last window of a stream is shorter
            assert before["tokens"][-1] == example["tokens"][0]
    assert source[0]["start"].dtype == bool and source[0]["stream"].dtype == np.int32


def test_a_worker_process_gets_the_same_windows(path):
    for options in ({"stride": 1}, {"streams": 3}):
        source = Text(path, length=20, **options)
        sent = pickle.dumps(source)
        assert len(sent) < 3000  # the text, not its windows
        copy = pickle.loads(sent)
        for key, array in load_all(source, []).items():
            np.testing.assert_array_equal(load_all(copy, [])[key], array)


def test_evaluation_reads_with_the_vocabulary_of_training(path, tmp_path):
    (tmp_path / "v.txt").write_text("cab" * 5)
    train = Text(path)
    vocabularies = train.metadata["vocabularies"]
    valid = Text(str(tmp_path / "v.txt"), length=14, vocabularies=vocabularies)
    assert valid[0]["tokens"].tolist() == [2, 0, 1] * 5
    assert valid.metadata["vocabularies"] == vocabularies
    (tmp_path / "w.txt").write_text("cabz")
    with pytest.raises(UserError, match=r"w\.txt: the character 'z'"):
        Text(str(tmp_path / "w.txt"), vocabularies=vocabularies)
    with pytest.raises(UserError, match=r"unit is 'words', and 'characters' in training"):
        Text(path, unit="words", vocabularies=vocabularies)
    with pytest.raises(UserError, match=r"no vocabulary for 'tokens', only for source"):
        Text(path, vocabularies={"source": vocabularies["tokens"]})


def test_parts_of_a_file_are_its_beginning_and_end(path):
    parts = {split: Text(path, split=split, held_out=0.2, length=200) for split in ("train", "all")}
    vocabularies = parts["train"].metadata["vocabularies"]
    parts["test"] = Text(path, split="test", held_out=0.2, length=200, vocabularies=vocabularies)
    read = {}
    for split, part in parts.items():
        (example,) = part
        read[split] = vocabularies["tokens"].decode(example["tokens"][: example["length"]])
    assert read == {"train": TEXT[:81], "test": TEXT[81:], "all": TEXT}


def test_characters_per_token_turn_bits_a_token_into_bits_a_character(tmp_path):
    (tmp_path / "t").write_text("the größe is\nthe größe\n", encoding="utf-8")
    for unit, tokens in (("characters", 23), ("bytes", 27), ("words", 5)):
        source = Text(str(tmp_path / "t"), unit=unit)
        assert source.metadata["characters_per_token"] == 23 / tokens
    with_ends = Text(str(tmp_path / "t"), unit="words", end_of_line=True)
    assert with_ends.metadata["characters_per_token"] == 23 / 7


def test_a_last_line_without_an_end_ends_as_well(tmp_path):
    for text in ("a b\nc", "a b\nc\n"):
        (tmp_path / "t").write_text(text)
        source = Text(str(tmp_path / "t"), unit="words", end_of_line=True, length=9)
        assert source[0]["length"] == 5


def test_line_ends_of_windows_and_a_byte_order_mark_do_not_count(tmp_path):
    (tmp_path / "t.gz").write_bytes(gzip.compress("\ufeffab\r\ncd\r\n".encode()))
    source = Text(str(tmp_path / "t.gz"), length=5)
    assert source.metadata["vocabularies"]["tokens"].symbols == ("\n", "a", "b", "c", "d")


def test_the_share_of_unknown_words_is_a_note(path, tmp_path):
    (tmp_path / "t").write_text("a a a b")
    source = Text(str(tmp_path / "t"), unit="words", min_count=2)
    assert source.metadata["notes"] == (f"{tmp_path / 't'}: 25.00% of the words are <unk>",)
    assert Text(path).metadata["notes"] == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"set either path, a file, or dataset, a TFDS name"),
        ({"path": "a", "dataset": "b"}, r"set either path, a file, or dataset, a TFDS name"),
        ({"path": "{}/none"}, r"there is no file .*none"),
        ({"path": "{}/latin1"}, r"latin1: line 2 is not UTF-8 \(byte 0xE9\); convert it"),
        ({"path": "{}/bad.gz"}, r"cannot read .*bad\.gz"),
        ({"path": "{}/cut.gz"}, r"cannot read .*cut\.gz"),
        ({"path": "{}"}, r"cannot read "),
        ({"path": "{}/empty"}, r"empty: the text has no symbol"),
        ({"path": "{}/one"}, r"one: a text of 1 tokens leaves nothing to predict"),
        ({"path": "{}/t.txt", "unit": "char"}, r"no unit 'char'; did you mean 'characters'"),
        ({"path": "{}/t.txt", "length": 0}, r"length is 0"),
        ({"path": "{}/t.txt", "streams": 0}, r"streams is 0"),
        ({"path": "{}/t.txt", "streams": 2, "stride": 2}, r"leave out one of the two"),
        ({"path": "{}/t.txt", "length": 5, "stride": 6}, r"stride=6 would leave out text"),
        ({"path": "{}/t.txt", "split": "tset"}, r"no split 'tset' of a file; did you mean 'test'"),
        ({"path": "{}/t.txt", "split": "test"}, r"split='test' needs held_out"),
        ({"path": "{}/t.txt", "held_out": 1.0}, r"held_out=1.0 is not in \[0, 1\)"),
        ({"dataset": "mnist", "held_out": 0.1}, r"held_out is for a file"),
    ],
)
def test_a_mistake_is_one_line(path, tmp_path, arguments, message):
    whole = gzip.compress(TEXT.encode())
    for name, content in {
        **{"latin1": "abc\ncafé".encode("latin1"), "empty": b"", "one": b"a"},
        **{"bad.gz": b"no gzip", "cut.gz": whole[: len(whole) // 2]},
    }.items():
        (tmp_path / name).write_bytes(content)
    if "path" in arguments:
        arguments = {**arguments, "path": arguments["path"].format(tmp_path)}
    with pytest.raises(UserError, match=message) as error:
        Text(**arguments)
    assert "\n" not in str(error.value)


def test_python_docs_hold_out_whole_topics():
    train = PythonDocs(length=64)
    vocabularies = train.metadata["vocabularies"]
    parts = {
        split: PythonDocs(split, length=64, vocabularies=vocabularies) for split in ("test", "all")
    }
    sizes = {s: int((p.arrays()["length"] - 1).sum()) + 1 for s, p in parts.items()}
    sizes["train"] = int((train.arrays()["length"] - 1).sum()) + 1
    # Topics are joined by a line end, one more where the two parts meet.
    assert sizes["train"] + sizes["test"] + 1 == sizes["all"] > 300_000
    assert 0.02 < sizes["test"] / sizes["all"] < 0.3
    # They differ between versions of Python, but little.
    assert 80 < len(vocabularies["tokens"]) < 130
    assert len(pickle.loads(pickle.dumps(parts["test"]))) == len(parts["test"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, r"no split 'valid'"),
        ({"held_out": 0.0, "split": "test"}, r"leaves none for 'test'"),
        ({"held_out": -1.0}, r"held_out=-1.0"),
        ({"unit": "word"}, r"did you mean 'words'"),
    ],
)
def test_a_mistake_with_python_docs_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        PythonDocs(**arguments)


def test_penn_treebank_has_the_published_numbers_of_tokens(real_data):
    vocabularies = None
    for split, tokens in {"train": 929_589, "valid": 73_760, "test": 82_430}.items():
        source = Text(
            str(real_data / "raw" / "ptb" / f"ptb.{split}.txt.gz"),
            unit="words",
            end_of_line=True,
            streams=20,
            length=35,
            vocabularies=vocabularies,
        )
        vocabularies = source.metadata["vocabularies"]
        assert int((source.arrays()["length"] - 1).sum()) + 1 == tokens
        assert len(vocabularies["tokens"]) == 10_000


def test_tiny_shakespeare_comes_from_tfds(real_data):
    source = Text(dataset="tiny_shakespeare", data_dir=str(real_data / "tfds"), length=64)
    vocabulary = source.metadata["vocabularies"]["tokens"]
    assert len(vocabulary) == 65
    assert int((source.arrays()["length"] - 1).sum()) + 1 == 1_003_854
    assert vocabulary.decode(source[0]["tokens"]).startswith("First Citizen:\nBefore we proceed")
    with pytest.raises(UserError, match=r"no feature 'txt'; did you mean 'text'"):
        Text(dataset="tiny_shakespeare", data_dir=str(real_data / "tfds"), key="txt")
    with pytest.raises(UserError, match=r"'label' is no text"):
        Text(dataset="mnist", data_dir=str(real_data / "tfds"), split="test[:9]", key="label")


def test_python_docs_are_evaluated_with_the_vocabulary_of_training():
    train = PythonDocs(unit="words")
    given = train.metadata["vocabularies"]
    test = PythonDocs("test", unit="words", vocabularies=given)
    assert test.metadata["vocabularies"] == given
    assert len(PythonDocs("test", unit="words").metadata["vocabularies"]["tokens"]) < len(
        given["tokens"]
    )
