"""The options of this backend, and what is wrong with them."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from dlresearch.errors import UserError
from launch.backends.kubernetes import fields
from launch.backends.kubernetes.manifest import Volume, toleration, volumes
from launch.options import Option

OPTIONS = (
    Option("context", str, None, "Context of kubectl's configuration; its current one by default."),
    Option("namespace", str, None, "Namespace; that of the context by default."),
    Option("image", str, None, "Container image with Python, JAX and dlresearch in it."),
    Option("image_pull_policy", str, None, "When the image is pulled.",
           choices=("Always", "IfNotPresent", "Never")),
    Option("code", str, "configmap", "Where the code in the pods is from: configmap sends the"
           " snapshot through the cluster, image has it already.", choices=("configmap", "image")),
    Option("nodes", int, None, "Pods of a run, one process each; for TPUs those of one slice, which"
           " follow from the topology.", lower=1),
    Option("gpus_per_node", int, 0, "GPUs of each pod (nvidia.com/gpu).", lower=0),
    Option("tpu_accelerator", str, None, "Kind of TPU on GKE, such as tpu-v5-lite-podslice."),
    Option("tpu_topology", str, None, "Shape of a slice of TPUs, such as 4x4."),
    Option("tpu_chips_per_node", int, None, "TPU chips of each pod; 4, or all of a smaller slice,"
           " by default.", lower=1),
    Option("slices", int, 1, "Slices of TPUs that train together.", lower=1),
    Option("cpus", int, None, "Processors that each pod asks for.", lower=1),
    Option("memory", str, None, "Memory of each pod, such as 64Gi."),
    Option("node_selector", tuple, (), "LABEL=VALUE that nodes must have; may be given again."),
    Option("tolerations", tuple, (), "Taint that pods tolerate: KEY, KEY:EFFECT or"
           " KEY=VALUE:EFFECT; may be given again."),
    Option("service_account", str, None, "Service account of the pods."),
    Option("volumes", tuple, (), "CLAIM:/PLACE mounts a PersistentVolumeClaim, /PATH:/PLACE a"
           " folder of the node; may be given again."),
    Option("remote_workdir", str, "/runs/{name}", "Folder of the run in the pods, on one of the"
           " volumes; {name} stands for the name of the run."),
    Option("queue", str, None, "Queue of Kueue that the run waits in."),
    Option("priority_class", str, None, "PriorityClass of the pods."),
    Option("ttl", int, None, "Seconds after its end when the cluster forgets the run, and its logs;"
           " never by default.", lower=0),
)  # fmt: skip

_FORMS: Mapping[str, fields.Check] = {
    "image": fields.image,
    "namespace": fields.label,
    "memory": fields.quantity,
    "service_account": fields.subdomain,
    "priority_class": fields.subdomain,
    "queue": fields.label_value,
    "tpu_accelerator": fields.label_value,
    "tpu_topology": fields.matches(r"[1-9]\d*(x[1-9]\d*){1,2}", "topology, such as 2x4 or 2x2x4"),
    "remote_workdir": fields.path,
}


def check(options: Mapping[str, Any]) -> None:
    """Raises UserError for options that contradict each other, are missing or malformed."""
    if not options["image"]:
        raise UserError("--image is missing: a container image with Python, JAX and dlresearch")
    for name, form in _FORMS.items():
        if options[name] is not None and (wrong := form(options[name])):
            raise UserError(f"--{name} {wrong}")
    _check_words("node_selector", options, _selector_mistake)
    _check_words("tolerations", options, _toleration_mistake)
    _check_words("volumes", options, _volume_mistake)
    if options["code"] == "configmap" and not options["snapshot"]:
        raise UserError(
            "--nosnapshot: nothing of this machine is in the pods; give --code=image as well to run"
            " what is in the image"
        )
    _check_workdir(options["remote_workdir"], volumes(options["volumes"]))
    nodes_and_chips(options)
    if (options["tpu_topology"] is None) != (options["tpu_accelerator"] is None):
        raise UserError("--tpu_topology and --tpu_accelerator belong together; give both or none")
    if options["tpu_topology"] and options["gpus_per_node"]:
        raise UserError("--gpus_per_node and --tpu_topology: a pod has one kind of accelerator")
    if options["tpu_topology"] is None:
        for name, default in (("slices", 1), ("tpu_chips_per_node", None)):
            if options[name] != default:
                raise UserError(f"--{name} is for TPUs, and needs --tpu_topology")


def nodes_and_chips(options: Mapping[str, Any]) -> tuple[int, int]:
    """Pods of one Job, and TPU chips of each; for TPUs they follow from the topology.

    Raises:
      UserError: they do not fit together.
    """
    topology = options["tpu_topology"]
    if topology is None:
        return options["nodes"] or 1, 0
    chips = math.prod(map(int, topology.split("x")))
    each = options["tpu_chips_per_node"] or min(4, chips)
    if chips % each:
        raise UserError(
            f"--tpu_topology={topology} has {chips} chips, which --tpu_chips_per_node={each} does"
            " not divide"
        )
    if options["nodes"] not in (None, chips // each):
        raise UserError(
            f"--nodes={options['nodes']}: --tpu_topology={topology} has {chips // each} nodes of"
            f" {each} chips; leave --nodes out"
        )
    return chips // each, each


def _check_words(
    name: str, options: Mapping[str, Any], mistake: Callable[[str], str | None]
) -> None:
    for word in options[name]:
        if wrong := mistake(word):
            raise UserError(f"--{name}={word!r}: {wrong}")


def _selector_mistake(word: str) -> str | None:
    key, equals, value = word.partition("=")
    if not equals:
        return "it is not LABEL=VALUE"
    if fields.key(key) or fields.label_value(value):
        return "that is no label of a node"
    return None


def _toleration_mistake(word: str) -> str | None:
    found = toleration(word)
    if fields.key(found["key"]) or fields.label_value(found.get("value", "")):
        return "it is not KEY, KEY:EFFECT or KEY=VALUE:EFFECT"
    wrong = fields.one_of("NoSchedule", "PreferNoSchedule", "NoExecute")(
        found.get("effect", "NoSchedule")
    )
    return f"its effect {wrong}" if wrong else None


def _volume_mistake(word: str) -> str | None:
    source, colon, place = word.rpartition(":")
    if not colon or fields.path(place) or not source:
        return "it is not CLAIM:/PLACE or /PATH:/PLACE"
    if not source.startswith("/") and fields.subdomain(source):
        return f"{source!r} is no name of a PersistentVolumeClaim"
    if place.rstrip("/") in ("", "/dev/shm") or re.match(r"/dlresearch(/|$)", place):
        return f"{place} is taken"
    return None


def _check_workdir(workdir: str, mounted: list[Volume]) -> None:
    if not any(f"{workdir}/".startswith(f"{each.place.rstrip('/')}/") for each in mounted):
        raise UserError(
            f"--remote_workdir={workdir} is on none of the volumes, so that checkpoints would go"
            " with the pod; mount one there, such as --volumes=CLAIM:/runs"
        )
    if "{name}" not in workdir:
        raise UserError(
            f"--remote_workdir={workdir}: without {{name}} in it all runs would share one folder"
        )
