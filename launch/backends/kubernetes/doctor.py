"""What would keep a run from starting on a cluster."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from launch.backends import Finding
from launch.backends.kubernetes.choices import nodes_and_chips
from launch.backends.kubernetes.kubectl import INSTALL, kubectl, refusal
from launch.backends.kubernetes.manifest import volumes
from launch.plan import Answer, Tools

_SECONDS = "--request-timeout=10s"
_RIGHTS = (
    ("create", "jobsets.jobset.x-k8s.io"),
    ("delete", "jobsets.jobset.x-k8s.io"),
    ("list", "jobsets.jobset.x-k8s.io"),
    ("create", "configmaps"),
    ("patch", "configmaps"),
    ("list", "pods"),
    ("get", "pods/log"),
)


def findings(options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
    """One finding a step; the first that fails ends it where the others need it."""
    call = kubectl(options)

    def ask(*words: str) -> Answer:
        return tools.run([*call, *words, _SECONDS], check=False, timeout=30)

    there = tools.has("kubectl")
    yield Finding(
        there, "kubectl is on PATH", "" if there else "https://kubernetes.io/docs/tasks/tools"
    )
    if not there:
        return
    answer = ask("version", "--output=json")
    yield Finding(
        answer.status == 0,
        f"the cluster{' of ' + options['context'] if options['context'] else ''} answers",
        "" if answer.status == 0 else str(refusal(answer)),
    )
    if answer.status:
        return
    answer = ask("api-resources", "--api-group=jobset.x-k8s.io", "--output=name")
    known = "jobsets.jobset.x-k8s.io" in answer.out.split()
    yield Finding(known, "the cluster knows JobSets", "" if known else f"install them: {INSTALL}")
    if options["namespace"]:
        answer = ask("get", "namespace", options["namespace"], "--output=name")
        missing = "NotFound" in answer.err
        hint = f"kubectl create namespace {options['namespace']}" if missing else ""
        yield Finding(not missing, f"the namespace {options['namespace']} is there", hint)
        if missing:
            return
    for verb, what in _RIGHTS:
        answer = ask("auth", "can-i", verb, what)
        may = answer.out.strip().startswith("yes")
        yield Finding(may, f"you may {verb} {what}", "" if may else "ask whoever runs the cluster")
    for volume in volumes(options["volumes"]):
        if not volume.source.startswith("/"):
            yield _claim(volume.source, nodes_and_chips(options)[0] * options["slices"], ask)


def _claim(name: str, pods: int, ask: Any) -> Finding:
    answer = ask("get", "persistentvolumeclaim", name, "--output=json")
    what = f"the volume claim {name} can be mounted by {pods} pod{'s' if pods > 1 else ''}"
    if answer.status:
        return Finding(False, what, str(refusal(answer)))
    modes = json.loads(answer.out)["spec"].get("accessModes", [])
    if pods > 1 and not set(modes) & {"ReadWriteMany"}:
        return Finding(
            False, what, f"its modes are {', '.join(modes)}; several nodes need ReadWriteMany"
        )
    return Finding(True, what)
