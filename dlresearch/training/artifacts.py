"""Files that evaluators make, in the folder of a run: `artifacts/EVALUATION/STEP/NAME`."""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
"""Suffixes of what is shown as a picture, with the media type."""


ABOUT = "about.txt"
"""What an evaluator's figures were measured with."""


def write_files(artifacts: Path, step: int, files: Mapping[str, bytes]) -> None:
    """Write each file whole or not at all; what an earlier evaluation of the step left is replaced.

    Args:
      artifacts: the folder for all of them.
      step: of the variables that were evaluated.
      files: contents by `evaluation/name`.
    """
    for path, content in files.items():
        evaluation, name = path.split("/")
        target = artifacts / evaluation / str(step) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)


def files_by_step(folder: Path, before: int) -> dict[int, dict[str, bytes]]:
    """What an evaluation left at earlier steps, by step and name."""
    return {
        int(path.name): {file.name: file.read_bytes() for file in path.glob("[!.]*")}
        for path in folder.glob("[0-9]*")
        if int(path.name) < before
    }


def newest_abouts(artifacts: Path) -> dict[str, str]:
    """By evaluation, what its newest figures were measured with, where it says so."""
    return {
        file.parent.parent.name: file.read_text("utf-8").strip()
        for _, file in newest_files(artifacts)
        if file.name == ABOUT
    }


def newest_files(artifacts: Path) -> Iterator[tuple[int, Path]]:
    """Of every evaluation the files of its newest step, with that step, by name."""
    for evaluation in sorted(path for path in artifacts.glob("*") if path.is_dir()):
        steps = sorted((int(path.name), path) for path in evaluation.glob("[0-9]*"))
        for file in sorted(steps[-1][1].glob("[!.]*")) if steps else ():
            yield steps[-1][0], file


def pixels(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in an image file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
