"""Runs of many seeds in one process, which compile once."""

import time
from collections import deque
from typing import Any

import jax


class Runs:
    """All seeds of an experiment; they share the compiled programs and the examples in memory."""

    def __init__(self, experiment: Any, metric: str):
        from dlresearch.data import ArraySource, load_all
        from dlresearch.models import jaxpr_flops
        from dlresearch.training import Setup
        from dlresearch.training.call import jit_call

        self.setup, self.metric = Setup(experiment), metric
        setup = self.setup
        if experiment.data.placement != "resident":
            raise SystemExit("config.data.placement: a run is timed with resident examples only")
        # Decoded once, not once a seed.
        setup.source = ArraySource(load_all(setup.source, setup.transforms), setup.metadata)
        setup.transforms = ()
        self.evaluation = setup.evaluations[metric.split("/")[0]]
        feed = self.feed_of(0)
        began = time.perf_counter()
        state = setup.initial_state(feed)
        self.calls, self.flops = {}, 0.0
        for steps in set(self.plan()):
            several = self.feed_of(0).take(steps)
            call = jit_call(setup.step, feed.pick, steps, setup.abstract_state)
            traced = call.trace(state, feed.resident, several)
            self.calls[steps] = traced.lower().compile()
            self.flops += self.plan().count(steps) * jaxpr_flops(traced.jaxpr)
        self.compile_seconds = time.perf_counter() - began

    def plan(self) -> list[int]:
        """How many steps each call makes."""
        several, total = self.setup.steps_per_call, self.setup.schedule.total
        return [several] * (total // several) + [1] * (total % several)

    def feed_of(self, seed: int):
        """The examples in the order of a seed."""
        from dlresearch.data import TrainingOrder

        setup = self.setup
        setup.order = TrainingOrder(len(setup.source), seed, setup.examples_per_step)
        feed = setup.make_feed()
        feed.start(0)
        return feed

    def run(self, seed: int) -> tuple[float, float, float]:
        """The metric, seconds in all, and those of them before evaluation."""
        from dlresearch.training.loop import CALLS_AHEAD

        feed = self.feed_of(seed)
        jax.block_until_ready(feed.resident)
        began = time.perf_counter()
        state, ahead = self.setup.initial_state(feed, seed), deque()
        for steps in self.plan():
            state, recorded = self.calls[steps](state, feed.resident, feed.take(steps))
            ahead.append(recorded.finite_steps)
            if len(ahead) > CALLS_AHEAD:
                ahead.popleft().block_until_ready()
        jax.block_until_ready(state)
        trained = time.perf_counter() - began
        variables = self.setup.evaluation_variables(state.variables)
        outcome = self.evaluation.run(self.setup.predict, variables)
        return outcome.metrics[self.metric], time.perf_counter() - began, trained
