"""A sweep that is started, or gone on with: each run a folder of its own in SWEEP/runs."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from dlresearch.errors import Failure, UserError, one_line
from launch.asked import Asked
from launch.backends import Supervisor
from launch.console import say
from launch.job import Job, Run, job_name
from launch.look import look
from launch.plan import File, Plan, Tools
from launch.run_folder import RunFolder
from launch.starting import start
from launch.states import Standing
from launch.sweeps.points import Point, Sweep
from launch.sweeps.pool import Pool
from launch.sweeps.search import Search
from launch.sweeps.table import rows_of, write_tables

_RETRIED = ("failed", "cancelled")
_TOGETHER = "together"
_TABLES_SECONDS = 10.0  # between two looks at all runs of a sweep


class Going:
    """The runs of a sweep and what becomes of them.

    Args:
      asked: for the sweep; its command is what the runs share.
      search: draws further points; None for a grid.
      chosen: the flags of `sweep`.
    """

    def __init__(
        self,
        asked: Asked,
        sweep: Sweep,
        search: Search | None,
        chosen: Mapping[str, Any],
        tools: Tools,
    ):
        self._asked, self._sweep, self._search = asked, sweep, search
        self._chosen, self._tools = chosen, tools
        self._folder = RunFolder(asked.folder)
        self._again = frozenset({"stopped", "lost", *(_RETRIED if chosen["retry"] else ())})
        if chosen["vectorised"] and asked.backend.name not in ("local", "slurm"):
            raise UserError(f"--vectorised runs on local and slurm, not on {asked.backend.name}")
        if chosen["vectorised"] and any(each.arguments for each in sweep.points):
            raise UserError(
                "--vectorised: runs may differ in settings, not in arguments of the experiment"
                f" file such as {sweep.points[0].arguments[0][0]!r}"
            )

    @property
    def is_handed_over(self) -> bool:
        """Whether a scheduler keeps it going, so that nobody needs to stay."""
        arrays = self._asked.backend.arrays and self._search is None
        alone = not isinstance(self._asked.backend, Supervisor)
        return arrays or (self._chosen["vectorised"] and alone)

    def write(self) -> None:
        """What is asked for, and the code."""
        self._asked.file().write()
        if self._asked.snapshot:
            self._asked.snapshot.copy(self._folder.launch / "code")
        for name in ("cancelled", "pruned"):
            (self._folder.launch / name).unlink(missing_ok=True)
        self._sweep.write(self._asked.folder)

    def plan(self) -> Plan:
        """What a first start would write and run; of a search, its first run is not known."""
        if self._sweep.search is not None:
            remark = "a search draws its runs one after another; each is as `run` prints it"
            return Plan((self._asked.file(),), (), (remark,))
        if self._chosen["vectorised"]:
            plan = self._asked.backend.plan(self._together().job())
            files = (self._asked.file(), self._points_file(self._sweep.points), *plan.files)
            return Plan(files, plan.commands, plan.remarks)
        backend, asked = self._asked.backend, [self._asked_of(each) for each in self._sweep.points]
        jobs = [self._job(self._sweep.points)] if backend.arrays else [run.job() for run in asked]
        plans = [backend.plan(job) for job in jobs]
        return Plan(
            (self._asked.file(), *(run.file() for run in asked), *chain(*(p.files for p in plans))),
            tuple(chain(*(plan.commands for plan in plans))),
            tuple(dict.fromkeys(chain(*(plan.remarks for plan in plans)))),
        )

    def run(self) -> int:
        """Start what is missing and see it through; 0 where all runs have completed."""
        before = self._look(self._sweep.points)
        missing = [each for each in self._sweep.points if self._is_due(before[each.name])]
        told = f"{len(self._sweep.points)} runs, {len(missing)} to start"
        say(f"a search, {told}" if self._search else told)
        if self._chosen["vectorised"]:
            status = self._run_together(missing) if missing else 0
        elif self.is_handed_over:
            status = self._hand_over(missing) if missing else 0
        else:
            status = self._stay(before)
        standing = self._look(self._points())
        self._write_tables(standing)
        failed = any(each.state != "completed" for each in standing.values())
        if self.is_handed_over:
            return status
        say(f"the results are in {self._asked.folder / 'results.md'}")
        return status or int(failed and self._search is None)

    # --- ways to go on --------------------------------------------------------------------------

    def _hand_over(self, missing: Sequence[Point]) -> int:
        for each in missing:
            self._prepare(each)
        self._asked.backend.submit(self._job(missing), self._tools)
        say(f"`python -m launch status {self._asked.folder}` says how they stand")
        return 0

    def _run_together(self, missing: Sequence[Point]) -> int:
        """All of them as one run, in a folder of its own."""
        for each in missing:
            self._prepare(each)
        self._points_file(missing).write()
        together = self._together()
        together.file().write()
        RunFolder(together.folder).forget_the_end()
        return start(together.backend, together.job(), self._tools, detach=False)

    def _stay(self, before: Mapping[str, Standing]) -> int:
        """Start runs while there is room, until all have ended."""
        pool = Pool(
            start=self._start,
            state=lambda each: self._look([each])[each.name].state,
            max_parallel=self._chosen["max_parallel"],
            poll_seconds=1.0 if self._asked.backend.name == "local" else 15.0,
            again=self._again,
            watch=self._watch,
        )
        over = {name for name, each in before.items() if each.is_final and not self._is_due(each)}
        source = self._search.points() if self._search else iter(self._sweep.points)
        written = 0.0
        try:
            for each, state in pool.run(self._until_cancelled(source)):
                standing = self._look([each])[each.name]
                if self._search:
                    self._search.tell(each, state, standing.detail)
                if each.name in over:
                    continue
                say(f"{each.name} {state}{self._value(each)} ({each}) {standing.detail}".rstrip())
                if time.monotonic() > written + _TABLES_SECONDS:
                    self._write_tables(self._look(self._points()))
                    written = time.monotonic()
        except KeyboardInterrupt:
            say("what is running goes on by itself; `cancel` ends it, the same command goes on")
            return 130
        return 0

    def _start(self, each: Point) -> None:
        self._prepare(each)
        asked = self._asked_of(each)
        try:
            self._asked.backend.submit(asked.job(), self._tools)
        except (UserError, Failure) as error:
            raise type(error)(f"run {each.name}: {one_line(error)}") from error
        say(f"{each.name} started ({each})")

    def _watch(self, going: Sequence[Point]) -> None:
        """Fetches what a search judges by, and ends what is not worth going on."""
        if self._search is None or self._chosen["prune"] == "none":
            return
        for each in going:
            self._asked.backend.fetch(self._run_folder(each), self._tools)
        for each in self._search.to_stop(going):
            run = self._run_folder(each)
            run.note_cancelled(pruned=True)
            self._asked.backend.cancel([run], self._tools, now=False)

    def _until_cancelled(self, points: Any) -> Any:
        for each in points:
            if self._folder.cancelled:
                say("the sweep is cancelled; no further runs are started")
                return
            yield each

    # --- its runs -------------------------------------------------------------------------------

    def _points(self) -> tuple[Point, ...]:
        return self._search.sweep.points if self._search else self._sweep.points

    def _run_folder(self, each: Point) -> RunFolder:
        return RunFolder(self._asked.folder / "runs" / each.name)

    def _asked_of(self, each: Point) -> Asked:
        folder = self._run_folder(each).path
        where = self._asked.backend.workdir(folder, job_name(folder), self._asked.values)
        return replace(
            self._asked,
            verb="run",
            folder=folder,
            command=(*each.command(self._asked.command), f"--workdir={where}"),
            more={"sweep": str(self._asked.folder), "overrides": each.overrides},
        )

    def _together(self) -> Asked:
        words = ["dlresearch.train_vectorised" if word == "dlresearch.train" else word
                 for word in self._asked.command]  # fmt: skip
        points = self._points_file(()).path
        command = (*words, f"--workdir={self._asked.folder}", f"--points={points}")
        more = {"sweep": str(self._asked.folder)}
        folder = self._asked.folder / _TOGETHER
        return replace(self._asked, verb="run", folder=folder, command=command, more=more)

    def _points_file(self, points: Sequence[Point]) -> File:
        content = [
            {"folder": str(self._run_folder(each).path), "overrides": each.overrides}
            for each in points
        ]
        return File(self._folder.launch / "points.json", json.dumps(content, indent=1) + "\n")

    def _job(self, points: Sequence[Point]) -> Job:
        runs = [Run(self._run_folder(each).path, self._asked_of(each).command) for each in points]
        return Job(
            job_name(self._asked.folder),
            self._asked.folder,
            tuple(runs),
            self._asked.code,
            self._asked.values,
            self._chosen["max_parallel"],
            self._asked.snapshot,
        )

    def _prepare(self, each: Point) -> None:
        run = self._run_folder(each)
        self._asked_of(each).file().write()
        run.forget_the_end()

    def _is_due(self, standing: Standing) -> bool:
        return standing.state == "unstarted" or standing.state in self._again

    def _look(self, points: Sequence[Point]) -> dict[str, Standing]:
        folders = {each.name: self._run_folder(each) for each in points}
        found = look(list(folders.values()), self._tools)
        return {name: found[folder.path] for name, folder in folders.items()}

    def _write_tables(self, standing: Mapping[str, Standing]) -> None:
        points = self._points()
        rows = rows_of(self._asked.folder, points, lambda each: standing[each.name].state)
        write_tables(self._asked.folder, rows, self._chosen["objective"], self._chosen["direction"])

    def _value(self, each: Point) -> str:
        metrics = (self._run_folder(each).result() or {}).get("metrics", {})
        objective = self._chosen["objective"]
        return f", {objective} {metrics[objective]:.5g}" if objective in metrics else ""
