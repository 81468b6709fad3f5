"""The devices that can be asked for, and what a wrong request is told."""

import pytest

from dlresearch.errors import UserError
from dlresearch.hardware import devices, peak_flops, target

DESCRIPTION = """
kind = "NVIDIA Mine"
bfloat16 = 1e14
memory = 25_000_000_000
bandwidth = 1e12
[gpu]
compute_capability = "8.9"
cores = 128
fpus_per_core = 128
threads_per_core = 1536
shared_memory_per_core = 102400
shared_memory_per_block = 101376
l2_cache = 75497472
clock_ghz = 2.52
"""


@pytest.mark.parametrize(
    ("text", "count", "topology", "label"),
    [
        ("h100", 1, "1x1x1", "1 x NVIDIA H100"),
        ("a100:8", 8, "1x1x8", "8 x NVIDIA A100"),
        ("b200:32", 32, "4x1x8", "32 x NVIDIA B200"),
        ("v5e:2x4", 8, "2x4", "TPU v5 lite 2x4"),
        ("v5p:2x2x2", 8, "2x2x2", "TPU v5 2x2x2"),
    ],
)
def test_a_request_names_devices(text, count, topology, label):
    found = target(text)
    assert (found.count, found.topology, found.label) == (count, topology, label)
    assert found.platform == ("tpu" if text.startswith("v") else "cuda")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h10", "no device is called 'h10'; did you mean 'h100'"),
        ("l4", "no device is called 'l4'"),  # its peak is known, and not its memory
        ("h100:", None),
        ("h100:0", "'0' is no number of devices"),
        ("h100:2x4", "'2x4' is no number of devices"),
        ("h100:12", "12 devices do not fill hosts of 8; use 8 or 16"),
        ("v5e", "give the topology of the TPUs, such as v5e:2x4"),
        ("v5e:8", "give the topology of the TPUs, such as v5e:2x4"),
        ("none.toml", "cannot read none.toml: No such file"),
    ],
)
def test_a_wrong_request_is_told_what_is_right(text, message):
    if message is None:
        assert target(text) == target(text.rstrip(":"))
        return
    with pytest.raises(UserError) as raised:
        target(text)
    assert message in str(raised.value) and str(raised.value).startswith(f"--for={text}")


def test_a_user_describes_a_gpu(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(DESCRIPTION)
    found = target(f"{path}:4")
    assert (found.count, found.device.name, found.platform) == (4, "mine", "cuda")
    assert found.device.peak("bfloat16") == found.device.peak("float32") == 1e14


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("memory = 25_000_000_000", "", "memory is missing"),
        ("cores = 128", "", "gpu: cores is missing"),
        ("cores = 128\n", "cors = 128\n", "there is no 'cors'; did you mean 'cores'"),
        ("bandwidth = 1e12", "bandwidth = 0", "bandwidth=0 is no positive number"),
        ("bandwidth = 1e12", "bandwidth = '1 TB'", "bandwidth='1 TB' is no positive number"),
        ("memory = 25_000_000_000", "memory = true", "memory=True is no positive number"),
        ('"NVIDIA Mine"', "7", "kind=7 is no text"),
        ('"8.9"', '"89"', "write it as '9.0'"),
        ("[gpu]", "[gpu", "is damaged"),
        ("[gpu]", "[other]", "there is no 'other'"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    assert old in DESCRIPTION
    path.write_text(DESCRIPTION.replace(old, new, 1))
    with pytest.raises(UserError, match=f"--for={path}") as raised:
        target(str(path))
    assert message in str(raised.value)


def test_a_description_that_is_no_text_is_one_line(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is damaged"):
        target(str(path))


def test_peaks_are_found_by_the_name_that_jax_gives():
    # The longest name counts.
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU v5") == 459e12
    assert peak_flops("cpu") is None


def test_every_gpu_that_can_be_compiled_for_is_described_in_full():
    for device in devices().values():
        if device.memory is not None:
            assert device.bandwidth and device.float32
            assert (device.gpu is None) == device.kind.startswith("TPU")
