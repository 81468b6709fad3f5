"""Runs that nobody trains: their result is a formula of their settings."""

import json
import math
from collections.abc import Callable
from pathlib import Path

from launch.sweeps.points import Point

METRIC = "test/loss"


def bowl(point: Point) -> float:
    """Least, 0, at a learning rate of 0.01 and a seed-free width of 0.3."""
    drawn = {key: float(text) for key, text in point.overrides}
    return (math.log10(drawn["a"]) + 2) ** 2 + (drawn["b"] - 0.3) ** 2


def write_result(folder: Path, status: str = "completed", **metrics: float | None) -> None:
    """As the trainer leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {name.replace("_", "/", 1): value for name, value in metrics.items()}
    content = {"status": status, "step": 10, "metrics": found, "wall_seconds": 1.5, "seed": 0}
    (folder / "result.json").write_text(json.dumps(content))


class Anything:
    """A checker that takes every point, but those that `refuse` raises for."""

    def __init__(self, refuse: Callable[[Point], None] = lambda point: None):
        self.refuse = refuse

    def experiment(self, chosen: Point) -> None:
        self.refuse(chosen)


class Machines:
    """Where runs take so many looks until they end, as `ends` says."""

    def __init__(self, looks: int = 1, ends: Callable[[Point], str] = lambda point: "completed"):
        self.looks, self.ends = looks, ends
        self.left: dict[str, int] = {}
        self.started: list[str] = []
        self.most = 0

    def start(self, point: Point) -> None:
        assert self.left.get(point.name, 0) <= 0, "it goes on already"
        self.started.append(point.name)
        self.left[point.name] = self.looks
        self.most = max(self.most, sum(left > 0 for left in self.left.values()))

    def state(self, point: Point) -> str:
        if point.name not in self.left:
            return "unstarted"
        self.left[point.name] -= 1
        return "running" if self.left[point.name] > 0 else self.ends(point)
