"""What would keep a run from starting on TPU VMs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlresearch.errors import Failure, UserError, one_line
from launch.backends import Finding
from launch.backends.tpu_vm.gcloud import Place, ask
from launch.plan import Tools

_KEY = Path("~/.ssh/google_compute_engine")


def findings(options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
    """In the order in which one depends on the other."""
    there = tools.has("gcloud")
    install = "https://cloud.google.com/sdk/docs/install"
    yield Finding(there, "gcloud is installed", install)
    if not there:
        return
    account = _configured("account", tools)
    yield Finding(
        bool(account), f"logged in{f' as {account}' if account else ''}", "`gcloud auth login`"
    )
    project = options["project"] or _configured("project", tools)
    yield Finding(
        bool(project),
        f"a project{f': {project}' if project else ''}",
        "--project=NAME, or `gcloud config set project NAME`",
    )
    key = _KEY.expanduser()
    yield Finding(
        key.exists(),
        f"an ssh key in {_KEY}",
        "gcloud makes one without a passphrase on the first connection; or `ssh-keygen -t rsa -f"
        f" {_KEY}`",
    )
    if not account or not project:
        return
    try:
        ask(Place.of(options).describe("launch-doctor"), tools)
    except (UserError, Failure) as error:
        yield Finding(False, f"the TPU API answers for {options['zone']}", one_line(error))
    else:
        yield Finding(True, f"the TPU API answers for {options['zone']}")


def _configured(name: str, tools: Tools) -> str:
    said = tools.run(["gcloud", "config", "get", name], check=False).out.strip()
    return "" if said == "(unset)" else said
