"""A copy of the code as it was when a run was asked for, so that editing while it waits is safe.

In it is what git knows or would add: tracked and untracked files, nothing that is ignored.
"""

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlresearch.errors import Failure, UserError
from launch.plan import Tools

_LIMIT_BYTES = 100 << 20


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository, not copied yet.

    Attributes:
      root: of the repository.
      inside: where in it the user stood; "." at its root.
      files: paths below `root`, sorted.
      digest: of names, kinds and contents.
      commit: None before the first one.
      changed: whether a file differs from that commit, or is not in it.
    """

    root: Path
    inside: str
    files: tuple[str, ...]
    digest: str
    commit: str | None
    changed: bool

    @property
    def name(self) -> str:
        """Of the folder it is copied to."""
        return self.digest[:16]

    def facts(self) -> dict[str, Any]:
        """For launch.json."""
        return {
            "from": str(self.root),
            "sha256": self.digest,
            "files": len(self.files),
            "commit": self.commit,
            "changed": self.changed,
        }

    def holds(self, path: str) -> bool:
        """Whether a path, as seen from where the user stood, is a file or folder of it."""
        relative = os.path.normpath(os.path.join(self.inside, path))
        return any(file == relative or file.startswith(f"{relative}/") for file in self.files)

    def copy(self, folder: Path) -> Path:
        """Copy it to `folder`/`name`, unless it is there; returns where commands run."""
        target = folder / self.name
        if not target.exists():
            building = folder / f".{self.name}.{os.getpid()}"
            for file in self.files:
                copied = building / file
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.root / file, copied, follow_symlinks=False)
            building.mkdir(parents=True, exist_ok=True)
            try:
                building.rename(target)
            except OSError:  # another launch was faster, with the same files
                shutil.rmtree(building)
        return target / self.inside

    def archive(self) -> bytes:
        """As tar.gz; the same bytes for the same files."""
        return archive(self.root, self.files)


def take(here: Path, tools: Tools, leave_out: Sequence[Path] = ()) -> Snapshot:
    """Find what a snapshot of the code around `here` holds.

    Args:
      leave_out: folders, such as that of the run; those of other runs are left out by themselves.

    Raises:
      UserError: this is no git repository, or what is in it is larger than a hundred megabytes.
    """
    where = tools.run(["git", "-C", str(here), "rev-parse", "--show-toplevel"], check=False)
    if where.status != 0:
        raise UserError(
            f"{here} is in no git repository, so there is nothing to take a snapshot of;"
            " --nosnapshot runs the code in place"
        )
    root = Path(where.out.rstrip("\n"))
    listed = tools.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    )
    known = sorted({name for name in listed.out.split("\0") if name})
    runs = {os.path.dirname(os.path.dirname(n)) for n in known if n.endswith("launch/launch.json")}
    runs |= {os.path.relpath(path, root) for path in leave_out if path.is_relative_to(root)}
    files = tuple(
        name
        for name in known
        if not any(name.startswith(f"{run}/") for run in runs)
        # What was deleted and not committed is gone; a folder is a submodule, or a repository.
        and ((root / name).is_symlink() or (root / name).is_file())
    )
    _check_size(root, files)
    commit = tools.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=False)
    status = tools.run(
        ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=normal"]
    )
    return Snapshot(
        root=root,
        inside=os.path.relpath(here.resolve(), root.resolve()),
        files=files,
        digest=digest(root, files),
        commit=commit.out.strip() if commit.status == 0 else None,
        changed=bool(status.out),
    )


def digest(root: Path, files: Iterable[str]) -> str:
    """SHA-256 over names, kinds and contents of files below a folder."""
    total = hashlib.sha256()
    for name in files:
        path = root / name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            kind, content = "link", os.readlink(path).encode()
        else:
            kind, content = "program" if mode & 0o100 else "file", path.read_bytes()
        total.update(f"{kind} {len(content)} {name}\0".encode("utf-8", "surrogateescape"))
        total.update(content)
    return total.hexdigest()


def archive(root: Path, files: Iterable[str]) -> bytes:
    """Files below a folder as tar.gz; the same bytes for the same files."""
    return pack((name, root / name) for name in files)


def pack(sources: Iterable[tuple[str, Path]]) -> bytes:
    """Files and their names in a tar.gz, without owners and times, so that the bytes follow from
    the contents.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sources:
            tar.add(path, name, recursive=False, filter=_without_owner)
    return packed.getvalue()


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o755 if info.mode & 0o100 else 0o644
    return info


def _check_size(root: Path, files: Sequence[str]) -> None:
    try:
        sizes = {name: (root / name).lstat().st_size for name in files}
    except OSError as error:
        raise Failure(f"the code changes while its snapshot is taken: {error}") from None
    if (total := sum(sizes.values())) > _LIMIT_BYTES:
        largest = max(files, key=lambda name: sizes[name])
        raise UserError(
            f"a snapshot of {root} would be {total >> 20} MB, more than {_LIMIT_BYTES >> 20};"
            f" its largest file is {largest} ({sizes[largest] >> 20} MB): have git ignore what is"
            " no code, or give --nosnapshot"
        )
