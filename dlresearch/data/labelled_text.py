"""Sentences with a class each."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from dlresearch.data.sentences import cut_note, encode_sentences, padded, refuse_empty
from dlresearch.data.source import ArraySource, check_labels
from dlresearch.data.text import given_vocabulary
from dlresearch.data.text_files import (
    PATH_OR_DATASET,
    check_texts,
    read_features,
    read_lines,
    read_text,
)
from dlresearch.data.vocabulary import Vocabulary, make_vocabulary
from dlresearch.errors import UserError, located, suggest

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class LabelledText(ArraySource):
    """Sentences with a class each: from lines `label text`, a table, or a TFDS.

    Yields `tokens` int32 [max_length], `length` int32, how many of them are no padding, and `label`
    int32. What is too long is cut, and a remark says how many.

    Args:
      path: a UTF-8 file; `.csv` and `.tsv` are tables whose first line names the columns, of any
        other each line is a label, a space, and the text. `.gz` is decompressed.
      dataset: a TFDS name instead, such as `imdb_reviews` or `glue/sst2`.
      split: of the data set.
      data_dir: of the data set, see `tfds`.
      text: the column or feature that is the text.
      label: the column or feature that is the class.
      classes: the names of the classes, in their order; labels that are names need it, for all
        splits to number them alike. None counts labels from 0.
      unit: `words`, `characters`, `bytes` or `subwords`.
      vocabulary_size: how many different tokens; None takes all there are, and 8,000 subwords.
      min_count: words and characters that are rarer are unknown.
      lowercase: whether to lower-case.
      tokenised: for words, whether spaces separate punctuation from words already.
      max_length: the most tokens of a text.
      vocabulary: a run folder, whose vocabulary is taken, or the file of one; in evaluation that of
        the training source counts. None makes one of this text.
      vocabularies: those of the training text, in evaluation.

    Raises:
      UserError: no file or data set, text that is not UTF-8, an empty line, a column or label that
        is not there, or arguments that do not fit together.
    """

    def __init__(
        self,
        path: str | None = None,
        dataset: str | None = None,
        split: str = "train",
        data_dir: str | None = None,
        text: str = "text",
        label: str = "label",
        classes: tuple[str, ...] | None = None,
        unit: str = "words",
        vocabulary_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        tokenised: bool = True,
        max_length: int = 256,
        vocabulary: str | None = None,
        vocabularies: Mapping[str, Vocabulary] | None = None,
    ):
        if max_length < 1:
            raise UserError(f"max_length is {max_length}; it has to be at least 1")
        if dataset is not None and path is None:
            name = f"{dataset} {split}"
            found, known = read_features(dataset, split, data_dir, (text, label))
            check_texts(dataset, text, found[text])
            texts, written = found[text], found[label]
            classes = classes or known.get("class_names")
        elif path is not None and dataset is None:
            name = path
            texts, written = _read(path, text, label)
        else:
            raise UserError(PATH_OR_DATASET)
        refuse_empty(texts, name)
        labels, names = _numbered(written, classes, name)
        made = {
            "vocabulary_size": vocabulary_size is not None,
            "min_count": min_count > 1,
            "lowercase": lowercase,
            "tokenised": not tokenised,
        }
        taken = given_vocabulary(vocabularies, "tokens", unit, vocabulary, made)
        with located(name):
            taken = taken or make_vocabulary(
                unit,
                texts,
                special=True,
                vocabulary_size=vocabulary_size,
                min_count=min_count,
                lowercase=lowercase,
                tokenised=tokenised,
            )
            ids, cut = encode_sentences(texts, taken, max_length)
        for line, row in enumerate(ids, 1):
            if not row:
                raise UserError(f"{name}: line {line} has no {unit} in it: {texts[line - 1]!r}")
        tokens, lengths = padded(ids, max_length, taken.pad or 0)
        self.texts: list[str] = texts
        super().__init__(
            {"tokens": tokens, "length": lengths, "label": labels},
            {
                "num_classes": len(names),
                "class_names": names,
                "vocabularies": {"tokens": taken},
                "sequences": {"tokens": "length"},
                "truncated": cut,
                "notes": cut_note(name, cut, len(texts), max_length),
            },
        )

    def describe(self, index: int) -> str:
        return f"text {index + 1} ({self.texts[index][:40]!r})"


def _read(path: str, text: str, label: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a file."""
    separator = _SEPARATORS.get(Path(path.removesuffix(".gz")).suffix)
    if separator is not None:
        return _read_table(path, separator, text, label)
    return read_labelled_lines(path)


def read_labelled_lines(path: str) -> tuple[list[str], list[str]]:
    """Texts and labels of lines `label text`.

    Raises:
      UserError: no such file, one that is not UTF-8, or a line that lacks one of the two.
    """
    texts, labels = [], []
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split(None, 1)
        if len(parts) < 2:
            raise UserError(f"{path}: line {number} is {line!r}; write a label, a space, the text")
        labels.append(parts[0])
        texts.append(parts[1])
    return texts, labels


def _read_table(path: str, separator: str, text: str, label: str) -> tuple[list[str], list[str]]:
    quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    content = io.StringIO(read_text(path))
    try:
        # "NA" and "null" are words.
        frame = pd.read_csv(
            content, sep=separator, dtype=str, keep_default_na=False, quoting=quoting
        )
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise UserError(f"cannot read {path} as a table: {' '.join(str(error).split())}") from error
    for column in (text, label):
        if column not in frame.columns:
            raise UserError(f"{path}: there is no column {column!r}; {suggest(column, frame)}")
    if frame.empty:
        raise UserError(f"{path} has no rows")
    return frame[text].tolist(), frame[label].tolist()


def _numbered(
    written: Sequence[Any], classes: Sequence[str] | None, name: str
) -> tuple[Int[np.ndarray, " example"], tuple[str, ...]]:
    """The labels, text or numbers, as numbers, and the names of the classes."""
    if classes is not None and len(set(classes)) != len(classes):
        raise UserError(f"classes names one twice: {', '.join(classes)}")
    if not isinstance(written[0], str):
        labels = np.array(written)
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise UserError(f"{name}: the label is no class, but {labels.dtype}; name another")
        return _counted(labels, classes, name)
    numbered = all(each.isdecimal() for each in written)
    if classes is not None and (not numbered or set(written) & set(classes)):
        numbers = {each: i for i, each in enumerate(classes)}
        for line, each in enumerate(written, 1):
            if each not in numbers:
                raise UserError(
                    f"{name}: line {line}: no class is {each!r}; {suggest(each, classes)}"
                )
        return np.array([numbers[each] for each in written], np.int32), tuple(classes)
    if not numbered:
        some = ", ".join(repr(found) for found in sorted(set(written))[:5])
        raise UserError(
            f"{name}: the labels are no numbers from 0; set classes to all names in order (here"
            f" {some})"
        )
    return _counted(np.array([int(each) for each in written]), classes, name)


def _counted(
    labels: np.ndarray, classes: Sequence[str] | None, name: str
) -> tuple[Int[np.ndarray, " example"], tuple[str, ...]]:
    """Labels that are numbers, and the names of their classes."""
    names = tuple(classes or (str(i) for i in range(int(labels.max()) + 1)))
    check_labels(labels, len(names), name)
    return labels.astype(np.int32), names
