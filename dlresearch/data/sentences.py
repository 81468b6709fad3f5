"""Sentences as rows of padded ids."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from dlresearch.data.vocabulary import Vocabulary
from dlresearch.errors import UserError


def encode_sentences(
    texts: Sequence[str], vocabulary: Vocabulary, longest: int
) -> tuple[list[list[int]], int]:
    """The ids of each sentence, cut to the `longest` number of them, and how many were cut."""
    ids = [vocabulary.encode(text) for text in texts]
    cut = sum(len(each) > longest for each in ids)
    return [each[:longest] for each in ids], cut


def padded(
    rows: Sequence[Sequence[int]], width: int, pad: int
) -> tuple[Int[np.ndarray, "row width"], Int[np.ndarray, " row"]]:
    """Rows of one width, int32, and how many of each are no padding, int32."""
    out = np.full((len(rows), width), pad, np.int32)
    for filled, row in zip(out, rows, strict=True):
        filled[: len(row)] = row
    return out, np.array([len(row) for row in rows], np.int32)


def refuse_empty(texts: Sequence[str], name: str) -> None:
    """Refuse sentences of nothing but space, which leave nothing to read."""
    for line, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"{name}: line {line} is empty; remove it, or write something there")


def cut_note(name: str, cut: int, total: int, max_length: int) -> tuple[str, ...]:
    """The remark about sentences that were cut, if any were."""
    if not cut:
        return ()
    return (f"{name}: {cut} of {total} were cut to max_length={max_length}; raise it to keep all",)
