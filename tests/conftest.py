"""What all tests share: CPU, compiled programs kept from one test run to the next, real data."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/dlresearch/compiled-by-tests")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# XLA's default code generation for CPU is most of what the suite computes. With these flags the
# step of a small GAN compiles nine times faster by jaxlib 0.10, and twice as fast by 0.12, which
# ends at once where it does not know a flag. `XLA_FLAGS= make test` tests with XLA's defaults.
_QUICK_COMPILATION = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if version("jaxlib").startswith("0.10."):
    _QUICK_COMPILATION.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_QUICK_COMPILATION))

# Each worker of pytest has a core; NumPy's threads would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with `tfds`, `folders` and `raw`, or the test is skipped."""
    root = Path(os.environ.get("DLRESEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data in {root}; set DLRESEARCH_TEST_DATA to a folder that has it")
    return root
