"""Penn Treebank as words, for language models."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from dlresearch.data.builders.manual import manual_lines

_FILES = {
    "train": "ptb.train.txt",
    "validation": "ptb.valid.txt",
    "test": "ptb.test.txt",
}


class PennTreebank(tfds.core.GeneratorBasedBuilder):
    """Wall Street Journal articles with 10,000 kinds of words (Mikolov et al. 2010).

    An example is a line, and the lines are in the order of the text. With one `<eos>` a line there
    are 929,589, 73,760 and 82,430 tokens.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put ptb.train.txt, ptb.valid.txt and ptb.test.txt, or .gz of them, into the manual"
        " directory; they are in the folder data of Mikolov's simple-examples.tgz."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        lines = manual_lines(dl_manager, _FILES.values())
        return {split: self._generate_examples(lines[name]) for split, name in _FILES.items()}

    def _generate_examples(self, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines):
            yield number, {"text": line}
