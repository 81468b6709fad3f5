"""Where the tests that need real data find it."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with `tfds`, `folders` and `raw`, or the test is skipped."""
    root = Path(os.environ.get("DLRESEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data in {root}; set DLRESEARCH_TEST_DATA to a folder that has it")
    return root
