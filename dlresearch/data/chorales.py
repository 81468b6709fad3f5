"""Polyphonic music as piano rolls."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlresearch.data.sentences import cut_note
from dlresearch.data.source import ArraySource
from dlresearch.data.text_files import PATH_OR_DATASET, read_text
from dlresearch.data.tfds_source import TFDS
from dlresearch.errors import UserError, suggest

LOWEST_NOTE = 21  # MIDI number of the lowest key of a piano
NUM_NOTES = 88


class Chorales(ArraySource):
    """Pieces of music as the keys of a piano that sound at each time step, such as JSB Chorales.

    Yields `notes` uint8 [max_length, 88], 1 where the key MIDI 21 to 108 sounds, and `length`
    int32, the number of time steps.

    Args:
      path: a JSON file (`.gz` is decompressed) that maps a split to a list of pieces, a piece is a
        list of time steps, each a list of MIDI numbers: `{"train": [[[60, 64], [60]]], ...}`.
      dataset: a TFDS name instead, such as `jsb_chorales`, with a feature `notes` of piano rolls.
      split: a split of the file or data set.
      data_dir: of the data set, see `tfds`.
      max_length: the most time steps of a piece, the rest is cut; None takes the longest.

    Raises:
      UserError: no file, data set or split, a file of another form, or a note that is no piano key.
    """

    def __init__(
        self,
        path: str | None = None,
        dataset: str | None = None,
        split: str = "train",
        data_dir: str | None = None,
        max_length: int | None = None,
    ):
        if max_length is not None and max_length < 1:
            raise UserError(f"max_length is {max_length}; it has to be at least 1")
        if dataset is not None and path is None:
            name = f"{dataset} {split}"
            records = TFDS(dataset, split, data_dir, ("notes",))
            rolls = [each["notes"] for each in records.__getitems__(range(len(records)))]
        elif path is not None and dataset is None:
            name = f"{path} {split}"
            rolls = [piano_roll(piece, name) for piece in read_pieces(path, split)]
        else:
            raise UserError(PATH_OR_DATASET)
        longest = max(len(roll) for roll in rolls)
        width = longest if max_length is None else max_length
        cut = sum(len(roll) > width for roll in rolls)
        notes = np.zeros((len(rolls), width, NUM_NOTES), np.uint8)
        for row, roll in zip(notes, rolls, strict=True):
            row[: len(roll)] = roll[:width]
        super().__init__(
            {"notes": notes, "length": np.array([min(len(r), width) for r in rolls], np.int32)},
            {
                "vocabularies": {},
                "sequences": {"notes": "length"},
                "truncated": cut,
                "notes": cut_note(name, cut, len(rolls), width),
            },
        )


def read_pieces(path: str, split: str) -> list[list[list[int]]]:
    """The pieces of a split of a JSON file, as lists of time steps of MIDI numbers."""
    try:
        content: Any = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping from splits to pieces")
    if split not in content:
        raise UserError(f"{path} has no split {split!r}; {suggest(split, content)}")
    pieces = content[split]
    if not isinstance(pieces, list) or not pieces:
        raise UserError(f"{path}: {split} has no pieces")
    return pieces


def piano_roll(piece: Sequence[Sequence[int]], name: str) -> np.ndarray:
    """A piece as uint8 [time, 88].

    Raises:
      UserError: a piece without time steps, or what is no list of piano keys.
    """
    roll = np.zeros((len(piece), NUM_NOTES), np.uint8)
    if not len(roll):
        raise UserError(f"{name}: there is a piece without time steps; remove it")
    for step, sounding in zip(roll, piece, strict=True):
        for note in sounding if isinstance(sounding, list) else [sounding]:
            if type(note) is not int or not 0 <= note - LOWEST_NOTE < NUM_NOTES:
                raise UserError(
                    f"{name}: {note!r} is no key of a piano, MIDI {LOWEST_NOTE} to"
                    f" {LOWEST_NOTE + NUM_NOTES - 1}"
                )
            step[note - LOWEST_NOTE] = 1
    return roll
