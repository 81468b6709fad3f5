"""The Python documentation that every interpreter carries."""

import hashlib
from collections.abc import Mapping
from pydoc_data.topics import topics

from dlresearch.data.splits import SPLITS
from dlresearch.data.text import RunningText, given_vocabulary
from dlresearch.data.vocabulary import Vocabulary, make_vocabulary
from dlresearch.errors import UserError, suggest

_NAME = "python_docs"


class PythonDocs(RunningText):
    """The texts of Python's `help()` on topics, about half a million characters, as windows.

    They differ from one Python version to the next, so figures compare only within one. The
    windows are those of `text`.

    Args:
      split: `train`, `test`, or `all`. Whole topics are held out, chosen by a hash of their names.
      held_out: about the fraction of the topics in `test`.
      unit: `characters`, `bytes`, `words` or `subwords`.
      vocabulary_size: see `text`.
      min_count: see `text`; characters that occur in `test` alone have to be unknown.
      length: predictions in a window.
      streams: see `text`.
      stride: see `text`.
      vocabularies: those of the training text, in evaluation.

    Raises:
      UserError: an unknown split or unit, a part without topics, or numbers that cannot be.
    """

    def __init__(
        self,
        split: str = "train",
        held_out: float = 0.1,
        unit: str = "characters",
        vocabulary_size: int | None = None,
        min_count: int | None = None,
        length: int = 128,
        streams: int | None = None,
        stride: int | None = None,
        vocabularies: Mapping[str, Vocabulary] | None = None,
    ):
        text = _text(split, held_out)
        if min_count is None:
            min_count = 10 if unit == "characters" else 1
        vocabulary = given_vocabulary(vocabularies, "tokens", unit) or make_vocabulary(
            unit, [text], special=False, vocabulary_size=vocabulary_size, min_count=min_count
        )
        super().__init__(text, f"{_NAME} {split}", vocabulary, length, streams, stride)


def _text(split: str, held_out: float) -> str:
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; {suggest(split, SPLITS)}")
    if not 0 <= held_out < 1:
        raise UserError(f"held_out={held_out} is not in [0, 1)")
    chosen = [
        text
        for name, text in sorted(topics.items())
        if split == "all" or (_place(name) < held_out) == (split == "test")
    ]
    if not chosen:
        raise UserError(f"held_out={held_out} of the topics leaves none for {split!r}")
    return "\n".join(chosen)


def _place(name: str) -> float:
    """Of a topic between 0 and 1, the same everywhere, whatever other topics there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
