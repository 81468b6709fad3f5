"""Reading text: from files, gzip-compressed or not, and from TFDS."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlresearch.data.tfds_source import TFDS
from dlresearch.errors import UserError

# What a source that reads either says where both are set, or none.
PATH_OR_DATASET = "set either path, a file, or dataset, a TFDS name"
_READ_AT_ONCE = 1024


def read_text(path: str) -> str:
    """The text of a UTF-8 file, decompressed where its name ends in `.gz`; lines end in newline.

    Raises:
      UserError: no such file, one that cannot be read, or is not UTF-8.
    """
    file = Path(path).expanduser()
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {file}; set its path") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file}: line {line} is not UTF-8 (byte 0x{error.object[error.start]:02X}); convert"
            f" it, such as: iconv -f latin1 -t utf-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    # No universal newlines: a lone carriage return ends no line in a text.
    return text.replace("\r\n", "\n")


def read_lines(path: str) -> list[str]:
    """The lines of a text file, without their ends; see `read_text`."""
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"{Path(path).expanduser()} is empty")
    return lines


def read_features(
    dataset: str, split: str, data_dir: str | None, keys: tuple[str, ...]
) -> tuple[dict[str, list[Any]], Mapping[str, Any]]:
    """Features of all examples of a TFDS split, texts as `str`, and the metadata.

    Raises:
      UserError: what `TFDS` raises.
    """
    source = TFDS(dataset, split, data_dir, keys)
    found: dict[str, list[Any]] = {key: [] for key in keys}
    for start in range(0, len(source), _READ_AT_ONCE):
        indices = range(start, min(start + _READ_AT_ONCE, len(source)))
        for example in source.__getitems__(indices):
            for key in keys:
                value = example[key]
                found[key].append(value.decode() if isinstance(value, bytes) else value)
    return found, source.metadata


def read_texts(dataset: str, split: str, data_dir: str | None, key: str) -> list[str]:
    """The texts of one feature of a TFDS split.

    Raises:
      UserError: the feature is no text, or what `TFDS` raises.
    """
    texts = read_features(dataset, split, data_dir, (key,))[0][key]
    check_texts(dataset, key, texts)
    return texts


def check_texts(dataset: str, key: str, values: Sequence[Any]) -> None:
    """Refuse a feature that is no text."""
    if not isinstance(values[0], str):
        raise UserError(f"TFDS {dataset}: {key!r} is no text; name another feature")
