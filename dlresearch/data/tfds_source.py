"""TensorFlow Datasets, read without TensorFlow."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from dlresearch.data.builders import BUILDERS
from dlresearch.data.source import Example
from dlresearch.errors import UserError, suggest

_DEFAULT_DATA_DIR = "~/tensorflow_datasets"


class TFDS:
    """A split of a data set that TFDS prepared as array_record.

    Yields the features by their TFDS names, images as uint8 [height, width, channel], class labels
    as int32. Text and nested features are left out unless `keys` names them, since no device can
    hold a text; it comes as bytes.

    Args:
      dataset: a TFDS name: `mnist`, `name/config`, `name:version`.
      split: `train`, or a part such as `train[:90%]` or `train[1000:]`, or a sum `train+test`.
      data_dir: the folder that holds prepared data sets; None takes `$TFDS_DATA_DIR`, or else
        `~/tensorflow_datasets`.
      keys: which features to read; None takes all that are arrays.

    Raises:
      UserError: the data set is unknown to TFDS or not prepared in `data_dir`, or not as
        array_record; an unknown split or key; an empty split; a damaged file.
    """

    def __init__(
        self,
        dataset: str,
        split: str = "train",
        data_dir: str | None = None,
        keys: tuple[str, ...] | None = None,
    ):
        self._arguments = (dataset, split, data_dir, keys)
        self._name = f"TFDS {dataset} {split}"
        root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or _DEFAULT_DATA_DIR).expanduser()
        with _quiet():
            # Slow to import, and only those need it who use it.
            import tensorflow_datasets as tfds

            builder = _builder(dataset, root)
            features = _features(builder.info.features, keys, dataset)
            # `PartialDecoding` would be the official way, but needs TensorFlow (tfds 4.9.10).
            self._decoder: Any = tfds.features.FeaturesDict(features)
            self._records = _open(builder, split, dataset, root)
            self._labels = [
                key for key, f in features.items() if isinstance(f, tfds.features.ClassLabel)
            ]
            if not len(self._records):
                raise UserError(f"{self._name}: there is no example in it; change split")
            self.metadata = _metadata(features, self._labels)
            # TFDS warns of the image library it takes at the first example it decodes.
            self[0]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Examples read in one go, which is several times faster than one at a time."""
        try:
            records = self._records.__getitems__([int(index) for index in indices])
            examples = [self._decoder.deserialize_example_np(record) for record in records]
        # Bad bytes surface as one or the other: array_record, protobuf, Pillow.
        except (RuntimeError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self._name}: cannot read its files ({reason}); prepare it again"
            ) from error
        for example in examples:
            for key in self._labels:
                example[key] = np.int32(example[key])
        return examples

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # A worker process opens the files again: open files cannot be sent.
        return type(self), self._arguments


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of TFDS, which are of TensorFlow and OpenCV being absent."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _how_to_prepare(dataset: str, root: Path) -> str:
    command = f"python -m dlresearch.data.prepare --dataset={dataset} --data_dir={root}"
    if re.split(r"[/:]", dataset)[0] in BUILDERS:
        return f"{command} --manual_dir=FOLDER"
    return f"pip install 'dlresearch[prepare]' && {command}"


def _builder(dataset: str, root: Path) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    name = re.split(r"[/:]", dataset)[0]
    if not re.fullmatch(r"\w+(/[\w.\-]+)?(:[\w.*]+)?", dataset):
        raise UserError(f"TFDS: {dataset!r} is no name; write name, name/config or name:version")
    try:
        # Not `tfds.builder`, which asks the network about what it does not find.
        return read_only_builder.builder_from_files(dataset, data_dir=str(root))
    except tfds.core.DatasetNotFoundError:
        pass
    present = [f.name for f in root.iterdir() if f.is_dir()] if root.is_dir() else []
    known = {*tfds.list_builders(with_community_datasets=False), *BUILDERS, *present}
    if name not in known:
        raise UserError(f"TFDS has no data set {name!r}; {suggest(name, known)}")
    if not root.is_dir():
        where = f"there is no folder {root} to look for {dataset} in"
    elif name in present:
        where = f"{root / name} does not hold this version or config of {dataset}"
    else:
        where = f"{dataset} is not prepared in {root}"
    raise UserError(f"TFDS: {where}; set data_dir, or: {_how_to_prepare(dataset, root)}")


def _features(
    features: Mapping[str, Any], keys: Sequence[str] | None, dataset: str
) -> dict[str, Any]:
    if keys is None:
        arrays = {key: f for key, f in features.items() if _is_array(f)}
        if not arrays:
            raise UserError(
                f"TFDS {dataset} has no feature that is an array; name in keys what to read:"
                f" {', '.join(features)}"
            )
        return arrays
    for key in keys:
        if key not in features:
            raise UserError(f"TFDS {dataset} has no feature {key!r}; {suggest(key, features)}")
    return {key: features[key] for key in keys}


def _is_array(feature: Any) -> bool:
    # A nested feature has a dict of types.
    return not isinstance(feature.np_dtype, dict) and np.dtype(feature.np_dtype).kind not in "OSU"


def _open(builder: Any, split: str, dataset: str, root: Path) -> Any:
    import tensorflow_datasets as tfds

    for name in re.findall(r"(?:^|\+)\s*([^\[+]+)", split):
        if name not in builder.info.splits and name != "all":
            raise UserError(
                f"TFDS {dataset} has no split {name!r}; {suggest(name, builder.info.splits)}"
            )
    try:
        return builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
    except NotImplementedError:
        raise UserError(
            f"TFDS: {dataset} in {root} is written as {builder.info.file_format.value}, which needs"
            f" TensorFlow to read; remove it, then: {_how_to_prepare(dataset, root)}"
        ) from None
    except (ValueError, AssertionError):
        raise UserError(
            f"TFDS {dataset}: cannot understand split {split!r}, or it is empty; write train[:90%]"
            " or train[1000:]"
        ) from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"TFDS: cannot open {dataset} in {root}: {error}") from error


def _metadata(features: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """About the classes, where there is one kind of them."""
    key = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    if key is None or features[key].num_classes is None:
        return {}
    return {"num_classes": features[key].num_classes, "class_names": tuple(features[key].names)}
