"""Random, quasi-random and Bayesian search, by Optuna; the runs are whoever's who asks.

Optuna is only asked what to try next and told what came of it, so any backend runs the trials. All
it knows is in SWEEP/optuna.journal. What is drawn next depends on the seed and on what is in the
journal, not on how often the launcher was started.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlresearch.errors import Refused, UserError, suggest
from launch.run_folder import RunFolder
from launch.sweeps.check import Checker, text_of
from launch.sweeps.grammar import Overrides
from launch.sweeps.points import Point, Sweep, point
from launch.sweeps.samplers import SearchOptions, distributions, import_optuna, pruner, sampler
from launch.sweeps.values import Choice, Draw, size_of

JOURNAL = "optuna.journal"

_NOT_OVER = ("stopped", "lost", "cancelled")
_USELESS_DRAWS = 100  # in a row, until a search says that there is nothing left to try
_PATIENCE = 10  # so many of them, and the next are drawn at random


class Search:
    """The draws of one search, in a folder that may hold a part of them already.

    Args:
      folder: of the sweep.
      sweep: its base command and, from an earlier start, its points.
      space: what each setting is drawn from.
      options: what to find and how.
      checker: refuses a draw before it runs.
    """

    def __init__(
        self,
        folder: Path,
        sweep: Sweep,
        space: Mapping[str, Draw | Choice],
        options: SearchOptions,
        checker: Checker,
    ):
        self._optuna: Any = import_optuna()
        self._folder, self._sweep, self._space = folder, sweep, space
        self._options, self._checker = options, checker
        self._distributions = distributions(space)
        folder.mkdir(parents=True, exist_ok=True)
        self._study = self._open(folder / JOURNAL)
        self._trials: dict[str, Any] = {}  # those that go on, by the name of their run
        self._states = self._optuna.trial.TrialState

    @property
    def sweep(self) -> Sweep:
        """With all points so far."""
        return self._sweep

    def points(self) -> Iterator[Point]:
        """Runs that are not over, of an earlier start, then new ones until there are enough."""
        for frozen in self._study.get_trials(states=(self._states.RUNNING,)):
            if "run" not in frozen.user_attrs:  # killed while it was drawn
                self._study.tell(frozen.number, state=self._states.FAIL)
                continue
            trial = self._optuna.trial.Trial(self._study, frozen._trial_id)
            yield self._going_on(trial, point(frozen.number, self._overrides(frozen.params)))
        while len(self._runs()) < self._options.trials:
            drawn = self._draw()
            if drawn is None:
                return
            yield drawn

    def tell(self, ended: Point, state: str, cause: str = "") -> None:
        """What became of a run, as `status` names it.

        A run that diverged is worse than any that did not; one that failed says nothing about its
        settings. One that was stopped, lost or cancelled is not over: the next start of the search
        begins with it.

        Raises:
          UserError: a run that is complete has no such metric.
        """
        trial = self._trials.pop(ended.name, None)
        if trial is None or state in _NOT_OVER:
            return
        self._report(trial, ended)
        result = self._result(ended) or {}
        objective, metrics = self._options.objective, result.get("metrics", {})
        if state == "completed" and objective not in metrics:
            hint = suggest(objective, metrics)
            raise UserError(f"--objective={objective}: run {ended.name} has no such metric; {hint}")
        value = metrics.get(objective)  # None, as JSON has no nan
        trial.set_user_attr("state", state)
        if state == "completed" and value is not None and math.isfinite(value):
            self._study.tell(trial, value)
        elif state in ("completed", "pruned") or result.get("status") == "diverged":
            self._study.tell(trial, state=self._states.PRUNED)
        else:
            trial.set_user_attr("cause", cause or str(result.get("error", "")))
            self._study.tell(trial, state=self._states.FAIL)

    def to_stop(self, going_on: Sequence[Point]) -> list[Point]:
        """Those of the runs that are not worth going on."""
        if self._options.prune == "none":
            return []
        stopped = []
        for each in going_on:
            trial = self._trials.get(each.name)
            if trial is not None and self._report(trial, each) and trial.should_prune():
                stopped.append(each)
        return stopped

    # --- one draw -------------------------------------------------------------------------------

    def _draw(self) -> Point | None:
        """The next point that is worth a run; None where none is found any more."""
        reason = ""
        if len(self._runs()) >= size_of(self._space):
            return None
        for useless in range(_USELESS_DRAWS):
            kind = "random" if useless >= _PATIENCE else self._options.kind
            self._study.sampler = sampler(
                kind,
                self._options,
                self._distributions,
                draw=len(self._study.get_trials(deepcopy=False)),
                runs=len(self._runs()),
            )
            trial = self._study.ask(fixed_distributions=self._distributions)
            drawn = point(trial.number, self._overrides(trial.params))
            same = self._runs().get(frozenset(drawn.overrides))
            try:
                if same is None:
                    self._checker.experiment(drawn)
            except Refused as refusal:
                reason = str(refusal)
                trial.set_user_attr("refused", reason)
                self._study.tell(trial, state=self._states.PRUNED)
                continue
            if same is None:
                trial.set_user_attr("run", drawn.name)
                return self._going_on(trial, drawn)
            trial.set_user_attr("same_as", same.user_attrs["run"])
            if same.state == self._states.COMPLETE:
                self._study.tell(trial, same.value)
            else:
                self._study.tell(trial, state=self._states.FAIL)
        if not self._runs():
            raise UserError(f"--sweep: the experiment refuses whatever is drawn, such as {reason}")
        return None

    def _going_on(self, trial: Any, drawn: Point) -> Point:
        self._trials[drawn.name] = trial
        names = {each.name for each in self._sweep.points}
        if drawn.name not in names:
            points = (*self._sweep.points, drawn)
            self._sweep = Sweep(self._sweep.base, points, self._sweep.search)
            self._sweep.write(self._folder)
        return drawn

    def _runs(self) -> dict[frozenset[tuple[str, str]], Any]:
        """Optuna's trials that are runs, by their overrides."""
        trials = self._study.get_trials(deepcopy=False)
        return {
            frozenset(self._overrides(trial.params)): trial
            for trial in trials
            if "run" in trial.user_attrs
        }

    def _overrides(self, drawn: Mapping[str, Any]) -> Overrides:
        return tuple(
            (key, text_of(drawn[key], each) if isinstance(each, Draw) else str(drawn[key]))
            for key, each in self._space.items()
        )

    def _open(self, path: Path) -> Any:
        if path.exists():
            # Optuna would write on behind a line that was cut off, and then read neither.
            whole = path.read_bytes().rpartition(b"\n")
            os.truncate(path, len(whole[0] + whole[1]))
        journal = self._optuna.storages.journal
        try:
            return self._optuna.create_study(
                storage=journal.JournalStorage(journal.JournalFileBackend(str(path))),
                study_name="sweep",
                direction=self._options.direction,
                pruner=pruner(self._options.prune),
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise UserError(f"{path} cannot be read as a journal of Optuna: {error}") from None

    # --- what the runs wrote --------------------------------------------------------------------

    def _result(self, of: Point) -> dict[str, Any] | None:
        return RunFolder(self._folder / "runs" / of.name).result()

    def _report(self, trial: Any, of: Point) -> bool:
        """Tells Optuna of evaluations it has not seen; whether there was one.

        They are counted, so that runs with steps of different sizes can be compared.
        """
        values = self._evaluations(of)
        known = trial.user_attrs.get("evaluations", 0)
        for i, value in enumerate(values[known:], start=known + 1):
            trial.report(value, i)
        if len(values) > known:
            trial.set_user_attr("evaluations", len(values))
        return len(values) > known

    def _evaluations(self, of: Point) -> list[float]:
        path = self._folder / "runs" / of.name / "metrics.jsonl"
        if not path.is_file():
            return []
        found = []
        for line in path.read_text().splitlines():
            try:
                value = json.loads(line).get(self._options.objective)
            except ValueError:  # the last one, which is being written
                break
            if isinstance(value, int | float) and math.isfinite(value):
                found.append(float(value))
        return found
