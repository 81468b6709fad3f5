"""How kubectl is called, and what its refusals mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlresearch.errors import Failure, UserError
from launch.plan import Answer, Tools

JOBSET_VERSION = "v0.11.1"
INSTALL = (
    "kubectl apply --server-side -f https://github.com/kubernetes-sigs/jobset/releases/download/"
    f"{JOBSET_VERSION}/manifests.yaml"
)
# What kubectl says, and what to do about it.
_MISTAKES = (
    (r"no matches for kind \"?JobSet|doesn't have a resource type \"?jobsets?\b",
     f"the cluster does not know JobSets; install them: {INSTALL}"),
    (r"context .* does not exist|no context exists",
     "--context: give one that `kubectl config get-contexts` lists"),
    (r"current-context is not set",
     "kubectl has no cluster: `kubectl config use-context`, or give --context"),
    (r"namespaces? \"?[^ ]+\"? not found", "--namespace: create it, or give another one"),
    (r"\(Forbidden\)|forbidden:",
     "ask whoever runs the cluster for the right to create JobSets and ConfigMaps and to read pods"
     " and their logs; `python -m launch doctor` lists what is missing"),
    (r"exceeded quota", "the namespace's ResourceQuota is used up"),
    (r"AlreadyExists|already exists", "`python -m launch status` shows how it stands"),
    (r"unknown field|strict decoding", f"the cluster's JobSet is too old; install {INSTALL}"),
    (r"You must be logged in|Unauthorized|provide credentials", "log in to the cluster again"),
    (r"is invalid|denied the request|BadRequest", ""),
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Place:
    """Where JobSets are: a context of kubectl's configuration and a namespace; None is kubectl's
    own choice.
    """

    context: str | None
    namespace: str | None

    @property
    def call(self) -> tuple[str, ...]:
        """The first words of a command."""
        given = (("context", self.context), ("namespace", self.namespace))
        return ("kubectl", *(f"--{name}={value}" for name, value in given if value))


def kubectl(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The first words of a command for a run with these options."""
    return Place(options["context"], options["namespace"]).call


def where(options: Mapping[str, Any], tools: Tools) -> str | None:
    """The context that is in use, so that a run is found again when another one is.

    Raises:
      UserError: none is.
    """
    if options["context"]:
        return options["context"]
    answer = tools.run(["kubectl", "config", "current-context"], check=False)
    if answer.status:
        raise refusal(answer)
    return answer.out.strip() or None


def refusal(answer: Answer) -> UserError | Failure:
    """What to raise where kubectl failed: a mistake where we know what to change."""
    lines = (answer.err or answer.out).splitlines()
    for pattern, hint in _MISTAKES:
        for line in lines:
            if re.search(pattern, line):
                return UserError(f"kubectl: {_short(line)}{'; ' if hint else ''}{hint}")
    return Failure(f"kubectl: {_short(answer.reason)}")


def _short(line: str) -> str:
    line = re.sub(r"^(error: |Error from server ?)+", "", line.strip())
    return line if len(line) <= 300 else f"{line[:297]}..."
