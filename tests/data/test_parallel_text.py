"""Both sides of a pair come as padded ids with beginnings and ends, and the reference as it was."""

import gzip
import pickle
from datetime import date

import numpy as np
import pytest

from dlresearch.data.dates import NUM_FORMATS, Dates, write_date
from dlresearch.data.parallel_text import ParallelText
from dlresearch.errors import UserError

GERMAN = ["Ein Hund läuft.", "Zwei Hunde laufen  schnell!", "Ein Haus"]
ENGLISH = ["A dog runs.", "Two dogs run fast!", "A House "]


@pytest.fixture
def write(tmp_path):
    def write(name, lines, encoding="utf-8"):
        content = "".join(f"{line}\n" for line in lines).encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def files(write):
    return {"source_path": write("a.de", GERMAN), "target_path": write("a.en.gz", ENGLISH)}


def test_pairs_have_a_beginning_an_end_and_padding(files):
    source = ParallelText(**files, unit="words", max_length=6)
    german, english = (source.metadata["vocabularies"][key] for key in ("source", "target"))
    for i in range(3):
        example = source[i]
        from_ids, to_ids = german.encode(GERMAN[i]), english.encode(ENGLISH[i])
        assert example["source"].tolist() == [*from_ids, 2] + [0] * (5 - len(from_ids))
        assert example["source_length"] == len(from_ids) + 1
        assert example["target"].tolist() == [1, *to_ids, 2] + [0] * (5 - len(to_ids))
        assert example["target_length"] == len(to_ids) + 2
        assert example["example"] == i
        assert {array.dtype for array in example.values()} == {np.dtype(np.int32)}
        assert english.decode(example["target"]) == ENGLISH[i].strip()
    assert source.metadata["sequences"] == {"source": "source_length", "target": "target_length"}
    assert (source.metadata["truncated"], source.metadata["notes"]) == (0, ())


def test_references_are_the_lines_of_the_file(files):
    source = ParallelText(**files, unit="words", lowercase=True)
    assert source.references == ENGLISH and source.sources == GERMAN
    assert pickle.loads(pickle.dumps(source)).references == ENGLISH
    assert source.describe(2) == "sentence 3 ('Ein Haus')"


def test_what_is_too_long_is_cut_counted_and_noted(files):
    source = ParallelText(**files, unit="words", max_length=5)
    assert source.metadata["truncated"] == 2  # the second sentence, on both sides
    assert source.metadata["notes"] == tuple(
        f"{files[key]}: 1 of 3 were cut to max_length=5; raise it to keep all"
        for key in ("source_path", "target_path")
    )
    assert source[1]["source_length"] == 5 and source[1]["source"][-1] == 2
    assert source[1]["target_length"] == 6 and source[1]["target"][-1] == 2
    english = source.metadata["vocabularies"]["target"]
    assert english.decode(source[1]["target"]) == "Two dogs run fast"


def test_a_shared_vocabulary_is_one_for_both(files):
    separate = ParallelText(**files, unit="characters").metadata["vocabularies"]
    assert separate["source"] != separate["target"]
    assert "ä" not in separate["target"].symbols and "g" not in separate["source"].symbols
    shared = ParallelText(**files, unit="characters", shared_vocabulary=True).metadata
    assert shared["vocabularies"]["source"] == shared["vocabularies"]["target"]
    assert {"ä", "g"} <= set(shared["vocabularies"]["target"].symbols)


def test_evaluation_reads_with_the_vocabularies_of_training(files, write):
    vocabularies = ParallelText(**files, unit="words").metadata["vocabularies"]
    other = {"source_path": write("b.de", ["Haus Katze"]), "target_path": write("b.en", ["A cat"])}
    source = ParallelText(**other, unit="words", vocabularies=vocabularies)
    assert source.metadata["vocabularies"] == vocabularies
    assert source[0]["source"][1] == source[0]["target"][2] == 3  # unknown
    with pytest.raises(UserError, match="unit is 'subwords', and 'words' in training"):
        ParallelText(**other, vocabularies=vocabularies)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_path": None}, r"set source_path and target_path, two text files, or dataset"),
        ({"dataset": "x"}, r"set either source_path and target_path, or dataset"),
        ({"target_path": ["a"]}, r"a\.de has 3 lines and .*other 1; line n of one"),
        ({"target_path": ["a", " ", "b"]}, r"other: line 2 is empty"),
        ({"target_path": ["é"] * 3}, r"other: line 1 is not UTF-8 \(byte 0xE9\)"),
        ({"target_path": []}, r"other is empty"),
        ({"target_path": "nowhere"}, r"there is no file nowhere"),
        ({"max_length": 1, "unit": "words"}, r"max_length is 1; it has to be at least 2"),
        ({"unit": "subword"}, r"no unit 'subword'; did you mean 'subwords'"),
        ({"vocabulary_size": 10**5}, r"a\.de: vocabulary_size=100000 is more than the \d+"),
    ],
)
def test_a_mistake_is_one_line(files, write, change, message):
    if isinstance(lines := change.get("target_path"), list):
        change = {"target_path": write("other", lines, encoding="latin1")}
    with pytest.raises(UserError, match=message) as error:
        ParallelText(**{**files, **change})
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def dates():
    train = Dates(count=500)
    return train, Dates("test", count=500, vocabularies=train.metadata["vocabularies"])


def test_no_date_of_the_test_half_is_in_training(dates):
    train, test = dates
    assert len({*train.references, *test.references}) == 1000
    # Drawn from all dates, some 120 of these would be in both.
    assert not set(Dates("test", count=3000).references) & set(Dates(count=3000).references)


def test_dates_are_the_same_every_time_and_other_with_another_seed(dates):
    again, other = Dates(count=500), Dates(count=500, seed=1)
    assert again.sources == dates[0].sources != other.sources
    assert again.metadata["vocabularies"] == dates[0].metadata["vocabularies"]


def test_no_character_of_the_test_half_is_unknown(dates):
    arrays = dates[1].arrays()
    assert 3 not in arrays["source"] and 3 not in arrays["target"]


def test_no_two_dates_are_written_alike_and_none_is_cut():
    days = [
        date(year, month, day)
        for year in (1999, 2011)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    meanings = {}
    for form in range(NUM_FORMATS):
        for day in days:
            written = write_date(day, form, 2)
            assert len(written) < 32
            assert meanings.setdefault(written, day) == day


@pytest.mark.parametrize(
    ("form", "case", "written"),
    [
        (0, 2, "2 May 2021"),
        (5, 0, "the 2nd of may, 2021"),
        (7, 1, "SUNDAY, 2 MAY 2021"),
        (12, 2, "02.05.2021"),
        (15, 2, "5/2/2021"),
        (17, 2, "20210502"),
    ],
)
def test_a_date_as_people_write_it(form, case, written):
    assert write_date(date(2021, 5, 2), form, case) == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tests"}, r"no split 'tests'; did you mean 'test'"),
        ({"count": 0}, r"count is 0; train has 1 to \d+ dates"),
        ({"split": "test", "count": 50_000}, r"count is 50000; test has 1 to \d+ dates"),
        ({"seed": -1}, r"seed=-1 is negative"),
    ],
)
def test_a_mistake_with_dates_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        Dates(**arguments)


def test_multi30k_is_read_whole(real_data):
    raw = real_data / "raw" / "multi30k"
    files = {
        "source_path": str(raw / "test_2016_flickr.de.gz"),
        "target_path": str(raw / "test_2016_flickr.en.gz"),
    }
    source = ParallelText(
        **files, vocabulary_size=1000, shared_vocabulary=True, lowercase=True, max_length=80
    )
    assert len(source) == len(source.references) == 1000
    assert source.metadata["truncated"] == 0
    vocabulary = source.metadata["vocabularies"]["target"]
    assert len(vocabulary) == 1000
    for i in (0, 500, 999):
        decoded = vocabulary.decode(source[i]["target"])
        assert decoded == " ".join(source.references[i].lower().split())
