"""A piece of a text that knows where it stands, so that every error can say so."""

from collections.abc import Iterator
from dataclasses import dataclass

from dlresearch.errors import UserError

_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Part:
    """A part of a --sweep without the spaces around it, which knows where it stands."""

    whole: str
    start: int
    end: int

    def __str__(self) -> str:
        return self.whole[self.start : self.end]

    def error(self, problem: str) -> UserError:
        shown = str(self) if len(str(self)) <= 60 else f"{str(self)[:57]}..."
        there = repr(shown) if shown else f"after {self.whole[: self.start][-20:]!r}"
        return UserError(f"--sweep, character {self.start + 1}, {there}: {problem}")

    def inside(self, start: int, end: int) -> "Part":
        """The part from `start` to `end` of this one, without the spaces around it."""
        text = str(self)[start:end]
        start += self.start + len(text) - len(text.lstrip())
        return Part(self.whole, start, start + len(text.strip()))

    def split(self, separator: str) -> Iterator["Part"]:
        """The parts between separators that stand outside quotes and brackets."""
        text, begin, open_, quote = str(self), 0, [], None
        for i, character in enumerate(text):
            if quote is not None:
                quote = None if character == text[quote] else quote
            elif character in "'\"":
                quote = i
            elif character in _CLOSING:
                open_.append(i)
            elif character in _CLOSING.values():
                if not open_ or _CLOSING[text[open_.pop()]] != character:
                    raise self.inside(i, len(text)).error(f"no bracket is open for {character!r}")
            elif character == separator and not open_:
                yield self.inside(begin, i)
                begin = i + 1
        if quote is not None:
            raise self.inside(quote, len(text)).error(f"the closing {text[quote]} is missing")
        if open_:
            missing = _CLOSING[text[open_[-1]]]
            raise self.inside(open_[-1], len(text)).error(f"the closing {missing!r} is missing")
        yield self.inside(begin, len(text))
