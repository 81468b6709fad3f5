"""The vocabularies of a run in its folder, so that what it learned can be read without its data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlresearch.data import Vocabulary, load_vocabulary
from dlresearch.errors import UserError
from dlresearch.training.workdir import read_json, write_json

_METADATA = "metadata.json"


def keep_vocabularies(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write the vocabularies of the training source, and what else it says of its examples."""
    vocabularies: Mapping[str, Vocabulary] = metadata.get("vocabularies", {})
    if not vocabularies:
        return
    folder.mkdir(exist_ok=True)
    files = {}
    for key, vocabulary in vocabularies.items():
        files[key] = f"{key}.json"
        vocabulary.save(folder / files[key])
    plain = {key: value for key, value in metadata.items() if _is_plain(value)}
    # Last: where it is, the others are.
    write_json(folder / _METADATA, {**plain, "vocabularies": files})


def check_vocabularies(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Raises UserError where the run has other ones: its text has changed since it began."""
    for key, kept in read_metadata(folder).get("vocabularies", {}).items():
        if kept != metadata.get("vocabularies", {}).get(key):
            raise UserError(
                f"--workdir: the run in {folder.parent} has another vocabulary for {key!r} than the"
                " training text has now; take another folder, or the text of that run"
            )


def read_metadata(folder: Path) -> dict[str, Any]:
    """What tasks need of the training source, from the folder of a run.

    Raises:
      UserError: the run kept no vocabularies, or they cannot be read.
    """
    metadata = read_json(folder / _METADATA)
    if metadata is None:
        return {}
    try:
        vocabularies = {
            key: load_vocabulary(folder / file) for key, file in metadata["vocabularies"].items()
        }
    except OSError as error:
        raise UserError(f"{folder}: cannot read a vocabulary: {error}") from None
    return {**metadata, "vocabularies": vocabularies}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
