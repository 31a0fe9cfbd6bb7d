"""The first token by a browser on this machine: authorization code, PKCE, loopback (RFC 6749 4.1, 7636, 8252, 9207).

    answer = browser.authorize(metadata, client, "https://mail.google.com/", parameters={"access_type": "offline"})

Whoever calls has shown the authorization server to the person, and has asked: this opens the browser at once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import TokenError, UsageError, hide_frames

from ._authorization import Attempt
from ._loopback import Listener
from .http import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import Answer, Client
    from .metadata import Metadata

LOOPBACK: Final = "http://127.0.0.1/"
"""The redirect URI unless the caller names another one."""


def open_browser(url: str) -> bool:
    """Open a URL in the person's browser, by the standard library's `webbrowser`. Return whether that went well."""
    import webbrowser

    return webbrowser.open(url)


@hide_frames  # they hold the URL, whose state nobody else may know, and then the code
def authorize(
    metadata: Metadata,
    client: Client,
    scope: str,
    *,
    login_hint: str | None = None,
    parameters: Mapping[str, str] | None = None,
    open: Callable[[str], object] | None = open_browser,  # noqa: A002 -- what it does
    show: Callable[[str], object] | None = None,
    redirect_uri: str = LOOPBACK,
    port: int = 0,
    timeout: float = 300.0,
    request: Callable[..., Any] | None = None,
) -> Answer:
    """Let a person sign in, in a browser, and return what is granted: with a refresh token, and with its scope.

    The browser is sent back to this machine, where one request is taken, and answered with a page that says how it
    went; then nothing listens any more.

    `scope` has spaces in between. `login_hint` is the address that the page begins with, `parameters` are more of the
    authorization request. `open` opens a URL in a browser, in a thread of its own, and returns False if it cannot; then
    `show` shows it to the person, as it does if `open` is None. `redirect_uri` is as it is registered, without a port
    (Microsoft: http://localhost); `port` 0 is any that is free. `timeout` is in seconds, for the person. `request`
    sends to the token endpoint; by default it is a `Request` of `sasl.adapters.tokens.http`.

    Raises TokenError: needs_user for a person who said no or did nothing; no_browser where nothing can open the URL;
    wrong_issuer for an answer by another server (RFC 9207); no_refresh_token.
    Raises UsageError for another redirect URI than one of this machine, or with neither `open` nor `show`.
    """
    if open is None and show is None:
        raise UsageError("somebody has to open the URL: give open or show")
    with _listener(redirect_uri, port) as listener:
        attempt = Attempt(metadata, client, scope, listener.redirect_uri, login_hint=login_hint, parameters=parameters)
        url = attempt.url()
        if open is None:
            _show(show, url)
        else:
            threading.Thread(target=_open, args=(open, url, listener), name="saslkit-browser", daemon=True).start()
        try:
            code = listener.wait(attempt.code, timeout, lambda: _show(show, url))
            answer = attempt.redeem(request or Request(), code)
        except TimeoutError:
            failure = _nobody(timeout)
        except TokenError as error:
            failure = error
        else:
            listener.answer("Signed in", "This is done. You can close this page.")
            return answer
        listener.answer("Not signed in", f"{failure}. {failure.hint}")
    raise failure


def _listener(redirect_uri: str, port: int) -> Listener:
    try:
        return Listener(redirect_uri, port)
    except OSError as error:
        reason = error.strerror
    raise TokenError(f"cannot listen for the answer: {reason}", code="no_listener", hint="Choose another port.")


def _open(open_url: Callable[[str], object], url: str, listener: Listener) -> None:
    """Open a URL. In a thread: a browser in a terminal has the terminal, and this call, until it is left."""
    try:
        opened = open_url(url)
    except Exception:  # whatever went wrong, the person can do it
        opened = False
    if opened is False:
        listener.ring()


def _show(show: Callable[[str], object] | None, url: str) -> None:
    if show is None:
        raise TokenError(
            "no browser opens here", code="no_browser", hint="Sign in by device code, or open the URL elsewhere."
        )
    show(url)


def _nobody(seconds: float) -> TokenError:
    said = f"nobody signed in within {seconds:g} seconds"
    return TokenError(said, code="timeout", needs_user=True, hint="Start again.")
