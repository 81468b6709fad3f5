"""Multi30k: captions of photographs in several languages, for translation."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from dlresearch.data.builders.manual import manual_lines
from dlresearch.errors import UserError

_LANGUAGES = ("de", "en", "fr")
_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


class Multi30k(tfds.core.GeneratorBasedBuilder):
    """Captions of photographs in English, translated to German and French (Elliott et al. 2016).

    `test` is the test set of 2016. 29,000, 1,014 and 1,000 sentences.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put train, val and test_2016_flickr, each as .de, .en and .fr, or .gz of them, into the"
        " manual directory; they are in data/task1/raw of github.com/multi30k/dataset."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict(
                {language: tfds.features.Text() for language in _LANGUAGES}
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(
                manual_lines(dl_manager, [f"{name}.{language}" for language in _LANGUAGES])
            )
            for split, name in _FILES.items()
        }

    def _generate_examples(
        self, lines: dict[str, list[str]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        counts = {name: len(each) for name, each in lines.items()}
        if len(set(counts.values())) > 1:
            raise UserError(f"multi30k: the files differ in their number of lines: {counts}")
        for number, sentences in enumerate(zip(*lines.values(), strict=True)):
            yield number, dict(zip(_LANGUAGES, sentences, strict=True))
