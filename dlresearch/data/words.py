"""Where a text has words, and where spaces stand between them."""

import re

# A word, or one sign of punctuation.
_TOKEN = re.compile(r"\w+|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(r"\s+([.,!?;:%)\]}…”])")
_NO_SPACE_AFTER = re.compile(r"([(\[{„“])\s+")
_NO_SPACE_AROUND = re.compile(r"(?<=\w)\s+(['\u2019-])\s+(?=\w)")


def split_words(text: str, tokenised: bool, end_of_line: str | None = None) -> list[str]:
    """The words of a text.

    Args:
      text: to split.
      tokenised: words are what stands between spaces; False separates punctuation as well.
      end_of_line: the word for each line end; None takes it as a space.
    """
    if end_of_line is None:
        return text.split() if tokenised else _TOKEN.findall(text)
    *lines, last = text.split("\n")
    words = []
    for line in lines:
        words += split_words(line, tokenised)
        words.append(end_of_line)
    return words + split_words(last, tokenised)


def attach_punctuation(text: str) -> str:
    """The text without the spaces that `split_words` put next to punctuation, as a rule."""
    text = _NO_SPACE_AROUND.sub(r"\1", text)
    return _NO_SPACE_AFTER.sub(r"\1", _NO_SPACE_BEFORE.sub(r"\1", text))
