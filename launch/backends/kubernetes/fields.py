"""The strict check of what is sent: the fields of JobSet (v1alpha2) and of its pods that we use.

The API server drops or refuses what it does not know, minutes later and in its own words; a name
that is too long fails even later, when the pods are made. Sources: the Go types and the admission
webhook of kubernetes-sigs/jobset, and the naming rules of Kubernetes (RFC 1123, RFC 1035).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dlresearch.errors import UserError, suggest

_LONGEST = 63  # of a label, RFC 1123

Check = Callable[[Any], str | None]  # what is wrong with a value


def check_jobset(manifest: Mapping[str, Any]) -> None:
    """See that a JobSet has no field that is unknown or missing, and no value that is refused.

    Raises:
      UserError: the first that is found, with its path in the manifest.
    """
    for path, wrong in _mistakes(manifest, _JOBSET, ""):
        raise UserError(f"Kubernetes would refuse the JobSet: {path.lstrip('.')} {wrong}")
    for wrong in _names(manifest):
        raise UserError(f"Kubernetes would refuse the JobSet: {wrong}")


def text(value: Any) -> str | None:
    """Any text that can travel as JSON."""
    return None if isinstance(value, str) else "is no text"


def matches(pattern: str, what: str, longest: int = 253) -> Check:
    """Text of a form."""

    def check(value: Any) -> str | None:
        if isinstance(value, str) and len(value) <= longest and re.fullmatch(pattern, value):
            return None
        return f"is {value!r}, which is no {what}"

    return check


def one_of(*choices: str) -> Check:
    """One of some words."""
    return lambda value: None if value in choices else f"is {value!r}; {suggest(value, choices)}"


def whole(lowest: int) -> Check:
    """A whole number."""
    return lambda value: (
        None
        if type(value) is int and lowest <= value < 2**31
        else f"is {value!r}, and must be a whole number from {lowest}"
    )


def _is_true(value: Any) -> str | None:
    return None if value is True else f"is {value!r}"


_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
label = matches(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "label of RFC 1123", _LONGEST)
service_label = matches(r"[a-z]([-a-z0-9]*[a-z0-9])?", "label of RFC 1035", _LONGEST)
subdomain = matches(_SUBDOMAIN, "name of an object")
key = matches(rf"({_SUBDOMAIN}/)?{_PART}", "key of a label", 253 + 1 + _LONGEST)
label_value = matches(rf"({_PART})?", "value of a label", _LONGEST)
variable = matches(r"[-._A-Za-z][-._A-Za-z0-9]*", "name of an environment variable")
quantity = matches(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?", "quantity, such as 64Gi")
path = matches(r"/[^:\0]*", "absolute path", 4096)
image = matches(
    r"([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*"  # registry, repository
    r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",  # tag, digest
    "image, such as registry.example/lab/dlresearch:1",
    1024,
)
rule_name = matches(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", "name of a rule", 128)

# A dictionary is an object with these fields, "!" behind those that must be there; a list is a list
# of one kind; a pair is a map from keys to values of one kind.
_MARKS = {"labels": (key, label_value), "annotations": (key, text)}
_ENV = {
    "name!": variable,
    "value": text,
    "valueFrom": {"fieldRef": {"fieldPath!": text}},
}
_VOLUME = {
    "name!": label,
    "emptyDir": {"medium": one_of("", "Memory")},
    "hostPath": {"path!": path},
    "persistentVolumeClaim": {"claimName!": subdomain},
    "projected": {"sources!": [{"configMap!": {"name!": subdomain}}]},
}
_CONTAINER = {
    "name!": label,
    "image!": image,
    "imagePullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "command!": [text],
    "env": [_ENV],
    "resources": {"limits": (key, quantity), "requests": (key, quantity)},
    "volumeMounts": [{"name!": label, "mountPath!": path, "readOnly": _is_true}],
}
_TOLERATION = {
    "key": key,
    "operator!": one_of("Exists", "Equal"),
    "value": label_value,
    "effect": one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
}
_POD = {
    "restartPolicy!": one_of("Never"),  # a podFailurePolicy allows no other
    "terminationGracePeriodSeconds!": whole(1),
    "containers!": [_CONTAINER],
    "volumes": [_VOLUME],
    "nodeSelector": (key, label_value),
    "tolerations": [_TOLERATION],
    "serviceAccountName": subdomain,
    "priorityClassName": subdomain,
}
_POD_FAILURE_RULE = {
    "action!": one_of("FailJob", "Count"),
    "onExitCodes": {
        "containerName": label,
        "operator!": one_of("In", "NotIn"),
        "values!": [whole(1)],
    },
    "onPodConditions": [{"type!": text, "status!": one_of("True", "False")}],
}
_JOB = {
    "parallelism!": whole(1),
    "completions!": whole(1),
    "completionMode!": one_of("Indexed"),
    "backoffLimit!": whole(0),
    "podFailurePolicy!": {"rules!": [_POD_FAILURE_RULE]},
    "template!": {"metadata": _MARKS, "spec!": _POD},
}
_REASONS = one_of(
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
)
_JOBSET = {
    "apiVersion!": one_of("jobset.x-k8s.io/v1alpha2"),
    "kind!": one_of("JobSet"),
    "metadata!": {"name!": service_label, **_MARKS},
    "spec!": {
        "network": {"enableDNSHostnames!": _is_true},
        "failurePolicy!": {
            "maxRestarts!": whole(0),
            "restartStrategy": one_of("Recreate", "BlockingRecreate"),
            "rules": [
                {
                    "name!": rule_name,
                    "action!": one_of("FailJobSet", "RestartJobSet"),
                    "onJobFailureReasons": [_REASONS],
                }
            ],
        },
        "replicatedJobs!": [{"name!": label, "replicas!": whole(1), "template!": {"spec!": _JOB}}],
        "ttlSecondsAfterFinished": whole(0),
    },
}


def _mistakes(value: Any, form: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(form, dict):
        if not isinstance(value, Mapping):
            yield where, "is no object"
            return
        known = {name.removesuffix("!"): each for name, each in form.items()}
        for name in value:
            if name not in known:
                yield f"{where}.{name}", f"is no field; {suggest(name, known)}"
            else:
                yield from _mistakes(value[name], known[name], f"{where}.{name}")
        for name in form:
            if name.endswith("!") and name[:-1] not in value:
                yield f"{where}.{name[:-1]}", "is missing"
    elif isinstance(form, list):
        if not isinstance(value, list | tuple):
            yield where, "is no list"
            return
        for index, each in enumerate(value):
            yield from _mistakes(each, form[0], f"{where}[{index}]")
    elif isinstance(form, tuple):
        if not isinstance(value, Mapping):
            yield where, "is no map"
            return
        for name, each in value.items():
            yield from _mistakes(name, form[0], f"{where}: a key")
            yield from _mistakes(each, form[1], f"{where}[{name}]")
    elif wrong := form(value):
        yield where, wrong


def _names(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names that JobSet, its Jobs and pods will make from these."""
    name = manifest["metadata"]["name"]
    for job in manifest["spec"]["replicatedJobs"]:
        spec = job["template"]["spec"]
        # JobSet-job-replica-index, and five random characters that the Job adds.
        pod = f"{name}-{job['name']}-{job['replicas'] - 1}-{spec['completions'] - 1}-abcde"
        if len(pod) > _LONGEST:
            yield (
                f"the pods' names, such as {pod}, would have {len(pod)} characters, and {_LONGEST}"
                " are the most"
            )
        pods = spec["template"]["spec"]
        mounted = [mount for each in pods["containers"] for mount in each.get("volumeMounts", ())]
        there = {volume["name"] for volume in pods.get("volumes", ())}
        for mount in mounted:
            if mount["name"] not in there:
                yield f"the volume {mount['name']} is mounted, and not there"
        places = [mount["mountPath"] for mount in mounted]
        for place in places:
            if places.count(place) > 1:
                yield f"two volumes are mounted at {place}"
