"""What runs is the code as it was when it was asked for."""

import json
import os
import shlex
import tarfile
from io import BytesIO

import pytest

from helpers.launch.launches import await_that, call, make_repository
from launch.plan import Tools
from launch.snapshot import digest, take


@pytest.fixture
def repository(tmp_path):
    folder = make_repository(tmp_path / "lab")
    (folder / "new file.py").write_text("untracked\n")
    (folder / "link").symlink_to("lab.py")
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "below").mkdir()
    (folder / "below/más.txt").write_text("ü\n")
    (folder / "faulty.py").unlink()  # of which git still knows
    return folder


EXPECTED = (".gitignore", "below/más.txt", "digits.py", "lab.py", "link", "new file.py", "tool.sh")


def test_tracked_and_untracked_files_are_in_it_and_ignored_ones_are_not(repository, tmp_path):
    found = take(repository / "below", Tools())
    assert found.files == EXPECTED and found.inside == "below" and found.changed
    ran_in = found.copy(tmp_path / "code")
    assert ran_in == tmp_path / "code" / found.name / "below"
    copied = {str(path.relative_to(ran_in.parent)) for path in ran_in.parent.rglob("*")}
    assert copied - {"below"} == set(EXPECTED)
    assert os.readlink(ran_in.parent / "link") == "lab.py"
    assert os.access(ran_in.parent / "tool.sh", os.X_OK)
    assert digest(ran_in.parent, EXPECTED) == found.digest
    assert found.copy(tmp_path / "code") == ran_in  # again, of the same


def test_the_archive_has_the_same_bytes_for_the_same_files(repository, tmp_path):
    first = take(repository, Tools())
    packed = first.archive()
    for name in EXPECTED[1:4]:
        os.utime(repository / name, (1, 1))
    assert take(repository, Tools()).archive() == packed
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    assert digest(tmp_path / "out", EXPECTED) == first.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "lab.py").write_text("other\n"),
        lambda folder: (folder / "tool.sh").chmod(0o644),
        lambda folder: (folder / "new file.py").rename(folder / "newer file.py"),
        lambda folder: ((folder / "link").unlink(), (folder / "link").write_text("lab.py")),
    ],
)
def test_whatever_changes_has_another_digest(repository, change):
    before = take(repository, Tools()).digest
    change(repository)
    assert take(repository, Tools()).digest != before


def test_runs_inside_the_repository_are_left_out(repository):
    for name in ("a", "b c"):
        answer = call("run", f"--workdir=runs/{name}", "--", "true", cwd=repository)
        assert answer.status == 0, answer
    assert take(repository, Tools()).files == EXPECTED
    copies = list((repository / "runs").glob("*/launch/code/*"))
    assert len(copies) == 2 and copies[0].name == copies[1].name


def test_editing_what_waits_or_runs_changes_nothing(repository, tmp_path):
    (repository / "said.py").write_text("word = 'old'\n")
    waits = "import pathlib, time\nwhile not pathlib.Path('{go}').exists(): time.sleep(0.1)\n"
    waits = waits.format(go=tmp_path / "go") + "import said; print(said.word)"
    call("run", f"--workdir={tmp_path}/run", "--detach", "--", "python3", "-c", waits,
         cwd=repository)  # fmt: skip
    (repository / "said.py").write_text("word = 'new'\n")
    (tmp_path / "go").touch()
    log = tmp_path / "run/launch/attempts/1/process-0.log"
    await_that(lambda: log.exists() and log.read_text())
    assert log.read_text() == "old\n"
    asked = json.loads((tmp_path / "run/launch/launch.json").read_text())
    assert asked["code"]["changed"] and len(asked["code"]["commit"]) == 40


def test_a_dry_run_prints_the_bytes_that_the_real_one_uses(repository, tmp_path):
    """Files as they are written, and commands as an interpreter that notes its words has them."""
    notes = tmp_path / "notes"
    python = tmp_path / "my python"
    python.write_text(
        "#!/usr/bin/env python3\nimport os, sys\n"
        f"with open({str(notes)!r}, 'a') as file: print(sys.argv, file=file)\n"
        f"os.execv({os.sys.executable!r}, [{os.sys.executable!r}, *sys.argv[1:]])\n"
    )
    python.chmod(0o755)
    words = ("run", f"--workdir={tmp_path}/a run", f"--python={python}", "--processes=2",
             "--env=A=b c", "--", "echo", "$HOME; 'x'", "{workdir}")  # fmt: skip
    planned = call(*words[:-4], "--dry_run", *words[-4:], cwd=repository).out
    assert not (tmp_path / "a run").exists()
    assert call(*words, cwd=repository).status == 0
    written = (tmp_path / "a run/launch/launch.json").read_text()
    assert f"==> {tmp_path}/a run/launch/launch.json <==\n{written}" in planned
    commands = [shlex.split(line[2:]) for line in planned.splitlines() if line.startswith("$ ")]
    begin = [command.index(str(python)) for command in commands]
    used = {tuple(eval(line)) for line in notes.read_text().splitlines()}
    assert {tuple(command[at:]) for command, at in zip(commands, begin, strict=True)} == used
    said = (tmp_path / "a run/launch/attempts/1/process-1.log").read_text()
    assert said == f"$HOME; 'x' {tmp_path}/a run\n"
