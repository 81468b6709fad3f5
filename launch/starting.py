"""Hand a run over to its backend, or stay with it and show what it prints."""

import sys
import threading

from launch.backends import Backend, Supervisor
from launch.console import say
from launch.job import Job
from launch.outputs import follow
from launch.plan import Tools
from launch.run_folder import RunFolder


def start(backend: Backend, job: Job, tools: Tools, *, detach: bool) -> int:
    """Start a run whose launch.json is written; returns the status to exit with."""
    folder = RunFolder(job.folder)
    if detach or not isinstance(backend, Supervisor):
        backend.submit(job, tools)
        told = folder.submissions()[-1]["id"]
        say(f"{backend.name} has it as {told}; `python -m launch status {job.folder}` says more")
        return 0
    folder.note_submission({"id": "foreground"})
    over = threading.Event()
    seen = max((attempt.number for attempt in folder.attempts()), default=0)
    shown = threading.Thread(target=follow, args=(folder, seen, over, sys.stdout))
    shown.start()
    try:
        return backend.supervise(job, tools, say)
    finally:
        over.set()
        shown.join()
