"""The first token where no browser can reach this machine: the person carries the answer over (RFC 6749 section 4.1).

The browser, wherever it is, ends at a page of its own that it cannot open; its address is the answer. A code alone is
not taken: it is the `state` beside it that shows that the answer is to this question, and not one that somebody else
made to have their own account opened here (RFC 6749 section 10.12).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sasl.errors import TokenError, UsageError, hide_frames

from ._authorization import Attempt, check_address
from .http import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import Answer, Client
    from .metadata import Metadata

_TRIES: Final = 3
_LONGEST: Final = 32_768  # characters
_WHOLE: Final = "Paste the whole address that the browser ended at, not the code alone: the rest shows what it answers."
_ELSEWHERE: Final = "This address is another one than the browser is sent to at the end, which begins with "
_OLD: Final = "This is no answer to the sign-in that is under way: begin at the address that was shown."


@hide_frames  # they hold the URL, whose state nobody else may know, and then the code
def authorize(
    metadata: Metadata,
    client: Client,
    scope: str,
    *,
    show: Callable[[str], object],
    read: Callable[[str], str],
    redirect_uri: str | None = None,
    login_hint: str | None = None,
    parameters: Mapping[str, str] | None = None,
    request: Callable[..., Any] | None = None,
) -> Answer:
    """Let a person sign in wherever there is a browser; return what is granted: with a refresh token and its scope.

    `show` shows the URL where the person signs in. `read` returns what the person pasted; it is given what was wrong
    with the last one, "" at first. `redirect_uri` is exactly as it is registered, of this machine or under https; by
    default it is one of this machine with a port at random, where nobody should be to see the answer. The others are
    as in `browser.authorize`.

    Raises TokenError: needs_user for a person who said no, or three times pasted something else.
    """
    if redirect_uri is None:
        redirect_uri = f"http://127.0.0.1:{49_152 + secrets.randbelow(16_384)}/"
    check_address(redirect_uri, "the redirect URI")
    if "?" in redirect_uri:
        raise UsageError("a redirect URI with a query is not supported")
    attempt = Attempt(metadata, client, scope, redirect_uri, login_hint=login_hint, parameters=parameters)
    show(attempt.url())
    problem = ""
    for _ in range(_TRIES):
        pasted = read(problem).strip()
        problem = _problem(pasted, redirect_uri)
        code = None if problem else attempt.code(urlsplit(pasted).query)
        if code is not None:
            return attempt.redeem(request or Request(), code)
        problem = problem or _OLD
    raise TokenError("nothing that was pasted is the answer", code="no_answer", needs_user=True, hint=problem)


def _problem(pasted: str, redirect_uri: str) -> str:
    """Return why a text is not the redirect URI with something behind it; "" if it is that."""
    try:
        parts = urlsplit(pasted) if len(pasted) <= _LONGEST and pasted.isprintable() and " " not in pasted else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.query:
        return _WHOLE
    wanted = urlsplit(redirect_uri)
    same = (parts.scheme, parts.netloc.lower(), parts.path or "/") == (
        wanted.scheme,
        wanted.netloc.lower(),
        wanted.path or "/",
    )
    return "" if same else _ELSEWHERE + redirect_uri
