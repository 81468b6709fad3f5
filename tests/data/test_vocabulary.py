"""What `encode` makes of a text, `decode` brings back; a saved vocabulary is the same."""

import pickle
from collections import Counter

import pytest

from dlresearch.data.vocabulary import (
    SPECIAL,
    UNITS,
    Bytes,
    load_vocabulary,
    make_vocabulary,
)
from dlresearch.errors import UserError

SENTENCES = [
    "The house stands where the houses stood, by the sea.",
    "A stone (small) rolls; the sea, the sea!",
    "Ein Häuschen stößt ans Meer: 'schön', said she.",
    "the sea is where the stones are",
] * 3
DAMAGED = '{"unit": "subwords", "model": "YWJj", "special": true, "lowercase": false}'
TEXT = "\n".join(SENTENCES) + "\n"


@pytest.fixture(params=UNITS)
def unit(request):
    return request.param


def make(unit, special, texts=None, **options):
    if unit == "subwords":
        # Running text has a subword for each of 256 bytes.
        options.setdefault("vocabulary_size", 80 if special else 330)
    return make_vocabulary(
        unit, texts or (SENTENCES if special else [TEXT]), special=special, **options
    )


@pytest.mark.parametrize("special", [True, False])
def test_what_was_saved_is_loaded_without_the_text(unit, special, tmp_path):
    vocabulary = make(unit, special)
    vocabulary.save(tmp_path / "v")
    loaded = load_vocabulary(tmp_path / "v")
    assert loaded == vocabulary == pickle.loads(pickle.dumps(vocabulary))
    assert loaded.encode(SENTENCES[2]) == vocabulary.encode(SENTENCES[2])
    assert loaded.decode(range(4, 20)) == vocabulary.decode(range(4, 20))
    assert len(loaded) == len(vocabulary)


def test_another_text_or_setting_makes_another_vocabulary(unit):
    vocabulary = make(unit, True)
    assert vocabulary == make(unit, True)
    assert vocabulary != make(unit, True, lowercase=True)
    if unit != "bytes":
        assert vocabulary != make(unit, True, SENTENCES[1:3] * 4)


def test_sentences_have_four_special_ids_that_encode_never_gives(unit):
    vocabulary = make(unit, True)
    assert (vocabulary.pad, vocabulary.bos, vocabulary.eos, vocabulary.unknown) == (0, 1, 2, 3)
    ids = vocabulary.encode("the sea <pad><bos> <eos> the sea")
    assert min(ids) >= 3 and max(ids) < len(vocabulary)
    sea = vocabulary.encode("the sea")
    assert vocabulary.decode([1, *sea, 2, 0, 0]) == vocabulary.decode(sea) == "the sea"


def test_running_text_has_no_beginning_or_end(unit):
    vocabulary = make(unit, False)
    assert (vocabulary.pad, vocabulary.bos, vocabulary.eos) == (None, None, None)


@pytest.mark.parametrize("unit", ["characters", "bytes", "subwords"])
def test_running_text_comes_back_unchanged(unit):
    vocabulary = make(unit, False)
    text = "  the  sea,\n\n the Häuschen\n"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT
    assert vocabulary.encode_array(text).tolist() == vocabulary.encode(text)


@pytest.mark.parametrize("unit", ["bytes", "subwords"])
def test_bytes_and_subwords_of_running_text_know_every_character(unit):
    vocabulary = make(unit, False)
    assert vocabulary.decode(vocabulary.encode("a 😀 b")) == "a 😀 b"


def test_bytes_are_those_of_utf8():
    assert Bytes().encode("aß€") == list("aß€".encode())
    assert Bytes(special=True).encode("aß") == [b + 4 for b in "aß".encode()]
    # What a model wrote need not be UTF-8.
    assert Bytes().decode([0xC3, 0x28]) == "\ufffd("


def test_characters_are_sorted_and_all_there():
    vocabulary = make("characters", False)
    assert vocabulary.symbols == tuple(sorted(set(TEXT)))
    assert vocabulary.encode("sea") == [vocabulary.symbols.index(c) for c in "sea"]
    assert vocabulary.unknown is None


def test_an_unknown_character_of_running_text_is_a_mistake_unless_there_is_a_symbol_for_it():
    with pytest.raises(UserError, match=r"'😀' \(U\+1F600\) is not in .*min_count=2"):
        make("characters", False).encode("a 😀")
    vocabulary = make("characters", False, min_count=2)
    assert vocabulary.encode("😀") == [vocabulary.unknown]
    assert vocabulary.decode([vocabulary.unknown]) == "<unk>"


def test_words_are_ordered_by_how_often_they_occur_and_rare_ones_unknown():
    counts = Counter(TEXT.split())
    kept = sorted((w for w in counts if counts[w] >= 6), key=lambda w: (-counts[w], w))
    vocabulary = make("words", True, min_count=6)
    assert vocabulary.symbols == (*SPECIAL, *kept)
    assert vocabulary.encode("the stone") == [4, 3]
    assert make("words", True, vocabulary_size=6).symbols == (*SPECIAL, *kept[:2])


def test_the_unknown_word_of_a_text_is_the_unknown_of_the_vocabulary():
    vocabulary = make("words", False, ["a <unk> b <unk>\na a\n"], end_of_line=True)
    # Five kinds and no sixth, by frequency: a 3, <eos> 2, <unk> 2, b 1.
    assert vocabulary.symbols == ("a", "<eos>", "<unk>", "b")
    assert vocabulary.encode("a c\nb") == [0, 2, 1, 3]
    assert vocabulary.decode([0, 2, 1, 3]) == "a <unk>\nb"
    assert make("words", True, ["a <unk> b"]).encode("<unk>") == [3]


def test_punctuation_is_split_off_and_put_back():
    vocabulary = make("words", True, tokenised=False)
    assert [vocabulary.decode([i]) for i in vocabulary.encode("the sea, the (small) sea!")] == [
        *("the", "sea", ",", "the", "(", "small", ")", "sea", "!")
    ]
    for sentence in SENTENCES[:2]:
        assert vocabulary.decode(vocabulary.encode(sentence)) == sentence


def test_lower_case_belongs_to_the_vocabulary(unit):
    vocabulary = make(unit, True, lowercase=True)
    assert vocabulary.encode("The SEA") == vocabulary.encode("the sea")
    assert vocabulary.decode(vocabulary.encode("The SEA")) == "the sea"


def test_subwords_have_the_size_asked_for_and_normalise_sentences():
    vocabulary = make("subwords", True, vocabulary_size=90)
    assert len(vocabulary) == 90
    # NFKC: a ligature is its letters, spaces are one; what has no symbol is unknown.
    assert vocabulary.decode(vocabulary.encode("the   ﬁ sea")) == vocabulary.decode(
        vocabulary.encode("the fi sea")
    )
    assert vocabulary.unknown in vocabulary.encode("the 😀")
    assert "<unk>" in vocabulary.decode(vocabulary.encode("the 😀"))


@pytest.mark.parametrize(
    ("unit", "options", "message"),
    [
        ("word", {}, r"no unit 'word'; did you mean 'words'"),
        ("words", {"min_count": 0}, r"min_count is 0; it has to be at least 1"),
        ("words", {"min_count": 999}, r"no symbol that occurs 999 times"),
        ("words", {"vocabulary_size": 4}, r"vocabulary_size is 4; it has to be above 4"),
        ("bytes", {"vocabulary_size": 99}, r"vocabulary_size has no meaning for bytes"),
        ("subwords", {"min_count": 2}, r"min_count has no meaning for subwords"),
        ("characters", {"end_of_line": True}, r"end_of_line is for unit='words'"),
        ("subwords", {"vocabulary_size": 10}, r"=10 is too small for the \d+ characters"),
        ("subwords", {"vocabulary_size": 10**6}, r"=1000000 is more than the \d+ subwords"),
        ("subwords", {"vocabulary_size": 0}, r"vocabulary_size is 0; it has to be"),
    ],
)
def test_a_mistake_is_one_line(unit, options, message):
    with pytest.raises(UserError, match=message) as error:
        make_vocabulary(unit, SENTENCES, special=True, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"unit": "letters"}', '{"unit": "subwords", "model": "?"}', "[1]", DAMAGED],
)
def test_a_file_that_is_no_vocabulary_is_a_mistake(content, tmp_path):
    (tmp_path / "v").write_text(content)
    with pytest.raises(UserError, match=r"v is no vocabulary"):
        load_vocabulary(tmp_path / "v")
    with pytest.raises(UserError, match=r"there is no vocabulary .*w$"):
        load_vocabulary(tmp_path / "w")
