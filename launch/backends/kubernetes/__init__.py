"""Pods of a Kubernetes cluster: one JobSet a run, handed over and asked about by kubectl."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.backends import Finding, Seen
from launch.backends.kubernetes import doctor, logs, status
from launch.backends.kubernetes.choices import OPTIONS, check, nodes_and_chips
from launch.backends.kubernetes.code import Code, code_of, place_of
from launch.backends.kubernetes.fields import check_jobset
from launch.backends.kubernetes.kubectl import kubectl, refusal, where
from launch.backends.kubernetes.manifest import JOB_LABEL, LABEL, MANAGED, Pods, jobset
from launch.job import Job, Run, job_name
from launch.plan import File, Plan, Tools
from launch.run_folder import RunFolder


class Kubernetes:
    """A JobSet a run."""

    name = "kubernetes"
    options = OPTIONS
    arrays = False
    arrays = False
    defaults: Mapping[str, Any] = {"python": "python3"}

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises UserError for options that contradict each other, are missing or malformed."""
        check(options)

    def workdir(self, folder: Path, name: str, options: Mapping[str, Any]) -> str:
        """On a volume of the cluster."""
        return options["remote_workdir"].replace("{name}", name)

    def plan(self, job: Job) -> Plan:
        """ConfigMaps with the code, then a JobSet a run.

        Raises:
          UserError: code that is too large, or a JobSet that Kubernetes would refuse.
        """
        check(job.options)
        code = code_of(job)
        call = kubectl(job.options)
        files, commands = _code_files(job, code), []
        commands += [
            (*call, "apply", "--server-side", "--field-manager=dlresearch-launch", "--output=name",
             f"--filename={file.path}")
            for file in files[1:]
        ]  # fmt: skip
        for run in job.runs:
            files.append(self._manifest(job, run, code))
            commands.append((*call, "create", "--output=json", f"--filename={files[-1].path}"))
        remark = (
            f"{len(code.files)} files are sent as {len(code.content) >> 10} KiB in"
            f" {len(code.names)} ConfigMap(s) (sha256 {code.digest})"
        )
        return Plan(tuple(files), tuple(commands), (remark,))

    def submit(self, job: Job, tools: Tools) -> None:
        """Send the code, then the JobSets.

        Raises:
          UserError: the cluster does not take them.
          Failure: it cannot be reached.
        """
        for run in job.runs:
            if RunFolder(run.folder).submissions():
                self.fetch(RunFolder(run.folder), tools)
        plan = self.plan(job)
        for file in plan.files:
            file.write()
        place = where(job.options, tools)
        before, creations = plan.commands[: -len(job.runs)], plan.commands[-len(job.runs) :]
        for command in before:
            if (answer := tools.run(command, check=False)).status:
                raise refusal(answer)
        for run, command in zip(job.runs, creations, strict=True):
            folder = RunFolder(run.folder)
            first, name = _first_attempt(folder), _name(folder)
            if (answer := tools.run(command, check=False)).status:
                raise refusal(answer)
            created = json.loads(answer.out)["metadata"]
            folder.note_submission(
                {
                    "id": name,
                    "uid": created.get("uid"),
                    "context": place,
                    "namespace": created.get("namespace") or job.options["namespace"],
                    "first": first,
                    "nodes": nodes_and_chips(job.options)[0],
                }
            )

    def look(self, runs: Sequence[RunFolder], tools: Tools) -> Mapping[Path, Seen]:
        """From the JobSets and their pods, one question to each cluster."""
        return status.look(runs, tools)

    def cancel(self, runs: Sequence[RunFolder], tools: Tools, *, now: bool) -> None:
        """Delete the JobSets; their pods are told to stop and have the grace period to save."""
        for run in runs:
            self.fetch(run, tools)  # the logs go with the pods
        hard = ("--grace-period=0", "--force") if now else ("--cascade=foreground",)
        for place, names in status.by_place(runs).items():
            pods = (
                (*place.call, "delete", "pods", f"--selector={LABEL} in ({','.join(names)})",
                 "--ignore-not-found", "--wait=false", *hard)
            )  # fmt: skip
            sets = (
                (*place.call, "delete", "jobsets", *names, "--ignore-not-found", "--wait=false",
                 *(() if now else hard))
            )  # fmt: skip
            for command in (sets, pods) if now else (sets,):
                if (answer := tools.run(command, check=False)).status:
                    raise refusal(answer)

    def fetch(self, run: RunFolder, tools: Tools) -> None:
        """Logs and records, metrics and the result, all from what the pods have printed."""
        logs.fetch(run, tools)

    def doctor(self, options: Mapping[str, Any], tools: Tools) -> Iterator[Finding]:
        """Whether the cluster answers, knows JobSets, and takes them from this user."""
        return doctor.findings(options, tools)

    def _manifest(self, job: Job, run: Run, code: Code) -> File:
        folder = RunFolder(run.folder)
        nodes, chips = nodes_and_chips(job.options)
        pods = Pods(
            name=_name(folder),
            job=job.name,
            workdir=self.workdir(run.folder, job_name(run.folder), job.options),
            first=_first_attempt(folder),
            nodes=nodes,
            command=run.command,
            code_maps=code.names,
            digest=code.digest,
            directory=code.inside,
        )
        manifest = jobset(pods, {**job.options, "tpu_chips_per_node": chips})
        check_jobset(manifest)
        return File(folder.launch / "jobset.json", json.dumps(manifest, indent=2) + "\n")


def _code_files(job: Job, code: Code) -> list[File]:
    """The list of what is sent, then the ConfigMaps with it."""
    folder = place_of(job) / "kubernetes"
    files = [File(folder / "code.txt", "\n".join(code.files) + "\n")]
    labels = {**MANAGED, JOB_LABEL: job.name}
    for index, content in enumerate(code.config_maps(labels)):
        path = folder / f"{content['metadata']['name']}.json"
        shown = json.dumps({**content, "binaryData": code.sizes(index)}, indent=2)
        files.append(File(path, json.dumps(content, indent=2) + "\n", shown=shown))
    return files


def _name(folder: RunFolder) -> str:
    """Of the JobSet: another one each time, as the one of before may not be gone yet."""
    before = len(folder.submissions())
    return job_name(folder.path) + (f"-{before + 1}" if before else "")


def _first_attempt(folder: RunFolder) -> int:
    attempts = folder.attempts()
    return attempts[-1].number + 1 if attempts else 1
