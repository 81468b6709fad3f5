"""Whatever is wrong with a command line, a profile or a folder: one line, status 2, no change."""

import json
import subprocess
from pathlib import Path

import pytest

import launch.snapshot
from helpers.launch.launches import make_repository, say
from launch.backends.catalog import all_options


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = make_repository(tmp_path_factory.mktemp("mistakes") / "lab")
    (folder / "broken.py").write_text("def get_config(:\n")
    (folder / "key.toml").write_text('partitoin = "gpu"\n')
    (folder / "kind.toml").write_text('processes = "two"\n')
    (folder / "none.toml").write_text("partition = gpu\n")
    (folder / "lab.toml").write_text('backend = "slurm"\npartition = "gpu"\nprocesses = 3\n')
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory, repository):
    """Folders that are no place for a new run."""
    place = tmp_path_factory.mktemp("folders")
    (place / "a file").write_text("precious")
    (place / "theirs").mkdir()
    (place / "theirs/thesis.tex").write_text("precious")
    (place / "torn/launch").mkdir(parents=True)
    (place / "torn/launch/launch.json").write_text('{"verb": "ru')
    (place / "odd").mkdir()
    subprocess.run(["git", "init", "-q", str(place / "odd/inside")], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        assert say("run", f"--workdir={place}/run", "--", "true").status == 0
        assert say("sweep", "--config=digits.py", f"--workdir={place}/sweep", "--sweep=seed=0,1",
                   "--dry_run").status == 0  # fmt: skip
        (place / "sweep/launch").mkdir(parents=True)
        (place / "sweep/launch/launch.json").write_text(
            json.dumps({"verb": "sweep", "backend": "local", "options": {}})
        )
    return place


RUN = ("run", "--config=digits.py", "--workdir={new}")
SWEEP = ("sweep", "--config=digits.py", "--workdir={new}")
MISTAKES = {
    # what is typed
    "no verb": (("rum",), "no verb 'rum'; did you mean 'run'?"),
    "no flag": ((*RUN, "--proceses=2"), "there is no flag --proceses; did you mean '--processes'?"),
    "no number": ((*RUN, "--processes=two"), "two"),
    "too few": ((*RUN, "--processes=0"), "--processes: 0 is less than 1"),
    "not a flag": ((*RUN, "processes=2"), "'processes=2' is not a flag"),
    "another backend's": ((*RUN, "--partition=gpu"), "--partition is an option of slurm"),
    "no backend": ((*RUN, "--backend=slrum"), "there is no 'slrum'; did you mean 'slurm'?"),
    "a null byte": ((*RUN, "--env=A=\0"), "a null byte"),
    "no variable": ((*RUN, "--env=A B"), "--env: 'A B' is not NAME=VALUE"),
    "gpus": ((*RUN, "--gpus=3", "--processes=2"), "--gpus=3 cannot be shared evenly"),
    "no command": (("run", "--workdir={new}", "--"), "no command follows"),
    "both": ((*RUN, "--", "true"), "--config belongs to training"),
    "neither": (("run", "--workdir={new}"), "--config=FILE is missing, or a command"),
    # the experiment
    "no workdir": (("run", "--config=digits.py"), "--workdir=FOLDER is missing"),
    "no experiment": (("run", "--config=digist.py", "--workdir={new}"), "digist.py"),
    "a broken one": (("run", "--config=broken.py", "--workdir={new}"), "broken.py"),
    "no such setting": (
        (*RUN, "--config.optimizer.lerning_rate=1"),
        "config.optimizer.lerning_rate",
    ),
    "no such component": ((*RUN, "--config.model=resnte()"), "config.model"),
    "no value": ((*RUN, "--config.seed"), "--config.seed needs a value"),
    # profiles
    "no profile": ((*RUN, "--profile=cluster"), "there is no profile 'cluster'"),
    "no file": ((*RUN, "--profile=./cluster.toml"), "there is no file ./cluster.toml"),
    "unknown key": ((*RUN, "--profile=key.toml"), "key.toml: there is no option 'partitoin'"),
    "wrong kind": ((*RUN, "--profile=kind.toml"), "kind.toml: processes: 'two' is not an integer"),
    "no TOML": ((*RUN, "--profile=none.toml"), "none.toml is no TOML"),
    # folders
    "a file": (("run", "--config=digits.py", "--workdir={folders}/a file"), "is a file"),
    "below a file": (("run", "--config=digits.py", "--workdir={folders}/a file/x"), "a file"),
    "a line break": (("run", "--config=digits.py", "--workdir={new}\nx"), "a line break"),
    "an empty name": (("run", "--config=digits.py", "--workdir="), "empty"),
    "not writable": (("run", "--config=digits.py", "--workdir=/proc/x"), "cannot be written"),
    "somebody else's": (
        ("run", "--config=digits.py", "--workdir={folders}/theirs"),
        "theirs is neither empty nor the folder of a run",
    ),
    "launched before": (
        ("run", "--config=digits.py", "--workdir={folders}/run"),
        "a run was launched in {folders}/run already; `restart` goes on",
    ),
    "a sweep's": (("run", "--config=digits.py", "--workdir={folders}/sweep"), "that of a sweep"),
    "a run's": (
        ("sweep", "--config=digits.py", "--workdir={folders}/run", "--sweep=seed=0,1"),
        "that of a run",
    ),
    "torn": (("show", "{folders}/torn"), "launch.json cannot be read"),
    # what was launched
    "nothing there": (("status", "{folders}/theirs"), "nothing was launched in"),
    "no folder": (("status", "{new}"), "there is no folder {new}"),
    "no process": (("logs", "{folders}/run", "--process=7"), "--process=7: attempt 1 has 0"),
    "no attempt": (("logs", "{folders}/run", "--attempt=9"), "--attempt=9: there are 1"),
    "not one run": (("logs", "{folders}/sweep"), "is not the folder of one run"),
    "cancel what": (("cancel",), "name the folders"),
    "completed": (("restart", "{folders}/run"), "has completed"),
    "what follows": (("status", "{folders}/run", "--", "x"), "nothing may follow"),
    # sweeps
    "no sweep": (SWEEP, "--sweep or --sweep_file is missing"),
    "bad grammar": ((*SWEEP, "--sweep=seed=range("), "--sweep"),
    "unknown setting": ((*SWEEP, "--sweep=sead=1,2"), "did you mean 'seed'?"),
    "a wrong value": ((*SWEEP, "--sweep=seed=1,x"), "config.seed"),
    "twice": ((*SWEEP, "--sweep=seed=1,1"), "seed"),
    "drawn": ((*SWEEP, "--sweep=optimizer.learning_rate=uniform(0, 1)"), "--search"),
    "no objective": (
        (*SWEEP, "--search=random", "--sweep=optimizer.learning_rate=uniform(0, 1)"),
        "a search needs --objective",
    ),
    "no search": ((*SWEEP, "--sweep=seed=1,2", "--trials=3"), "--trials belongs to a search"),
    "no sweep file": ((*SWEEP, "--sweep_file=x.py"), "there is no such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(
    name, repository, folders, tmp_path, monkeypatch
):
    monkeypatch.chdir(repository)
    before = contents(folders)
    words, said = MISTAKES[name]
    places = {"new": tmp_path / "new", "folders": folders}
    answer = say(*(word.format(**places) for word in words))
    answer.assert_mistake(said.format(**places))
    assert contents(folders) == before


def contents(folder: Path) -> dict[Path, bytes]:
    """All files below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("backend", "tool", "flags"),
    [
        ("slurm", "sbatch", ()),
        ("kubernetes", "kubectl", ("--image=lab/train:1", "--volumes=runs:/runs")),
        ("tpu_vm", "gcloud", ("--zone=z", "--project=p", "--accelerator_type=v5litepod-8",
                              "--runtime_version=v2-alpha-tpuv5-lite")),
    ],
)  # fmt: skip
def test_a_tool_that_is_missing_is_named_and_a_dry_run_needs_none(
    repository, tmp_path, monkeypatch, backend, tool, flags
):
    monkeypatch.chdir(repository)
    only_git = tmp_path / "bin"
    only_git.mkdir()
    git = subprocess.run(["which", "git"], capture_output=True, text=True, check=True)
    (only_git / "git").symlink_to(git.stdout.strip())
    monkeypatch.setenv("PATH", str(only_git))
    words = ("run", f"--backend={backend}", "--config=digits.py", f"--workdir={tmp_path}/run")
    planned = say(*words, *flags, "--dry_run")
    assert planned.status == 0 and f"$ {tool} " in planned.out, planned
    assert not (tmp_path / "run").exists()
    say(*words, *flags).assert_mistake(f"{tool} is not installed here, or not on PATH")
    found = say("doctor", f"--backend={backend}", *flags)
    assert found.status == 1 and tool in found.out


def test_code_that_is_in_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("run", f"--workdir={tmp_path}/run")
    say(*words, "--", "true").assert_mistake("is in no git repository", "--nosnapshot")
    assert say(*words, "--nosnapshot", "--", "true").status == 0


def test_a_snapshot_that_is_no_code(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(launch.snapshot, "_LIMIT_BYTES", 10)
    say("run", f"--workdir={tmp_path}/run", "--", "true").assert_mistake(
        "its largest file is", "have git ignore what is no code"
    )


def test_a_file_that_the_snapshot_does_not_have(repository, tmp_path, monkeypatch):
    """It is found where the command is given, and would not be where it runs."""
    monkeypatch.chdir(repository)
    words = ("run", "--config=digits.py", f"--workdir={tmp_path}/run")
    say(
        *words,
        "--config.data.source.name=table",
        "--config.data.source.path=ignored/data.csv",
        "--config.data.source.target=b",
    ).assert_mistake("--config.data.source.path: ignored/data.csv is here, but not in the snapshot")


def test_a_flag_beats_the_profile_which_beats_the_default(repository, monkeypatch):
    monkeypatch.chdir(repository)
    shown = say("show", "--profile=lab.toml", "--nodes=2")
    rows = {line.split()[0]: line.split()[1:] for line in shown.out.splitlines()}
    assert rows["partition"] == ["gpu", "lab.toml"]
    assert rows["nodes"] == ["2", "--nodes"]
    assert rows["max_restarts"] == ["20", "default"]
    assert "processes" not in rows
    shown = say("show", "--profile=lab.toml", "--backend=local")
    assert "processes" in shown.out and "partition" not in shown.out


def test_an_option_of_several_backends_is_of_one_kind():
    for name, owners in all_options().items():
        assert len({option.kind for _, option in owners}) == 1, name
