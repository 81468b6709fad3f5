"""Chorales by Johann Sebastian Bach as piano rolls."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from dlresearch.data.builders.manual import manual_file
from dlresearch.data.chorales import NUM_NOTES, piano_roll, read_pieces

_FILE = "jsb-chorales-quarter.json"
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


class JsbChorales(tfds.core.GeneratorBasedBuilder):
    """Four-part chorales in quarter notes (Boulanger-Lewandowski et al. 2012).

    `notes` is 1 where a key of the piano, MIDI 21 to 108, sounds. 229, 76 and 77 pieces.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put {_FILE}, or .gz of it, into the manual directory; it is in"
        " github.com/czhuang/JSB-Chorales-dataset."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        roll = tfds.features.Tensor(shape=(None, NUM_NOTES), dtype=np.uint8)
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"notes": roll}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        path = manual_file(dl_manager, _FILE)
        return {split: self._generate_examples(path, name) for split, name in _SPLITS.items()}

    def _generate_examples(self, path: str, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, piece in enumerate(read_pieces(path, split)):
            yield number, {"notes": piano_roll(piece, path)}
