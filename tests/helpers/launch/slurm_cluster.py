"""A private Slurm on loopback for tests: real daemons in a temporary folder, gone with the test.

    with started(folder) as cluster:
        cluster.run("sbatch", "--wrap=hostname")

Three nodes on one machine (Slurm's `slurmd -N`). Two of them are in the partitions `low` and
`high`, of which the second preempts the first; one is `apart`. Each claims two GPUs. Waits are
short. `SLURM_CONF` is all by which the commands find it; nothing outside the folder is touched.
Nodes are called 127.0.0.1 and so on, names that need no /etc/hosts: JAX asks for the address of the
first node of a step.

This file is also the program that owns the daemons: it lives until the pipe to the test closes,
which it does even where the test is killed, and then ends every process of the cluster.
"""

import contextlib
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NODES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
_START_SECONDS = 60.0


class NotHere(Exception):
    """Why this machine cannot have such a cluster."""


@dataclass(frozen=True)
class Cluster:
    """A running one.

    Attributes:
      environment: variables by which Slurm's commands find it.
      accounting: whether `sacct` works on it.
    """

    folder: Path
    environment: dict[str, str]
    accounting: bool

    def run(self, *argv: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            argv, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{argv}: status {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """RUNNING, PENDING, ... of a job or an array's element, also after it has ended."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job, check=False)
        return shown.partition("JobState=")[2].partition(" ")[0] or "UNKNOWN"

    @property
    def user(self) -> str:
        """Whose jobs they are."""
        return getpass.getuser()

    def forget(self) -> None:
        """Have Slurm forget all jobs; with accounting, the database keeps them."""
        self.run("scontrol", "shutdown", "slurmctld")
        wait_for(lambda: not self.run("sinfo", "--noheader", check=False), 60, "it does not end")
        program = _program("slurmctld")
        assert program is not None
        subprocess.Popen(
            [program, "-D", "-c"],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self.run("sinfo", "--noheader", check=False), 60, "it does not start")

    def clear(self) -> None:
        """End all jobs but those in `apart`, at once."""
        for partition in ("low", "high"):
            kill = ("scancel", f"--partition={partition}", "--quiet")
            self.run(*kill, "--state=PENDING", check=False)
            self.run(*kill, "--signal=KILL", "--full", check=False)
            self.run(*kill, check=False)
        left = ("squeue", "--noheader", "--partition=low,high")
        wait_for(lambda: not self.run(*left), 120, "the queue is not empty")


def wait_for(condition, seconds: float, otherwise: str):
    """What `condition()` returns once that is true; an AssertionError if it does not become so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{otherwise} after {seconds} s")


@contextlib.contextmanager
def started(
    folder: Path,
    *,
    settings: Sequence[str] = (),
    accounting: bool = False,
) -> Iterator[Cluster]:
    """A cluster with further lines of slurm.conf.

    Raises:
      NotHere: something is not installed, or does not start here.
    """
    needed = ["slurmctld", "slurmd", "munged", "sbatch", "srun"]
    if accounting:
        needed += ["slurmdbd", "mariadbd", "mariadb-install-db"]
    missing = [name for name in needed if not _program(name)]
    if missing:
        raise NotHere(f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    folder.mkdir(parents=True)
    owner = subprocess.Popen(
        [sys.executable, __file__, str(folder), json.dumps([list(settings), accounting])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None and owner.stdout is not None
    try:
        said = owner.stdout.readline().strip()
        if said != "ready":
            raise NotHere(said or "the cluster did not start")
        environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        yield Cluster(folder, environment, accounting)
    finally:
        owner.stdin.close()
        owner.wait(timeout=30)


# --- the owner of the daemons ---------------------------------------------------------------------


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    """Below those the system gives away by itself, so that none is taken between now and then."""
    found: list[int] = []
    for port in range(17000 + os.getpid() % 97 * 100, 32000):
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise NotHere("no free ports")


class _Owner:
    def __init__(self, folder: Path, accounting: bool) -> None:
        self.folder = folder
        self.accounting = accounting
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: list[subprocess.Popen[bytes]] = []

    def daemon(self, *argv: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start one in the foreground, as a child."""
        program = _program(argv[0])
        assert program is not None
        with open(self.folder / "log" / f"{argv[0]}.out", "ab") as output:
            self.daemons.append(
                subprocess.Popen(
                    [program, *argv[1:]],
                    env={**self.environment, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )
        return self.daemons[-1]

    def ask(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    def until(self, condition, what: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while not condition():
            dead = [daemon for daemon in self.daemons if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                raise NotHere(f"{what} does not start: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        logs = sorted((self.folder / "log").iterdir(), key=lambda log: log.stat().st_mtime)
        lines = [
            line
            for log in logs
            for line in log.read_text(errors="replace").splitlines()
            if "error" in line.lower() or "fatal" in line.lower()
        ]
        return lines[-1] if lines else "it says nothing"

    def start(self, settings: list[str]) -> None:
        for name in ("log", "pid", "state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        ports = _free_ports(2 + len(NODES))
        (self.folder / "slurm.conf").write_text(self.configuration(ports, settings))
        for number in range(2):  # for Slurm, a GPU is a file
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(
            f"NodeName={','.join(NODES)} Name=gpu File={self.folder}/gpu[0-1]\n"
        )
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        # Its socket's path must fit in 108 characters, and pytest's folders are long.
        self.daemon(
            "munged",
            "--foreground",
            "--force",
            f"--socket={self.munge_socket}",
            f"--key-file={key}",
            f"--pid-file={self.folder / 'pid/munged.pid'}",
            f"--log-file={self.folder / 'log/munged.log'}",
            f"--seed-file={self.folder / 'munge.seed'}",
        )
        self.until(self.munge_socket.exists, "munged")
        if self.accounting:
            self.start_accounting(ports[1])
        self.daemon("slurmctld", "-D")
        for node in NODES:
            self.daemon("slurmd", "-D", "-N", node)
        self.until(
            lambda: (
                len(self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) >= len(NODES)
            ),
            "Slurm",
        )

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge.sock"

    def start_accounting(self, port: int) -> None:
        database = self.folder / "database"
        account = getpass.getuser()
        done = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={database}"),
                *(f"--user={account}", "--auth-root-authentication-method=normal"),
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise NotHere(f"mariadb-install-db: {done.stderr.strip().splitlines()[-1:]}")
        server = self.folder / "database.sock"
        self.daemon(
            "mariadbd",
            "--no-defaults",
            f"--user={account}",
            f"--datadir={database}",
            f"--socket={server}",
            f"--pid-file={self.folder / 'pid/mariadbd.pid'}",
            "--skip-networking",
            "--innodb-fast-shutdown=2",
            "--innodb-flush-log-at-trx-commit=0",
        )
        self.until(server.exists, "mariadbd")
        statements = (
            "create database slurm_acct_db; create user slurm@localhost;"
            " grant all on slurm_acct_db.* to slurm@localhost;"
        )
        subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={server}", "--user=root", "-e", statements],
            check=True,
            capture_output=True,
        )
        configuration = self.folder / "slurmdbd.conf"
        configuration.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={self.munge_socket}\nDbdHost=localhost\n"
            f"DbdPort={port}\nSlurmUser={account}\nStorageType=accounting_storage/mysql\n"
            f"StorageUser=slurm\nStorageLoc=slurm_acct_db\n"
            f"LogFile={self.folder / 'log/slurmdbd.log'}\n"
            f"PidFile={self.folder / 'pid/slurmdbd.pid'}\n"
        )
        configuration.chmod(0o600)
        self.daemon("slurmdbd", "-D", MYSQL_UNIX_PORT=str(server))
        self.until(lambda: _answers(port), "slurmdbd")

    def configuration(self, ports: list[int], settings: list[str]) -> str:
        folder, account, host = self.folder, getpass.getuser(), socket.gethostname().split(".")[0]
        storage = "AccountingStorageType=accounting_storage/none"
        if self.accounting:
            storage = (
                "AccountingStorageType=accounting_storage/slurmdbd\n"
                "AccountingStorageHost=localhost\n"
                f"AccountingStoragePort={ports[1]}\n"
                # Else sacct looks for munge where the system's is.
                f"AccountingStoragePass={self.munge_socket}"
            )
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4"
            " RealMemory=8000 Gres=gpu:2 State=UNKNOWN"
            for node, port in zip(NODES, ports[2:], strict=True)
        )
        shared = ",".join(NODES[:-1])
        # cred_expire, 5 at least, is also how long a requeued job waits. The rest is short as well.
        return f"""\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={account}
SlurmdUser={account}
AuthType=auth/munge
AuthInfo=socket={self.munge_socket},cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/pid/slurmctld.pid
SlurmdPidFile={folder}/pid/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
{storage}
JobCompType=jobcomp/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
MailProg=/bin/true
KillWait=10
MinJobAge=3600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=low Nodes={shared} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 \
PreemptMode=REQUEUE GraceTime=120
PartitionName=high Nodes={shared} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=apart Nodes={NODES[-1]} MaxTime=INFINITE State=UP
""" + "".join(f"{line}\n" for line in settings)

    def stop(self) -> None:
        """End the daemons, and whatever they have started: it all has our SLURM_CONF."""
        ours = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            found = [pid for pid in _processes_with(ours) if pid != os.getpid()]
            # Slurm's own saving is of no use to anybody, and a database's takes long.
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + 2
            while found and _processes_with(ours) and time.monotonic() < end:
                for daemon in self.daemons:
                    daemon.poll()
                time.sleep(0.02)


def _answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _processes_with(variable: bytes) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if variable in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def _own(folder: Path, settings: list[str], accounting: bool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C in pytest reaches us too; the pipe decides
    owner = _Owner(folder, accounting)
    try:
        owner.start(settings)
        print("ready", flush=True)
    except NotHere as reason:
        print(" ".join(str(reason).split()), flush=True)
    else:
        sys.stdin.read()
    finally:
        owner.stop()


if __name__ == "__main__":
    _own(Path(sys.argv[1]), *json.loads(sys.argv[2]))
