"""What is Optuna's own: imported only by who searches."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlresearch.errors import UserError, suggest
from launch.sweeps.values import Choice, Draw

KINDS = ("random", "halton", "bayesian")
PRUNERS = ("none", "median", "halving")
DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class SearchOptions:
    """What a search is to find and how.

    Attributes:
      kind: one of `KINDS`. `halton` is a scrambled Halton sequence, which covers the space more
        evenly than random draws (Halton 1960); `bayesian` is a tree-structured Parzen estimator
        (Bergstra et al. 2011), whose first third, at most 10, are those of `halton`.
      trials: how many runs, in all.
      objective: a metric of result.json, such as `test/accuracy`.
      direction: one of `DIRECTIONS`.
      prune: one of `PRUNERS`. `median` stops a run that is worse than the median of the earlier
        ones at the same evaluation; `halving` lets the best third go on at evaluations 1, 3, 9 ...
        (Li et al. 2018, arXiv:1810.05934).
      seed: of all draws.
    """

    kind: str
    trials: int
    objective: str
    direction: str
    prune: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value, valid in (
            ("search", self.kind, KINDS),
            ("direction", self.direction, DIRECTIONS),
            ("prune", self.prune, PRUNERS),
        ):
            if value not in valid:
                raise UserError(f"--{flag}={value}: {suggest(value, valid)}")
        if self.trials < 1:
            raise UserError(f"--trials={self.trials}: at least 1")

    def record(self, sweep: str) -> dict[str, Any]:
        """What must be the same when the search goes on; there may be more trials."""
        return {
            "kind": self.kind,
            "sweep": sweep,
            "objective": self.objective,
            "direction": self.direction,
            "prune": self.prune,
            "seed": self.seed,
        }


def import_optuna() -> Any:
    """The package, quiet.

    Raises:
      UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("--search needs Optuna: pip install 'dlresearch[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def distributions(space: Mapping[str, Draw | Choice]) -> dict[str, Any]:
    """Optuna's words for what each setting is drawn from."""
    return {key: _distribution(each) for key, each in space.items()}


def _distribution(drawn: Draw | Choice) -> Any:
    kinds = import_optuna().distributions
    if isinstance(drawn, Choice):
        return kinds.CategoricalDistribution(drawn.options)
    if drawn.whole:
        return kinds.IntDistribution(int(drawn.low), int(drawn.high), drawn.log)
    return kinds.FloatDistribution(drawn.low, drawn.high, drawn.log)


def pruner(name: str) -> Any:
    """One of `PRUNERS`; a step of theirs is an evaluation."""
    pruners = import_optuna().pruners
    return {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    }[name]()


def sampler(
    kind: str, options: SearchOptions, space: Mapping[str, Any], *, draw: int, runs: int
) -> Any:
    """What makes a draw; a new one for each, as one that lived on would differ after a restart.

    Args:
      kind: one of `KINDS`, which need not be that of the options.
      space: Optuna's distributions.
      draw: how many draws were made before.
      runs: how many of them are runs.
    """
    optuna = import_optuna()
    seed = (options.seed + draw * 0x9E3779B97F4A7C15) % 2**32  # SplitMix64's odd increment
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if kind == "bayesian" and runs >= min(10, math.ceil(options.trials / 3)):
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)

    class Halton(optuna.samplers.QMCSampler):
        """Of the whole space from the first draw on; Optuna looks for it in earlier trials."""

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return dict(space)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Halton(qmc_type="halton", scramble=True, seed=options.seed)
