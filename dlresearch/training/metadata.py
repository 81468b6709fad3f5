"""What a run knows of its training source, in its folder, so that what it learned can be used
without its data.
"""

import json
from collections.abc import Mapping
from typing import Any

from dlresearch.data import Vocabulary, load_vocabulary
from dlresearch.errors import UserError
from dlresearch.training.workdir import Workdir, read_json, write_json


def keep_metadata(workdir: Workdir, metadata: Mapping[str, Any]) -> None:
    """Write what is plain of the metadata to `metadata.json`, and each vocabulary to a file."""
    vocabularies: Mapping[str, Vocabulary] = metadata.get("vocabularies", {})
    files = {}
    for key, vocabulary in vocabularies.items():
        workdir.vocabularies.mkdir(exist_ok=True)
        files[key] = f"{key}.json"
        vocabulary.save(workdir.vocabularies / files[key])
    plain = {key: value for key, value in metadata.items() if _is_plain(value)}
    # Last: where it is, the others are.
    write_json(workdir.metadata, {**plain, **({"vocabularies": files} if files else {})})


def check_vocabularies(workdir: Workdir, metadata: Mapping[str, Any]) -> None:
    """Raises UserError where the run has other ones: its text has changed since it began."""
    for key, kept in read_metadata(workdir).get("vocabularies", {}).items():
        if kept != metadata.get("vocabularies", {}).get(key):
            raise UserError(
                f"--workdir: the run in {workdir.path} has another vocabulary for {key!r} than the"
                " training text has now; take another folder, or the text of that run"
            )


def read_metadata(workdir: Workdir) -> dict[str, Any]:
    """What tasks need of the training source, from the folder of a run; empty where it kept none.

    Raises:
      UserError: a vocabulary cannot be read.
    """
    metadata = read_json(workdir.metadata)
    if metadata is None:
        return {}
    files = metadata.pop("vocabularies", {})
    if not files:
        return metadata
    try:
        vocabularies = {
            key: load_vocabulary(workdir.vocabularies / file) for key, file in files.items()
        }
    except OSError as error:
        raise UserError(f"{workdir.path}: cannot read a vocabulary: {error}") from None
    return {**metadata, "vocabularies": vocabularies}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
