"""What the pods have printed, brought into the folder of the run.

Nothing else comes out of a cluster without more rights than reading logs: the records of processes,
the metrics and the result are lines of the log that `launch.on_host.pod` marks.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.backends.kubernetes.kubectl import Place, refusal
from launch.backends.kubernetes.manifest import CONTAINER
from launch.backends.kubernetes.status import (
    Object,
    began,
    by_place,
    objects,
    process_of,
    restart_of,
    seconds,
    terminated,
)
from launch.on_host.pod import MARK
from launch.on_host.process import last_error, write_record
from launch.on_host.records import Process, read_attempt
from launch.plan import Tools, write_at_once
from launch.run_folder import RunFolder

_MARKED = re.compile(rf"\n{re.escape(MARK)}(\{{.*\}})\n")


@dataclass
class Printed:
    """A log, taken apart.

    Attributes:
      text: without the marked lines, as the process has printed it.
      metrics: parts of metrics.jsonl with where in bytes each begins.
      history: records of all attempts, if there were some.
      record: of this process, with the number of its attempt, once it has ended.
    """

    text: str
    metrics: list[tuple[int, bytes]] = field(default_factory=list)
    history: Sequence[Mapping[str, Any]] = ()
    result: str | None = None
    checkpoint: int | None = None
    record: Process | None = None
    attempt: int | None = None


def take_apart(log: str) -> Printed:
    """Separate what a process printed from what was put between."""
    printed = Printed(_MARKED.sub("", log))
    for match in _MARKED.finditer(log):
        try:
            told = json.loads(match[1])
        except ValueError:
            continue  # cut off while it was read
        if "metrics" in told:
            printed.metrics.append((told["at"], told["metrics"].encode()))
        elif "history" in told:
            printed.history = told["history"]
        elif "checkpoint" in told:
            printed.checkpoint = told["checkpoint"]
        elif "result" in told:
            printed.result = told["result"]
        elif "record" in told:
            printed.record, printed.attempt = Process(**told["record"]), told["attempt"]
    return printed


def fetch(run: RunFolder, tools: Tools) -> None:
    """Bring everything that is not here yet.

    Raises:
      UserError, Failure: the cluster cannot be asked.
    """
    for place, names in by_place([run]).items():
        for name in names:
            _, pods = objects(place, [name], tools)
            submission = run.submissions()[-1]
            for pod in pods:
                _fetch_pod(run, pod, submission, place, tools)


def _fetch_pod(
    run: RunFolder, pod: Object, submission: Mapping[str, Any], place: Place, tools: Tools
) -> None:
    start = began(pod)
    if start is None:
        return
    number = process_of(pod, submission["nodes"])
    attempt = run.launch / "attempts" / str(submission["first"] + restart_of(pod))
    ended = {each.process for each in read_attempt(attempt).processes if each.ended}
    end = terminated(pod)
    if end and number in ended and (attempt / f"process-{number}.log").exists():
        return  # all of it is here
    answer = tools.run(
        [*place.call, "logs", pod["metadata"]["name"], f"--container={CONTAINER}"], check=False
    )
    if answer.status:
        if "not found" in answer.err or "waiting to start" in answer.err:
            return  # it has gone, or is not there yet
        raise refusal(answer)
    printed = take_apart(answer.out)
    for each in printed.history:
        folder = run.launch / "attempts" / str(each["attempt"])
        for process in each["processes"]:
            _write_record(folder, Process(**process))
        write_at_once(folder / "step", "" if each["step"] is None else str(each["step"]))
    if printed.attempt is not None:
        attempt = run.launch / "attempts" / str(printed.attempt)
    log = attempt / f"process-{number}.log"
    write_at_once(log, printed.text)
    host = pod["spec"].get("nodeName", "")
    record = printed.record
    if record is None:
        code = end["exitCode"] if end else None
        record = Process(
            process=number,
            host=host,
            pid=0,
            started=start,
            ended=seconds(end.get("finishedAt")) if end else None,
            exit=128 - code if code is not None and code > 128 else code,
            error=last_error(log) if code else None,
        )
    _write_record(attempt, record)
    if printed.metrics:
        _write_metrics(run.path / "metrics.jsonl", printed.metrics)
    if printed.checkpoint is not None:
        write_at_once(run.launch / "newest_checkpoint", str(printed.checkpoint))
    if printed.result is not None:
        write_at_once(run.path / "result.json", printed.result)


def _write_record(folder: Path, record: Process) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"process-{record.process}.json"
    if record.ended is None and path.exists():
        return  # what is here says as much, or more
    write_record(path, record)


def _write_metrics(path: Path, parts: Sequence[tuple[int, bytes]]) -> None:
    """Put the parts where they were; the beginning may be missing, as a node keeps no long logs."""
    content = b""
    for begin, part in parts:
        if begin > len(content) and path.exists():
            content = path.read_bytes()
        content = content[:begin] + part
    write_at_once(path, content.decode(errors="replace"))
