"""The loop: start or resume, step, record, evaluate, save, finish. The same for every task."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dlresearch import preemption
from dlresearch.config import to_dict
from dlresearch.errors import UserError, one_line, out_of_memory
from dlresearch.parallel import at_failure
from dlresearch.training.artifacts import newest_abouts, write_files
from dlresearch.training.call import Kind, Program, compiled, jit_call
from dlresearch.training.checkpoints import Checkpoints, Restored
from dlresearch.training.console import Progress, say
from dlresearch.training.evaluations import best_score
from dlresearch.training.feed import Feed
from dlresearch.training.means import Diverged, training_means
from dlresearch.training.memory import estimated_bytes
from dlresearch.training.metadata import check_vocabularies, keep_metadata
from dlresearch.training.records import Records
from dlresearch.training.report import write_report
from dlresearch.training.result import Result, content
from dlresearch.training.setup import Setup
from dlresearch.training.stages import Stage, stage_at
from dlresearch.training.state import Recorded, TrainState
from dlresearch.training.timetable import Timetable
from dlresearch.training.workdir import (
    Workdir,
    check_same_config,
    environment,
    write_json,
)

# Calls that may be on their way at once. Enough to hide the host behind the device, few enough that
# a signal does not wait long for the state.
CALLS_AHEAD = 4


def train(setup: Setup, workdir: Workdir, *, accept_changed_config: bool = False) -> Result:
    """Start the run in `workdir`, or resume it where it was, and see it to an end.

    Raises:
      UserError: the folder holds another run, or its checkpoints do not fit.
    """
    check_same_config(setup.experiment, workdir, accept_changed_config)
    run = _Run(setup, workdir)
    if run.begun:
        check_vocabularies(workdir, setup.metadata)
    if jax.process_index() == 0:  # now that the folder is known to fit, and not before
        keep_metadata(workdir, setup.metadata)
        write_json(workdir.config, to_dict(setup.experiment))
        write_json(workdir.environment, environment({"seed": setup.experiment.seed}))
        workdir.result.unlink(missing_ok=True)  # of an earlier execution
    at_failure(run.note_failure)  # in this process or in another one
    try:
        with _out_of_memory_explained(run):
            status = run.to_the_end()
    except preemption.Preempted as signal:
        run.save()
        status = "resume"
        saved = f"saved step {run.step}" if run.begun else "nothing to save yet"
        say(f"{signal} during {run.doing}: {saved}; the same command goes on from there")
    except Diverged as divergence:
        status = "diverged"
        say(f"diverged: {divergence}")
    except BaseException as error:
        with contextlib.suppress(OSError):  # of the disk, which may be what failed
            run.note_failure(one_line(error))
        raise
    return run.finish(status)


@contextlib.contextmanager
def _out_of_memory_explained(run: "_Run") -> Iterator[None]:
    """Name what the compiled steps need beside a device's complaint that it has no memory left."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if out_of_memory(error) is None:
            raise
        estimates = [estimated_bytes(each.call) for each in run.setup.programs.values()]
        largest = max((each for each in estimates if each is not None), default=None)
        needs = "" if largest is None else f"a step needs {largest / 2**30:.2f} GiB by its program"
        raise out_of_memory(error, needs) or error from error


class _Run:
    """One execution: its state, and the files it writes.

    Attributes:
      state: missing until a run that starts at step 0 has seen its first batch.
    """

    state: TrainState

    def __init__(self, setup: Setup, workdir: Workdir):
        self.setup, self.workdir, self.schedule = setup, workdir, setup.schedule
        experiment = setup.experiment
        score = best_score(experiment, lambda step, name: self.records.value(step, name))
        self.checkpoints = Checkpoints(workdir.checkpoints, score)
        self.begin = time.monotonic()
        restored = self._restore()
        self.feed: Feed | None = None
        self.step = 0 if restored is None else restored.step
        self.begun = restored is not None
        if restored is not None:
            self.state = restored.state
        self.seconds_before = 0.0 if restored is None else float(restored.facts["seconds"])
        self.records = Records(
            workdir.metrics,
            workdir.tensorboard if experiment.log.tensorboard else None,
            resume_step=-1 if restored is None else restored.step,
            write=jax.process_index() == 0,
        )
        self.timetable = Timetable(setup)
        self.progress = Progress(self.schedule.total, setup.examples_per_step)
        # (step, what was recorded up to it): fetched when the next one is due, not before.
        self.pending: tuple[int, Recorded] | None = None
        self.doing = "start-up"  # or evaluation, compilation, training

    def to_the_end(self) -> str:
        """All remaining steps; returns the status."""
        total = self.schedule.total
        for note in self.setup.notes:
            say(note)
        if not self.begun:
            self._say_what_is_loaded()  # before anything slow: it may not fit
            self.feed = self._open_feed()
            self.state = self.setup.initial_state(self.feed)
            self.begun = True
        # A copy, as every call returns one: the state itself is donated to the next call.
        recorded: Recorded = jax.tree.map(jnp.copy, self.state.recorded)
        self._events(recorded)
        if self.feed is None and self.step < total:
            self.feed = self._open_feed()
        ahead: deque[Any] = deque()
        self.progress.restart(self.step)
        while self.feed is not None and self.step < total:
            preemption.check()
            steps = self.timetable.steps_of_next_call(self.step)
            taken = self.feed.take(steps)
            stage = stage_at(self.setup.stages, self.step)
            kind = Kind(
                steps,
                stage.start,
                self.setup.order.width(self.step),
                self.setup.due(self.step, steps),
            )
            program = self.setup.programs.get(kind)
            if program is None:
                program = self._compile(kind, stage, self.feed, taken)
                self.setup.programs[kind] = program
            self.progress.flops_per_step = program.flops / kind.steps
            self.state, recorded = program.call(self.state, self.feed.resident, taken)
            self.step += steps
            self.doing = "training"
            ahead.append(recorded.finite_steps)
            if len(ahead) > CALLS_AHEAD:
                ahead.popleft().block_until_ready()
            if self.timetable.anything(self.step):
                self._events(recorded)
        self._flush()
        return "completed"

    # --- what happens between steps -------------------------------------------------------------

    def _events(self, recorded: Recorded) -> None:
        """Record, evaluate, save, in this order: a checkpoint means that all up to it is recorded.

        After a restart the restored step comes through here again. What is due and was not recorded
        before the run was stopped is done now.
        """
        step = self.step
        if step not in self.records.history:
            due, log = self.timetable.evaluations(step), self.timetable.logs(step)
            if due:
                self._flush()
                self.doing = "evaluation"
                began = time.perf_counter()
                metrics = training_means(self.setup, step, recorded) if log else {}
                variables = self.setup.evaluation_variables(self.state.variables)
                for evaluation in due:
                    outcome = evaluation.run(self.setup.predict, variables)
                    metrics |= outcome.metrics
                    later = evaluation.over_training(self.workdir.artifacts, step, outcome.files)
                    # First: what is recorded is complete.
                    self._keep(step, {**outcome.files, **later})
                self._write(step, metrics, pause=time.perf_counter() - began)
            elif log:
                self._flush()
                self.pending = (step, recorded)
        if self.timetable.saves(step):
            self.save()

    def _flush(self) -> None:
        """Write the means that were due at an earlier step."""
        if self.pending is not None:
            (step, recorded), self.pending = self.pending, None
            self._write(step, training_means(self.setup, step, recorded), pause=0.0)

    def _write(self, step: int, metrics: Mapping[str, float], pause: float) -> None:
        self.checkpoints.check()
        self.progress.pause(pause)
        if self.feed is not None:
            self.progress.waiting, self.feed.waiting = self.feed.waiting, 0.0
        rates = self.progress.rates(self.step)
        self.records.write(step, metrics)
        self.records.show(step, rates)
        say(self.progress.line(step, metrics, rates))

    def _keep(self, step: int, files: Mapping[str, bytes]) -> None:
        if jax.process_index() == 0:
            write_files(self.workdir.artifacts, step, files)
            self.records.show_images(step, files)

    def save(self) -> None:
        """Save the state of this step, once all before it is recorded."""
        if not self.begun:
            return  # the same command begins anew
        self._flush()
        self.checkpoints.save(self.step, self.state, {"seconds": self._seconds()})

    # --- start and end --------------------------------------------------------------------------

    def _open_feed(self) -> Feed:
        feed = self.setup.make_feed()
        feed.start(self.step)
        return feed

    def _restore(self) -> Restored | None:
        restored = self.checkpoints.restore_newest(self.setup.abstract_state)
        if restored is not None and restored.step > self.schedule.total:
            raise UserError(
                f"config.duration: {self.schedule.total} steps, and {self.workdir.path} is at step"
                f" {restored.step} already; take another --workdir"
            )
        if restored is not None:
            say(f"resuming from step {restored.step}")
        return restored

    def _say_what_is_loaded(self) -> None:
        loading = self.setup.loading
        if loading is not None:
            say(loading.summary())
            if jax.process_index() == 0:
                self.workdir.artifacts.mkdir(exist_ok=True)
                (self.workdir.artifacts / "loaded.txt").write_text(loading.report())

    def _compile(self, kind: Kind, stage: Stage, feed: Feed, taken: Any) -> Program:
        self.doing = "compilation"
        pick = partial(feed.pick, width=kind.width)
        step = partial(stage.step, due=kind.due)
        call = jit_call(step, pick, kind.steps, self.setup.abstract_state)
        program = compiled(call, kind.in_words(), self.state, feed.resident, taken)
        self.progress.pause(program.seconds)
        return program

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.begin

    def finish(self, status: str) -> Result:
        """Close what is open, write report.html, and result.json as the last thing."""
        if self.feed is not None:
            self.feed.close()
        self.checkpoints.close()
        metrics = self.records.latest()
        self.records.close()
        if jax.process_index() == 0:
            result = self._content(status)
            write_report(self.workdir, result)
            write_json(self.workdir.result, result)
        return Result(status, self.step, metrics)

    def note_failure(self, what: str) -> None:
        """Write result.json and leave the rest as it is; also from another thread."""
        if jax.process_index() == 0:
            write_json(self.workdir.result, {**self._content("failed"), "error": what})

    def _content(self, status: str) -> dict[str, Any]:
        metrics = self.records.latest()
        about = newest_abouts(self.workdir.artifacts)
        return content(self.setup.experiment, status, self.step, metrics, about, self._seconds())
