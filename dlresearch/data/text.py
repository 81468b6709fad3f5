"""Running text for language models, cut into windows of tokens."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from dlresearch.data.source import ArraySource
from dlresearch.data.splits import SPLITS
from dlresearch.data.text_files import PATH_OR_DATASET, read_text, read_texts
from dlresearch.data.vocabulary import Vocabulary, load_vocabulary, make_vocabulary
from dlresearch.errors import UserError, located, suggest

# In the folder of a run, where `training.Workdir` keeps them.
VOCABULARIES = "vocabularies"


class RunningText(ArraySource):
    """A text as windows of tokens; `Text` describes them.

    Args:
      text: all of it.
      name: what messages call it.
      vocabulary: which tokens there are.
      length: predictions in a window.
      streams: how many parallel streams, or None.
      stride: tokens from one window to the next, without streams; None takes `length`.

    Raises:
      UserError: a text of less than two tokens, or a number that cannot be.
    """

    def __init__(
        self,
        text: str,
        name: str,
        vocabulary: Vocabulary,
        length: int,
        streams: int | None,
        stride: int | None,
    ):
        _check_sizes(length, streams, stride)
        with located(name):
            tokens = vocabulary.encode_array(text)
        if len(tokens) < 2:
            raise UserError(f"{name}: a text of {len(tokens)} tokens leaves nothing to predict")
        metadata: dict[str, Any] = {
            "vocabularies": {"tokens": vocabulary},
            "sequences": {"tokens": "length"},
            "characters_per_token": len(text) / len(tokens),
            "truncated": 0,
            "notes": _unknown_note(name, tokens, vocabulary),
        }
        pad = vocabulary.pad or 0
        if streams is None:
            arrays = _windows(tokens, length, stride or length, pad)
        else:
            metadata["streams"] = streams
            arrays = _parallel_streams(tokens, length, streams, pad)
        super().__init__(arrays, metadata)
        self._arguments = (text, name, vocabulary, length, streams, stride)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process gets the text, and cuts it again: windows that overlap are many times
        # as long.
        return RunningText, self._arguments


class Text(RunningText):
    """A text file, or the texts of a TFDS split one after the other, to predict token by token.

    Yields `tokens` int32 [length + 1] and `length` int32, how many of them are text; each but the
    first is to be predicted from those before it. What follows them is padding.

    With `streams`, the text is cut into so many parts of equal length that are read side by side:
    example i is window `i // streams` of stream `i % streams`, so that a batch of `streams`
    examples continues the one before it. `stream` int32 says which, and `start` bool is True for
    the first window. The last token of a window is the first of the next, so every token of the
    text but the very first is predicted once.

    Args:
      path: a UTF-8 text file; `.gz` is decompressed.
      dataset: a TFDS name instead, such as `tiny_shakespeare`.
      split: of the data set, as `tfds` takes it. Of a file `train`, the first part; `test`, the
        last; or `all`, where `held_out` is set.
      held_out: fraction of the characters of a file that is in `test`.
      data_dir: of the data set, see `tfds`.
      key: the feature of the data set that is the text.
      unit: `characters`, `bytes`, `words` (what spaces separate) or `subwords`.
      vocabulary_size: how many different tokens; None takes all there are, and 8,000 subwords.
      min_count: characters and words that are rarer are unknown; for characters, 2 and above make
        a symbol for unknown ones, which are an error else.
      lowercase: whether to lower-case.
      length: predictions in a window.
      streams: number of parallel streams, which has to be the batch size; None for windows that
        do not continue each other.
      stride: tokens from the start of a window to that of the next, without `streams`; None takes
        `length`, 1 gives all windows there are.
      end_of_line: for words, whether each line end is a token `<eos>`, as is the custom for Penn
        Treebank.
      vocabulary: a run folder, whose vocabulary is taken, or the file of one; in evaluation that of
        the training source counts. None makes one of this text.
      vocabularies: those of the training text, in evaluation.

    Raises:
      UserError: no file or data set, text that is not UTF-8, characters the vocabulary does not
        have, or arguments that do not fit together.
    """

    def __init__(
        self,
        path: str | None = None,
        dataset: str | None = None,
        split: str = "train",
        held_out: float = 0.0,
        data_dir: str | None = None,
        key: str = "text",
        unit: str = "characters",
        vocabulary_size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        length: int = 128,
        streams: int | None = None,
        stride: int | None = None,
        end_of_line: bool = False,
        vocabulary: str | None = None,
        vocabularies: Mapping[str, Vocabulary] | None = None,
    ):
        if dataset is not None and path is None:
            if held_out:
                raise UserError("held_out is for a file; of a data set, set split")
            name = f"{dataset} {split}"
            text = _joined(read_texts(dataset, split, data_dir, key))
        elif path is not None and dataset is None:
            name = path
            text = _part(read_text(path), split, held_out)
        else:
            raise UserError(PATH_OR_DATASET)
        if end_of_line and not text.endswith("\n"):
            text += "\n"
        made = {
            "vocabulary_size": vocabulary_size is not None,
            "min_count": min_count > 1,
            "lowercase": lowercase,
            "end_of_line": end_of_line,
        }
        taken = given_vocabulary(vocabularies, "tokens", unit, vocabulary, made)
        if taken is None:
            with located(name):
                taken = make_vocabulary(
                    unit,
                    [text],
                    special=False,
                    vocabulary_size=vocabulary_size,
                    min_count=min_count,
                    lowercase=lowercase,
                    end_of_line=end_of_line,
                )
        super().__init__(text, name, taken, length, streams, stride)


def given_vocabulary(
    vocabularies: Mapping[str, Vocabulary] | None,
    key: str,
    unit: str,
    path: str | None = None,
    made: Mapping[str, bool] | None = None,
) -> Vocabulary | None:
    """The vocabulary of the training source for this key; where there is no such source, that of a
    run folder or file; or None.

    Args:
      made: of settings by which a vocabulary is made, whether they are set; one that is kept
        already has its own.

    Raises:
      UserError: there is none for this key, or of another unit, or a setting is in vain.
    """
    if vocabularies is None and path is not None:
        for name in (name for name, is_set in (made or {}).items() if is_set):
            raise UserError(f"vocabulary={path} is made already; leave out {name}")
        return _kept_vocabulary(Path(path).expanduser(), key, unit)
    if vocabularies is None:
        return None
    if key not in vocabularies:
        raise UserError(
            f"the training source has no vocabulary for {key!r}, only for"
            f" {', '.join(vocabularies) or 'nothing'}; evaluate on a source of the same kind"
        )
    found = vocabularies[key]
    if found.unit != unit:
        raise UserError(f"unit is {unit!r}, and {found.unit!r} in training; make them equal")
    return found


def _kept_vocabulary(path: Path, key: str, unit: str) -> Vocabulary:
    """That of a run folder, or of a file."""
    file = path / VOCABULARIES / f"{key}.json" if path.is_dir() else path
    found = load_vocabulary(file)
    if found.unit != unit:
        raise UserError(f"unit is {unit!r}, and {found.unit!r} in vocabulary={path}; set unit")
    return found


def _joined(texts: list[str]) -> str:
    # Texts are separate lines, so that the last word of one is not glued to the next.
    return "".join(texts) if all(t.endswith("\n") for t in texts[:-1]) else "\n".join(texts)


def _part(text: str, split: str, held_out: float) -> str:
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r} of a file; {suggest(split, SPLITS)}")
    if not 0 <= held_out < 1:
        raise UserError(f"held_out={held_out} is not in [0, 1)")
    if split == "test" and not held_out:
        raise UserError("split='test' needs held_out, the fraction of the text that is in it")
    at = len(text) - round(len(text) * held_out)
    return {"train": text[:at], "test": text[at:], "all": text}[split]


def _check_sizes(length: int, streams: int | None, stride: int | None) -> None:
    for name, value in {"length": length, "streams": streams, "stride": stride}.items():
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; it has to be at least 1")
    if stride is not None and streams is not None:
        raise UserError("stride is for windows without streams; leave out one of the two")
    if stride is not None and stride > length:
        raise UserError(f"stride={stride} would leave out text; it can be up to length={length}")


def _unknown_note(name: str, tokens: np.ndarray, vocabulary: Vocabulary) -> tuple[str, ...]:
    if vocabulary.unknown is None or not (share := float(np.mean(tokens == vocabulary.unknown))):
        return ()
    return (f"{name}: {share:.2%} of the {vocabulary.unit} are <unk>",)


def _windows(
    tokens: Int[np.ndarray, " token"], length: int, stride: int, pad: int
) -> dict[str, np.ndarray]:
    """Windows from every `stride` tokens up to the one that reaches the end."""
    count = 1 + math.ceil(max(0, len(tokens) - 1 - length) / stride)
    starts = np.arange(count) * stride
    padded = np.full(starts[-1] + length + 1, pad, np.int32)
    padded[: len(tokens)] = tokens
    # A view: windows that overlap take no memory until they are read.
    windows = np.lib.stride_tricks.sliding_window_view(padded, length + 1)[::stride]
    lengths = np.minimum(length + 1, len(tokens) - starts).astype(np.int32)
    return {"tokens": windows, "length": lengths}


def _parallel_streams(
    tokens: Int[np.ndarray, " token"], length: int, streams: int, pad: int
) -> dict[str, np.ndarray]:
    """Windows of `streams` streams with ceil((N - 1) / streams) predictions each, by time."""
    predictions = math.ceil((len(tokens) - 1) / streams)
    count = math.ceil(predictions / length)
    window, stream = np.divmod(np.arange(count * streams), streams)
    starts = stream * predictions + window * length
    # One more than what is predicted: the first is the last of the window or stream before.
    ends = np.minimum((stream + 1) * predictions + 1, len(tokens))
    lengths = np.clip(ends - starts, 1, length + 1)
    places = starts[:, None] + np.arange(length + 1)
    inside = np.arange(length + 1) < np.clip(ends - starts, 0, None)[:, None]
    return {
        "tokens": np.where(inside, tokens[np.minimum(places, len(tokens) - 1)], pad).astype(
            np.int32
        ),
        "length": lengths.astype(np.int32),
        "stream": stream.astype(np.int32),
        "start": window == 0,
    }
