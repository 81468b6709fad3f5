"""Runs on whatever devices there are, one after the other, so that starting is paid for once:

python tests/helpers/training/mesh_curves.py CONFIG WORKDIR [CONFIG WORKDIR ...]
"""

import json
import sys
from pathlib import Path
from unittest import mock

import jax
from ml_collections import ConfigDict

from dlresearch import preemption
from dlresearch.config import load, validate
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


def main() -> None:
    for config, workdir in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        watched_run(load(config), Path(workdir))


if __name__ == "__main__":
    main()
