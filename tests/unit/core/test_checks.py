"""Invariants cannot be switched off, and each reject code has a reason that a person can read."""

import subprocess
import sys

import pytest

from wattle.core.checks import REASONS, InvariantError, Reject, ensure


def test_ensure_raises():
    ensure(True, "fine")
    with pytest.raises(InvariantError, match="broken"):
        ensure([], "broken")


def test_ensure_stays_on_when_assertions_are_off():
    code = "from wattle.core.checks import ensure; ensure(False, 'still on')"
    found = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "InvariantError: still on" in found.stderr


def test_each_code_has_a_reason_and_a_number_of_its_own():
    assert set(REASONS) == set(Reject)
    assert len({int(code) for code in Reject}) == len(Reject)
    assert all(text == text.strip() and not text.endswith(".") for text in REASONS.values())
