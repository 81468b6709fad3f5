"""What all tests share: CPU, and compiled programs kept from one test run to the next."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/dlresearch/compiled-by-tests")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
sys.path.insert(0, str(Path(__file__).parent / "training"))
