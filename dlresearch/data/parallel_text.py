"""Pairs of sentences, for translation."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from dlresearch.data.sentences import cut_note, encode_sentences, padded, refuse_empty
from dlresearch.data.source import ArraySource
from dlresearch.data.text import given_vocabulary
from dlresearch.data.text_files import check_texts, read_features, read_lines
from dlresearch.data.vocabulary import Vocabulary, make_vocabulary
from dlresearch.errors import UserError, located


class SentencePairs(ArraySource):
    """Pairs of sentences as padded ids; `ParallelText` describes them.

    Attributes:
      sources: the source sentences as they were given.
      references: the target sentences as they were given.

    Args:
      sources: sentences to translate.
      targets: their translations.
      names: what messages call the two.
      vocabularies: of `source` and `target`.
      max_length: the most tokens of a sentence, its end counted.

    Raises:
      UserError: an empty sentence, unequal numbers of them, or a `max_length` below 2.
    """

    def __init__(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        names: tuple[str, str],
        vocabularies: Mapping[str, Vocabulary],
        max_length: int,
    ):
        if max_length < 2:
            raise UserError(f"max_length is {max_length}; it has to be at least 2")
        check_pairs(sources, targets, names)
        source, target = vocabularies["source"], vocabularies["target"]
        source_ids, source_cut = encode_sentences(sources, source, max_length - 1)
        target_ids, target_cut = encode_sentences(targets, target, max_length - 1)
        arrays = {"example": np.arange(len(sources), dtype=np.int32)}
        arrays["source"], arrays["source_length"] = padded(
            [_whole((*ids, source.eos)) for ids in source_ids], max_length, source.pad or 0
        )
        arrays["target"], arrays["target_length"] = padded(
            [_whole((target.bos, *ids, target.eos)) for ids in target_ids],
            max_length + 1,
            target.pad or 0,
        )
        self.sources: list[str] = list(sources)
        self.references: list[str] = list(targets)
        super().__init__(
            arrays,
            {
                "vocabularies": {"source": source, "target": target},
                "sequences": {"source": "source_length", "target": "target_length"},
                "truncated": source_cut + target_cut,
                "notes": (
                    *cut_note(names[0], source_cut, len(sources), max_length),
                    *cut_note(names[1], target_cut, len(targets), max_length),
                ),
            },
        )

    def describe(self, index: int) -> str:
        return f"sentence {index + 1} ({self.sources[index][:40]!r})"


class ParallelText(SentencePairs):
    """Two text files whose lines are translations of each other, or two texts of a TFDS.

    Yields, int32: `source` [max_length], the tokens and an end, and `source_length`; `target`
    [max_length + 1], a beginning, the tokens and an end, and `target_length`; lengths count
    beginnings and ends, and what follows is padding; `example`, the number of the pair. Sentences
    that are too long are cut, and a remark says how many.

    Args:
      source_path: the file to translate from, UTF-8, a sentence a line; `.gz` is decompressed.
      target_path: the file to translate to.
      dataset: a TFDS name instead, such as `multi30k`.
      split: of the data set.
      data_dir: of the data set, see `tfds`.
      source: the feature of the data set to translate from.
      target: the feature to translate to.
      unit: `subwords`, `words`, `characters` or `bytes`.
      vocabulary_size: how many different tokens each vocabulary has; None takes all there are, and
        8,000 subwords.
      min_count: words and characters that are rarer are unknown.
      shared_vocabulary: one vocabulary for both languages.
      lowercase: whether to lower-case both for the model; scores use the text as it is.
      tokenised: for words, whether spaces separate punctuation from words already.
      max_length: the most tokens of a sentence, its end counted.
      vocabularies: those of the training text, in evaluation.

    Raises:
      UserError: no files or data set, text that is not UTF-8, files with different numbers of
        lines, an empty line, or arguments that do not fit together.
    """

    def __init__(
        self,
        source_path: str | None = None,
        target_path: str | None = None,
        dataset: str | None = None,
        split: str = "train",
        data_dir: str | None = None,
        source: str = "de",
        target: str = "en",
        unit: str = "subwords",
        vocabulary_size: int | None = None,
        min_count: int = 1,
        shared_vocabulary: bool = False,
        lowercase: bool = False,
        tokenised: bool = False,
        max_length: int = 100,
        vocabularies: Mapping[str, Vocabulary] | None = None,
    ):
        if dataset is not None:
            if source_path is not None or target_path is not None:
                raise UserError("set either source_path and target_path, or dataset")
            names = (f"{dataset} {split} {source}", f"{dataset} {split} {target}")
            found, _ = read_features(dataset, split, data_dir, (source, target))
            for key, values in found.items():
                check_texts(dataset, key, values)
            texts = (found[source], found[target])
        elif source_path is None or target_path is None:
            raise UserError("set source_path and target_path, two text files, or dataset")
        else:
            names = (source_path, target_path)
            texts = (read_lines(source_path), read_lines(target_path))
        check_pairs(*texts, names)
        if vocabularies is None:
            options = {
                **{"special": True, "vocabulary_size": vocabulary_size, "min_count": min_count},
                **{"lowercase": lowercase, "tokenised": tokenised},
            }
            vocabularies = pair_vocabularies(unit, texts, names, shared_vocabulary, options)
        super().__init__(*texts, names, given_vocabularies(vocabularies, unit), max_length)


def pair_vocabularies(
    unit: str,
    texts: tuple[Sequence[str], Sequence[str]],
    names: tuple[str, str],
    shared: bool,
    options: Mapping[str, bool | int | None],
) -> dict[str, Vocabulary]:
    """The vocabularies of `source` and `target`, one for both if `shared`.

    Args:
      unit: see `make_vocabulary`.
      texts: the sentences of the two sides.
      names: what messages call them.
      shared: whether there is one vocabulary.
      options: the rest of the arguments of `make_vocabulary`.
    """
    make: dict = dict(options)
    if shared:
        with located(" and ".join(names)):
            both = make_vocabulary(unit, chain(*texts), **make)
        return {"source": both, "target": both}
    made = {}
    for key, side, name in zip(("source", "target"), texts, names, strict=True):
        with located(name):
            made[key] = make_vocabulary(unit, side, **make)
    return made


def given_vocabularies(vocabularies: Mapping[str, Vocabulary], unit: str) -> dict[str, Vocabulary]:
    """Those of `source` and `target`, or a UserError about what is missing."""
    found = {key: given_vocabulary(vocabularies, key, unit) for key in ("source", "target")}
    return {key: each for key, each in found.items() if each is not None}


def check_pairs(sources: Sequence[str], targets: Sequence[str], names: tuple[str, str]) -> None:
    """Refuse sides of different lengths, and empty sentences."""
    if len(sources) != len(targets):
        raise UserError(
            f"{names[0]} has {len(sources)} lines and {names[1]} {len(targets)}; line n of one has"
            " to be the translation of line n of the other"
        )
    refuse_empty(sources, names[0])
    refuse_empty(targets, names[1])


def _whole(ids: tuple[int | None, ...]) -> list[int]:
    """Vocabularies of sentences have a beginning and an end."""
    return [i for i in ids if i is not None]
