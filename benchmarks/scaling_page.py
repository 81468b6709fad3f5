"""Makes docs/scaling.md from docs/results/scaling.json, which `benchmarks/scaling.py` leaves.

python benchmarks/scaling_page.py
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_advice import advice

ROOT = Path(__file__).parents[1]
HOST, POD = "8", "256"
"""Devices of a GPU host, and of a TPU v5e pod."""
SHARE = 0.4
"""Of a device's peak that the arithmetic is said to reach."""


@dataclass(frozen=True)
class Machine:
    """Devices in groups, with a fast link in a group and a slower one between groups.

    Attributes:
      flops: dense bfloat16 peak of a device in FLOP/s.
      group: devices of a group, as a key of the figures.
      inside: bytes a second of a device to those of its group, each way.
      between: bytes a second of a device to those of other groups, each way.
    """

    name: str
    flops: float
    group: str
    inside: float
    between: float

    def arithmetic(self, case: Mapping[str, Any]) -> float:
        """Seconds of a step."""
        return case["flops"] / (SHARE * self.flops)

    def share(self, case: Mapping[str, Any]) -> float:
        """Time of the collectives over that of the arithmetic."""
        return self.sending(case) / self.arithmetic(case)

    def sending(self, case: Mapping[str, Any]) -> float:
        """Seconds of a step, nothing hidden, and no latency."""
        program = case["programs"]["partitioned"]
        inside = program["bytes_in_host"].get(self.group, program["bytes"])
        between = program["bytes_between_hosts"].get(self.group, 0.0)
        return inside / self.inside + between / self.between


# By the vendors' data sheets; the page says which.
_H100, _V5E = 989e12, 197e12
INFINIBAND = Machine("H100, InfiniBand", _H100, HOST, 450e9, 50e9)
ETHERNET = Machine("H100, Ethernet", _H100, HOST, 450e9, 12.5e9 / 8)
TPU = Machine("TPU v5e", _V5E, POD, 200e9, 6.4e12 / 8 / 256)
MACHINES = (INFINIBAND, ETHERNET, TPU)


def main() -> None:
    (ROOT / "docs/scaling.md").write_text(page())


def page() -> str:
    """The whole page."""
    figures = json.loads((ROOT / "docs/results/scaling.json").read_text())
    words = (ROOT / "benchmarks/scaling_page.md").read_text()  # with {names} of what is made here
    cases = [case for name, case in figures["cases"].items() if not name.endswith(", TPU")]
    parts = {
        "share": f"{100 * SHARE:.0f} %",
        "parameters": f"{figures['cases']['ResNet-50, data=8']['parameters']:,}",
        "advice": _points(figures["cases"]),
        "links": _table(_links()),
        "sizes": _table(_sizes(cases)),
        "bandwidths": _table(_bandwidths(cases)),
        "times": _table(_times(cases)),
        "largest": _table(_largest(cases)),
        "compilers": _table(_compilers(figures["cases"])),
        "left_out": "\n".join(_left_out(figures["cases"])),
        "versions": ", ".join(f"{name} {each}" for name, each in figures["versions"].items()),
    }
    for name, text in parts.items():
        words = words.replace(f"{{{name}}}", text)
    return words


def _points(cases: Mapping[str, dict[str, Any]]) -> str:
    points = advice(cases, INFINIBAND.share, ETHERNET.share, TPU.share)
    return "\n".join(f"- {point}" for point in points)


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    first, *rest = rows
    lines = [first, ("---",) * len(first), *rest]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _links() -> Iterator[tuple[str, ...]]:
    yield ("devices", "peak", "link", "GB/s of a device, each way", "by")
    peaks = (f"{_H100 / 1e12:.0f} TFLOP/s", f"{_V5E / 1e12:.0f} TFLOP/s")
    data_sheet = "NVIDIA's data sheet of the H100: 900 GB/s both ways together"
    dgx = "NVIDIA's data sheet of the DGX H100: eight ConnectX-7"
    yield ("H100 SXM", peaks[0], "NVLink, in a host of 8", _giga(INFINIBAND.inside), data_sheet)
    yield ("", "", "InfiniBand NDR, 400 Gb/s for each", _giga(INFINIBAND.between), dgx)
    yield (
        "",
        "",
        "Ethernet, 100 Gb/s for a host of 8",
        _giga(ETHERNET.between),
        "12.5 GB/s, shared by eight",
    )
    documents = "Google's [page of v5e](https://cloud.google.com/tpu/docs/v5e): 400 GB/s both ways"
    yield ("TPU v5e", peaks[1], "ICI, 1,600 Gb/s, in a pod of 256", _giga(TPU.inside), documents)
    yield ("", "", "data centre network, 6.4 Tb/s for a pod", _giga(TPU.between), "the same page")


def _compiled(cases: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those with figures, by model and then by their number of devices, under their names."""

    def place(case: Mapping[str, Any]) -> tuple[Any, ...]:
        arranged = case["arranged"]
        return case["model"] != "ResNet-50", case["devices"], "tensor" in arranged, "x" in arranged

    for case in sorted(cases, key=place):
        if "programs" in case:
            yield f"{case['model']}, `{case['arranged']}`", case


def _sizes(cases: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield (
        "model and mesh",
        "devices",
        "batch",
        "TFLOP",
        "state, MB",
        "MB sent",
        "with reduce-scatter",
        "between hosts of 8, MB",
        "collectives",
    )
    for name, case in _compiled(cases):
        program = case["programs"]["partitioned"]
        yield (
            name,
            f"{case['devices']}",
            f"{case['batch']:,}",
            f"{case['flops'] / 1e12:.2f}",
            _mega(case["state_bytes"]),
            _mega(program["bytes"]),
            _mega(program["bytes_if_scattered"]),
            _mega(program["bytes_between_hosts"][HOST]),
            f"{program['collectives']:,}",
        )


def _bandwidths(cases: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield (
        "model and mesh",
        "H100: in a host",
        "H100: between hosts",
        "TPU v5e: in a pod",
        "TPU v5e: between pods",
    )
    for name, case in _compiled(cases):
        program = case["programs"]["partitioned"]
        cells = []
        for machine in (INFINIBAND, TPU):
            inside = program["bytes_in_host"].get(machine.group, program["bytes"])
            between = program["bytes_between_hosts"].get(machine.group, 0.0)
            seconds = machine.arithmetic(case)
            cells += [_giga(inside / seconds), _giga(between / seconds) if between else ""]
        yield (name, *cells)


def _times(cases: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield ("model and mesh", *(machine.name for machine in MACHINES))
    for name, case in _compiled(cases):
        cells = []
        for machine in MACHINES:
            share = machine.share(case)
            text = f"{100 * share:,.1f} %" if share < 0.1 else f"{100 * share:,.0f} %"
            cells.append(f"**{text}**" if share >= 1 else text)
        yield (name, *cells)


def _largest(cases: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield ("model and mesh", "kind", "array", "times a step", "MB sent", "for")
    for name, case in _compiled(cases):
        if case["devices"] != int(HOST):
            continue
        for each in case["programs"]["partitioned"]["largest"][:3]:
            operation = each["operation"].replace("transpose(jvp", "gradient(jvp")
            yield (
                name,
                each["kind"],
                f"`{each['shape']}`",
                f"{each['times']}",
                _mega(each["bytes"]),
                f"`{operation[-60:].lstrip('/')}`",
            )


def _compilers(cases: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield (
        "model and mesh",
        "as partitioned",
        "by XLA:CPU",
        "seconds, GiB",
        "by XLA for TPU v5e",
        "seconds, GiB",
    )
    for name, case in _compiled([each for key, each in cases.items() if ", TPU" not in key]):
        key = f"{case['model']}, {case['arranged']}"
        tpu = cases.get(f"{key}, TPU", {})
        programs = case["programs"]
        yield (
            name,
            _program(programs["partitioned"]),
            _program(programs["optimised"]),
            _cost(case),
            _program(tpu["programs"]["optimised"]) if "programs" in tpu else "",
            _cost(tpu) if "programs" in tpu else "",
        )


def _left_out(cases: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, case in cases.items():
        if why := case.get("refused") or case.get("failed"):
            yield f"- {name}, {case['devices']} devices: {why}"


def _program(program: Mapping[str, Any]) -> str:
    return f"{_mega(program['bytes'])} MB in {program['collectives']:,}"


def _cost(case: Mapping[str, Any]) -> str:
    return f"{case['seconds']:.0f} s, {case['peak_gib']:.1f}"


def _mega(size: float) -> str:
    return f"{size / 1e6:,.1f}" if size else ""


def _giga(speed: float) -> str:
    return f"{speed / 1e9:.3g}" if speed < 1e12 else f"{speed / 1e9:,.0f}"


if __name__ == "__main__":
    main()
