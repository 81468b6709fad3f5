"""The manifests of the Kubernetes backend: what is sent, and that Kubernetes would take it."""

import copy
import json
import os
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from dlresearch.errors import UserError
from helpers.references import REFERENCES
from launch.backends.kubernetes import Kubernetes
from launch.backends.kubernetes.code import PIECE_BYTES, code_of
from launch.backends.kubernetes.fields import check_jobset
from launch.backends.kubernetes.manifest import escaped
from launch.job import Job, Run, job_name
from launch.options import COMMON, Option
from launch.run_folder import RunFolder

GOLDEN = Path(__file__).parent / "golden"
KINDS = {
    "cpu": {},
    "gpu": {
        "nodes": 4, "gpus_per_node": 8, "cpus": 90, "memory": "900Gi", "namespace": "research",
        "context": "lab", "queue": "team-a", "priority_class": "low", "service_account": "trainer",
        "volumes": ("runs:/runs", "/mnt/data:/data"), "env": ("NAME=a b$(HOME)",),
        "node_selector": ("cloud.google.com/gke-accelerator=nvidia-h100-80gb",),
        "tolerations": ("nvidia.com/gpu:NoSchedule", "spot=true:NoExecute", "dedicated"),
        "image_pull_policy": "Always", "ttl": 86400, "setup": ('export A="$B"',),
    },
    "tpu": {
        "tpu_accelerator": "tpu-v5-lite-podslice", "tpu_topology": "4x4", "slices": 2,
        "retry_errors": 1, "grace": 25,
    },
}  # fmt: skip


def options(**given):
    table = {option.name: option.default for option in (*COMMON, *Kubernetes.options)}
    return {**table, "python": "python3", "image": "registry.example/lab:1",
            "volumes": ("runs:/runs",), **given}  # fmt: skip


def job(folder, *, command=("python3", "train.py"), runs=None, **given) -> Job:
    code = folder / "launch" / "code" / "0123"
    code.mkdir(parents=True, exist_ok=True)
    (code / "train.py").write_text("print('x')\n")
    runs = runs or (Run(folder, command),)
    return Job(job_name(folder), folder, tuple(runs), code, options(**given))


def manifest(folder, **given) -> dict:
    (file,) = [f for f in Kubernetes().plan(job(folder, **given)).files
               if f.path.name == "jobset.json"]  # fmt: skip
    return json.loads(file.content)


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_is_what_it_was(kind, tmp_path):
    """Written by hand-checked runs; DLRESEARCH_WRITE_GOLDEN=1 writes them anew."""
    found = manifest(tmp_path / "my run", **KINDS[kind])
    text = json.dumps(found, indent=2)
    pod = found["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    # What follows from the code, and from where the test runs.
    command = pod["containers"][0]["command"]
    script = next(word for word in command if word.startswith('"""The first lines'))
    text = text.replace(json.dumps(script), '"(unpack.py)"').replace(
        found["metadata"]["name"], "NAME"
    )
    sha = command[command.index("/dlresearch/parts") + 2]
    text = text.replace(sha, "SHA256").replace(sha[:16], "SHA")
    path = GOLDEN / f"kubernetes_{kind}.json"
    if os.environ.get("DLRESEARCH_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.34"])
def test_the_job_and_its_pods_are_what_kubernetes_knows(version, tmp_path):
    """By the schemas of its API, strictly: no unknown field, no wrong kind."""
    for kind, given in KINDS.items():
        (replicated,) = manifest(tmp_path, **given)["spec"]["replicatedJobs"]
        found = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": kind},
                 **replicated["template"]}  # fmt: skip
        kubernetes_validate.validate(found, version, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            found["spec"]["template"]["spec"]["containers"][0]["comand"] = []
            kubernetes_validate.validate(found, version, strict=True)
    for content in code_of(job(tmp_path)).config_maps({"a": "b"}):
        kubernetes_validate.validate(content, version, strict=True)


JOBSET_SCHEMA = json.loads((REFERENCES / "jobset_v1alpha2.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_generated_jobsets_are_valid_by_the_schema_of_jobset(kind, tmp_path):
    jsonschema.Draft202012Validator.check_schema(JOBSET_SCHEMA)
    jsonschema.validate(manifest(tmp_path, **KINDS[kind]), JOBSET_SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
def test_golden_jobsets_are_valid_by_the_schema_of_jobset(kind):
    jsonschema.validate(_golden(kind), JOBSET_SCHEMA)


# JSON path of what is refused -> (keyword of the schema that refuses it, change to a manifest)
INVALID_JOBSETS = {
    "$": ("additionalProperties", lambda m: m.update(specs={})),
    "$.apiVersion": ("const", lambda m: m.update(apiVersion="jobset.x-k8s.io/v1")),
    "$.spec": ("additionalProperties", lambda m: m["spec"].update(sucessPolicy={})),
    "$.spec.suspend": ("type", lambda m: m["spec"].update(suspend="no")),
    "$.spec.ttlSecondsAfterFinished": (
        "minimum",
        lambda m: m["spec"].update(ttlSecondsAfterFinished=-1),
    ),
    "$.spec.successPolicy": ("required", lambda m: m["spec"].update(successPolicy={})),
    "$.spec.network": (
        "additionalProperties",
        lambda m: m["spec"]["network"].update(enableDnsHostnames=True),
    ),
    "$.spec.failurePolicy.maxRestarts": (
        "maximum",
        lambda m: m["spec"]["failurePolicy"].update(maxRestarts=2**31),
    ),
    "$.spec.failurePolicy.restartStrategy": (
        "enum",
        lambda m: m["spec"]["failurePolicy"].update(restartStrategy="Restart"),
    ),
    "$.spec.failurePolicy.rules[0]": (
        "required",
        lambda m: m["spec"]["failurePolicy"]["rules"][0].pop("name"),
    ),
    "$.spec.failurePolicy.rules[0].action": (
        "enum",
        lambda m: m["spec"]["failurePolicy"]["rules"][0].update(action="FailJobset"),
    ),
    "$.spec.replicatedJobs[0]": (
        "additionalProperties",
        lambda m: m["spec"]["replicatedJobs"][0].update(replica=2),
    ),
    "$.spec.replicatedJobs[0].replicas": (
        "type",
        lambda m: m["spec"]["replicatedJobs"][0].update(replicas="1"),
    ),
    "$.spec.replicatedJobs[0].template": (
        "additionalProperties",
        lambda m: m["spec"]["replicatedJobs"][0]["template"].update(parallelism=4),
    ),
    "$.spec.replicatedJobs[0].template.spec": ("required", lambda m: _job(m).pop("template")),
    "$.spec.replicatedJobs[0].dependsOn": (
        "maxItems",
        lambda m: m["spec"]["replicatedJobs"][0].update(
            dependsOn=[{"name": name, "status": "Ready"} for name in "ab"]
        ),
    ),
}


@pytest.mark.parametrize("path", INVALID_JOBSETS)
def test_the_schema_of_jobset_refuses_an_invalid_jobset(path):
    keyword, change = INVALID_JOBSETS[path]
    bad = _golden("gpu")
    change(bad)
    (error,) = jsonschema.Draft202012Validator(JOBSET_SCHEMA).iter_errors(bad)
    assert (error.json_path, error.validator) == (path, keyword)


def _golden(kind):
    return json.loads((GOLDEN / f"kubernetes_{kind}.json").read_text())


def _job(found):
    return found["spec"]["replicatedJobs"][0]["template"]["spec"]


def _pod(found):
    return _job(found)["template"]["spec"]


BREAK = {
    "spec.sucessPolicy is no field; did you mean": lambda m: m["spec"].update(sucessPolicy={}),
    "failurePolicy.rules[0].name is missing": lambda m: m["spec"]["failurePolicy"]["rules"][0].pop(
        "name"
    ),
    "rules[0].action is 'FailJobset'; did you mean 'FailJobSet'": lambda m: m["spec"][
        "failurePolicy"
    ]["rules"][0].update(action="FailJobset"),
    "onJobFailureReasons[0] is 'PodFailure'": lambda m: m["spec"]["failurePolicy"]["rules"][
        0
    ].update(onJobFailureReasons=["PodFailure"]),
    "metadata.name is 'Run_1', which is no label": lambda m: m["metadata"].update(name="Run_1"),
    "metadata.name is '1-run', which is no label of RFC 1035": lambda m: m["metadata"].update(
        name="1-run"
    ),
    "characters, and 63 are the most": lambda m: m["metadata"].update(name="r" * 52),
    "replicas is 0": lambda m: m["spec"]["replicatedJobs"][0].update(replicas=0),
    "replicas is '1'": lambda m: m["spec"]["replicatedJobs"][0].update(replicas="1"),
    "restartPolicy is 'Always'": lambda m: _pod(m).update(restartPolicy="Always"),
    "command[0] is no text": lambda m: _pod(m)["containers"][0].update(command=[1]),
    "containers[0].image is ' x'": lambda m: _pod(m)["containers"][0].update(image=" x"),
    "the volume data is mounted, and not there": lambda m: _pod(m)["containers"][0][
        "volumeMounts"
    ].append({"name": "data", "mountPath": "/data"}),
    "two volumes are mounted at /runs": lambda m: _pod(m)["containers"][0]["volumeMounts"].append(
        {"name": "code", "mountPath": "/runs"}
    ),
    "limits[nvidia.com/gpu] is 'many'": lambda m: _pod(m)["containers"][0].update(
        resources={"limits": {"nvidia.com/gpu": "many"}}
    ),
    "backoffLimit is missing": lambda m: _job(m).pop("backoffLimit"),
    "labels[x] is 'a b', which is no value of a label": lambda m: m["metadata"]["labels"].update(
        x="a b"
    ),
}


@pytest.mark.parametrize("wrong", BREAK)
def test_what_kubernetes_would_refuse_is_not_sent(wrong, tmp_path):
    good = manifest(tmp_path)
    check_jobset(good)
    bad = copy.deepcopy(good)
    BREAK[wrong](bad)
    with pytest.raises(UserError) as refused:
        check_jobset(bad)
    assert wrong in str(refused.value)


@pytest.mark.parametrize("name", ["x" * 200, "Ünï cödé", "a; rm -rf $(HOME)", "-", "9"])
def test_any_folder_has_a_name_that_kubernetes_takes(name, tmp_path):
    """Also for the last of a thousand pods, and when it was started for the hundredth time."""
    folder = tmp_path / name
    for _ in range(99):
        RunFolder(folder).note_submission({"id": "x"})
    found = manifest(folder, nodes=1000)
    assert found["metadata"]["name"].endswith("-100")


def test_what_is_typed_is_read_by_nobody_on_the_way(tmp_path):
    """`$(NAME)` would be replaced by Kubernetes; nothing else in a manifest is interpreted."""
    words = ("a b", "$(HOME)", "$$", "'; rm -rf /", '"$HOME"', "`x`", "new\nline", "日本")
    command = _pod(manifest(tmp_path, command=words))["containers"][0]["command"]
    assert command[-len(words) :] == [escaped(word) for word in words]
    assert escaped("$(A) $$ $B $") == "$$(A) $$$$ $$B $$"


def test_processes_find_each_other_where_nobody_else_tells_them(tmp_path):
    def variables(**given):
        found = manifest(tmp_path, **given)
        return found["metadata"]["name"], {
            each["name"]: each.get("value") for each in _pod(found)["containers"][0]["env"]
        }

    name, several = variables(nodes=3)
    assert several["JAX_COORDINATOR_ADDRESS"] == f"{name}-run-0-0.{name}:8476"
    assert several["JAX_NUM_PROCESSES"] == "3"
    for _, found in (variables(), variables(**KINDS["tpu"])):
        assert not [each for each in found if each.startswith("JAX_")]


def test_the_topology_of_tpus_says_how_many_nodes(tmp_path):
    found = manifest(tmp_path, **KINDS["tpu"])
    assert _job(found)["parallelism"] == 4
    assert _pod(found)["containers"][0]["resources"] == {"limits": {"google.com/tpu": "4"}}
    small = manifest(tmp_path, tpu_accelerator="tpu-v5-lite-podslice", tpu_topology="1x1")
    assert _job(small)["parallelism"] == 1
    assert _pod(small)["containers"][0]["resources"] == {"limits": {"google.com/tpu": "1"}}


MISTAKES = {
    "--image is missing": {"image": None},
    "--image is 'a b', which is no image": {"image": "a b"},
    "--image is 'registry.example/Lab', which is no image, such as": {
        "image": "registry.example/Lab"
    },
    "--namespace is 'A_b', which is no label of RFC 1123": {"namespace": "A_b"},
    "--memory is '64 GB', which is no quantity": {"memory": "64 GB"},
    "--tpu_topology is '4,4'": {"tpu_topology": "4,4", "tpu_accelerator": "x"},
    "--tpu_topology and --tpu_accelerator belong together": {"tpu_topology": "4x4"},
    "--nodes=3: --tpu_topology=4x4 has 4 nodes of 4 chips": {**KINDS["tpu"], "nodes": 3},
    "has 16 chips, which --tpu_chips_per_node=3 does not divide": {
        **KINDS["tpu"], "tpu_chips_per_node": 3},
    "a pod has one kind of accelerator": {**KINDS["tpu"], "gpus_per_node": 1},
    "--slices is for TPUs": {"slices": 2},
    "--node_selector='zone': it is not LABEL=VALUE": {"node_selector": ("zone",)},
    "--node_selector='a b=c': that is no label of a node": {"node_selector": ("a b=c",)},
    "--tolerations='spot:Now': its effect is 'Now'": {"tolerations": ("spot:Now",)},
    "--volumes='runs': it is not CLAIM:/PLACE": {"volumes": ("runs",)},
    "--volumes='My Runs:/runs': 'My Runs' is no name": {"volumes": ("My Runs:/runs",)},
    "--volumes='runs:/dev/shm': /dev/shm is taken": {"volumes": ("runs:/dev/shm",)},
    "two volumes are mounted at /runs": {"volumes": ("a:/runs", "b:/runs")},
    "is on none of the volumes, so that checkpoints would go": {"volumes": ()},
    "--remote_workdir=/runs/x: without {name}": {"remote_workdir": "/runs/x"},
    "--remote_workdir is 'runs/{name}', which is no absolute path": {
        "remote_workdir": "runs/{name}"},
    "--nosnapshot: nothing of this machine is in the pods": {"snapshot": False},
}  # fmt: skip


@pytest.mark.parametrize("wrong", MISTAKES)
def test_a_mistake_in_the_options_is_one_line(wrong, tmp_path):
    with pytest.raises(UserError) as mistake:
        Kubernetes().plan(job(tmp_path, **MISTAKES[wrong]))
    assert wrong in str(mistake.value) and "\n" not in str(mistake.value)


def test_options_have_forms_that_their_flags_can_have():
    for option in Kubernetes.options:
        assert isinstance(option, Option) and option.help.endswith(".")
        if option.default is not None:
            option.check(option.default, option.name)


# --- the code -----------------------------------------------------------------------------------


def test_equal_code_is_equal_bytes_whenever_it_was_written(tmp_path):
    one, other = job(tmp_path / "a"), job(tmp_path / "b")
    os.utime(other.code / "train.py", (1, 1))
    (other.code / "train.py").chmod(0o600)
    assert code_of(one).content == code_of(other).content
    (other.code / "train.py").chmod(0o755)
    assert code_of(one).digest != code_of(other).digest


def test_a_large_snapshot_is_several_config_maps_below_the_limit(tmp_path):
    large = job(tmp_path)
    (large.code / "weights.bin").write_bytes(os.urandom(2 * PIECE_BYTES))
    code = code_of(large)
    assert len(code.names) == 3
    assert max(len(json.dumps(each)) for each in code.config_maps({})) < 3 << 19  # of a request
    files = Kubernetes().plan(large).files
    assert all(len(file.shown) < 1000 for file in files if file.shown is not None)


def test_a_snapshot_that_does_not_fit_is_one_line(tmp_path):
    large = job(tmp_path)
    (large.code / "weights.bin").write_bytes(os.urandom(9 << 20))
    with pytest.raises(UserError, match=r"9\.\d MiB .* its largest file is weights\.bin"):
        Kubernetes().plan(large)
    plan = Kubernetes().plan(job(tmp_path, code="image"))  # has it already
    assert "weights.bin" not in plan.files[0].content


def test_a_sweep_sends_its_code_once(tmp_path):
    folders = [tmp_path / "runs" / f"{index:04}-abc" for index in range(3)]
    sweep = job(tmp_path, runs=[Run(folder, ("python3", "x.py")) for folder in folders])
    verbs = [
        next(w for w in c if w in ("apply", "create")) for c in Kubernetes().plan(sweep).commands
    ]
    assert verbs == ["apply", "create", "create", "create"]
