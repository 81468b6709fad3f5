"""Stanford Sentiment Treebank: whole sentences of film reviews and what they think of the film."""

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from dlresearch.data.builders.manual import manual_file
from dlresearch.data.labelled_text import read_labelled_lines

_CLASSES = {
    "binary": ("negative", "positive"),
    "fine": ("very negative", "negative", "neutral", "positive", "very positive"),
}
_FILES = {"train": "train", "validation": "dev", "test": "test"}


class SstSentences(tfds.core.GeneratorBasedBuilder):
    """Sentences of film reviews with their sentiment (Socher et al. 2013), without their phrases.

    `binary`, without neutral ones, has 6,920, 872 and 1,821; `fine`, in five classes, 8,544, 1,101
    and 2,210.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 # as TFDS has it
        tfds.core.BuilderConfig(name=name, description=", ".join(classes))
        for name, classes in _CLASSES.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put stsa.binary.train, .dev and .test, or stsa.fine.train, .dev and .test, or .gz of them,"
        " into the manual directory; each line is a label and a sentence."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=list(_CLASSES[self._config]))
        return tfds.core.DatasetInfo(
            builder=self,
            description=(self.__doc__ or "").strip(),
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label}),
            supervised_keys=("text", "label"),
            disable_shuffling=True,
        )

    @property
    def _config(self) -> str:
        assert self.builder_config is not None  # TFDS takes the first where none is named
        return self.builder_config.name

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(manual_file(dl_manager, f"stsa.{self._config}.{name}"))
            for split, name in _FILES.items()
        }

    def _generate_examples(self, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        texts, labels = read_labelled_lines(path)
        for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
            yield number, {"text": text, "label": int(label)}
