"""The made-up village of `sample.py`, and a chart script that is made once for all workers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from wattle.runtime.results import Comparison


@pytest.fixture(scope="session")
def make_village() -> Callable[..., Comparison]:
    spec = importlib.util.spec_from_file_location("analysis_sample", Path(__file__).with_name("sample.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.village


@pytest.fixture(scope="session")
def village(make_village) -> Comparison:
    return make_village()


@pytest.fixture(scope="session")
def chart_cache(tmp_path_factory):
    """A cache directory that the workers of one test run share; the user's own is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp().parent / "wattle-charts"
        patch.setenv("WATTLE_CACHE_DIR", str(folder))
        yield folder
