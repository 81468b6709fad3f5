#!/usr/bin/env python3
"""A `kubectl` and the cluster behind it, in a folder: pods are processes of this machine.

    KUBECTL_DOUBLE=FOLDER kubectl VERB ...

It keeps objects as files, mounts ConfigMaps and volumes as folders (and puts their places in the
command and the environment in order), and restarts by the policies that are in the manifest. What
it is to refuse, and what it is to say of pods, a test writes into FOLDER/settings.json:

    {"refuse": {"create": "Error from server (Forbidden): ..."},   # by verb
     "pending": {"reason": "Unschedulable", "message": "..."},      # no pod gets a node
     "waiting": {"reason": "ErrImagePull", "message": "..."},       # no container begins
     "environment": {"JAX_PLATFORMS": "cpu"},                       # of the image
     "rights": ["create"], "resources": true, "claims": {"runs": ["ReadWriteMany"]}}
"""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(os.environ["KUBECTL_DOUBLE"])
PLURALS = {"jobset": "jobsets", "pod": "pods", "configmap": "configmaps", "event": "events"}
VALUED = {
    "context", "namespace", "filename", "output", "selector", "field-selector", "container",
    "field-manager", "request-timeout", "grace-period", "cascade", "wait", "api-group",
}  # fmt: skip
PLAIN = {"server-side", "ignore-not-found", "force"}


def main():
    flags, words = {}, []
    for word in sys.argv[1:]:
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if name not in (VALUED if equals else PLAIN):
            refuse(f"error: unknown flag: --{name}")
        flags.setdefault(name, []).append(value)
    with (ROOT / "calls.jsonl").open("a") as file:
        file.write(json.dumps(sys.argv[1:]) + "\n")
    if context := flags.get("context"):
        contexts = settings().get("contexts", ["double"])
        if context[0] not in contexts:
            refuse(f'error: context "{context[0]}" does not exist')
    verb = words[0]
    if verb in settings().get("refuse", {}):
        refuse(settings()["refuse"][verb])
    {
        "create": create, "apply": create, "get": get, "logs": logs, "delete": delete,
        "config": lambda *_: print("double"),
        "version": lambda *_: print(json.dumps({"serverVersion": {"gitVersion": "v1.32.0"}})),
        "api-resources": lambda *_: print(
            "jobsets.jobset.x-k8s.io" if settings().get("resources", True) else "", end="\n"
        ),
        "auth": can_i,
    }[verb](words[1:], flags)  # fmt: skip


def settings():
    path = ROOT / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}


def refuse(message):
    print(message, file=sys.stderr)
    sys.exit(1)


def can_i(words, flags):
    may = words[1] in settings().get("rights", [words[1]])
    print("yes" if may else "no")
    sys.exit(0 if may else 1)


# --- objects ------------------------------------------------------------------------------------


def place(kind, name):
    return ROOT / "objects" / kind / f"{name}.json"


def read(kind, name):
    return json.loads(place(kind, name).read_text())


def write(kind, thing):
    path = place(kind, thing["metadata"]["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(thing))
    temporary.replace(path)


def now():
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def create(words, flags):
    for filename in flags["filename"]:
        thing = json.loads(Path(filename).read_text())
        kind = PLURALS[thing["kind"].lower()]
        name = thing["metadata"]["name"]
        if kind == "jobsets" and not settings().get("resources", True):
            refuse(
                f'error: resource mapping not found for name: "{name}" namespace: "" from'
                f' "{filename}": no matches for kind "JobSet" in version'
                ' "jobset.x-k8s.io/v1alpha2"\nensure CRDs are installed first'
            )
        if place(kind, name).exists() and "server-side" not in flags:
            refuse(f'Error from server (AlreadyExists): {kind} "{name}" already exists')
        if kind == "configmaps":
            size = sum(len(base64.b64decode(data)) for data in thing["binaryData"].values())
            if size > 1 << 20:
                refuse(
                    f'The ConfigMap "{name}" is invalid: []: Too long: must have at most 1048576'
                )
        thing["metadata"] |= {"uid": os.urandom(8).hex(), "namespace": namespace(flags)}
        thing["metadata"]["creationTimestamp"] = now()
        if kind == "jobsets":
            thing["status"] = {"restarts": 0, "conditions": []}
        write(kind, thing)
        if kind == "jobsets":
            with (ROOT / "controller.log").open("ab") as log:
                subprocess.Popen(
                    [sys.executable, "-S", __file__, "controller", name],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        print(json.dumps(thing) if flags.get("output") == ["json"] else f"{kind}/{name}")


def namespace(flags):
    return flags.get("namespace", ["default"])[0]


def selected(thing, flags):
    for selector in flags.get("selector", []):
        match = re.fullmatch(r"(\S+) in \(([^)]*)\)", selector)
        key, names = match[1], match[2].split(",")
        if thing["metadata"].get("labels", {}).get(key) not in names:
            return False
    return True


def get(words, flags):
    kinds = words[0].split(",")
    if kinds == ["namespace"]:
        if words[1] not in settings().get("namespaces", ["default", "research"]):
            refuse(f'Error from server (NotFound): namespaces "{words[1]}" not found')
        return print(f"namespace/{words[1]}")
    if kinds == ["persistentvolumeclaim"]:
        claims = settings().get("claims", {})
        if words[1] not in claims:
            refuse(f'Error from server (NotFound): persistentvolumeclaims "{words[1]}" not found')
        return print(json.dumps({"spec": {"accessModes": claims[words[1]]}}))
    if "jobsets" in kinds and not settings().get("resources", True):
        refuse('error: the server doesn\'t have a resource type "jobsets"')
    if kinds == ["events"]:
        items = settings().get("events", [])
    else:
        found = []
        for kind in kinds:
            for path in sorted((ROOT / "objects" / kind).glob("*.json")):
                with contextlib.suppress(FileNotFoundError):
                    found.append(json.loads(path.read_text()))
        items = [
            each for each in found
            if selected(each, flags) and each["metadata"]["namespace"] == namespace(flags)
        ]  # fmt: skip
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def logs(words, flags):
    path = ROOT / "pods" / words[0] / "log"
    if not path.exists():
        refuse(f'Error from server (NotFound): pods "{words[0]}" not found')
    sys.stdout.buffer.write(path.read_bytes())


def delete(words, flags):
    kind = words[0]
    grace = int(flags["grace-period"][0]) if "grace-period" in flags else None
    if kind == "pods":
        for path in (ROOT / "objects" / "pods").glob("*.json"):
            if selected(json.loads(path.read_text()), flags):
                (ROOT / f"end-{path.stem}").write_text(str(grace))
        return
    for name in words[1:]:
        if not place(kind, name).exists():
            if "ignore-not-found" in flags:
                continue
            refuse(f'Error from server (NotFound): {kind} "{name}" not found')
        if kind == "jobsets" and read(kind, name)["status"].get("terminalState"):
            place(kind, name).unlink()  # nobody looks after it any more
            for path in (ROOT / "objects" / "pods").glob(f"{name}-run-*.json"):
                path.unlink()
            continue
        (ROOT / f"end-{name}").write_text(str(grace))
        until = time.monotonic() + 5  # until the controller has seen it
        while (ROOT / f"end-{name}").exists() and time.monotonic() < until:
            time.sleep(0.02)


# --- the controllers of JobSet and Job, and the node --------------------------------------------


class Pod:
    def __init__(self, jobset, job, replica, index, port):
        name = jobset["metadata"]["name"]
        self.spec = job["template"]["spec"]["template"]["spec"]
        metadata = job["template"]["spec"]["template"]["metadata"]
        self.host = f"{name}-{job['name']}-{replica}-{index}"
        self.name = f"{self.host}-{os.urandom(3).hex()[:5]}"
        self.index, self.port, self.jobset = index, port, name
        assert len(self.name) <= 63, self.name
        self.labels = {
            **metadata["labels"],
            "jobset.sigs.k8s.io/jobset-name": name,
            "jobset.sigs.k8s.io/restart-attempt": str(jobset["status"]["restarts"]),
            "jobset.sigs.k8s.io/job-index": str(replica),
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        self.folder = ROOT / "pods" / self.name
        self.folder.mkdir(parents=True)
        self.process, self.evicted, self.kill_at = None, False, None
        self.began = self.state = None
        self.show("Pending", {"waiting": {"reason": "ContainerCreating"}})

    def start(self):
        (container,) = self.spec["containers"]
        places = self.mount(container)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "JOB_COMPLETION_INDEX": str(self.index),
            **settings().get("environment", {}),
        }
        for variable in container["env"]:
            if "value" in variable:
                value = expand(variable["value"], environment)
                # The name service of the cluster.
                own = f"{self.jobset}-run-0-0.{self.jobset}"
                value = re.sub(rf"^{re.escape(own)}:\d+$", f"localhost:{self.port}", value)
                value = put(value, places)
            else:
                path = variable["valueFrom"]["fieldRef"]["fieldPath"]
                value = self.labels[re.fullmatch(r"metadata\.labels\['(.*)'\]", path)[1]]
            environment[variable["name"]] = value
        command = [put(expand(word, environment), places) for word in container["command"]]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.began = now()
        self.show("Running", {"running": {"startedAt": self.began}})

    def mount(self, container):
        sources = {volume["name"]: volume for volume in self.spec["volumes"]}
        places = {}
        for mount in container["volumeMounts"]:
            source = sources[mount["name"]]
            folder = self.folder / "mounts" / mount["name"]
            if "persistentVolumeClaim" in source:
                folder = ROOT / "claims" / source["persistentVolumeClaim"]["claimName"]
            elif "hostPath" in source:
                folder = ROOT / "node" / source["hostPath"]["path"].lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            for part in source.get("projected", {}).get("sources", ()):
                data = read("configmaps", part["configMap"]["name"])["binaryData"]
                for name, text in data.items():
                    (folder / name).write_bytes(base64.b64decode(text))
            places[mount["mountPath"]] = str(folder)
        return places

    def poll(self):
        """Its exit status; None while it runs."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            if self.kill_at is not None and time.monotonic() > self.kill_at:
                os.killpg(self.process.pid, signal.SIGKILL)
            return None
        status = status if status >= 0 else 128 - status
        if self.state != "over":
            self.state = "over"
            ended = {"exitCode": status, "startedAt": self.began, "finishedAt": now(),
                     "reason": "Error" if status else "Completed"}  # fmt: skip
            self.show("Failed" if status else "Succeeded", {"terminated": ended})
        return status

    def stop(self, grace=None):
        if self.process is None or self.process.poll() is not None or self.kill_at is not None:
            return
        grace = self.spec["terminationGracePeriodSeconds"] if grace is None else grace
        self.kill_at = time.monotonic() + grace
        if grace:
            self.process.send_signal(signal.SIGTERM)

    def show(self, phase, state):
        scheduled = {"type": "PodScheduled", "status": "True"}
        if settings().get("pending"):
            scheduled = {"type": "PodScheduled", "status": "False", **settings()["pending"]}
        if settings().get("waiting"):
            state = {"waiting": settings()["waiting"]}
        statuses = [{"name": "trainer", "state": state, "restartCount": 0}]
        write("pods", {
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": read("jobsets", self.jobset)["metadata"]["namespace"],
                "labels": self.labels,
                "annotations": {
                    "batch.kubernetes.io/job-completion-index": str(self.index)
                },
            },
            "spec": {**({} if settings().get("pending") else {"nodeName": f"node-{self.index}"})},
            "status": {
                "phase": phase, "conditions": [scheduled],
                **({} if settings().get("pending") else {"containerStatuses": statuses}),
            },
        })  # fmt: skip

    def forget(self):
        place("pods", self.name).unlink(missing_ok=True)


def expand(text, environment):
    """As the kubelet does: `$(NAME)` is a variable, `$$` a dollar sign, other dollars stay."""
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda m: "$" if m[1] == "$" else environment.get(m[2], m[0]),
        text,
    )


def put(text, places):
    """Places in the container, as places of this machine."""
    for inside, outside in places.items():
        text = re.sub(rf"(^|[=:]){re.escape(inside)}(?=/|$)", rf"\g<1>{outside}", text)
    return text


def controller(name):
    while True:
        jobset = read("jobsets", name)
        pods = start_all(jobset)
        failed = watch(jobset, pods)
        if failed == "deleted":
            return
        if failed is None:
            return finish(name, "Completed", "AllJobsCompleted")
        policy = jobset["spec"]["failurePolicy"]
        rules = policy["rules"]
        action = next(
            (r["action"] for r in rules if failed in r["onJobFailureReasons"]), "RestartJobSet"
        )
        if action == "FailJobSet":
            return finish(
                name, "Failed", f"jobset failed due to one or more job failures: {failed}"
            )
        if jobset["status"]["restarts"] >= policy["maxRestarts"]:
            return finish(name, "Failed", "jobset failed due to reaching max number of restarts")
        for pod in pods:
            pod.forget()
        jobset = read("jobsets", name)
        jobset["status"]["restarts"] += 1
        write("jobsets", jobset)


def start_all(jobset):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    pods = []
    for job in jobset["spec"]["replicatedJobs"]:
        for replica in range(job["replicas"]):
            for index in range(job["template"]["spec"]["completions"]):
                pods.append(Pod(jobset, job, replica, index, port))
    for pod in pods:
        if not (settings().get("pending") or settings().get("waiting")):
            pod.start()
    return pods


def watch(jobset, pods):
    """Until all pods are done: None, or the reason why their Job failed, or "deleted"."""
    name = jobset["metadata"]["name"]
    rules = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
    while True:
        if (end := ROOT / f"end-{name}").exists():
            grace = end.read_text()
            grace = None if grace == "None" else int(grace)
            if place("jobsets", name).exists():
                thing = read("jobsets", name)
                thing["metadata"]["deletionTimestamp"] = now()
                write("jobsets", thing)
            end.unlink()
            stop_all(pods, grace)
            for pod in pods:
                pod.forget()
            place("jobsets", name).unlink()
            return "deleted"
        for pod in pods:
            if (ROOT / f"evict-{pod.index}").exists():
                (ROOT / f"evict-{pod.index}").unlink()
                pod.evicted = True
                pod.stop()
            if (end := ROOT / f"end-{pod.name}").exists():
                end.unlink()
                pod.stop(0)
        statuses = [pod.poll() for pod in pods]
        if all(status == 0 for status in statuses):
            return None
        for pod, status in zip(pods, statuses, strict=True):
            if status:
                time.sleep(0.5)  # the controller takes a while, and so the others may end, too
                running = [each for each in pods if each.poll() is None]
                stop_all(running)
                for each in running:
                    each.forget()
                return reason(rules, pod, status)
        time.sleep(0.05)


def reason(rules, pod, status):
    for rule in rules:
        exits = rule.get("onExitCodes")
        matched = pod.evicted if "onPodConditions" in rule else (
            (status in exits["values"]) == (exits["operator"] == "In")
        )  # fmt: skip
        if matched:
            return "PodFailurePolicy" if rule["action"] == "FailJob" else "BackoffLimitExceeded"
    return "BackoffLimitExceeded"


def stop_all(pods, grace=None):
    for pod in pods:
        pod.stop(grace)
    while any(pod.process is not None and pod.poll() is None for pod in pods):
        for pod in pods:
            if (ROOT / f"end-{pod.name}").exists():
                pod.kill_at = 0
        time.sleep(0.05)


def finish(name, kind, message):
    thing = read("jobsets", name)
    thing["status"]["conditions"].append({"type": kind, "status": "True", "message": message})
    thing["status"]["terminalState"] = kind
    write("jobsets", thing)


if __name__ == "__main__":
    if sys.argv[1] == "controller":
        controller(sys.argv[2])
    else:
        main()
