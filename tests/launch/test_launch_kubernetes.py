"""A run's life on Kubernetes, with a `kubectl` behind which pods are processes of this machine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from helpers.launch.launches import await_that, compilation_variables, make_repository, say
from helpers.processes import ROOT
from helpers.verbs import Answer
from launch.backends.kubernetes import status
from launch.backends.kubernetes.logs import take_apart
from launch.on_host import pod
from launch.snapshot import digest

LAUNCH = ["python", "-m", "launch"]
DOUBLE = ROOT / "tests/helpers/launch/kubectl_double.py"


class Cluster:
    """The cluster, and `python -m launch` in front of it."""

    def __init__(self, folder: Path, work: Path):
        self.folder, self.work = folder, work
        self.set()

    def set(self, **settings):
        """What it is to refuse, or to say."""
        (self.folder / "settings.json").write_text(json.dumps(settings))

    def run(self, *words: str, program: str = "", name: str = "run") -> Path:
        """Start one, with a Python program of a few lines as the command; its folder."""
        self.run_call(*words, program=program, name=name)
        return self.work / name

    def run_call(self, *words: str, program: str = "pass", name: str = "run") -> Answer:
        before, after = list(words), []
        if "--" in before:
            at = before.index("--")
            before, after = before[:at], before[at + 1 :]
        answer = say(
            "run", "--backend=kubernetes", "--image=lab:1", "--volumes=runs:/runs", "--grace=20",
            f"--workdir={self.work / name}", *before,
            "--", "python3", "-c", textwrap.dedent(program), "{workdir}", *after,
        )  # fmt: skip
        return answer

    def stands(self, run: Path) -> dict:
        answer = say("status", "--json", str(run))
        assert answer.err == "", answer
        return json.loads(answer.out)

    def ends(self, run: Path, seconds: float = 120) -> dict:
        """How it stands once nothing will happen by itself."""
        seen: list[dict] = []

        def over() -> bool:
            seen.append(self.stands(run))
            return seen[-1]["state"] not in ("queued", "running", "restarting")

        await_that(over, seconds, facts=lambda: (seen[-1], self.noise()), pause=0.2)
        return seen[-1]

    def noise(self) -> str:
        log = self.folder / "controller.log"
        return log.read_text() if log.exists() else ""

    def remote(self, run: Path) -> Path:
        """Its folder on the volume."""
        name = json.loads((run / "launch/launch.json").read_text())["name"]
        return self.folder / "claims" / "runs" / name

    def objects(self, kind: str) -> list[dict]:
        return [json.loads(path.read_text()) for path in (self.folder / "objects" / kind).glob("*")]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("lab") / "my lab; $(touch x)")


@pytest.fixture
def cluster(repository, tmp_path, monkeypatch):
    bin, folder = tmp_path / "bin", tmp_path / "cluster"
    bin.mkdir()
    folder.mkdir()
    (bin / "kubectl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{DOUBLE}" "$@"\n')
    (bin / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECTL_DOUBLE", str(folder))
    monkeypatch.chdir(repository)
    there = Cluster(folder, tmp_path)
    yield there
    left = [each["metadata"]["name"] for each in there.objects("jobsets")]
    there.set()
    command = [
        str(bin / "kubectl"),
        "delete",
        "jobsets",
        *left,
        "--ignore-not-found",
        "--grace-period=0",
    ]
    subprocess.run(command, check=True)


# --- lives ----------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_two_pods_train_one_run(cluster):
    cluster.set(environment=compilation_variables())
    folder = cluster.work / "digits"
    words = ("run", "--backend=kubernetes", "--image=lab:1", "--volumes=runs:/runs", "--nodes=2",
             f"--workdir={folder}", "--config=digits.py", "--config.seed=3")  # fmt: skip
    dry = say(*words, "--dry_run")
    assert dry.status == 0 and not folder.exists()
    assert say(*words).status == 0
    found = cluster.ends(folder, seconds=240)
    assert (found["state"], found["step"], found["attempt"]) == ("completed", 4, 1), found
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "completed" and result["seed"] == 3
    remote = cluster.remote(folder)
    assert (folder / "metrics.jsonl").read_text() == (remote / "metrics.jsonl").read_text()
    log = say("logs", str(folder), "--process=0").out
    assert "process 0 of 2" in log and "completed at step 4" in log and pod.MARK not in log
    for name in ("jobset.json", "kubernetes/code.txt"):  # the same bytes, dry or not
        content = (folder / "launch" / name).read_text()
        assert content in dry.out


# Saves a "checkpoint" a start; ends the first ones with the status it is given.
SAVES = """
    import json, os, sys, time
    from pathlib import Path
    run, status, starts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    own = run / f"starts-{os.environ['JOB_COMPLETION_INDEX']}"
    own.parent.mkdir(parents=True, exist_ok=True)
    count = int(own.read_text()) + 1 if own.exists() else 1
    own.write_text(str(count))
    if sys.argv[4:] != ["idle"]:
        (run / "checkpoints" / str(count * 10)).mkdir(parents=True, exist_ok=True)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": count * 10}) + chr(10))
    print("start", count)
    if count <= starts:
        if status not in (0, 75):
            print("error: config.x: no such thing")
        sys.exit(status)
    (run / "result.json").write_text(json.dumps({"status": "completed", "step": count * 10}))
"""


@pytest.mark.slow
def test_a_run_that_saved_goes_on_in_all_its_pods(cluster):
    run = cluster.run("--nodes=2", "--", "75", "2", program=SAVES)
    found = cluster.ends(run)
    assert (found["state"], found["step"], found["attempt"]) == ("completed", 30, 3), found
    assert [(cluster.remote(run) / f"starts-{i}").read_text() for i in (0, 1)] == ["3", "3"]
    exits = [
        json.loads((run / f"launch/attempts/{n}/process-{i}.json").read_text())["exit"]
        for n in (1, 2, 3) for i in (0, 1)
    ]  # fmt: skip
    assert exits == [75, 75, 75, 75, 0, 0]
    steps = [(run / f"launch/attempts/{n}/step").read_text() for n in (1, 2, 3)]
    assert steps == ["", "10", "20"]
    assert "start 3" in (run / "launch/attempts/3/process-1.log").read_text()


def test_a_run_that_saves_nothing_new_is_given_up(cluster):
    run = cluster.run("--restarts_without_progress=1", "--", "75", "99", "idle", program=SAVES)
    found = cluster.ends(run)
    assert found["state"] in ("stopped", "failed") and found["attempt"] == 2, found
    log = say("logs", str(run)).out
    assert "error: not started again: started 2 times without a new checkpoint" in log


def test_restarts_have_a_limit(cluster):
    run = cluster.run("--max_restarts=1", "--", "75", "99", program=SAVES)
    found = cluster.ends(run)
    assert found["attempt"] == 2 and found["state"] in ("stopped", "failed")


def test_an_error_is_not_tried_again(cluster):
    run = cluster.run("--nodes=2", "--", "1", "1", program=SAVES)
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("failed", 1)
    assert "config.x: no such thing" in found["detail"] and "process " in found["detail"]
    (jobset,) = cluster.objects("jobsets")
    assert jobset["status"]["terminalState"] == "Failed" and jobset["status"]["restarts"] == 0


def test_an_error_is_tried_again_where_that_is_asked_for(cluster):
    run = cluster.run("--retry_errors=1", "--", "1", "1", program=SAVES)
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("completed", 2), found


def test_a_mistake_is_never_tried_again(cluster):
    run = cluster.run("--retry_errors=5", "--", "2", "1", program=SAVES)
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("failed", 1)


# Process 1 is killed at its first start, and process 0 says so as the trainer does.
KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    run, me = Path(sys.argv[1]), os.environ["JOB_COMPLETION_INDEX"]
    mark = run / f"began-{me}"
    again = mark.exists()
    mark.touch()
    (run / "checkpoints" / ("2" if again else "1")).mkdir(parents=True, exist_ok=True)
    if not again:
        if me == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        print("error: process 1 of 2 (b) is gone: killed, or its host or network failed; so")
        sys.exit(1)
"""


def test_the_others_of_a_process_that_vanished_do_not_end_the_run(cluster):
    """They fail because of it, with a status of their own; Kubernetes sees theirs first."""
    run = cluster.run("--nodes=2", program=KILLED)
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("completed", 2), found


# Waits to be told; saves then, and says so by its status.
WAITS = """
    import signal, sys, time
    from pathlib import Path
    run = Path(sys.argv[1])
    def save(*_):
        (run / "checkpoints" / "7").mkdir(parents=True, exist_ok=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, save)
    (run / "began").touch()
    print("begun", flush=True)
    until = time.monotonic() + 3600
    while time.monotonic() < until and not (run / "go").exists():
        time.sleep(0.05)
"""


def begin_to_wait(cluster, name="run", nodes=1):
    run = cluster.run(f"--nodes={nodes}", program=WAITS, name=name)
    await_that((cluster.remote(run) / "began").exists)
    return run


def test_what_is_cancelled_saves_and_stays_dead(cluster):
    run = begin_to_wait(cluster)
    assert cluster.stands(run)["state"] == "running"
    await_that(lambda: "begun" in say("logs", str(run)).out)
    assert say("cancel", str(run)).status == 0
    await_that((cluster.remote(run) / "checkpoints/7").exists)
    assert cluster.ends(run)["state"] == "cancelled"
    assert cluster.objects("jobsets") == [] == cluster.objects("pods")
    assert "begun" in (run / "launch/attempts/1/process-0.log").read_text()
    # Until somebody says otherwise.
    (cluster.remote(run) / "go").touch()
    assert say("restart", str(run)).status == 0
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("completed", 2), found
    assert cluster.objects("jobsets")[0]["metadata"]["name"].endswith("-2")


def test_what_is_cancelled_at_once_is_not_waited_for(cluster):
    """Kubernetes tells it, but gives it no time."""
    deaf = WAITS.replace("signal.signal(signal.SIGTERM, save)",
                         "signal.signal(signal.SIGTERM, signal.SIG_IGN)")  # fmt: skip
    run = cluster.run("--grace=3600", program=deaf)
    await_that((cluster.remote(run) / "began").exists)
    assert say("cancel", "--now", str(run)).status == 0
    assert cluster.ends(run)["state"] == "cancelled"  # long before its grace is over


def test_an_evicted_pod_takes_all_with_it_and_they_begin_again(cluster):
    run = begin_to_wait(cluster, nodes=2)
    (cluster.folder / "evict-1").touch()
    await_that((cluster.remote(run) / "launch/attempts/2").exists)
    (cluster.remote(run) / "go").touch()
    found = cluster.ends(run)
    assert (found["state"], found["attempt"]) == ("completed", 2), found


SHOWS = """
    import hashlib, json, os, sys
    from pathlib import Path
    print(json.dumps({"argv": sys.argv[2:], "env": os.environ["NASTY"], "cwd": os.getcwd(),
                      "site": os.environ.get("SITE")}))
"""
NASTY = ("a b", "$(HOME)", "$$ $", "'; touch x; '", '"$HOME"', "`x`", "new\nline", "日本", "*", "-")


def test_words_arrive_as_they_were_typed(cluster, repository):
    """Also where setup lines need a shell."""
    for name, more in (("one", ()), ("two", ('--setup=export SITE="$(echo lab)"',))):
        run = cluster.run(
            "--env=NASTY=$(HOME) $$ 'x", *more, "--", *NASTY, program=SHOWS, name=name
        )
        assert cluster.ends(run)["state"] == "completed", say("logs", str(run))
        shown = json.loads(say("logs", str(run)).out)
        assert shown["argv"] == list(NASTY)
        assert shown["env"] == "$(HOME) $$ 'x"
        assert shown["site"] == ("lab" if more else None)
    assert not (repository / "x").exists()


TREE = """
    import json, os, sys
    from pathlib import Path
    files = sorted(str(p.relative_to(".")) for p in Path(".").rglob("*")
                   if p.is_symlink() or p.is_file())
    print(json.dumps({"files": files, "cwd": os.getcwd()}))
"""


def test_the_pods_have_the_snapshot_and_nothing_else(cluster, tmp_path, monkeypatch):
    """In several ConfigMaps, with programs, links and odd names; edits come too late."""
    lab = make_repository(tmp_path / "other lab")
    (lab / "large.bin").write_bytes(os.urandom(1 << 20))
    (lab / "tool.sh").write_text("#!/bin/sh\n")
    (lab / "tool.sh").chmod(0o755)
    (lab / "link").symlink_to("digits.py")
    (lab / "odd $(name)").write_text("x")
    (lab / "sub").mkdir()
    (lab / "sub/in.py").write_text("x = 1\n")
    monkeypatch.chdir(lab)
    run = cluster.run(program=TREE)
    (lab / "digits.py").write_text("raise SystemExit(9)\n")
    assert cluster.ends(run)["state"] == "completed"
    shown = json.loads(say("logs", str(run)).out)
    sent = json.loads((run / "launch/launch.json").read_text())["code"]
    assert len(cluster.objects("configmaps")) == 2
    assert digest(Path(shown["cwd"]), shown["files"]) == sent["sha256"]
    assert "ignored/data.csv" not in shown["files"]


def test_damaged_code_does_not_run(cluster, tmp_path):
    script = Path(pod.__file__).with_name("unpack.py").read_text()
    (tmp_path / "part-000").write_bytes(b"not what was sent")
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(tmp_path), "0" * 64],
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 1 and answer.stderr.startswith("error: the code that arrived")


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, detail",
    [
        ({"pending": {"reason": "Unschedulable", "message": "0/3 nodes are available"}},
         "2 of 2 pods wait: Unschedulable: 0/3 nodes are available"),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
         "2 of 2 pods wait: ImagePullBackOff: Back-off pulling image"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "configmap not found"}},
         "CreateContainerConfigError: configmap not found"),
        ({"waiting": {"reason": "ContainerCreating"}}, ""),
    ],
)  # fmt: skip
def test_status_says_why_a_run_waits(cluster, settings, detail):
    cluster.set(**settings)
    run = cluster.run("--nodes=2", program="pass")
    await_that(lambda: len(cluster.objects("pods")) == 2)
    found = cluster.stands(run)
    assert found["state"] == "queued" and detail in found["detail"], found
    assert bool(found["detail"]) == bool(detail)
    say("cancel", str(run))


def jobset(**more):
    spec = {"replicatedJobs": [{"replicas": 1, "template": {"spec": {"parallelism": 2}}}]}
    return {"metadata": {"name": "r", "labels": {}}, "spec": spec, "status": {}, **more}


def ended(index, code, at, reason="Error"):
    state = {"terminated": {"exitCode": code, "finishedAt": at, "reason": reason}}
    return {
        "metadata": {"labels": {"batch.kubernetes.io/job-completion-index": str(index)}},
        "spec": {"nodeName": f"n{index}"},
        "status": {"phase": "Failed", "containerStatuses": [{"name": "trainer", "state": state}]},
    }


def test_the_first_pod_to_fail_is_named():
    failed = jobset(status={"conditions": [{"type": "Failed", "status": "True", "message": "m"}]})
    pods = [
        ended(0, 134, "2026-01-01T00:00:09Z"),
        ended(1, 137, "2026-01-01T00:00:01Z", "OOMKilled"),
    ]
    seen = status.standing(failed, pods)
    assert (seen.state, seen.detail) == ("ended", "process 1 on n1: exit status 137 (OOMKilled)")
    assert status.standing(failed, []).detail == "m"


def test_a_queue_that_holds_a_run_back_is_named():
    held = jobset(metadata={"name": "r", "labels": {"kueue.x-k8s.io/queue-name": "team-a"}})
    held["spec"]["suspend"] = True
    seen = status.standing(held, [])
    assert seen.state == "queued" and "queue team-a" in seen.detail


def test_a_quota_that_keeps_pods_away_is_named(cluster):
    said = 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8'
    cluster.set(pending={"reason": "x"})
    run = cluster.run(program="pass")
    name = json.loads((run / "launch/submitted.jsonl").read_text())["id"]
    event = {"involvedObject": {"name": f"{name}-run-0"}, "message": said}
    cluster.set(pending={"reason": "x"}, events=[event])
    await_that(lambda: cluster.objects("pods"))
    shutil.rmtree(cluster.folder / "objects/pods")
    found = cluster.stands(run)
    assert found["state"] == "queued" and "exceeded quota: gpus" in found["detail"]
    say("cancel", str(run))


REFUSALS = {
    "Forbidden": (
        'Error from server (Forbidden): error when creating "jobset.json": jobsets.jobset.x-k8s.io'
        ' is forbidden: User "me" cannot create resource "jobsets"',
        2, "ask whoever runs the cluster",
    ),
    "no JobSet": (
        'error: resource mapping not found for name: "r" namespace: "" from "jobset.json": no'
        ' matches for kind "JobSet" in version "jobset.x-k8s.io/v1alpha2"\nensure CRDs are'
        " installed first",
        2, "install them: kubectl apply --server-side -f https://",
    ),
    "old JobSet": (
        'Error from server (BadRequest): error when creating "jobset.json": JobSet in version'
        ' "v1alpha2" cannot be handled as a JobSet: strict decoding error: unknown field'
        ' "spec.failurePolicy.rules"',
        2, "the cluster's JobSet is too old",
    ),
    "quota": (
        'Error from server (Forbidden): error when creating "jobset.json": admission webhook denied'
        " the request: exceeded quota",
        2, "",
    ),
    "unreachable": (
        "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host"
        " or port?",
        1, "10.0.0.1:6443 was refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_one_line_that_says_what_to_do(cluster, refusal):
    said, code, hint = REFUSALS[refusal]
    cluster.set(refuse={"create": said})
    answer = cluster.run_call()
    assert answer.status == code and answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1 and hint in answer.err, answer.err


def test_an_unknown_context_is_a_mistake(cluster):
    cluster.run_call("--context=nowhere").assert_mistake('context "nowhere" does not exist')


def test_a_machine_without_kubectl_is_told_so(cluster, monkeypatch):
    git = shutil.which("git")
    assert git is not None
    monkeypatch.setenv("PATH", str(Path(git).parent.joinpath("nothing")))
    (cluster.work / "gits").mkdir()
    (cluster.work / "gits/git").symlink_to(git)
    monkeypatch.setenv("PATH", str(cluster.work / "gits"))
    cluster.run_call().assert_mistake("kubectl is not installed here")
    dry = cluster.run_call("--dry_run", name="dry")
    assert dry.status == 0 and "$ kubectl create --output=json" in dry.out


def test_doctor_finds_what_is_missing(cluster):
    words = ("doctor", "--backend=kubernetes", "--image=lab:1", "--volumes=runs:/runs", "--nodes=2")
    cluster.set(claims={"runs": ["ReadWriteMany"]})
    fine = say(*words)
    assert fine.status == 0 and "missing" not in fine.out, fine
    cluster.set(resources=False, rights=["list", "get"], claims={"runs": ["ReadWriteOnce"]})
    answer = say(*words, "--namespace=research")
    missing = [line for line in answer.out.splitlines() if line.startswith("missing")]
    assert answer.status == 1
    for line in ("knows JobSets: install them: kubectl apply", "you may create jobsets", "create"
                 " configmaps", "its modes are ReadWriteOnce; several nodes need"):  # fmt: skip
        assert any(line in each for each in missing), missing
    answer = say(*words, "--namespace=elsewhere")
    assert "kubectl create namespace elsewhere" in answer.out


# --- logs -----------------------------------------------------------------------------------------


def test_marked_lines_are_taken_out_without_a_trace():
    """Also where one came in the middle of a line."""
    mark = f'\n{pod.MARK}{{"checkpoint": 3}}\n'
    for text in (
        f"{mark}one\ntwo\n",
        f"one\n{mark}two\n",
        f"on{mark}e\ntwo\n",
        f"one\ntwo\n{mark}",
    ):
        printed = take_apart(text)
        assert printed.text == "one\ntwo\n" and printed.checkpoint == 3


# Writes metrics, and others in their place once there is a file.
REWRITES = """
    import sys, time
    from pathlib import Path
    run = Path(sys.argv[1])
    run.mkdir(parents=True, exist_ok=True)
    metrics = run / "metrics.jsonl"
    metrics.write_text('{"step": 1}\\n{"step": 2}\\n')
    while not (run / "go").exists():
        time.sleep(0.05)
    metrics.write_text('{"step": 1}\\n{"step": 2, "again": true}\\n')
"""


@pytest.mark.slow
def test_metrics_survive_a_restart_that_went_back(cluster):
    """The trainer drops what it wrote after the checkpoint; so does the copy."""
    run = cluster.run(program=REWRITES)
    copy = run / "metrics.jsonl"

    def is_copied():
        say("logs", str(run))  # which brings what there is
        return copy.exists()

    await_that(is_copied)
    (cluster.remote(run) / "go").touch()
    assert cluster.ends(run)["state"] == "completed"
    say("logs", str(run))
    remote = (cluster.remote(run) / "metrics.jsonl").read_text()
    assert "again" in remote and copy.read_text() == remote


# --- the page -------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "launch" / "kubernetes.md"


def lines_of_the_page() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return [shlex.split(line) for line in "".join(blocks).splitlines()]


@pytest.mark.slow
def test_the_runs_of_the_page_are_what_can_be_sent(cluster, monkeypatch):
    """Also with the example profiles, and with this repository as the snapshot."""
    monkeypatch.chdir(ROOT)
    runs = [words[3:] for words in lines_of_the_page() if words[:4] == [*LAUNCH, "run"]]
    assert len(runs) == 4
    for words in runs:
        words = [*words, *(["--dry_run"] if "--dry_run" not in words else [])]
        answer = say(*[word.replace("=runs/", f"={cluster.work}/") for word in words])
        assert answer.status == 0, answer.err
        assert re.search(r"^\$ kubectl (--namespace=research )?create ", answer.out, re.M)


@pytest.mark.slow
def test_the_other_lines_of_the_page_work(cluster, repository, monkeypatch):
    monkeypatch.chdir(ROOT)  # the profiles are here
    cluster.set(claims={"runs": ["ReadWriteMany"]})
    cluster.run("--", "1", "1", program=SAVES, name="runs/digits")
    assert cluster.ends(cluster.work / "runs/digits")["state"] == "failed"
    for words in lines_of_the_page():
        if words[:3] == LAUNCH and words[3] != "run":
            answer = say(*[word.replace("runs/", f"{cluster.work}/runs/") for word in words[3:]])
            # The first attempt failed, which is what `status` says by its own.
            assert answer.status == (1 if words[3] == "status" else 0), answer
        elif words[0] == "kubectl" and (real := shutil.which("kubectl", path=os.defpath)):
            answer = subprocess.run([real, *words[1:], "--help"], capture_output=True, text=True)
            assert answer.returncode == 0, answer
    assert cluster.ends(cluster.work / "runs/digits")["state"] == "completed"


# --- kubectl itself -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_flags_are_ones_that_kubectl_knows(cluster, monkeypatch):
    """The double takes no others; a real one, if it is here, judges them before it prints help."""
    path = os.environ["PATH"].split(":", 1)[1]
    real = shutil.which("kubectl", path=path)
    if real is None:
        pytest.skip("no kubectl on PATH")
    run = begin_to_wait(cluster)
    say("status", str(run))
    say("logs", str(run))
    say("cancel", "--now", str(run))
    say("doctor", "--backend=kubernetes", "--image=x", "--volumes=runs:/runs")
    calls = [json.loads(line) for line in (cluster.folder / "calls.jsonl").read_text().splitlines()]
    seen = {}
    for call in calls:
        words = [word for word in call if not word.startswith(("--context", "--namespace"))]
        flags = tuple(sorted(word.split("=")[0] for word in words if word.startswith("--")))
        seen.setdefault((words[0], flags), words)
    assert len(seen) >= 8
    for words in seen.values():
        answer = subprocess.run([real, *words, "--help"], capture_output=True, text=True)
        assert answer.returncode == 0, (words, answer)
    wrong = subprocess.run(
        [real, "create", "--cascade=x", "--help"], capture_output=True, text=True
    )
    assert wrong.returncode != 0 and "unknown flag" in wrong.stderr


# --- several slices -------------------------------------------------------------------------------


def test_processes_are_numbered_on_from_slice_to_slice(tmp_path):
    limits = ("--max_restarts=0", "--restarts_without_progress=0", "--retry_errors=0")
    command = [sys.executable, "-m", "launch.on_host.pod", f"--run={tmp_path}", "--first=1",
               "--pods=2", "--total=4", *limits, "--", "true"]  # fmt: skip
    for place in ("0 0", "0 1", "1 0", "1 1"):
        its_slice, index = place.split()
        variables = {"LAUNCH_SLICE": its_slice, "JOB_COMPLETION_INDEX": index}
        subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True)
    found = sorted(path.name for path in (tmp_path / "launch/attempts/1").glob("*.json"))
    assert found == [f"process-{number}.json" for number in range(4)]
