"""A run as a JobSet: Jobs of Kubernetes that start, end and restart together.

One Job is what belongs together closely (all pods of a run, or one slice of TPUs), one pod is one
process. The API is jobset.x-k8s.io/v1alpha2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.commands import prepared
from launch.on_host import pod
from launch.options import environment

LABEL = "dlresearch.launch/run"  # of a JobSet and its pods, with the name of the JobSet
JOB_LABEL = "dlresearch.launch/job"  # of all runs of a sweep
MANAGED = {"app.kubernetes.io/managed-by": "dlresearch-launch"}
CONTAINER = "trainer"
_JOB = "run"  # in the names of pods, which must not become long
_PARTS, _TARGET = "/dlresearch/parts", "/dlresearch/unpacked"
_PORT = 8476
_RESTART_LABEL = "jobset.sigs.k8s.io/restart-attempt"
_SLICE_LABEL = "jobset.sigs.k8s.io/job-index"
# Saved; killed; told to stop. Any other failure would come again.
RESTART_STATUSES = (75, 137, 143)


@dataclass(frozen=True)
class Volume:
    """Something of the cluster that is mounted into the pods.

    Attributes:
      source: name of a PersistentVolumeClaim, or a path of the node where it begins with `/`.
      place: where it is mounted.
    """

    source: str
    place: str


@dataclass(frozen=True)
class Pods:
    """What of a run does not follow from the options.

    Attributes:
      name: of the JobSet.
      job: name of the launch, which a sweep's runs share.
      workdir: where the trainer writes.
      first: number of the first attempt of this submission.
      nodes: pods of one Job.
      command: of the trainer.
      code_maps: names of the ConfigMaps that hold the code.
      digest: SHA-256 of it.
      directory: where the command runs, below the unpacked code; None in the image.
    """

    name: str
    job: str
    workdir: str
    first: int
    nodes: int
    command: tuple[str, ...]
    code_maps: tuple[str, ...]
    digest: str
    directory: str | None


def jobset(pods: Pods, options: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest.

    A pod that fails in a way that would come again ends the Job with the reason PodFailurePolicy,
    and by it the JobSet. Any other end of a pod (it saved and exits with 75, it was evicted, its
    node died) exceeds the backoff limit, and JobSet starts all pods again.
    """
    labels = {**MANAGED, LABEL: pods.name, JOB_LABEL: pods.job}
    metadata: dict[str, Any] = {"name": pods.name, "labels": dict(labels)}
    if options["queue"]:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = options["queue"]
    slices = options["slices"]
    if options["tpu_topology"] and pods.nodes * slices > 1:
        # All hosts of one slice of TPUs are one pool of nodes.
        key = "alpha.jobset.sigs.k8s.io/exclusive-topology"
        metadata["annotations"] = {key: "cloud.google.com/gke-nodepool"}
    job = {
        "parallelism": pods.nodes,
        "completions": pods.nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Count",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": CONTAINER,
                        "operator": "NotIn",
                        "values": list(RESTART_STATUSES),
                    },
                },
            ]
        },
        "template": {"metadata": {"labels": labels}, "spec": _pod(pods, options)},
    }
    policy: dict[str, Any] = {
        "maxRestarts": options["max_restarts"] + options["retry_errors"],
        "rules": [
            {
                "name": "error",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
            }
        ],
    }
    if slices > 1:  # no slice may meet another's pods of before
        policy["restartStrategy"] = "BlockingRecreate"
    spec: dict[str, Any] = {
        "network": {"enableDNSHostnames": True},
        "failurePolicy": policy,
        "replicatedJobs": [{"name": _JOB, "replicas": slices, "template": {"spec": job}}],
    }
    if options["ttl"] is not None:
        spec["ttlSecondsAfterFinished"] = options["ttl"]
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": spec,
    }


def _pod(pods: Pods, options: Mapping[str, Any]) -> dict[str, Any]:
    mounted = [
        ("code", _PARTS, {"projected": {"sources": [{"configMap": {"name": name}} for name in
                                                    pods.code_maps]}}),
        ("unpacked", _TARGET, {"emptyDir": {}}),
        # Workers of a data loader and NCCL share memory; a container has 64 MiB by default.
        ("shared-memory", "/dev/shm", {"emptyDir": {"medium": "Memory"}}),
    ]  # fmt: skip
    for index, volume in enumerate(volumes(options["volumes"])):
        kind, field = ("persistentVolumeClaim", "claimName")
        if volume.source.startswith("/"):
            kind, field = "hostPath", "path"
        mounted.append((f"volume-{index}", volume.place, {kind: {field: volume.source}}))
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": options["image"],
        "command": [escaped(word) for word in _command(pods, options)],
        "env": _environment(pods, options),
        "resources": _resources(options),
        "volumeMounts": [
            {"name": name, "mountPath": place, **({"readOnly": True} if name == "code" else {})}
            for name, place, _ in mounted
        ],
    }
    if options["image_pull_policy"]:
        container["imagePullPolicy"] = options["image_pull_policy"]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": options["grace"],
        "containers": [container],
        "volumes": [{"name": name, **source} for name, _, source in mounted],
    }
    selector = dict(pair.split("=", 1) for pair in options["node_selector"])
    if options["tpu_topology"]:
        selector["cloud.google.com/gke-tpu-accelerator"] = options["tpu_accelerator"]
        selector["cloud.google.com/gke-tpu-topology"] = options["tpu_topology"]
    optional = {
        "nodeSelector": selector,
        "tolerations": [toleration(word) for word in options["tolerations"]],
        "serviceAccountName": options["service_account"],
        "priorityClassName": options["priority_class"],
    }
    return {**spec, **{name: value for name, value in optional.items() if value}}


def _command(pods: Pods, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The first process of the container: no shell, which would keep signals to itself."""
    directory = [] if pods.directory is None else [f"--directory={_TARGET}/code/{pods.directory}"]
    words = (
        options["python"],
        "-c",
        (Path(pod.__file__).parent / "unpack.py").read_text(),
        _PARTS,
        _TARGET,
        pods.digest,
        f"--run={pods.workdir}",
        *directory,
        f"--first={pods.first}",
        f"--pods={pods.nodes}",
        f"--total={pods.nodes * options['slices']}",
        *(
            f"--{name}={options[name]}"
            for name in ("max_restarts", "restarts_without_progress", "retry_errors")
        ),
        "--",
        *pods.command,
    )
    # Setup lines need a shell, which `exec` replaces by the command. Variables are in `env`.
    return prepared({**options, "env": ()}, words)


def _environment(pods: Pods, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Variables of the container. How processes find each other is told where nobody else tells
    it: GKE tells those of TPUs, and Kubernetes each pod its number.
    """
    given = environment(options["env"])
    if pods.nodes > 1 and not options["tpu_topology"]:
        host = f"{pods.name}-{_JOB}-0-0.{pods.name}"  # by the headless service of the JobSet
        given = {
            "JAX_COORDINATOR_ADDRESS": f"{host}:{_PORT}",
            "JAX_NUM_PROCESSES": str(pods.nodes),
            **given,
        }
    found: list[dict[str, Any]] = [
        {"name": name, "value": escaped(value)} for name, value in given.items()
    ]
    for name, label in (
        (pod.RESTART_VARIABLE, _RESTART_LABEL),
        (pod.SLICE_VARIABLE, _SLICE_LABEL),
    ):
        path = f"metadata.labels['{label}']"
        found.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
    return found


def _resources(options: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Accelerators and memory as limits, which for them is what is requested, too; processors as a
    request only, as a limit would slow the pod down.
    """
    limits, requests = {}, {}
    if options["gpus_per_node"]:
        limits["nvidia.com/gpu"] = str(options["gpus_per_node"])
    if options["tpu_topology"]:
        limits["google.com/tpu"] = str(options["tpu_chips_per_node"])
    if options["memory"]:
        limits["memory"] = requests["memory"] = options["memory"]
    if options["cpus"]:
        requests["cpu"] = str(options["cpus"])
    return {name: each for name, each in (("limits", limits), ("requests", requests)) if each}


def escaped(word: str) -> str:
    """Text that Kubernetes leaves as it is: it reads `$(NAME)` as a variable, and `$$` as `$`."""
    return word.replace("$", "$$")


def volumes(words: Sequence[str]) -> list[Volume]:
    """`claim:/place` or `/path/of/the/node:/place`, each with its parts."""
    return [Volume(*word.rsplit(":", 1)) for word in words]


def toleration(word: str) -> dict[str, str]:
    """`key`, `key:Effect`, `key=value` or `key=value:Effect`, as `kubectl taint` writes them."""
    rest, _, effect = word.partition(":")
    key, equals, value = rest.partition("=")
    found = {"key": key, "operator": "Equal" if equals else "Exists"}
    if equals:
        found["value"] = value
    return {**found, "effect": effect} if effect else found
