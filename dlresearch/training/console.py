"""What a person sees while a run goes on."""

import time
from collections.abc import Mapping

import jax

from dlresearch.hardware import peak_flops
from dlresearch.training.memory import peak_bytes


def tell(text: str) -> None:
    """A line on the console, of the first process only."""
    if jax.process_index() == 0:
        print(text, flush=True)


def say(text: str) -> None:
    """What happened just now: `tell` with the time in front."""
    tell(f"[{time.strftime('%H:%M:%S')}] {text}")


class Progress:
    """Speed and time to go, from what was done between two lines.

    Time in evaluation and compilation is left out.

    Attributes:
      flops_per_step: known once the step is compiled.
      waiting: seconds of the interval in which the step waited for data.
    """

    def __init__(self, total_steps: int, examples_per_step: int):
        self._total = total_steps
        self._examples = examples_per_step
        self.flops_per_step = 0.0
        self.restart(0)

    def restart(self, step: int) -> None:
        """Measure from now on, from `step` on."""
        self._since = time.perf_counter()
        self._step = step
        self.waiting = 0.0

    def pause(self, seconds: float) -> None:
        """Leave out so many seconds that just passed."""
        self._since += seconds

    def rates(self, step: int) -> dict[str, float]:
        """Since the last call, or since `restart`; names as in TensorBoard."""
        elapsed = time.perf_counter() - self._since
        steps = step - self._step
        rates = {}
        if steps > 0 and elapsed > 0:
            rates = {
                "speed/steps_per_second": steps / elapsed,
                "speed/examples_per_second": steps * self._examples / elapsed,
                "speed/waiting_for_data": self.waiting / elapsed,
                "speed/teraflops": steps * self.flops_per_step / elapsed / 1e12,
                "speed/memory_gib": peak_bytes() / 2**30,
            }
            peak = sum(peak_flops(device.device_kind) or 0.0 for device in jax.devices())
            if peak:
                rates["speed/utilisation"] = rates["speed/teraflops"] * 1e12 / peak
        self.restart(step)
        return rates

    def line(self, step: int, metrics: Mapping[str, float], rates: Mapping[str, float]) -> str:
        """Step, metrics, speed, time to go."""
        shown = [f"step {step}/{self._total}"]
        hidden = ("/learning_rate", "/parameter_norm", "/gradient_norm", "/examples")
        shown += [
            f"{name} {value:.4g}" for name, value in metrics.items() if not name.endswith(hidden)
        ]
        if rates:
            shown.append(f"{rates['speed/examples_per_second']:,.0f} examples/s")
            shown.append(f"data {rates['speed/waiting_for_data']:.0%}")
            if "speed/utilisation" in rates:
                shown.append(f"utilisation {rates['speed/utilisation']:.0%}")
            shown.append(f"{rates['speed/memory_gib']:.1f} GiB")
            remaining = (self._total - step) / rates["speed/steps_per_second"]
            shown.append(f"{duration(remaining)} to go")
        return "  ".join(shown)


def table(rows: Mapping[str, float]) -> str:
    """Names and values in two columns."""
    width = max((len(name) for name in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.6g}" for name, value in rows.items())


def with_prefix(value: float, unit: str) -> str:
    """`430 MFLOP`, `64.2 TFLOP/s`: three digits and the SI prefix that suits."""
    for prefix, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
