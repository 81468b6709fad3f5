"""Every override is checked against the schema before anything starts."""

from collections.abc import Mapping, Sequence

from dlresearch.config import Experiment, load, split_overrides, validate
from dlresearch.config.overrides import apply
from dlresearch.config.plain import plain
from dlresearch.errors import Refused, UserError, suggest
from launch.sweeps.grammar import Overrides
from launch.sweeps.points import Point, point
from launch.sweeps.values import Choice, Draw

ALL_POINTS = 1000
"""A sweep of more points is checked at those that have a value no earlier one has: 1.7 ms each."""


class Checker:
    """The experiment of a trainer's command, whose file is read once for each set of arguments."""

    def __init__(self, base: Sequence[str]):
        self._overrides, rest = split_overrides(base)
        flags = [word.removeprefix("--config=") for word in rest if word.startswith("--config=")]
        if not flags:
            raise UserError("--config=FILE is missing; experiments/cnn/digits.py is a start")
        self._flag = flags[-1]
        self._read: dict[str, Mapping] = {}

    def experiment(self, chosen: Point) -> Experiment:
        """What the trainer would run at a point.

        Raises:
          UserError: what the trainer would say, with the point in front; Refused where the
            experiment file refuses the point.
        """
        try:
            flag = chosen.config(self._flag)
            if flag not in self._read:
                self._read[flag] = plain(load(flag))
            return validate(apply(self._read[flag], [*self._overrides, *chosen.settings]))
        except UserError as error:
            told = str(chosen) if len(str(chosen)) <= 120 else f"{str(chosen)[:117]}..."
            kind = Refused if isinstance(error, Refused) else UserError
            raise kind(f"run {chosen.index} ({told}): {error}") from error

    def check_points(self, points: Sequence[Point], objective: str | None = None) -> None:
        """All points of a grid, and that some of them may have the metric.

        Raises:
          UserError: of the first that is wrong.
        """
        seen: set[tuple[str, str]] = set()
        evaluators: set[str] = set()
        for each in points:
            if len(points) <= ALL_POINTS or not seen.issuperset(each.overrides):
                evaluators.update(self.experiment(each).evaluators)
                seen.update(each.overrides)
        _check_objective(objective, evaluators)

    def check_space(self, space: Mapping[str, Draw | Choice], objective: str | None = None) -> None:
        """Each option and both ends of each range, some together; what the file refuses is right.

        Raises:
          UserError: of the first that is wrong; no draw has an evaluator for the metric.
        """
        texts = {key: _ends(drawn) for key, drawn in space.items()}
        evaluators: set[str] = set()
        for i in range(max(map(len, texts.values()))):
            overrides: Overrides = tuple(
                (key, options[i % len(options)]) for key, options in texts.items()
            )
            try:
                evaluators.update(self.experiment(point(i, overrides)).evaluators)
            except Refused:
                continue
        if evaluators:  # else all of these were refused
            _check_objective(objective, evaluators)


def _check_objective(objective: str | None, evaluators: set[str]) -> None:
    if objective is None:
        return
    evaluator, slash, metric = objective.partition("/")
    if not slash or not metric:
        raise UserError(f"--objective={objective}: give EVALUATOR/METRIC, such as test/loss")
    valid = {*evaluators, "train"}
    if evaluator not in valid:
        hint = suggest(evaluator, valid)
        raise UserError(f"--objective={objective}: there is no evaluator {evaluator!r}; {hint}")


def _ends(drawn: Draw | Choice) -> tuple[str, ...]:
    if isinstance(drawn, Choice):
        return drawn.options
    return (text_of(drawn.low, drawn), text_of(drawn.high, drawn))


def text_of(number: float, drawn: Draw) -> str:
    """A drawn number as the run is given it: six digits."""
    return str(int(number)) if drawn.whole else f"{number:.6g}"
