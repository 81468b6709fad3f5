"""Text as integers and back: characters, bytes and words here, subwords in `subwords`."""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from dlresearch.data.words import attach_punctuation, split_words
from dlresearch.errors import UserError, suggest

UNITS = ("characters", "bytes", "words", "subwords")
# In the order of their ids, in vocabularies that have them.
PAD, BOS, EOS, UNKNOWN = SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
_NUM_BYTES = 256


class Vocabulary(ABC):
    """What stands for what: `encode` makes ids of a text, `decode` a text of ids.

    With `special` the ids 0 to 3 are padding, beginning, end and unknown; `encode` adds none of the
    first three, `decode` leaves them out. Without it a vocabulary is of a running text, where there
    is no beginning or end. Two vocabularies are equal if they have the same content.
    """

    unit: ClassVar[str]
    special: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
          UserError: a symbol that the vocabulary does not have, where it has none for unknown.
        """

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str: ...

    def encode_array(self, text: str) -> Int[np.ndarray, " token"]:
        """`encode` for long texts, int32."""
        return np.array(self.encode(text), np.int32)

    @property
    def pad(self) -> int | None:
        return SPECIAL.index(PAD) if self.special else None

    @property
    def bos(self) -> int | None:
        return SPECIAL.index(BOS) if self.special else None

    @property
    def eos(self) -> int | None:
        return SPECIAL.index(EOS) if self.special else None

    @property
    def unknown(self) -> int | None:
        return SPECIAL.index(UNKNOWN) if self.special else None

    def fields(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return asdict(self)  # pyright: ignore[reportArgumentType] # all kinds are dataclasses

    def save(self, path: Path) -> None:
        """Write everything to one JSON file."""
        content = {"unit": self.unit, **self.fields()}
        path.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")


@dataclass(frozen=True)
class Bytes(Vocabulary):
    """The bytes of UTF-8; any text has ids, so nothing is unknown."""

    special: bool = False
    lowercase: bool = False
    unit: ClassVar[str] = "bytes"

    @property
    def _first(self) -> int:
        return len(SPECIAL) if self.special else 0

    def __len__(self) -> int:
        return _NUM_BYTES + self._first

    def encode(self, text: str) -> list[int]:
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> Int[np.ndarray, " token"]:
        raw = _cased(text, self.lowercase).encode()
        return np.frombuffer(raw, np.uint8).astype(np.int32) + self._first

    def decode(self, ids: Iterable[int]) -> str:
        raw = bytes(int(i) - self._first for i in ids if i >= self._first)
        return raw.decode(errors="replace")


@dataclass(frozen=True)
class Characters(Vocabulary):
    """Unicode characters, in the order of their numbers.

    Args:
      symbols: all symbols, the special ones and `<unk>` as well, where there are any.
      special: see `Vocabulary`.
      lowercase: whether a text is lower-cased first.
    """

    symbols: tuple[str, ...]
    special: bool = False
    lowercase: bool = False
    unit: ClassVar[str] = "characters"

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def unknown(self) -> int | None:
        return self.symbols.index(UNKNOWN) if UNKNOWN in self.symbols else None

    @cached_property
    def _ids(self) -> Int[np.ndarray, " codepoint"]:
        """By code point; -1 for those without an id."""
        single = {ord(symbol): i for i, symbol in enumerate(self.symbols) if len(symbol) == 1}
        ids = np.full(max(single, default=0) + 2, -1, np.int32)
        ids[list(single)] = list(single.values())
        return ids

    def encode(self, text: str) -> list[int]:
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> Int[np.ndarray, " token"]:
        # A lone half of a surrogate pair is a character to Python, and unknown here.
        raw = _cased(text, self.lowercase).encode("utf-32-le", errors="surrogatepass")
        codes = np.frombuffer(raw, "<u4")
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        if (missing := ids < 0).any():
            if self.unknown is None:
                character = chr(codes[missing.argmax()])
                raise UserError(
                    f"the character {character!r} (U+{ord(character):04X}) is not in the"
                    " vocabulary; set min_count=2 where it is made, which adds one for all unknown"
                )
            ids = np.where(missing, self.unknown, ids)
        return ids.astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        hidden = set(range(SPECIAL.index(UNKNOWN))) if self.special else set()
        return "".join(self.symbols[int(i)] for i in ids if int(i) not in hidden)


@dataclass(frozen=True)
class Words(Vocabulary):
    """Words, the most frequent first; `<unk>` is for all others, and for itself in a text.

    Args:
      symbols: all symbols, the special ones as well.
      special: see `Vocabulary`.
      lowercase: whether a text is lower-cased first.
      tokenised: words are what stands between spaces; False separates punctuation as well, and
        `decode` then puts it back where it usually stands.
      end_of_line: whether each line end is the word `<eos>`; else it is a space.
    """

    symbols: tuple[str, ...]
    special: bool = False
    lowercase: bool = False
    tokenised: bool = True
    end_of_line: bool = False
    unit: ClassVar[str] = "words"

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def unknown(self) -> int:
        return self.symbols.index(UNKNOWN)

    @cached_property
    def _ids(self) -> dict[str, int]:
        # A text that has "<pad>" in it has no padding there.
        hidden = SPECIAL.index(UNKNOWN) if self.special else 0
        return {symbol: i for i, symbol in enumerate(self.symbols) if i >= hidden}

    def encode(self, text: str) -> list[int]:
        ids, unknown = self._ids, self.unknown
        words = _words(text, self.lowercase, self.tokenised, self.end_of_line)
        return [ids.get(word, unknown) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        hidden = SPECIAL.index(UNKNOWN) if self.special else 0
        text = " ".join(self.symbols[int(i)] for i in ids if i >= hidden)
        if self.end_of_line:
            text = re.sub(rf" ?{re.escape(EOS)} ?", "\n", text)
        return text if self.tokenised else attach_punctuation(text)


def _cased(text: str, lowercase: bool) -> str:
    return text.lower() if lowercase else text


def _words(text: str, lowercase: bool, tokenised: bool, end_of_line: bool) -> list[str]:
    """The words of a text, as `Words` describes them."""
    return split_words(_cased(text, lowercase), tokenised, EOS if end_of_line else None)


def make_vocabulary(
    unit: str,
    texts: Iterable[str],
    *,
    special: bool,
    vocabulary_size: int | None = None,
    min_count: int = 1,
    lowercase: bool = False,
    tokenised: bool = True,
    end_of_line: bool = False,
) -> Vocabulary:
    """The vocabulary of some texts; the same for the same texts.

    Args:
      unit: one of `UNITS`.
      texts: what it has to cover.
      special: whether there are padding, beginning, end and unknown, for sentences; running text
        needs none.
      vocabulary_size: how many symbols to keep, the most frequent, special ones counted; None
        keeps all characters and words, and makes 8,000 subwords.
      min_count: characters and words that are rarer are unknown. A vocabulary of characters
        without `special` has a symbol for unknown only where this is above 1, or
        `vocabulary_size` set.
      lowercase: whether to lower-case.
      tokenised: for words, see `Words`.
      end_of_line: for words, see `Words`.

    Raises:
      UserError: an unknown unit, or a size or count that cannot be.
    """
    if unit not in UNITS:
        raise UserError(f"there is no unit {unit!r}; {suggest(unit, UNITS)}")
    if end_of_line and unit != "words":
        raise UserError(f"end_of_line is for unit='words'; {unit} have line ends anyway")
    if min_count < 1:
        raise UserError(f"min_count is {min_count}; it has to be at least 1")
    if vocabulary_size is not None and vocabulary_size < 1:
        raise UserError(f"vocabulary_size is {vocabulary_size}; it has to be at least 1")
    if min_count > 1 and unit in ("bytes", "subwords"):
        raise UserError(f"min_count has no meaning for {unit}; leave it out")
    if unit == "bytes":
        if vocabulary_size is not None:
            raise UserError("vocabulary_size has no meaning for bytes; leave it out")
        return Bytes(special, lowercase)
    if unit == "subwords":
        # Imported where it is needed: a library with code of its own.
        from dlresearch.data.subwords import train_subwords

        return train_subwords(texts, special, vocabulary_size, lowercase)
    counts: Counter[str] = Counter()
    for text in texts:
        if unit == "words":
            counts.update(_words(text, lowercase, tokenised, end_of_line))
        else:
            counts.update(_cased(text, lowercase))
    limited = min_count > 1 or vocabulary_size is not None
    reserved = SPECIAL if special else (UNKNOWN,) if unit == "words" or limited else ()
    kept = _most_frequent(counts, reserved, vocabulary_size, min_count)
    if unit == "words":
        # In running text <unk> stands where its own frequency puts it.
        ranked = sorted((*kept, UNKNOWN), key=lambda word: (-counts[word], word))
        symbols = (*reserved, *kept) if special else tuple(ranked)
        return Words(symbols, special, lowercase, tokenised, end_of_line)
    return Characters((*reserved, *sorted(kept)), special, lowercase)


def _most_frequent(
    counts: Counter[str], reserved: Sequence[str], size: int | None, min_count: int
) -> list[str]:
    if size is not None and size <= len(reserved):
        raise UserError(f"vocabulary_size is {size}; it has to be above {len(reserved)}")
    symbols = [s for s, count in counts.items() if count >= min_count and s not in reserved]
    symbols.sort(key=lambda symbol: (-counts[symbol], symbol))
    kept = symbols if size is None else symbols[: size - len(reserved)]
    if not kept:
        raise UserError(f"the text has no symbol that occurs {min_count} times or more")
    return kept


def load_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary that `save` wrote.

    Raises:
      UserError: no such file, or not of a vocabulary.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        unit = content.pop("unit")
        if unit == "subwords":
            from dlresearch.data.subwords import Subwords

            return Subwords.from_fields(**content)
        if "symbols" in content:
            content["symbols"] = tuple(content["symbols"])
        return {kind.unit: kind for kind in (Bytes, Characters, Words)}[unit](**content)
    except FileNotFoundError:
        raise UserError(f"there is no vocabulary {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no vocabulary that was saved here: {error}") from error
