"""Settings for all tests: one stable folder for compiled kernels, and Hypothesis without chance or deadlines."""

import os
import tempfile
from pathlib import Path

# Before anything imports Numba. Kernels are compiled once and found again by the next run.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "wattle-kernels"))

from hypothesis import HealthCheck, settings

QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # the first call compiles

settings.register_profile("ci", derandomize=True, database=None, **QUIET)
settings.register_profile("soak", max_examples=300, print_blob=True, **QUIET)


def pytest_configure(config):
    """Draw the same examples each time, unless a seed asks for new ones (`make soak`)."""
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("soak" if config.getoption("--hypothesis-seed", None) else "ci")
