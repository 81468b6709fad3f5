"""Compiles an experiment for a target, in a process of its own: a fault of a compiler may end it.

    python -m dlresearch.training.aot '{"target": "h100:8", "config": ..., "overrides": [...]}'

Prints a report; with `"figures": FILE` also writes the figures as JSON.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from dlresearch.config import load, validate
from dlresearch.errors import Failure, UserError, one_line
from dlresearch.hardware import target as parse_target
from dlresearch.training.aot.compile import compile_evaluations, compile_step, plan_of
from dlresearch.training.aot.compiler import devices_of
from dlresearch.training.aot.report import describe_evaluation, describe_step, usable_memory
from dlresearch.training.setup import Setup


def main(request: Mapping[str, Any]) -> int:
    target = parse_target(request["target"])
    try:
        overrides = tuple((path, value) for path, value in request["overrides"])
        experiment = validate(load(request["config"], overrides))
        setup = Setup(experiment, devices_of(target))
        plan, step = plan_of(setup), compile_step(setup)
        print("\n".join(describe_step(step, target, plan)), flush=True)
        programs = [step]
        for program in compile_evaluations(setup):
            programs.append(program)
            lines = describe_evaluation(program, target, experiment.precision)
            print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `dlresearch check ... | head`: nobody reads on
        os._exit(0)
    except UserError as error:
        return _failed(one_line(error), 2)
    except Failure as error:
        return _failed(one_line(error), 1)
    except jax.errors.JaxRuntimeError as error:
        # TPUs have no program that does not fit.
        status = 2 if "RESOURCE_EXHAUSTED" in str(error) else 1
        return _failed(f"the compiler for {target.label} says: {one_line(error)}", status)
    fits = step.memory <= usable_memory(target)
    if request.get("figures"):
        figures = {
            "target": request["target"],
            "plan": asdict(plan),
            "fits": fits,
            "programs": [asdict(program) for program in programs],
        }
        Path(request["figures"]).write_text(json.dumps(figures, indent=1))
    if not fits:
        return _failed(f"the training step does not fit into the memory of {target.label}", 2)
    return 0


def _failed(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
