"""Runs on the double of `gcloud`: two workers, quick commands, and what is said of them."""

import json
import sys
import threading

import pytest

from helpers.launch.gcloud_double import Cloud
from helpers.launch.launches import make_repository
from helpers.processes import ROOT
from helpers.verbs import Answer
from launch import cli
from launch.backends.tpu_vm import supervise

ASLEEP = "import time; print('asleep', flush=True); time.sleep(3600)"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("lab") / "my lab; $(touch x)")


@pytest.fixture
def cloud(tmp_path, repository, monkeypatch):
    """Two workers; this process stands in the repository."""
    cloud = Cloud(tmp_path / "cloud")
    found = cloud.install(
        workers=2,
        PYTHONPATH=str(ROOT),
        LAUNCH_TPU_ROOT=str(tmp_path / "tpu"),
        NUMBER="{worker}",
        SHARED=str(cloud.shared),
    )
    for name in ("PATH", "GCLOUD_DOUBLE"):
        monkeypatch.setenv(name, found[name])
    monkeypatch.chdir(repository)
    monkeypatch.setattr(supervise, "_LAST_WORDS_SECONDS", 0.5)
    yield cloud
    cloud.switch_off()


@pytest.fixture
def launch(cloud, capsys):
    """`python -m launch WORDS ...` in this process."""

    def run(*words) -> Answer:
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Answer(end.value.code, said.out, said.err)

    return run


def options(cloud, **changed):
    """Flags of a run on the double."""
    chosen = {
        "backend": "tpu_vm",
        "zone": "us-west4-a",
        "project": "my-project",
        "accelerator_type": "v5litepod-16",
        "poll_seconds": "0.2",
        "python": sys.executable,
        "remote_workdir": f"{cloud.shared}/runs/{{name}}",
        **changed,
    }
    return [f"--{name}={value}" for name, value in chosen.items()]


def command(code, *words):
    """What runs on each worker."""
    return ["--", sys.executable, "-c", code, *words]


def status(launch, workdir):
    return json.loads(launch("status", "--json", workdir).out)


def background(work):
    """Do it while a run goes on here; what it raises is raised at the end."""
    failures = []

    def guarded():
        try:
            work()
        except Exception as failure:  # handed on below
            failures.append(failure)

    thread = threading.Thread(target=guarded)
    thread.start()

    def join():
        thread.join()
        assert not failures, failures[0]

    return join
