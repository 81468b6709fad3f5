"""The files a builder reads, in the folder that `--manual_dir` names."""

from collections.abc import Iterable
from typing import Any

from dlresearch.data.text_files import read_lines
from dlresearch.errors import UserError


def manual_file(downloads: Any, name: str) -> str:
    """The path of a file of that name, or of that name and `.gz`.

    Args:
      downloads: TFDS's download manager.
      name: of the file, without `.gz`.

    Raises:
      UserError: there is neither.
    """
    folder = downloads.manual_dir
    for each in (folder / name, folder / f"{name}.gz"):
        if each.exists():
            return str(each)
    raise UserError(f"there is no {name} or {name}.gz in {folder}; set --manual_dir")


def manual_lines(downloads: Any, names: Iterable[str]) -> dict[str, list[str]]:
    """The lines of some files by name."""
    return {name: read_lines(manual_file(downloads, name)) for name in names}
