"""Runs that leave what a test of meshes compares: shapes, parts, and work of a device."""

import json
from pathlib import Path
from unittest import mock

import jax
from ml_collections import ConfigDict

from dlresearch import preemption
from dlresearch.config import validate
from dlresearch.training import Setup, open_workdir, train


class WatchedSetup(Setup):
    """Takes note of the variables that are evaluated, the last of them at the end of the run."""

    def evaluation_variables(self, variables):
        self.evaluated = variables
        return super().evaluation_variables(variables)


def watched_run(config: ConfigDict, workdir: Path) -> None:
    """Train, and leave `facts.json` in the folder.

    `parameters`: by path, the shape of each and of its part on one device, as the step left them.
    `flops`: of one device in one step, as XLA counts them, the bodies of loops once.
    """
    programs = []

    def compile_and_keep(compile):
        programs.append(compile())
        return programs[-1]

    setup = WatchedSetup(validate(config))
    with mock.patch.object(preemption, "interruptible", compile_and_keep):
        result = train(setup, open_workdir(str(workdir)))
    assert result.status == "completed", result
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): [
            leaf.shape,
            leaf.sharding.shard_shape(leaf.shape),
        ]
        for path, leaf in jax.tree.leaves_with_path(setup.evaluated.params)
    }
    facts = {"parameters": shapes, "flops": programs[0].cost_analysis()["flops"]}
    (workdir / "facts.json").write_text(json.dumps(facts))
