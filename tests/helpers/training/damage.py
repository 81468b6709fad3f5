"""What a failing disk does to a checkpoint, for tests."""

from pathlib import Path


def data_files(step: Path) -> list[Path]:
    """Files of the arrays of a checkpoint; those with descriptions of them are elsewhere."""
    return [path for path in sorted((step / "state").rglob("d/*")) if path.stat().st_size]


def flip_bits(path: Path) -> None:
    """One in every 32 bytes: a file has parts that nobody reads, and a bit there is no damage."""
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 32):
        content[place] ^= 16
    path.write_bytes(content)
