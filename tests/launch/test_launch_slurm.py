"""A real Slurm, on this machine: runs that train, wait, are preempted, stopped and lost."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.launch.launches import call, make_repository, quick_python, status
from helpers.launch.slurm_cluster import NODES, Cluster, NotHere, started, wait_for
from launch.backends.slurm import Slurm
from launch.job import Job, Run, job_name
from launch.look import look
from launch.options import COMMON
from launch.plan import Tools
from launch.run_folder import RunFolder

pytestmark = pytest.mark.cluster

# Goes on until it is told to stop, saves, and has nothing left to do when it starts again. Saving
# takes some seconds, one more in the second process, or until there is a file "go".
SAVES = """
import os, signal, sys, time
from pathlib import Path

run, saving = Path(sys.argv[1]), sys.argv[2]
number = int(os.environ["SLURM_PROCID"])
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("begun", flush=True)
if any(run.glob("checkpoints/*")):
    sys.exit(0)
until = time.monotonic() + 600
while not told and time.monotonic() < until:
    time.sleep(0.02)
if saving == "go":
    while not (run / "go").exists() and time.monotonic() < until:
        time.sleep(0.02)
else:
    time.sleep(float(saving) * (1 + number))
(run / "checkpoints/7").mkdir(parents=True, exist_ok=True)
print("saved", flush=True)
os._exit(75)  # at once: while Python shuts down, another SIGTERM would end it
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    try:
        with started(tmp_path_factory.mktemp("s") / "c", settings=["MaxArraySize=5"]) as running:
            yield running
    except NotHere as reason:
        pytest.skip(f"no Slurm here: {reason}")


@pytest.fixture(scope="session")
def accounted(tmp_path_factory):
    """One that has a database, and limits how many jobs a user may submit to two."""
    settings = ["AccountingStorageEnforce=associations,limits"]
    folder = tmp_path_factory.mktemp("s") / "c"
    try:
        with started(folder, settings=settings, accounting=True) as running:
            sacctmgr = ("sacctmgr", "--immediate", "add")
            running.run(*sacctmgr, "account", "lab")
            running.run(*sacctmgr, "user", running.user, "account=lab", "MaxSubmitJobs=2")
            yield running
    except NotHere as reason:
        pytest.skip(f"no Slurm with accounting here: {reason}")


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    folder = make_repository(tmp_path_factory.mktemp("lab") / "my lab; $(touch x)")
    (folder / "saves.py").write_text(SAVES)
    (folder / "slow.py").write_text(SLOW)
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").clear()


class Here:
    """`python -m launch` on a cluster, in a repository."""

    def __init__(self, cluster: Cluster, repository: Path):
        self.cluster, self.repository = cluster, repository
        self.tools = Tools(environment={**os.environ, **cluster.environment})

    def call(self, *words: str):
        return call(*words, cwd=self.repository, SLURM_CONF=self.cluster.environment["SLURM_CONF"])

    def run(self, folder: Path, *options: str, command: tuple[str, ...] = ()) -> str:
        """Start one; returns the number of its job."""
        words = ["run", "--backend=slurm", f"--workdir={folder}", "--nosnapshot", *options]
        answer = self.call(*words, *(("--", *command) if command else ()))
        assert answer.status == 0, answer
        return RunFolder(folder).submissions()[-1]["id"]

    def saving(self, folder: Path, *options: str, saving: str = "0") -> str:
        """Start one that saves when it is told to stop, and wait until it has begun."""
        job = self.run(folder, *options, command=(sys.executable, "saves.py", str(folder), saving))
        self.await_words(folder, "begun", processes=2 if "--nodes=2" in options else 1)
        return job

    def await_words(self, folder: Path, words: str, attempt: int = 1, processes: int = 1) -> None:
        """Wait until each process of an attempt has said `words`."""

        def found():
            logs = list((folder / f"launch/attempts/{attempt}").glob("process-*.log"))
            return len(logs) == processes and all(words in log.read_text() for log in logs)

        wait_for(found, 120, f"not {words!r} in attempt {attempt}")

    def standing(self, folder: Path):
        return look([RunFolder(folder)], self.tools)[folder]

    def await_state(self, folder: Path, state: str, seconds: float = 180):
        try:
            wait_for(lambda: self.standing(folder).state == state, seconds, state)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.standing(folder)}: {said(folder)}") from None
        return self.standing(folder)

    def preempt(self) -> str:
        """Submit a job that needs both nodes and has priority; returns its number."""
        job = ("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null")
        return self.cluster.run("sbatch", "--parsable", *job, "--wrap=sleep 0.5")


@pytest.fixture
def here(cluster, repository):
    return Here(cluster, repository)


def said(folder: Path) -> str:
    """What the batch scripts of a run have printed."""
    return "\n".join(path.read_text() for path in (folder / "launch").glob("*.out"))


def attempts(folder: Path) -> list[int | None]:
    return [attempt.exit for attempt in RunFolder(folder).attempts()]


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- the first of all, so that they can wait while others run -------------------------------------


@pytest.fixture(scope="session")
def waiting(cluster, repository, tmp_path_factory):
    """Runs on a node of their own: one that reaches its time limit, and two that end badly."""
    folder = tmp_path_factory.mktemp("waiting")
    here = Here(cluster, repository)
    apart = "--partition=apart"
    here.saving(folder / "limited", apart, "--time=1", "--grace=50", "--max_restarts=1")
    idle, fails = ((sys.executable, "-c", f"import sys; sys.exit({n})") for n in (75, 3))
    here.run(folder / "idle", apart, "--restarts_without_progress=1", command=idle)
    here.run(folder / "fails", apart, "--retry_errors=1", command=fails)
    return folder


def test_doctor_asks_slurm_itself(here, waiting):
    answer = here.call("doctor", "--backend=slurm", "--partition=low", "--nodes=2", "--time=10")
    assert answer.status == 0, answer
    assert "partition low is up" in answer.out and "sbatch would take it" in answer.out
    assert "accounting is off" in answer.out and "addresses: 127.0.0.1" in answer.out
    doctor = ("doctor", "--backend=slurm", "--python=python3")
    answer = here.call(*doctor, "--partition=lo")
    assert answer.status == 1
    assert "no partition lo: did you mean 'low'?" in answer.out
    answer = here.call(*doctor, "--nodes=3")
    assert answer.status == 1 and "sbatch would not take it" in answer.out


# --- training -------------------------------------------------------------------------------------

SLOW = """
import time
from pathlib import Path

from dlresearch.data.embedded import Digits


class Slow:
    \"\"\"Digits that come slowly after 22 batches, until there is a file.\"\"\"

    def __init__(self, split: str, until: str):
        self.digits, self.until = Digits(split), Path(until)
        self.metadata = self.digits.metadata
        self.given = 0

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        self.given += 1
        if self.given > 22 * 32 and not self.until.exists():
            time.sleep(0.05)
        return self.digits[index]
"""
STEPS = 60


def training(fast: Path) -> tuple[str, ...]:
    """Flags of a run that is slow from step 20 on, until there is a file `fast`."""
    return (
        *("--config=digits.py", f"--config.duration={STEPS} steps", "--config.log.every=20 steps"),
        *("--config.checkpoint.every=50 steps", "--config.evaluators.test.every=50 steps"),
        "--config.data.placement=streamed",
        f"--config.data.source=slow:Slow(split='train', until='{fast}')",
    )


@pytest.fixture(scope="session")
def undisturbed(cluster, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    here = Here(cluster, repository)
    here.run(folder, *training(repository))
    here.await_state(folder, "completed", 240)
    return folder


def test_two_nodes_train_one_run_and_end_where_one_process_does(here, undisturbed, tmp_path):
    folder = tmp_path / 'it\'s a "run"; $HOME & 100% #1 é'
    words = ("run", "--backend=slurm", "--nodes=2", f"--workdir={folder}",
             *training(here.repository),
             "--config.evaluators.test.batch_size=360")  # fmt: skip
    answer = here.call(*words)
    assert answer.status == 0, answer
    assert here.await_state(folder, "completed", 240).step == STEPS
    assert "process 0 of 2 (Slurm)" in (folder / "launch/attempts/1/process-0.log").read_text()
    wait_for(lambda: attempts(folder) == [0], 120, "it does not end")
    for record, alone in zip(records(folder), records(undisturbed), strict=True):
        for name, value in alone.items():
            # Sums over two processes are rounded otherwise.
            np.testing.assert_allclose(record[name], value, rtol=1e-4, err_msg=name)
    (found,) = status(folder, cwd=here.repository, **here.cluster.environment)
    assert (found["state"], found["attempt"]) == ("completed", 1)


def test_a_preempted_run_goes_on_and_ends_the_same_to_the_bit(here, undisturbed, tmp_path):
    folder, fast = tmp_path / "run", tmp_path / "fast"
    here.run(folder, *training(fast), "--cpus_per_task=4")
    here.await_words(folder, "step 20/")
    here.preempt()
    here.await_state(folder, "restarting")
    fast.touch()
    here.await_state(folder, "completed", 240)
    wait_for(lambda: attempts(folder) == [75, 0], 120, "it does not end")
    # It was saved when it was told to stop, and not before.
    assert (RunFolder(folder).attempts()[1].step or 0) % 50
    assert (folder / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()
    assert parameters(folder) == parameters(undisturbed)


def parameters(folder: Path) -> dict[str, bytes]:
    from helpers.training.small_runs import final_state

    state = final_state(folder)
    return {path: value.tobytes() for path, value in state.items()}


# --- stopped, and started again -------------------------------------------------------------------


def test_a_process_that_saved_leaves_the_others_the_time_to_save(here, tmp_path):
    """srun would kill the second, which needs a second longer, because the first has status 75."""
    folder = tmp_path / "run"
    here.saving(folder, "--nodes=2", "--cpus_per_task=4", saving="1")
    here.preempt()
    here.await_state(folder, "completed")
    assert attempts(folder) == [75, 0]
    here.await_words(folder, "saved", processes=2)


def test_the_limits_on_starting_again_hold_where_slurm_does_it(here, tmp_path):
    """Here because somebody requeues it, which leaves it no time to save."""
    folder = tmp_path / "run"
    job = here.saving(folder, "--restarts_without_progress=0", saving="600")
    here.cluster.run("scontrol", "requeue", job)
    here.await_state(folder, "failed")
    assert "started 1 times without a new checkpoint" in said(folder)
    assert attempts(folder) == [-9]


def test_a_run_goes_on_after_a_node_failed(here, tmp_path):
    folder = tmp_path / "run"
    here.saving(folder, "--nodes=2")
    (folder / "checkpoints/7").mkdir(parents=True)
    node = f"NodeName={NODES[1]}"
    here.cluster.run("scontrol", "update", node, "State=DOWN", "Reason=test")
    try:
        here.await_state(folder, "restarting")
    finally:
        # By then it may have come back by itself.
        here.cluster.run("scontrol", "update", node, "State=RESUME", check=False)
    here.await_state(folder, "completed")
    assert len(RunFolder(folder).attempts()) == 2


FAILS = """
import os, sys, time
if os.environ["SLURM_PROCID"] == "1":
    sys.exit("error: config.x: no such thing" if sys.argv[1] == "2" else int(sys.argv[1]))
time.sleep(3600)
"""


def test_a_failure_is_named_ends_the_others_and_is_final(here, tmp_path):
    folder = tmp_path / "run"
    here.run(folder, "--nodes=2", command=(sys.executable, "-c", FAILS, "3"))
    found = here.await_state(folder, "failed")
    assert re.fullmatch("process 1 on .*: exit status 3", found.detail)
    assert attempts(folder) == [3]
    exits = {each.process: each.exit for each in RunFolder(folder).attempts()[0].processes}
    assert exits[0] is not None and exits[0] < 0


# --- cancelled ------------------------------------------------------------------------------------


def test_a_cancelled_run_saves_and_stays_dead(here, tmp_path):
    folder = tmp_path / "run"
    job = here.saving(folder)
    assert here.call("cancel", str(folder)).status == 0
    assert here.await_state(folder, "cancelled").detail == "saved at step 7"
    assert attempts(folder) == [75]
    assert here.cluster.state(job) not in ("PENDING", "RUNNING")
    answer = here.call("restart", str(folder))
    assert answer.status == 0, answer
    here.await_state(folder, "completed")


def test_a_run_that_waits_is_cancelled_at_once(here, tmp_path):
    folder = tmp_path / "run"
    command = (sys.executable, "saves.py", str(folder), "0")
    job = here.run(folder, "--sbatch=--begin=now+1hour", command=command)
    assert here.standing(folder).detail == "BeginTime"
    assert here.call("cancel", str(folder)).status == 0
    assert here.standing(folder).state == "cancelled"
    assert here.cluster.state(job) == "CANCELLED"


def test_a_run_cancelled_now_does_not_save(here, tmp_path):
    folder = tmp_path / "run"
    job = here.saving(folder, saving="600")
    assert here.call("cancel", str(folder), "--now").status == 0
    assert here.await_state(folder, "cancelled").detail == "nothing is saved"
    assert here.cluster.state(job) == "CANCELLED"


def test_a_run_cancelled_while_it_saves_for_another_job_stays_dead(here, tmp_path):
    folder = tmp_path / "run"
    job = here.saving(folder, "--cpus_per_task=4", "--nodes=2", saving="go")
    other = here.preempt()
    wait_for(lambda: here.cluster.state(other) == "PENDING", 120, "the other job is not there")
    assert here.call("cancel", str(folder)).status == 0
    (folder / "go").touch()
    here.await_state(folder, "cancelled")
    wait_for(lambda: here.cluster.state(other) == "COMPLETED", 120, "the other job does not end")
    assert here.cluster.state(job) not in ("PENDING", "RUNNING")
    assert attempts(folder) == [75]


def test_a_run_cancelled_while_it_waits_to_start_again_starts_no_process(here, tmp_path):
    """Also where whoever cancels it could not tell Slurm."""
    folder = tmp_path / "run"
    here.saving(folder)
    here.preempt()
    here.await_state(folder, "restarting")
    RunFolder(folder).note_cancelled()
    here.await_state(folder, "cancelled")
    assert "it was cancelled while it waited" in said(folder)
    assert attempts(folder) == [75]


def test_a_job_ended_by_scancel_is_not_brought_back_to_life(here, tmp_path):
    folder = tmp_path / "run"
    job = here.saving(folder)
    here.cluster.run("scancel", job)
    wait_for(lambda: here.cluster.state(job) == "CANCELLED", 120, "it is not cancelled")
    assert here.standing(folder).is_final
    assert len(attempts(folder)) == 1


# --- a sweep --------------------------------------------------------------------------------------


def sweep(folder: Path, numbers: range, command: tuple[str, ...], at_once: int) -> Job:
    values = {option.name: option.default for option in (*COMMON, *Slurm.options)}
    runs = tuple(Run(folder / f"runs/{number}-abc", (*command, str(number))) for number in numbers)
    code = Path(__file__).parents[2]
    return Job(job_name(folder), folder, runs, code, {**values, **Slurm.defaults}, at_once)


# Ends once two of its kind have begun.
BOTH = """
import pathlib, sys, time
marks = pathlib.Path(sys.argv[1])
(marks / sys.argv[2]).touch()
print(sys.argv[2])
while len(list(marks.iterdir())) < 2:
    time.sleep(0.02)
"""


def test_a_sweep_is_an_array_that_keeps_to_its_limit(here, tmp_path):
    """Seven runs, in two arrays as the cluster allows five in one; two at once."""
    marks = tmp_path / "marks"
    marks.mkdir()
    job = sweep(tmp_path / "s", range(1, 8), (sys.executable, "-c", BOTH, str(marks)), 2)
    Slurm().submit(job, here.tools)
    runs = [RunFolder(run.folder) for run in job.runs]
    ids = {run.submissions()[0]["id"] for run in runs}
    arrays = {name.partition("_")[0] for name in ids}
    assert len(ids) == 7 and len(arrays) == 2
    assert {name.partition("_")[2] for name in ids} == {"0", "1", "2", "3", "4"}

    def ended():
        return all(seen.state == "ended" for seen in Slurm().look(runs, here.tools).values())

    wait_for(ended, 240, "not all have ended")
    spans = []
    for run, number in zip(runs, range(1, 8), strict=True):
        (attempt,) = run.attempts()
        (process,) = attempt.processes
        assert process.exit == 0
        assert (attempt.folder / "process-0.log").read_text() == f"{number}\n"
        spans.append((process.started, process.ended))
    most = max(sum(s <= begin < e for s, e in spans) for begin, _ in spans)
    assert most == 2


def test_a_sweep_said_again_starts_what_is_missing(here, tmp_path):
    """With a Python that trains nothing."""
    folder = tmp_path / "s"
    words = ("sweep", "--backend=slurm", "--config=digits.py", f"--workdir={folder}",
             f"--python={quick_python(tmp_path)}", "--objective=test/accuracy",
             "--max_parallel=2", "--sweep=seed=range(2)")  # fmt: skip
    answer = here.call(*words)
    assert answer.status == 0 and "2 runs, 2 to start" in answer.out, answer
    runs = sorted((folder / "runs").iterdir())
    for run in runs:
        here.await_state(run, "completed")
    assert [json.loads((run / "result.json").read_text())["seed"] for run in runs] == [0, 1]
    answer = here.call(*words)
    assert answer.status == 0 and "2 runs, 0 to start" in answer.out, answer
    assert "0.99" in (folder / "results.csv").read_text()


def test_an_element_that_is_preempted_goes_on_and_the_others_are_left_alone(here, tmp_path):
    """The missing runs of a sweep, by their own numbers."""
    folder = tmp_path / "s"
    job = sweep(folder, range(2, 4), (), 0)
    program = (sys.executable, str(here.repository / "saves.py"))
    runs = tuple(Run(run.folder, (*program, str(run.folder), "0")) for run in job.runs)
    job = Job(job.name, folder, runs, job.code, {**job.options, "cpus_per_task": 4})
    Slurm().submit(job, here.tools)
    folders = [RunFolder(run.folder) for run in runs]
    assert [each.submissions()[0]["id"].partition("_")[2] for each in folders] == ["2", "3"]
    for each in folders:
        here.await_words(each.path, "begun")
    one = ("--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 0.5")
    here.cluster.run("sbatch", *one)
    wait_for(
        lambda: sorted(map(len, (each.attempts() for each in folders))) == [1, 2], 120, "no restart"
    )
    again, other = sorted(folders, key=lambda each: -len(each.attempts()))
    wait_for(lambda: attempts(again.path) == [75, 0], 120, "it does not go on")
    seen = Slurm().look(folders, here.tools)
    assert seen[other.path].state == "running" and attempts(other.path) == [None]
    other.note_cancelled()
    Slurm().cancel([other], here.tools, now=False)
    wait_for(lambda: attempts(other.path) == [75], 120, "it does not save")


# --- what Slurm does not take, or has forgotten ---------------------------------------------------


def test_what_slurm_does_not_take_is_one_line_in_its_words(here, tmp_path):
    base = ("run", "--backend=slurm", "--nosnapshot")
    command = ("--", "true")
    here.call(*base, f"--workdir={tmp_path}/a", "--partition=lwo", *command).assert_mistake(
        "invalid partition specified: lwo", "Invalid partition name specified"
    )
    here.call(*base, f"--workdir={tmp_path}/b", "--cpus_per_task=5", *command).assert_mistake(
        "Requested node configuration is not available"
    )
    here.cluster.run("scontrol", "update", "PartitionName=low", "State=DRAIN")
    try:
        here.call(*base, f"--workdir={tmp_path}/c", *command).assert_mistake(
            "Required partition not available"
        )
    finally:
        here.cluster.run("scontrol", "update", "PartitionName=low", "State=UP")


def test_options_reach_the_job_whatever_is_in_them(here, tmp_path):
    folder = tmp_path / "run"
    show = "import os; print(os.environ['JAX_LOCAL_DEVICE_IDS'], os.environ['X'])"
    job = here.run(
        *(folder, "--nodes=2", "--gpus_per_node=2", "--cpus_per_task=2", "--memory=100M"),
        *("--time=0:03:00", "--exclude=127.0.0.3", "--env=X=a 'b' $(touch x)", "--setup=Y=1"),
        '--sbatch=--comment=c "d" #e \\f; $HOME',
        command=(sys.executable, "-c", show),
    )
    here.await_state(folder, "completed")
    shown = here.cluster.run("scontrol", "show", "job", job)
    assert 'Comment=c "d" #e \\f; $HOME' in shown
    for words in ("NumNodes=2", "CPUs/Task=2", "TimeLimit=00:03:00", "MinMemoryNode=100M",
                  "ExcNodeList=127.0.0.3", "TresPerNode=gres:gpu:2"):  # fmt: skip
        assert words in shown, shown
    log = folder / "launch/attempts/1/process-1.log"
    assert log.read_text() == "0,1 a 'b' $(touch x)\n"


def test_a_job_that_slurm_has_forgotten_is_known_by_its_folder(here, tmp_path):
    folder = tmp_path / "run"
    here.run(folder, command=("true",))
    here.await_state(folder, "completed")
    RunFolder(folder).note_submission({"id": "99999"})
    assert here.standing(folder).state == "completed"
    (folder / "launch/attempts/1/process-0.json").unlink()
    assert here.standing(folder).state == "lost"


def test_a_full_queue_and_what_accounting_remembers(accounted, repository, tmp_path):
    here = Here(accounted, repository)
    killed = ("bash", "-c", "sleep 3600")
    for name in ("one", "two"):
        here.run(tmp_path / name, "--account=lab", command=killed)
    refused = here.call("run", "--backend=slurm", "--nosnapshot", f"--workdir={tmp_path}/three",
                        "--account=lab", "--", "true")  # fmt: skip
    refused.assert_mistake("Job violates accounting/QOS policy")
    answer = here.call("doctor", "--backend=slurm", "--python=python3", "--account=lab")
    assert "accounting is on" in answer.out
    assert answer.status == 1
    assert re.search("sbatch would not take it: .*Job violates", answer.out), answer.out
    wait_for(lambda: here.standing(tmp_path / "two").state == "running", 120, "it does not start")
    here.cluster.run("scancel", "--me")
    jobs = [RunFolder(tmp_path / name).submissions()[0]["id"] for name in ("one", "two")]
    for job in jobs:
        wait_for(lambda job=job: here.cluster.state(job) == "CANCELLED", 120, "it does not end")
    sacct = ("sacct", "-n", "-X", "-o", "State")
    wait_for(lambda: here.cluster.run(*sacct).count("CANCELLED") == 2, 120, "not in the database")
    accounted.forget()
    seen = Slurm().look([RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")], here.tools)
    assert [(each.state, each.detail) for each in seen.values()] == [
        ("ended", "Slurm says CANCELLED")
    ] * 2


# --- what began before all others -----------------------------------------------------------------


def test_a_run_that_saves_nothing_is_not_started_for_ever(here, waiting):
    folder = waiting / "idle"
    here.await_state(folder, "stopped")
    assert attempts(folder) == [75, 75]
    assert "started 2 times without a new checkpoint" in said(folder)


def test_a_failure_is_tried_again_as_often_as_was_asked(here, waiting):
    folder = waiting / "fails"
    here.await_state(folder, "failed")
    assert attempts(folder) == [3, 3]


def test_a_run_that_reaches_its_time_limit_saves_and_goes_on(here, waiting):
    folder = waiting / "limited"
    here.await_state(folder, "completed", 90)
    assert attempts(folder) == [75, 0]
    here.await_words(folder, "begun", attempt=2)
