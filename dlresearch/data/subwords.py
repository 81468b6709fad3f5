"""Subwords by SentencePiece: byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909)."""

import base64
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import sentencepiece

from dlresearch.data.vocabulary import SPECIAL, UNKNOWN, Vocabulary
from dlresearch.errors import UserError

_DEFAULT_SIZE = 8000
_LONGEST_LINE = 1 << 24  # bytes; SentencePiece leaves out what is longer, by default from 4,192


@dataclass(frozen=True)
class Subwords(Vocabulary):
    """Pieces of words, of a SentencePiece model.

    Args:
      model: the content of a SentencePiece model file.
      special: see `Vocabulary`.
      lowercase: whether a text is lower-cased first.
    """

    model: bytes
    special: bool = False
    lowercase: bool = False
    unit: ClassVar[str] = "subwords"

    @cached_property
    def _processor(self) -> Any:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    def __len__(self) -> int:
        return len(self._processor)

    @property
    def unknown(self) -> int:
        return self._processor.unk_id()

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text.lower() if self.lowercase else text)

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode([int(i) for i in ids])

    def fields(self) -> dict[str, Any]:
        model = base64.b64encode(self.model).decode()
        return {"model": model, "special": self.special, "lowercase": self.lowercase}

    @classmethod
    def from_fields(cls, model: str, special: bool, lowercase: bool) -> "Subwords":
        """The inverse of `fields`; ValueError for a model that is none."""
        made = cls(base64.b64decode(model, validate=True), special, lowercase)
        try:
            len(made)
        except RuntimeError as error:
            raise ValueError(error) from error
        return made

    def __getstate__(self) -> dict[str, Any]:
        # The processor is made again where it is needed.
        return {key: getattr(self, key) for key in ("model", "special", "lowercase")}


def train_subwords(
    texts: Iterable[str], special: bool, vocabulary_size: int | None, lowercase: bool
) -> Subwords:
    """Subwords for some texts; the same for the same texts.

    Sentences (`special`) are normalised by NFKC, spaces included, and what has no symbol is
    unknown. Running text comes back unchanged: spaces and line ends are kept, and a character that
    has no symbol is written in bytes.

    Raises:
      UserError: a size that is too small for the characters of the texts, or more than they have.
    """
    size = _DEFAULT_SIZE if vocabulary_size is None else vocabulary_size
    rules: dict[str, Any]
    if special:
        ids = {f"{name}_id": i for i, name in enumerate(("pad", "bos", "eos", "unk"))}
        rules = {**ids, "normalization_rule_name": "nmt_nfkc"}
    else:
        rules = {
            **{"unk_id": 0, "pad_id": -1, "bos_id": -1, "eos_id": -1},
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "add_dummy_prefix": False,
            "user_defined_symbols": ["\n"],
            "byte_fallback": True,
        }
    lines = (line for text in texts for line in text.split("\n") if line.strip())
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
            sentence_iterator=(line.lower() for line in lines) if lowercase else lines,
            model_writer=written,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            max_sentence_length=_LONGEST_LINE,
            pad_piece=SPECIAL[0],
            bos_piece=SPECIAL[1],
            eos_piece=SPECIAL[2],
            unk_piece=UNKNOWN,
            unk_surface=UNKNOWN,
            minloglevel=2,
            num_threads=1,
            **rules,
        )
    except RuntimeError as error:
        raise _explained(error, size) from error
    return Subwords(written.getvalue(), special, lowercase)


def _explained(error: RuntimeError, size: int) -> UserError:
    """SentencePiece says what is wrong in the terms of its own code."""
    message = " ".join(str(error).split())
    if most := re.search(r"value <= (\d+)", message):
        return UserError(
            f"vocabulary_size={size} is more than the {most[1]} subwords the text gives; lower it"
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UserError(
            f"vocabulary_size={size} is too small for the {least[1]} characters of the text;"
            " raise it"
        )
    return UserError(f"SentencePiece cannot make {size} subwords of this text: {message[:200]}")
