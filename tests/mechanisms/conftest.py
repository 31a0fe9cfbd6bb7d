"""What the tests of the mechanisms share: a search for secrets wherever an error could carry one."""

from __future__ import annotations

import base64
import traceback
import urllib.parse
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def forms(secret: str | bytes) -> set[str]:
    """Return a secret as it might be shown: as it is, escaped, in base64 (wherever it begins), hex and a URL.

    Forms that are so short that they stand in any text by chance are left out.
    """
    octets = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")
    text = octets.decode("utf-8", "replace") if isinstance(secret, bytes) else secret
    shown = {text, repr(text)[1:-1], repr(octets)[2:-1], urllib.parse.quote(octets)}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + octets).decode("ascii").rstrip("=")
        shown.add(encoded[-(-before * 4 // 3) : len(encoded) - 1])
    long_enough = {form for form in shown if len(form) >= 4}
    return long_enough | {form for form in (octets.hex(), octets.hex(" ")) if len(form) >= 16}


def sinks(thing: object) -> Iterator[str]:
    """Yield every text through which an object may end up in a log: of an exception, its frames and causes too."""
    yield repr(thing)
    yield str(thing)
    seen: set[int] = set()
    waiting = [thing] if isinstance(thing, BaseException) else []
    while waiting:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield from (repr(error), str(error), repr(error.args), repr(vars(error)))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").partition(".")[0] == "sasl":
                yield from map(repr, frame.f_locals.values())
        waiting += [cause for cause in (error.__context__, error.__cause__) if cause is not None]


@pytest.fixture(scope="session")
def shows_no_secret() -> Callable[..., None]:
    """A check: shows_no_secret(thing, *secrets) fails if an exception, an event or an exchange shows one."""

    def check(thing: object, *secrets: str | bytes) -> None:
        texts = list(sinks(thing))
        for secret in secrets:
            for form in forms(secret):
                assert not any(form in text for text in texts), f"{type(thing).__name__} shows the secret as {form!r}"

    return check
