"""What a user may take from the figures of docs/scaling.md, in words, with the figures in them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Share = Callable[[Mapping[str, Any]], float]
"""Time of a case's collectives over that of its arithmetic."""


def advice(
    cases: Mapping[str, Mapping[str, Any]], infiniband: Share, ethernet: Share, tpu: Share
) -> Iterator[str]:
    """Points, as Markdown."""

    def mega(name: str) -> str:
        return f"{cases[name]['programs']['partitioned']['bytes'] / 1e6:,.0f} MB"

    def between(name: str) -> str:
        program = cases[name]["programs"]["partitioned"]
        return f"{program['bytes_between_hosts']['8'] / 1e6:,.0f} MB"

    def percent(share: Share, name: str) -> str:
        return f"{100 * share(cases[name]):,.0f} %"

    state = max(case["state_bytes"] for case in cases.values() if "state_bytes" in case)
    yield (
        "**Copies (`data`) as long as the state fits on a device**, which for these two is"
        f" {state / 1e6:,.0f} MB at most. ResNet-50 sends {mega('ResNet-50, data=8')} a step on 8"
        f" devices and {mega('ResNet-50, data=512')} on 512; its collectives take"
        f" {percent(infiniband, 'ResNet-50, data=512')} of the time of the arithmetic on H100 with"
        f" InfiniBand, and {percent(tpu, 'ResNet-50, data=64')} in a pod of TPU v5e with 64."
    )
    yield (
        "**One Ethernet link of 100 Gb/s for a host of eight H100 is where ResNet-50 stops"
        f" scaling**: {percent(ethernet, 'ResNet-50, data=64')} with 64 devices,"
        f" {percent(ethernet, 'ResNet-50, data=512')} with 512. A larger batch on each device"
        " helps in proportion, and so does a slower device: the bytes stay."
    )
    yield (
        "**Split parameters (`fsdp`) are for states that do not fit.** They send"
        f" {mega('ResNet-50, fsdp=8')} where copies send {mega('ResNet-50, data=8')}: the"
        " weights, gathered in float32, beside the gradients. Split them inside a host only, with"
        " `data` between hosts: with 64 devices,"
        f" {between('ResNet-50, data=8 x fsdp=8')} of each leave its host then, and"
        f" {between('ResNet-50, fsdp=64')} with `fsdp=64`. Over many devices small layers do not"
        " divide any more; such meshes were refused (below)."
    )
    yield (
        "**Split layers (`tensor`) are not for these networks**, on any link: activations are what"
        " is sent then, and they are many times as large as the weights:"
        f" {mega('ResNet-50, tensor=8')} a step for ResNet-50, {mega('AWD-LSTM, tensor=8')} for the"
        f" LSTM. Even over NVLink that takes {percent(infiniband, 'ResNet-50, tensor=8')} and"
        f" {percent(infiniband, 'AWD-LSTM, tensor=8')} of the time of the arithmetic. The axis is"
        " for layers that do not fit on a device."
    )
    yield (
        "**A language model with streams sends more the more devices there are.** What it carries"
        " from window to window is kept for all streams on each device, and gathered in each step:"
        f" {mega('AWD-LSTM, data=8')} a step on 8 devices, {mega('AWD-LSTM, data=64')} on 64,"
        f" {mega('AWD-LSTM, data=512')} on 512, where the collectives take"
        f" {percent(infiniband, 'AWD-LSTM, data=512')} of the time of the arithmetic with"
        " InfiniBand. Its gradients alone would stay the same."
    )
    split = cases["AWD-LSTM, fsdp=8"]["programs"]["partitioned"]
    if split["bytes_in_loops"] > split["bytes"] / 2:
        yield (
            "**`fsdp` does harm to a language model with fewer streams than units**: what it"
            " carries is then split along the units, and the layers with it, so that weights are"
            " gathered in each of the steps of the recurrence:"
            f" {split['bytes_in_loops'] / 1e6:,.0f} of the {mega('AWD-LSTM, fsdp=8')}. With more"
            " streams, as with 64 devices and `data=8 x fsdp=8`, it is split along the streams:"
            f" {mega('AWD-LSTM, data=8 x fsdp=8')}."
        )
