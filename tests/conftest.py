"""What all tests share: CPU, compiled programs kept from one test run to the next, real data."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/dlresearch/compiled-by-tests")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
sys.path.insert(0, str(Path(__file__).parent / "training"))

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with `tfds`, `folders` and `raw`, or the test is skipped."""
    root = Path(os.environ.get("DLRESEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data in {root}; set DLRESEARCH_TEST_DATA to a folder that has it")
    return root
