"""What all tests share: how many examples the property tests try, and what the garbage collector looks at.

HYPOTHESIS_PROFILE chooses: `default` (the same examples each time, so that a red run stays red), `explore` (new ones
each time), `fuzz` (many new ones, `tox -e long`). No profile has a deadline: a slow machine is not a failing test.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", deadline=None)
settings.register_profile(
    "fuzz", deadline=None, max_examples=5_000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

pytest.register_assert_rewrite("tests.support")  # what fails there says why, as in a test


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the tests: there are so many that each of its rounds took 0.1 seconds."""
    gc.collect()
    gc.freeze()
