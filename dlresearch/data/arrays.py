"""Arrays saved by `numpy.savez`."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlresearch.data.source import ArraySource, check_labels
from dlresearch.errors import UserError, suggest

# Of the header in front of each file in a zip archive (APPNOTE 4.3.7): its fixed part ends with the
# lengths of the name and of the extra field, which lie between it and the contents.
_ZIP_HEADER_BYTES = 30


class Arrays(ArraySource):
    """Examples from an `.npz` file of arrays that share their first axis.

    What `numpy.savez` wrote is mapped, not read: it takes memory only where it is used, and once
    for all worker processes. `numpy.savez_compressed` files are read whole.

    An `image` [example, height, width] gets a channel axis, and a `label` [example, 1] loses its
    last; labels become int32.

    Args:
      path: the file.
      keys: name in the example to name in the file (after `prefix`), such as
        `{"image": "images", "label": "labels"}`; None takes all arrays under their own names.
      prefix: take only arrays whose name starts with it, and drop it from the name: `train_` of
        `train_images`, `train_labels`, `test_images`, `test_labels`.
      num_classes: None takes the largest label plus one.

    Raises:
      UserError: no such file, not an npz file, a name that is not in it, arrays of objects or of
        different lengths, labels that are no integers or out of range.
    """

    def __init__(
        self,
        path: str,
        keys: Mapping[str, str] | None = None,
        prefix: str = "",
        num_classes: int | None = None,
    ):
        self._arguments = (path, keys, prefix, num_classes)
        file = Path(path).expanduser()
        found = _read(file, prefix)
        if not found:
            raise UserError(f"{file}: no array's name starts with prefix={prefix!r}")
        if keys is not None:
            for name in keys.values():
                if name not in found:
                    raise UserError(f"{file}: there is no array {name!r}; {suggest(name, found)}")
            found = {key: found[name] for key, name in keys.items()}
        if scalars := [key for key, array in found.items() if array.ndim == 0]:
            raise UserError(f"{file}: {scalars[0]!r} is a single value; leave it out with keys")
        metadata: dict[str, Any] = {}
        if "image" in found and found["image"].ndim == 3:
            found["image"] = found["image"][..., None]
        if "label" in found:
            label = _labels(found["label"], file)
            num_classes = num_classes or int(label.max(initial=-1)) + 1
            check_labels(label, num_classes, str(file))
            found["label"] = label
            metadata["num_classes"] = num_classes
        try:
            super().__init__(found, metadata)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # A worker process maps the file again instead of getting a copy of it.
        return type(self), self._arguments


def _read(file: Path, prefix: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive, np.load(file, allow_pickle=False) as loaded:
            members = {info.filename: info for info in archive.infolist()}
            arrays = {}
            for name in loaded.files:
                if name.startswith(prefix):
                    array = _map(file, members.get(f"{name}.npy"))
                    arrays[name.removeprefix(prefix)] = loaded[name] if array is None else array
            return arrays
    except FileNotFoundError:
        raise UserError(f"there is no file {file}; set path to an .npz file") from None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UserError(f"cannot read {file} as an .npz file of arrays: {error}") from error


def _map(file: Path, member: zipfile.ZipInfo | None) -> np.ndarray | None:
    """The array of a member that lies in the archive uncompressed, or None."""
    if member is None or member.compress_type != zipfile.ZIP_STORED:
        return None
    with file.open("rb") as stream:
        stream.seek(member.header_offset)
        header = stream.read(_ZIP_HEADER_BYTES)
        name_length, extra_length = np.frombuffer(header[-4:], "<u2")
        stream.seek(int(name_length) + int(extra_length), 1)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            return None
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(stream)
        offset = stream.tell()
    if dtype.hasobject or 0 in shape:
        return None
    order = "F" if fortran_order else "C"
    return np.memmap(file, dtype, "r", offset, shape, order)


def _labels(label: np.ndarray, file: Path) -> np.ndarray:
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    whole = label.astype(np.int32) if label.dtype.kind in "iufb" else None
    if whole is None or not np.array_equal(whole, label):
        raise UserError(f"{file}: 'label' is not of integers ({label.dtype}); name it otherwise")
    return whole
