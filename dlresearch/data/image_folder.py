"""Images in one folder a class."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image, ImageOps

from dlresearch.data.source import Example, class_counts
from dlresearch.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class ImageFolder:
    """Images sorted into one folder a class: `path/cat/1.png`, `path/dog/2.jpg`.

    Yields `image` uint8 [height, width, channel], upright by its EXIF orientation, and `label`
    int32, the place of the folder among the sorted names of all. Images may lie deeper inside the
    folder of their class.

    Args:
      path: the folder that holds the class folders.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA); images are converted.
      size: (height, width) to which each image is resized, bilinear with anti-aliasing; None keeps
        the size they have, which must then be one for all.

    Raises:
      UserError: no such folder, no class folders, one without images; on reading: an image that
        cannot be read.
    """

    def __init__(self, path: str, channels: int = 3, size: tuple[int, int] | None = None):
        if channels not in _MODES:
            raise UserError(f"channels={channels}: use 1 (grey), 3 (RGB) or 4 (RGBA)")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(f"size={tuple(size)}: give height and width in pixels")
        root = Path(path).expanduser()
        if not root.is_dir():
            raise UserError(f"there is no folder {root}; set path to a folder of class folders")
        folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
        if not folders:
            raise UserError(f"{root} has no folders in it; put the images of each class into one")
        by_class = [_images(folder) for folder in folders]
        _check(root, folders, by_class)
        self._files = [file for files in by_class for file in files]
        self._labels = np.repeat(
            np.arange(len(folders), dtype=np.int32), [len(files) for files in by_class]
        )
        self._mode = _MODES[channels]
        self._size = size
        names = tuple(folder.name for folder in folders)
        self.metadata = {
            "num_classes": len(names),
            "class_names": names,
            "class_counts": class_counts(self._labels, len(names)),
        }

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        image = read_image(self._files[index], self._mode, self._size)
        return {"image": image, "label": self._labels[index]}

    def labels(self) -> Int32[np.ndarray, " example"]:
        """The labels of all examples; no image is read."""
        return self._labels

    def describe(self, index: int) -> str:
        """The file of an example."""
        return str(self._files[index])


def read_image(
    file: Path, mode: str, size: tuple[int, int] | None
) -> UInt8[np.ndarray, "height width channel"]:
    """An image file in Pillow's `mode` (`L`, `RGB`, `RGBA`), resized to (height, width) if given.

    Raises:
      UserError: it cannot be read; says which file.
    """
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                # Pillow would clip 16 bits to the lowest 8, which leaves a white picture.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert(mode)
    # Pillow raises SyntaxError on a broken PNG header and ValueError on some truncated files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {file}: {error}; repair or remove it") from error
    if size is not None and (image.height, image.width) != tuple(size):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _images(folder: Path) -> list[Path]:
    files: Iterable[Path] = folder.rglob("*")
    return sorted(f for f in files if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))


def _check(root: Path, folders: list[Path], by_class: list[list[Path]]) -> None:
    names = {folder.name.lower() for folder in folders}
    if names <= {"train", "training", "test", "testing", "val", "valid", "validation"}:
        raise UserError(
            f"{root} holds splits, not classes; set path to one of them, such as {folders[0]}"
        )
    for folder, files in zip(folders, by_class, strict=True):
        if not files:
            raise UserError(f"there is no image in the class folder {folder}; remove or fill it")
