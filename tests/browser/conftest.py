"""A real Chromium for the session. Where none is found it is installed if that is possible, else the tests are skipped.

Debian and Ubuntu as root: `apt-get install -y chromium`. `WATTLE_NO_INSTALL=1` forbids it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """Import a file of the tests by its path."""
    spec = importlib.util.spec_from_file_location(f"tests_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chromium = load(HERE / "chromium.py")


def executable() -> str:
    """Return the path of a browser, installed first if need be; skip where that cannot be."""
    if found := chromium.find():
        return found
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if os.environ.get("WATTLE_NO_INSTALL") or not root or shutil.which("apt-get") is None:
        pytest.skip("no Chromium or Chrome on the path; install one (Debian: apt-get install chromium)")
    failure = install()
    if found := chromium.find():
        return found
    pytest.skip(f"Chromium could not be installed: {failure}")


def install() -> str:
    """Install Debian's Chromium, one worker at a time; return what went wrong, if anything."""
    import fcntl

    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with open(Path(tempfile.gettempdir()) / "wattle-chromium.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if chromium.find():
            return ""
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        return done.stderr.strip()[-300:] if done.returncode else ""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A running browser, closed when the session ends."""
    path = executable()
    if sys.platform == "win32":
        pytest.skip("the browser is spoken to over POSIX pipes")
    with chromium.Browser(path) as running:
        yield running


@pytest.fixture(scope="session")
def make_village() -> Callable[..., object]:
    return load(HERE.parent / "unit" / "analysis" / "sample.py").village


@pytest.fixture(scope="session")
def village(make_village):
    return make_village()


@pytest.fixture(scope="session")
def page_file(village, tmp_path_factory) -> Iterator[Path]:
    """The page of a small village."""
    from wattle.analysis.report import write_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTLE_CACHE_DIR", str(tmp_path_factory.getbasetemp().parent / "wattle-charts"))
        yield write_page(village, tmp_path_factory.mktemp("browser") / "page.html")


@pytest.fixture
def page(browser, page_file):
    """The page, open in a window of a desktop; nothing may have gone wrong when the test ends."""
    tab = browser.page(1280, 900)
    tab.open(page_file)
    yield tab
    assert tab.complaints() == []
    assert tab.requests() == []
    tab.close()
