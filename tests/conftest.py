"""What all tests share: how many examples the property tests try, and what the garbage collector looks at.

HYPOTHESIS_PROFILE chooses: `default` (the same examples each time, so that a red run stays red), `explore` (new ones
each time), `fuzz` (many new ones, `tox -e long`). No profile has a deadline: a slow machine is not a failing test.
"""

from __future__ import annotations

import gc
import imaplib
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", deadline=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=5_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

pytest.register_assert_rewrite("tests.support")  # what fails there says why, as in a test


HERE: Final = Path(__file__).parent
NOT_MEASURED: Final = [HERE / name for name in ("faults", "libraries", "examples", "adapters/test_asyncio_limits.py")]
"""Where coverage is not measured: of what has to be covered, other tests cover all, in half of the time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage where that takes long."""
    for item in items:
        if any(item.path.is_relative_to(place) for place in NOT_MEASURED):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests: there are so many that each of its rounds took 0.1 seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def longest_line_of_imaplib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let imaplib have its own limit in each test: importing imap_tools raises it for the whole process."""
    monkeypatch.setattr(imaplib, "_MAXLINE", 1_000_000)
