"""The commands of docs/launch.md and its pages, as they stand there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.launch.launches import call, say
from helpers.pages import TWO_STEPS, write_files
from helpers.processes import ROOT

PAGES = [
    "README.md",
    "docs/launch.md",
    *sorted(f"docs/launch/{path.name}" for path in (ROOT / "docs/launch").iterdir()),
]


def launches(page: str) -> list[list[str]]:
    """The lines of `sh` blocks that call `python -m launch`, without what is in brackets."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if line.startswith("python -m launch ")]
    return [line[3:] for line in words]


STARTS = [(page, line) for page in PAGES for line in launches(page) if line[0] in ("run", "sweep")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The experiments in a git repository of their own, as ours may be no checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


@pytest.mark.parametrize(
    ("page", "words"),
    STARTS,
    ids=lambda each: each if isinstance(each, str) else " ".join(each)[:60],
)
def test_what_starts_runs_can_be_planned(page, words, checkout, tmp_path, monkeypatch):
    """Profiles that a page tells the reader to write are written as it has them."""
    home = write_profiles(page, tmp_path)
    folder = checkout
    if page == "README.md":
        folder = tmp_path / "lab"
        write_files(page, folder)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    more = [] if "--dry_run" in words else ["--dry_run"]
    at = words.index("--") if "--" in words else len(words)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    planned = say(*words[:at], *more, *words[at:])
    assert planned.status == 0, (words, planned)


def write_profiles(page: str, home: Path) -> Path:
    """The TOML blocks of a page whose first line names a file in the home folder."""
    blocks = re.findall(r"^```toml\n# ~/(\S+)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    for name, content in blocks:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    return home


@pytest.mark.parametrize("page", PAGES[1:])
def test_every_verb_and_flag_of_a_page_is_there(page):
    from launch.cli import VERBS

    helps = {verb: say(verb, "--help").out for verb in VERBS}

    def knows(verb, flag):
        """Also in its negated form, such as --nosnapshot."""
        return re.search(rf"^ +--({flag}|{flag.removeprefix('no')})\b", helps[verb], re.M)

    for verb, *words in launches(page):
        own = words[: words.index("--")] if "--" in words else words
        for flag in re.findall(r"^--(?!config\.)(\w+)", "\n".join(own), re.M):
            assert knows(verb, flag), (verb, flag)
    for flag in re.findall(r"`--(\w+)[=`]", (ROOT / page).read_text()):
        assert any(knows(verb, flag) for verb in VERBS), flag


@pytest.mark.slow
def test_the_first_page_from_its_first_line(checkout, tmp_path):
    """Run as they stand, in folders of their own."""
    for words in launches("docs/launch.md"):
        if "--dry_run" in words or "--backend=slurm" in words:
            continue
        words = [word.replace("runs/", f"{tmp_path}/runs/") for word in words]
        more = [TWO_STEPS] if words[0] == "run" and "--" not in words else []
        answer = call(*words, *more, cwd=checkout)
        assert answer.status == 0, (words, answer)


@pytest.mark.cluster
def test_several_processes_one_detached_and_one_cancelled(checkout, tmp_path):
    """Those of docs/launch/local.md."""
    for words in launches("docs/launch/local.md"):
        if words[0] == "sweep":
            continue
        words = [word.replace("runs/", f"{tmp_path}/runs/") for word in words]
        more = [TWO_STEPS] if words[0] == "run" else []
        answer = call(*words, *more, cwd=checkout)
        if words[0] == "restart":
            answer.assert_mistake("has completed")
        else:
            assert answer.status == 0, (words, answer)
