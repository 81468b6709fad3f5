"""TPU VMs, through a `gcloud` without a cloud that really runs what the workers are sent."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.launch import launches
from helpers.launch.launches import await_that
from helpers.launch.tpu_runs import ASLEEP, command, options, status
from launch.job import job_name


@pytest.mark.slow
def test_a_run_goes_from_nothing_to_nothing(cloud, launch, tmp_path):
    """Asked for, awaited, copied to, started, watched, brought back, deleted."""
    cloud.change(polls_until_active=3)
    workdir = tmp_path / "run"
    code = (
        "import os, sys, pathlib; out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True)\n"
        "print('hello from', os.environ['NUMBER'], pathlib.Path('lab.py').exists())\n"
        "if os.environ['NUMBER'] == '0':\n"
        '    (out / \'result.json\').write_text(\'{"status": "completed", "step": 3}\')\n'
        "    (out / 'metrics.jsonl').write_text('{\"step\": 3}\\n')"
    )
    answer = launch("run", *options(cloud), f"--workdir={workdir}", *command(code, "{workdir}"))
    assert answer.status == 0, answer
    name = job_name(workdir)
    said = re.findall(r"launch: (.*)", answer.out)
    assert said == [
        f"asked for v5litepod-16 as queued resource {name}",
        f"{name} is WAITING_FOR_RESOURCES",
        "copying the code to 2 workers",
        f"all workers share {cloud.shared}/runs/{name}",
        "attempt 1 runs on 2 workers",
        f"{name} is deleted",
    ]
    attempt = workdir / "launch/attempts/1"
    for number in range(2):
        assert (attempt / f"process-{number}.log").read_text() == f"hello from {number} True\n"
        assert json.loads((attempt / f"process-{number}.json").read_text())["exit"] == 0
    assert json.loads((workdir / "result.json").read_text())["step"] == 3
    assert (workdir / "metrics.jsonl").read_text() == '{"step": 3}\n'
    assert cloud.resources() == {}
    found = status(launch, workdir)
    assert (found["state"], found["step"]) == ("completed", 3)


@pytest.mark.slow
def test_the_dry_run_shows_what_the_run_does(cloud, launch, tmp_path):
    """And asks nobody. Words that a shell would take apart arrive as they were."""
    hostile = 'it\'s "all"; $(touch x) & `touch y` | {z}'
    workdir = tmp_path / hostile
    remote = f"{cloud.shared}/{hostile}/{{name}}"
    flags = [
        *options(cloud, remote_workdir=remote, labels="team=vision"),
        "--spot",
        f"--env=WORDS={hostile}",
        "--install=echo installing >> ~/installed",
        "--setup=export READY=$(echo yes)",
        f"--workdir={workdir}",
        *command("import os, sys; print(os.environ['WORDS'], os.environ['READY'], *sys.argv[1:])",
                 hostile, "{workdir}"),
    ]  # fmt: skip
    shown = launch("run", "--dry_run", *flags)
    assert shown.status == 0 and cloud.calls() == [] and not workdir.exists()
    planned = [shlex.split(line[2:]) for line in shown.out.splitlines() if line.startswith("$ ")]
    assert launch("run", *flags).status == 0

    def plain(argv):
        words = (re.sub(r"--(worker|process)=\d+", r"--\1=I", word) for word in argv)
        begun = (r"--offset=\d+ --metrics=\S+", "--offset=0 --metrics=0:0")
        return tuple(re.sub(*begun, word) for word in words)

    done = [plain(argv) for argv in cloud.calls()]
    planned = [plain(argv[1:]) for argv in planned]
    firsts = [done.index(argv) for argv in planned]
    assert set(done) == set(planned)
    assert firsts[2:] == sorted(firsts[2:]) and len(planned) == 15
    for argv in done:  # the user's words are nowhere in what a shell reads
        assert not [word for word in argv if word.startswith("--command") and "$(touch" in word]
    for number in range(2):
        said = (workdir / f"launch/attempts/1/process-{number}.log").read_text()
        assert said == f"{hostile} yes {hostile} {remote.replace('{name}', job_name(workdir))}\n"
    assert not list(cloud.folder.rglob("[xy]")) and not Path("x").exists()


@pytest.mark.slow
def test_the_first_to_fail_is_named_and_all_end(cloud, launch, tmp_path):
    workdir = tmp_path / "run"
    code = f"import os, sys\nif os.environ['NUMBER'] == '1': raise ValueError('boom')\n{ASLEEP}"
    answer = launch("run", *options(cloud), f"--workdir={workdir}", *command(code))
    assert answer.status == 1, answer
    found = status(launch, workdir)
    assert found["state"] == "failed"
    assert re.fullmatch(r"process 1 on \S+: ValueError: boom", found["detail"])
    ended = json.loads((workdir / "launch/attempts/1/process-0.json").read_text())
    assert ended["exit"] == -15
    assert cloud.resources() == {} and cloud.processes(cloud.folder) == []
    answer = launch("logs", workdir, "--process=1")
    assert "ValueError: boom" in answer.out


@pytest.mark.slow
def test_a_launcher_that_is_killed_finds_its_run_again(cloud, launch, repository, tmp_path):
    workdir = tmp_path / "run"
    go = tmp_path / "go"
    code = (
        "import pathlib, time; print('asleep', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
        "print('awake')"
    )
    words = ["run", *options(cloud), f"--workdir={workdir}", *command(code)]
    first = launches.start(*words, cwd=repository)
    logs = workdir / "launch/attempts/1"
    await_that(lambda: [path.read_text() for path in logs.glob("*.log")] == ["asleep\n"] * 2)
    first.kill()
    first.communicate()
    found = status(launch, workdir)
    assert found["state"] == "running" and "nobody stays with it" in found["detail"]
    assert len(cloud.processes(cloud.folder)) >= 4  # two processes, and who watches them
    go.touch()
    answer = launch("supervise", workdir)
    assert answer.status == 0 and "attempt 1 goes on, on 2 workers" in answer.out, answer
    assert [path.read_text() for path in logs.glob("*.log")] == ["asleep\nawake\n"] * 2
    assert [path.name for path in logs.parent.iterdir()] == ["1"]
    assert len(cloud.calls("queued-resources create")) == 1 and cloud.resources() == {}
    assert status(launch, workdir)["state"] == "completed"
    # Also where whoever stayed with it went before its end was acted upon.
    assert launch("supervise", workdir).status == 0
    assert len(cloud.calls("queued-resources create")) == 1


SAVES = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1], "checkpoints", "9").mkdir(parents=True, exist_ok=True)
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("asleep", flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize(("attended", "now"), [(True, False), (False, False), (True, True)])
@pytest.mark.slow
def test_cancel_lets_it_save_and_deletes_the_nodes(
    cloud, launch, repository, tmp_path, attended, now
):
    workdir = tmp_path / "run"
    words = ["run", *options(cloud), f"--workdir={workdir}", *command(SAVES, "{workdir}")]
    launcher = launches.start(*words, cwd=repository)
    logs = workdir / "launch/attempts/1"
    await_that(lambda: [p.read_text() for p in logs.glob("*.log")] == ["asleep\n"] * 2)
    if not attended:
        launcher.kill()
        launcher.communicate()
    answer = launch("cancel", workdir, *(["--now"] if now else []))
    assert answer.status == 0, answer
    if attended:
        launcher.communicate(timeout=120)
    found = status(launch, workdir)
    saved = "nothing is saved" if now else "saved at step 9"
    assert (found["state"], found["detail"]) == ("cancelled", saved)
    said = "asleep\n" if now else "asleep\nsaved\n"
    assert [path.read_text() for path in logs.glob("*.log")] == [said] * 2
    assert cloud.resources() == {} and cloud.processes(cloud.folder) == []


@pytest.mark.slow
def test_what_saved_and_was_stopped_starts_again(cloud, launch, tmp_path):
    """On the same nodes, without installing again."""
    code = (
        "import os, pathlib, sys\n"
        "mark = pathlib.Path(sys.argv[1], 'began-' + os.environ['NUMBER'])\n"
        "again = mark.exists()\n"
        "mark.mkdir(parents=True, exist_ok=True)\n"
        "mark.with_name('checkpoints').joinpath('1').mkdir(parents=True, exist_ok=True)\n"
        "sys.exit(0 if again else 75)"
    )
    workdir = tmp_path / "run"
    words = ["run", *options(cloud), f"--workdir={workdir}", "--install=echo >> ~/installs",
             "--keep", *command(code, "{workdir}")]  # fmt: skip
    answer = launch(*words)
    assert answer.status == 0, answer
    name = job_name(workdir)
    assert "starting again: it was told to stop, and saved" in answer.out
    assert (cloud.machine(name, 0) / "installs").read_text() == "\n"
    assert cloud.resources() == {name: "ACTIVE"} and f"{name} is kept, and costs" in answer.out
    shutil.rmtree(workdir)  # what another run of that name left on the nodes is not ours
    answer = launch(*words)
    assert answer.status == 0 and "starting again" not in answer.out, answer
    assert len(cloud.calls("queued-resources create")) == 1
    assert (cloud.machine(name, 0) / "installs").read_text() == "\n"


@pytest.mark.slow
def test_slices_are_nodes_whose_processes_are_numbered_on(cloud, launch, tmp_path):
    cloud.change(workers=1)
    workdir = tmp_path / "run"
    answer = launch("run", *options(cloud), "--slices=2", f"--workdir={workdir}",
                    *command("import os; print(os.environ['HOME'])"))  # fmt: skip
    assert answer.status == 0, answer
    (create,) = cloud.calls("queued-resources create")
    name = job_name(workdir)
    assert {"--node-count=2", f"--node-prefix={name}"} <= set(create)
    for number in range(2):
        home = (workdir / f"launch/attempts/1/process-{number}.log").read_text().strip()
        assert home == str(cloud.machine(f"{name}-{number}", 0))


@pytest.mark.slow
def test_each_run_of_a_sweep_has_nodes_of_its_own(cloud, launch, tmp_path):
    """With a Python that trains nothing."""
    cloud.change(workers=1)
    folder, python = tmp_path / "sweep", launches.quick_python(tmp_path)
    answer = launch("sweep", *options(cloud, python=python), "--config=digits.py",
                    "--sweep=seed=range(2)", f"--workdir={folder}", "--max_parallel=2")  # fmt: skip
    assert answer.status == 0, answer
    found = [json.loads(line) for line in launch("status", "--json", folder).out.splitlines()]
    assert [(run["state"], run["step"]) for run in found] == [("completed", 4)] * 2
    assert len(cloud.calls("queued-resources create")) == 2
    await_that(lambda: cloud.resources() == {})


@pytest.mark.slow
def test_the_real_gcloud_has_every_flag(cloud, launch, tmp_path):
    """Its parser alone, without a network and without a configuration."""
    real = next(
        (path for folder in os.environ["PATH"].split(os.pathsep)
         if (path := Path(folder, "gcloud")).exists() and cloud.folder not in path.parents), None
    )  # fmt: skip
    offline = ["unshare", "--net", "--map-root-user"]
    if real is None or subprocess.run([*offline, "true"], check=False).returncode:
        pytest.skip("no gcloud here, or none that can be kept from the network")
    more = ["--valid_until=6h", "--network=n", "--subnetwork=s", "--service_account=me@lab.org",
            "--labels=a=b", "--labels=c=d", "--internal_ip"]  # fmt: skip
    lines = []
    for kind in (["--spot"], ["--reserved", "--slices=2"]):
        shown = launch("run", "--dry_run", *options(cloud), *more, *kind,
                       f"--workdir={tmp_path / 'run'}", *command("1"))  # fmt: skip
        assert shown.status == 0, shown
        lines += [line[2:] for line in shown.out.splitlines() if line.startswith("$ gcloud")]
    lines.append(f"{lines[0]} --batch-size=3")
    (tmp_path / "lines.json").write_text(json.dumps([{"command_string": line} for line in lines]))
    checked = subprocess.run(
        [*offline, str(real), "meta", "lint-gcloud-commands",
         f"--commands-file={tmp_path / 'lines.json'}"],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "empty")},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    found = json.loads(checked.stdout)
    wrong = [each["error_message"] for each in found if not each["success"]]
    assert len(found) == len(set(lines)) > 25
    assert len(wrong) == 1 and "--batch-size" in wrong[0], wrong
