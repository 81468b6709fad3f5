"""The arrays of a .npz or .safetensors file, by the paths of parameters."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from safetensors import SafetensorError, safe_open

from dlresearch.errors import UserError, one_line
from dlresearch.models import torch_resnet
from dlresearch.training.arrays import Spec, spec_of

WHERE = "config.start_from.path"
_PLAYER = "model"  # of supervised tasks; rules lead to those of others
_SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


class _Stored(NamedTuple):
    """An array of a file, with the order of axes it has here."""

    name: str
    axes: tuple[int, ...] | None


class FileWeights:
    """`Weights` of a file.

    Args:
      names: `own`, `torchvision`, or `auto` to look at them.

    Raises:
      UserError: it is of another kind, or cannot be read.
    """

    def __init__(self, path: Path, names: str):
        self._path = path
        with self._readable() as file:
            stored = file.specs()
        torchvision = torch_resnet.MARK in stored if names == "auto" else names == "torchvision"
        self.title = f"{path}{', names of torchvision' if torchvision else ''}"
        arrays: dict[str, Spec] = {}
        self._stored: dict[str, _Stored] = {}
        for name, spec in stored.items():
            if torchvision and name.endswith(torch_resnet.COUNTER):
                continue
            place = torch_resnet.place_of(name) if torchvision else None
            if place is None or len(place.axes) != len(spec.shape):
                self._stored[name], arrays[name] = _Stored(name, None), spec
            else:
                here = f"{_PLAYER}/{place.path}"
                self._stored[here] = _Stored(name, place.axes)
                arrays[here] = Spec(tuple(spec.shape[axis] for axis in place.axes), spec.dtype)
        self.arrays: Mapping[str, Spec] = arrays
        self.origin: Mapping[str, str] = {here: each.name for here, each in self._stored.items()}

    def read(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, Array]:
        found = {}
        with self._readable() as file:
            for here, leaf in wanted.items():
                name, axes = self._stored[here]
                array = file.array(name)
                array = array if axes is None else array.transpose(axes)
                found[here] = jax.make_array_from_callback(
                    array.shape, leaf.sharding, array.__getitem__
                )
        return found

    @contextmanager
    def _readable(self) -> Iterator["_Npz | _Safetensors"]:
        kinds = {".npz": _Npz, ".safetensors": _Safetensors}
        if (kind := kinds.get(self._path.suffix)) is None:
            convert = (
                "; in Python with torch:"
                " safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW_FILE)"
            )
            torch = self._path.suffix in (".pt", ".pth", ".bin")
            raise UserError(
                f"{WHERE}: {self._path} is neither .npz nor .safetensors{convert * torch}"
            )
        try:
            with kind(self._path) as file:
                yield file
        except (
            OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError,
        ) as error:  # fmt: skip
            raise UserError(f"{WHERE}: cannot read {self._path}: {one_line(error)}") from error


class _Npz:
    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> "_Npz":
        file = np.load(self._path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array without a name")
        self._file = file
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def specs(self) -> dict[str, Spec]:
        return {name: spec_of(self._file[name]) for name in self._file.files}

    def array(self, name: str) -> np.ndarray:
        return self._file[name]


class _Safetensors:
    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> "_Safetensors":
        self._file: Any = safe_open(self._path, "numpy").__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def specs(self) -> dict[str, Spec]:
        found = {}
        for name in self._file.keys():  # noqa: SIM118, it is no mapping
            part = self._file.get_slice(name)
            kind = str(part.get_dtype())
            found[name] = Spec(tuple(part.get_shape()), _SAFETENSORS_TYPES.get(kind, kind))
        return found

    def array(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)
