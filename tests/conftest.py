"""What all tests share: how many examples the property tests try.

HYPOTHESIS_PROFILE chooses: `default` (the same examples each time, so that a red run stays red), `explore` (new ones
each time), `fuzz` (many new ones, `tox -e fuzz`). No profile has a deadline: a slow machine is not a failing test.
"""

from __future__ import annotations

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
