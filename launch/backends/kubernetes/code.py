"""The code of a run as objects of Kubernetes: an archive in pieces that fit into ConfigMaps.

No registry, no bucket and no build is needed for it: the pods mount the pieces and unpack them.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import launch
from dlresearch.errors import UserError
from launch.job import Job
from launch.snapshot import pack

# A ConfigMap holds 1 MiB, and a request 1.5 MiB, in which base64 makes a third more of it.
PIECE_BYTES = 768 << 10
LIMIT_BYTES = 8 << 20
# What runs beside the trainer; of the standard library only.
_ON_HOST = ("__init__.py", *(f"on_host/{name}.py" for name in
            ("__init__", "pod", "process", "records", "restarts")))  # fmt: skip


@dataclass(frozen=True)
class Code:
    """What the pods unpack.

    Attributes:
      content: a tar.gz: `launcher/` for what runs beside the trainer, and `code/` for the snapshot.
      inside: where in `code/` commands run; None where they run in the image.
      files: names in the archive, sorted.
    """

    content: bytes
    inside: str | None
    files: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the ConfigMaps, which follow from the content: equal code is sent once."""
        count = len(range(0, len(self.content), PIECE_BYTES))
        return tuple(f"dlresearch-code-{self.digest[:16]}-{index:03}" for index in range(count))

    def config_maps(self, labels: dict[str, str]) -> Iterator[dict[str, Any]]:
        """The objects to create."""
        for index, name in enumerate(self.names):
            piece = self.content[index * PIECE_BYTES : (index + 1) * PIECE_BYTES]
            yield {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "labels": labels},
                "immutable": True,
                "binaryData": {f"part-{index:03}": base64.b64encode(piece).decode()},
            }

    def sizes(self, index: int) -> dict[str, str]:
        """In place of the data of a ConfigMap, for people."""
        size = min(PIECE_BYTES, len(self.content) - index * PIECE_BYTES)
        return {f"part-{index:03}": f"{size} bytes"}


def code_of(job: Job) -> Code:
    """The code of a job: its snapshot, unless all of it is in the image.

    Raises:
      UserError: it is too large for ConfigMaps.
    """
    package = Path(launch.__file__).parent
    sources = [(f"launcher/launch/{name}", package / name) for name in _ON_HOST]
    inside = None
    if job.options["code"] == "configmap":
        root, inside = _snapshot(job)
        if job.snapshot is not None and not root.exists():
            root = job.snapshot.root  # what it will be taken of, in a dry run
        sources += [(f"code/{name}", root / name) for name in _files(job, root)]
    content = pack(sources)
    if len(content) > LIMIT_BYTES:
        largest = max(sources, key=lambda source: source[1].lstat().st_size)
        raise UserError(
            f"--code=configmap: the snapshot has {len(content) / (1 << 20):.1f} MiB compressed, and"
            f" {LIMIT_BYTES >> 20} fit into the cluster; its largest file is"
            f" {largest[0].removeprefix('code/')}: have git ignore what is no code, or put the code"
            " into the image and give --code=image"
        )
    return Code(content, inside, tuple(name for name, _ in sources))


def place_of(job: Job) -> Path:
    """Folder of the launch that took the snapshot: a sweep's, for all of its runs."""
    root, _ = _snapshot(job)
    if root.parent.name == "code" and root.parent.parent.name == "launch":
        return root.parent.parent
    return job.folder / "launch"


def _snapshot(job: Job) -> tuple[Path, str]:
    """The root of the snapshot, and where in it commands run."""
    for folder in (job.code, *job.code.parents):
        if folder.parent.name == "code" and folder.parent.parent.name == "launch":
            return folder, str(job.code.relative_to(folder))
    return job.code, "."


def _files(job: Job, root: Path) -> list[str]:
    if job.snapshot is not None and root == job.snapshot.root:
        return list(job.snapshot.files)
    found = (path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(str(path.relative_to(root)) for path in found)
