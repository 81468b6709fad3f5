"""How a run stands, from its JobSet and pods as the API server shows them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from launch.backends import Seen
from launch.backends.kubernetes.kubectl import Place, refusal
from launch.backends.kubernetes.manifest import CONTAINER, LABEL
from launch.plan import Tools
from launch.run_folder import RunFolder

_NAMES_AT_ONCE = 100  # in one selector, whose length is limited
_RESTART = "jobset.sigs.k8s.io/restart-attempt"
_SLICE = "jobset.sigs.k8s.io/job-index"
_INDEX = "batch.kubernetes.io/job-completion-index"
_NORMAL = ("ContainerCreating", "PodInitializing")

Object = Mapping[str, Any]  # of Kubernetes, as JSON


def look(runs: Sequence[RunFolder], tools: Tools) -> dict[Path, Seen]:
    """How runs stand, by folder.

    Raises:
      UserError, Failure: the cluster cannot be asked.
    """
    found = {run.path: Seen("unknown") for run in runs}
    for place, names in by_place(runs).items():
        sets, pods = objects(place, list(names), tools)
        for name, run in names.items():
            if name not in sets:
                found[run.path] = Seen("ended", f"the JobSet {name} is gone")
                continue
            mine = [pod for pod in pods if pod["metadata"]["labels"].get(LABEL) == name]
            seen = standing(sets[name], mine)
            if not mine and seen.state in ("queued", "restarting") and not seen.detail:
                seen = Seen(seen.state, _why_no_pods(place, name, tools))
            found[run.path] = seen
    return found


def by_place(runs: Sequence[RunFolder]) -> dict[Place, dict[str, RunFolder]]:
    """Runs that were handed over, by where they are and by the names of their JobSets."""
    found: dict[Place, dict[str, RunFolder]] = {}
    for run in runs:
        if submissions := run.submissions():
            last = submissions[-1]
            place = Place(last["context"], last["namespace"])
            found.setdefault(place, {})[last["id"]] = run
    return found


def objects(
    place: Place, names: Sequence[str], tools: Tools
) -> tuple[dict[str, Object], list[Object]]:
    """JobSets by name, and all of their pods.

    Raises:
      UserError, Failure: the cluster cannot be asked.
    """
    sets: dict[str, Object] = {}
    pods: list[Object] = []
    for begin in range(0, len(names), _NAMES_AT_ONCE):
        some = ",".join(names[begin : begin + _NAMES_AT_ONCE])
        answer = tools.run(
            [
                *place.call,
                "get",
                "jobsets,pods",
                f"--selector={LABEL} in ({some})",
                "--output=json",
            ],
            check=False,
        )
        if answer.status:
            raise refusal(answer)
        for item in json.loads(answer.out)["items"]:
            if item["kind"] == "JobSet":
                sets[item["metadata"]["name"]] = item
            else:
                pods.append(item)
    return sets, pods


def standing(jobset: Object, pods: Sequence[Object]) -> Seen:
    """What one JobSet and its pods say."""
    status = jobset.get("status", {})
    true = {each["type"]: each for each in status.get("conditions", ()) if each["status"] == "True"}
    restarts = status.get("restarts", 0)
    pods = [pod for pod in pods if restart_of(pod) == restarts]
    if "Completed" in true:
        return Seen("ended")
    if "Failed" in true:
        return Seen("ended", first_failure(pods) or true["Failed"].get("message", ""))
    if jobset["metadata"].get("deletionTimestamp"):
        return Seen("running", "it is told to stop, and may save")
    waiting = "restarting" if restarts else "queued"
    if "Suspended" in true or jobset["spec"].get("suspend"):
        queue = jobset["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
        return Seen("queued", f"suspended: it waits in the queue {queue}" if queue else "suspended")
    nodes = sum(
        job["replicas"] * job["template"]["spec"]["parallelism"]
        for job in jobset["spec"]["replicatedJobs"]
    )
    reasons = [reason for pod in pods if (reason := _waits_for(pod)) is not None]
    phases = [pod.get("status", {}).get("phase") for pod in pods]
    if "Failed" in phases:
        return Seen("restarting", first_failure(pods))
    if reasons or len(pods) < nodes:
        told = next((reason for reason in reasons if reason), "")
        count = len(reasons) + max(0, nodes - len(pods))
        return Seen(waiting, f"{count} of {nodes} pods wait: {told}" if told else "")
    return Seen("running", f"restart {restarts}" if restarts else "")


def _waits_for(pod: Object) -> str | None:
    """Why a pod does not run yet, empty where all goes its way; None where it runs or is over."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") != "Pending":
        return None
    for each in status.get("containerStatuses", ()):
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") and waiting["reason"] not in _NORMAL:
            return _told(waiting)
    for each in status.get("conditions", ()):
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return _told(each)
    return ""


def _told(reason: Object) -> str:
    message = " ".join(reason.get("message", "").split())
    return f"{reason.get('reason', '')}{': ' if message else ''}{message[:200]}"


def first_failure(pods: Sequence[Object]) -> str:
    """What the container said that failed first; empty where none did."""
    failed = [
        (ended.get("finishedAt") or "", process_of(pod), pod, ended)
        for pod in pods
        if (ended := terminated(pod)) is not None and ended["exitCode"] not in (0, 75)
    ]
    if not failed:
        evicted = [pod for pod in pods if pod.get("status", {}).get("reason")]
        return _told(evicted[0]["status"]) if evicted else ""
    _, process, pod, ended = min(failed, key=lambda each: each[:2])
    reason = ended.get("reason", "Error")
    return (
        f"process {process} on {pod['spec'].get('nodeName', 'no node')}: exit status"
        f" {ended['exitCode']}{f' ({reason})' if reason != 'Error' else ''}"
    )


def terminated(pod: Object) -> Object | None:
    """How the container of the trainer ended; None where it has not."""
    for each in pod.get("status", {}).get("containerStatuses", ()):
        if each["name"] == CONTAINER:
            return each.get("state", {}).get("terminated")
    return None


def began(pod: Object) -> float | None:
    """When its container began, in seconds since 1970; None where it has not."""
    for each in pod.get("status", {}).get("containerStatuses", ()):
        state = each.get("state", {})
        found = state.get("running") or state.get("terminated") or {}
        if each["name"] == CONTAINER and found.get("startedAt"):
            return seconds(found["startedAt"])
    return None


def seconds(time: str | None) -> float | None:
    """A time of Kubernetes, RFC 3339, since 1970."""
    return datetime.fromisoformat(time).timestamp() if time else None


def restart_of(pod: Object) -> int:
    """Of its JobSet, when the pod was made."""
    return int(pod["metadata"]["labels"].get(_RESTART) or 0)


def process_of(pod: Object, nodes: int | None = None) -> int:
    """Number of its process; `nodes` are the pods of one slice."""
    metadata = pod["metadata"]
    index = metadata.get("annotations", {}).get(_INDEX) or metadata["labels"].get(_INDEX) or 0
    return int(metadata["labels"].get(_SLICE) or 0) * (nodes or 0) + int(index)


def _why_no_pods(place: Place, name: str, tools: Tools) -> str:
    """A quota, or an admission rule: the Job could not make a pod, which only its events tell."""
    answer = tools.run(
        [*place.call, "get", "events", "--field-selector=reason=FailedCreate", "--output=json"],
        check=False,
    )
    if answer.status:
        return ""
    for event in reversed(json.loads(answer.out)["items"]):
        about = event.get("involvedObject", {}).get("name", "")
        if about == name or about.startswith(f"{name}-"):
            return _told({"reason": "FailedCreate", "message": event.get("message", "")})
    return ""
