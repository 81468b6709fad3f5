"""The gcloud commands of TPU VMs, and what their answers mean.

Checked with gcloud 528.0.0 (`gcloud meta lint-gcloud-commands`, and its sources). Its ssh knows
`--tunnel-through-iap` and `--batch-size` only as `gcloud alpha`. `--worker=all` says by one status
that some worker failed, not which, so that every worker is asked by itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlresearch.errors import Failure, UserError
from launch.plan import Answer, Tools

_TPUS = ("gcloud", "compute", "tpus")
# gcloud tries ten times, five seconds apart, to reach a worker. It waits for the network as long as
# ssh does, which is minutes where the machine is gone, unless told otherwise.
_PATIENCE = ("-oConnectTimeout=10", "-oServerAliveInterval=15")
_SSH_SECONDS = 240.0

# What an error code of Google's stands for, most often.
HINTS = {
    "PERMISSION_DENIED": "is the TPU API enabled in this project, and may you use it?"
    " (`gcloud services enable tpu.googleapis.com`, role TPU Admin)",
    "RESOURCE_EXHAUSTED": "the quota of this project in this zone does not allow it; ask for more"
    " (IAM & Admin, Quotas), or take another zone, type or --spot",
    "UNAUTHENTICATED": "log in with `gcloud auth login`",
    "INVALID_ARGUMENT": "does this zone have this --accelerator_type, and does it run this"
    " --runtime_version?",
    "NOT_FOUND": "is it the right --project and --zone?",
    "active account": "log in with `gcloud auth login`",
    "auth tokens": "log in with `gcloud auth login`",
    "attribute [project]": "give --project, or `gcloud config set project NAME`",
    "Quota": "the quota of this project in this zone does not allow it; ask for more (IAM & Admin,"
    " Quotas), or take another zone, type or --spot",
}


@dataclass(frozen=True)
class Place:
    """Where TPUs are asked for; `project` is that of gcloud's configuration where it is None."""

    zone: str
    project: str | None
    internal_ip: bool

    @staticmethod
    def of(options: Mapping[str, Any]) -> "Place":
        return Place(options["zone"], options["project"], options["internal_ip"])

    def create(self, name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Ask for the nodes of a run."""
        slices = options["slices"]
        labels = ",".join(options["labels"])
        valued = {
            "node-count": slices if slices > 1 else None,
            "node-prefix": name if slices > 1 else None,
            "node-id": name if slices == 1 else None,
            "accelerator-type": options["accelerator_type"],
            "runtime-version": runtime_version(options),
            "valid-until-duration": options["valid_until"],
            "network": options["network"],
            "subnetwork": options["subnetwork"],
            "service-account": options["service_account"],
            "labels": labels or None,
        }
        switches = {
            "spot": options["spot"],
            "reserved": options["reserved"],
            "internal-ips": options["internal_ip"],
        }
        return (
            *(*_TPUS, "queued-resources", "create", name),
            *(f"--{flag}={value}" for flag, value in valued.items() if value is not None),
            *(f"--{flag}" for flag, wanted in switches.items() if wanted),
            *self._where(),
        )

    def describe(self, name: str) -> tuple[str, ...]:
        """How the queued resource stands."""
        return (*_TPUS, "queued-resources", "describe", name, *self._where(), "--format=json")

    def delete(self, name: str) -> tuple[str, ...]:
        """Delete the queued resource and its nodes."""
        return (
            *(*_TPUS, "queued-resources", "delete", name),
            *("--force", "--async", *self._where()),
        )

    def describe_node(self, node: str) -> tuple[str, ...]:
        """How a node stands, and how many workers it has."""
        return (*_TPUS, "tpu-vm", "describe", node, *self._where(), "--format=json")

    def ssh(self, node: str, worker: int | str, command: str) -> tuple[str, ...]:
        """Run a line of shell on a worker."""
        return (
            *(*_TPUS, "tpu-vm", "ssh", node, f"--worker={worker}", f"--command={command}"),
            *(f"--ssh-flag={flag}" for flag in _PATIENCE),
            *self._reach(),
        )

    def copy_to(
        self, node: str, worker: int | str, files: Sequence[str], folder: str
    ) -> tuple[str, ...]:
        """Copy files, named absolutely, into a folder below the home of a worker."""
        return (
            *(*_TPUS, "tpu-vm", "scp", *files, f"{node}:{folder}/", f"--worker={worker}"),
            *(f"--scp-flag={flag}" for flag in _PATIENCE),
            *self._reach(),
        )

    def copy_from(self, node: str, worker: int | str, file: str, to: str) -> tuple[str, ...]:
        """Copy a file below the home of a worker to here."""
        return (
            *(*_TPUS, "tpu-vm", "scp", f"{node}:{file}", to, f"--worker={worker}"),
            *(f"--scp-flag={flag}" for flag in _PATIENCE),
            *self._reach(),
        )

    def _where(self) -> tuple[str, ...]:
        project = (f"--project={self.project}",) if self.project else ()
        return (f"--zone={self.zone}", *project, "--quiet")

    def _reach(self) -> tuple[str, ...]:
        # A node that is created again has other host keys under the name that is known already.
        internal = ("--internal-ip",) if self.internal_ip else ()
        return ("--strict-host-key-checking=no", *internal, *self._where())


def runtime_version(options: Mapping[str, Any]) -> str:
    """The image: the one asked for, or Google's own for this type of TPU.

    Raises:
      UserError: there is none that we know.
    """
    if options["runtime_version"]:
        return options["runtime_version"]
    size = options["accelerator_type"]
    kind = size.partition("-")[0]
    known = {
        "v2": "tpu-ubuntu2204-base",
        "v3": "tpu-ubuntu2204-base",
        "v4": "tpu-ubuntu2204-base",
        "v5litepod": "v2-alpha-tpuv5-lite",
        "v5p": "v2-alpha-tpuv5",
        "v6e": "v2-alpha-tpuv6e",
    }
    if kind not in known:
        raise UserError(
            f"--runtime_version=IMAGE is needed for --accelerator_type={size}: only those of"
            f" {', '.join(known)} are known here"
        )
    return known[kind]


# --- asking ---------------------------------------------------------------------------------------


class Unanswered(Failure):
    """gcloud could not say, at this moment: the network, or Google's side."""


def ask(argv: Sequence[str], tools: Tools) -> dict[str, Any] | None:
    """What a command with `--format=json` answers; None where Google knows no such thing.

    Raises:
      UserError: it is not allowed, or who asks is not known.
      Unanswered: anything else.
    """
    try:
        answer = tools.run(argv, check=False)
    except Failure as failure:
        raise Unanswered(str(failure)) from None
    if answer.status == 0:
        try:
            return json.loads(answer.out)
        except ValueError:
            raise Unanswered(f"gcloud answered no JSON: {answer.out.strip()[:80]!r}") from None
    if "NOT_FOUND" in answer.err:
        return None
    raise mistake_of(answer) or Unanswered(f"gcloud: {what_failed(answer)}")


def order(argv: Sequence[str], tools: Tools, *accepted: str) -> bool:
    """Whether a command was carried out; False where it fails with one of the accepted codes.

    Raises:
      UserError, Unanswered: as `ask` does.
    """
    try:
        answer = tools.run(argv, check=False, timeout=_SSH_SECONDS)
    except Failure as failure:
        raise Unanswered(str(failure)) from None
    if answer.status == 0:
        return True
    if any(code in answer.err for code in accepted):
        return False
    raise mistake_of(answer) or Unanswered(f"gcloud: {what_failed(answer)}")


def on_worker(argv: Sequence[str], tools: Tools, seconds: float = _SSH_SECONDS) -> Answer:
    """What a worker answers; status 255 where it was not reached.

    Raises:
      UserError: gcloud is missing.
    """
    try:
        return tools.run(argv, check=False, timeout=seconds)
    except Failure as failure:
        return Answer(255, "", str(failure))


def mistake_of(answer: Answer) -> UserError | None:
    """What the user has to change; None where trying again may do."""
    for code, hint in HINTS.items():
        if code in answer.err:
            return UserError(f"gcloud: {what_failed(answer)}; {hint}")
    return None


def what_failed(answer: Answer) -> str:
    """The line of gcloud's that tells why; others that follow are for machines."""
    lines = [line.strip() for line in answer.err.splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    said = errors[-1] if errors else answer.reason
    where, closed, rest = said.partition(") ")
    return (rest if closed and where.startswith("(gcloud") else said).rstrip(".")[:300]
