"""The protocols find the same on eight devices as on one."""

import pytest

from helpers.evaluation.protocols import found_on, found_on_eight_devices
from helpers.processes import on_eight_devices


@pytest.mark.slow
def test_figures_are_the_same_on_eight_devices():
    found = on_eight_devices(found_on_eight_devices)
    plain = found_on(None)
    assert len([name for name in plain if "accuracy" in name]) == 5
    # Sums in float32, in another order. An accuracy that is as near is the same: one more of 70
    # examples would be 1.4 %.
    assert found == pytest.approx(plain, rel=1e-5)
