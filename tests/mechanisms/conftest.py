"""What the tests of the mechanisms share: a check that nothing shows a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..support.leaks import seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def shows_no_secret() -> Callable[..., None]:
    """A check: shows_no_secret(thing, *secrets) fails if an exception, an event or an exchange shows one."""

    def check(thing: object, *secrets: str | bytes) -> None:
        found = seen(shown(thing), *secrets)
        assert not found, f"{type(thing).__name__} shows the secret as {found!r}"

    return check
