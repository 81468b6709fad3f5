"""TFDS builders of text and music that TFDS does not have, from files you have downloaded."""

import importlib

# A name of TFDS and where its builder is: importing one is slow, and registers it with TFDS.
BUILDERS = {
    "multi30k": "dlresearch.data.builders.multi30k",
    "penn_treebank": "dlresearch.data.builders.penn_treebank",
    "sst_sentences": "dlresearch.data.builders.sst_sentences",
    "jsb_chorales": "dlresearch.data.builders.jsb_chorales",
}


def register(name: str) -> None:
    """Make `tfds.builder` know one of `BUILDERS`."""
    importlib.import_module(BUILDERS[name])
