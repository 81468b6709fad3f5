"""docs/config.md says what the schema says."""

from dlresearch.config.reference import reference
from helpers.processes import ROOT


def test_committed_reference_is_up_to_date():
    committed = (ROOT / "docs/config.md").read_text()
    assert committed == reference(), "python -m dlresearch.config.reference > docs/config.md"
