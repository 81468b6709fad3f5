"""The loop over steps that several runs make together, each with the files of a run of its own."""

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch import preemption
from dlresearch.config import Experiment, config_hash, to_dict
from dlresearch.errors import UserError, one_line
from dlresearch.parallel import at_failure
from dlresearch.training.artifacts import newest_abouts, write_files
from dlresearch.training.call import Kind, Program
from dlresearch.training.checkpoints import Checkpoints
from dlresearch.training.console import Progress, say
from dlresearch.training.evaluations import Evaluation, best_score
from dlresearch.training.loop import CALLS_AHEAD
from dlresearch.training.means import Diverged, training_means
from dlresearch.training.metadata import keep_metadata
from dlresearch.training.records import Records
from dlresearch.training.result import Result, content
from dlresearch.training.setup import Setup
from dlresearch.training.state import Recorded, TrainState
from dlresearch.training.timetable import Timetable
from dlresearch.training.vectorised.together import Together
from dlresearch.training.workdir import (
    Workdir,
    check_same_config,
    environment,
    read_json,
    write_json,
)

SHARING = "vectorised_runs"
"""In result.json and environment.json: how many runs the process made, and shared its time."""


@dataclass(frozen=True)
class RunOf:
    """One run to make: what, and where."""

    experiment: Experiment
    workdir: Workdir

    def is_complete(self) -> bool:
        """Whether its folder holds it already.

        Raises:
          UserError: the folder holds another run, or one that `dlresearch train` began.
        """
        check_same_config(self.experiment, self.workdir, accept_changed=False)
        result = read_json(self.workdir.result) or {}
        if result.get("status") == "completed":
            if result.get("config_hash") not in (None, config_hash(self.experiment)):
                raise UserError(
                    f"--points: {self.workdir.path} holds a completed run with other settings; take"
                    " another folder"
                )
            return True
        alone = SHARING not in (read_json(self.workdir.environment) or {})
        if alone and any(self.workdir.checkpoints.glob("[0-9]*")):
            raise UserError(
                f"--points: {self.workdir.path} holds checkpoints of a run that `dlresearch train`"
                " began; finish it there, or delete the folder"
            )
        return False


def train_together(runs: Sequence[RunOf]) -> list[Result]:
    """Make these runs from step 0 to their end, all at once.

    Raises:
      UserError: they cannot be made together.
      Preempted: a signal; nothing is kept of runs that are not over but their records.
    """
    began = time.monotonic()
    together = Together([run.experiment for run in runs])
    loop = _Loop(together, runs, began)
    at_failure(loop.note_failure)
    try:
        loop.to_the_end()
    except preemption.Preempted:
        loop.finish_all("resume")
        raise
    except BaseException as error:
        with contextlib.suppress(OSError):  # of the disk, which may be what failed
            loop.note_failure(one_line(error))
        raise
    return [each.result for each in loop.members if each.result is not None]


class _Member:
    """One of the runs: its folder and what was written to it.

    Attributes:
      result: None until it is over.
    """

    def __init__(self, run: RunOf, setup: Setup, judge: Setup, count: int):
        self.run, self.setup, self.judge, self.count = run, setup, judge, count
        self.result: Result | None = None
        workdir, experiment = run.workdir, run.experiment
        if workdir.checkpoints.exists():  # of an execution that did not end as it should
            shutil.rmtree(workdir.checkpoints)
        keep_metadata(workdir, setup.metadata)
        write_json(workdir.config, to_dict(experiment))
        notes = {"seed": experiment.seed, SHARING: count}
        write_json(workdir.environment, environment(notes))
        workdir.result.unlink(missing_ok=True)
        self.records = Records(
            workdir.metrics,
            workdir.tensorboard if experiment.log.tensorboard else None,
            resume_step=-1,
            write=True,
        )

    def evaluate(self, due: Sequence[Evaluation], step: int, state: TrainState) -> dict[str, float]:
        variables = self.judge.evaluation_variables(state.variables)
        artifacts, metrics = self.run.workdir.artifacts, {}
        for name in (each.name for each in due):
            evaluation = self.judge.evaluations[name]
            outcome = evaluation.run(self.judge.predict, variables)
            metrics |= outcome.metrics
            later = evaluation.over_training(artifacts, step, outcome.files)
            files = {**outcome.files, **later}
            write_files(artifacts, step, files)
            self.records.show_images(step, files)
        return metrics

    def save(self, step: int, state: TrainState, seconds: float) -> None:
        score = best_score(self.run.experiment, lambda step, name: self.records.value(step, name))
        checkpoints = Checkpoints(self.run.workdir.checkpoints, score)
        checkpoints.save(step, state, {"seconds": seconds})
        checkpoints.close()

    def finish(self, status: str, step: int, seconds: float) -> None:
        """Write result.json. No report.html: drawing it takes longer than many a small run."""
        metrics = self.records.latest()
        self.records.close()
        write_json(self.run.workdir.result, self.content(status, step, seconds))
        self.result = Result(status, step, metrics)

    def content(self, status: str, step: int, seconds: float) -> dict[str, Any]:
        """What result.json holds; the seconds are those of all runs."""
        about = newest_abouts(self.run.workdir.artifacts)
        metrics, experiment = self.records.latest(), self.run.experiment
        result = content(experiment, status, step, metrics, about, seconds)
        return {**result, SHARING: self.count}


class _Loop:
    """One execution of all."""

    def __init__(self, together: Together, runs: Sequence[RunOf], began: float):
        self.together, self.began, self.step = together, began, 0
        self.members = [
            _Member(run, setup, together.judge(number), len(runs))
            for number, (run, setup) in enumerate(zip(runs, together.setups, strict=True))
        ]
        first = together.first
        self.total, self.timetable = first.schedule.total, Timetable(first)
        self.progress = Progress(self.total, first.examples_per_step * len(runs))

    def to_the_end(self) -> None:
        """All steps."""
        together = self.together
        for note in together.first.notes:
            say(note)
        if (loading := together.first.loading) is not None:
            say(loading.summary())
        try:
            self._steps(together.initial_state())
        finally:
            for feed in together.feeds:
                feed.close()

    def _steps(self, state: TrainState) -> None:
        together, programs = self.together, dict[Kind, Program]()
        resident = together.feeds[0].resident
        # A copy, as every call returns one: the state itself is donated to the next call.
        self._events(state, jax.tree.map(jnp.copy, state.recorded))
        ahead: deque[Any] = deque()
        self.progress.restart(0)
        while self.step < self.total and self._going_on():
            preemption.check()
            steps = self.timetable.steps_of_next_call(self.step)
            taken, kind = together.take(steps), together.kind(self.step, steps)
            if kind not in programs:
                programs[kind] = together.compile(kind, state, taken)
                self.progress.flops_per_step = programs[kind].flops / kind.steps
                self.progress.pause(programs[kind].seconds)
            state, recorded = programs[kind].call(state, resident, taken)
            self.step += steps
            ahead.append(recorded.finite_steps)
            if len(ahead) > CALLS_AHEAD:
                ahead.popleft().block_until_ready()
            if self.timetable.anything(self.step):
                self._events(state, recorded)

    def _going_on(self) -> list[tuple[int, _Member]]:
        return [(n, member) for n, member in enumerate(self.members) if member.result is None]

    def _events(self, state: TrainState, recorded: Recorded) -> None:
        """Record and evaluate each run, and end those that are over."""
        due, log = self.timetable.evaluations(self.step), self.timetable.logs(self.step)
        over = self.step == self.total
        if not due and not log:
            return
        on_host, began, rows = jax.device_get(recorded), time.perf_counter(), []
        for number, member in self._going_on():
            try:
                mine = self.together.recorded_of(on_host, number)
                metrics = training_means(member.setup, self.step, mine) if log else {}
            except Diverged as divergence:
                say(f"{member.run.workdir.path} diverged: {divergence}")
                member.finish("diverged", self.step, self._seconds())
                continue
            if due or over:
                one = self.together.state_of(state, number)
                metrics |= member.evaluate(due, self.step, one)
                if over:
                    member.records.write(self.step, metrics)
                    member.save(self.step, one, self._seconds())
                    member.finish("completed", self.step, self._seconds())
                    rows.append(metrics)
                    continue
            member.records.write(self.step, metrics)
            rows.append(metrics)
        if due:
            self.progress.pause(time.perf_counter() - began)
        self.progress.waiting = sum(feed.waiting for feed in self.together.feeds)
        for feed in self.together.feeds:
            feed.waiting = 0.0
        if rows:
            rates = self.progress.rates(self.step)
            say(f"mean of {len(rows)}: {self.progress.line(self.step, _mean(rows), rates)}")

    def finish_all(self, status: str) -> None:
        """End what is not over with this status."""
        for _, member in self._going_on():
            member.finish(status, self.step, self._seconds())

    def note_failure(self, what: str) -> None:
        """Write the result.json of what is not over; also from another thread."""
        for _, member in self._going_on():
            result = member.content("failed", self.step, self._seconds())
            write_json(member.run.workdir.result, {**result, "error": what})

    def _seconds(self) -> float:
        return time.monotonic() - self.began


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each metric that all have."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}
