"""The first token by a code that a person types elsewhere (RFC 8628): for machines without a browser.

    answer = device.authorize(metadata, client, scope, show=lambda code: print(code.verification_uri, code.user_code))

It asks again and again, as often as the server lets it, until the person has signed in or the code is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import TokenError, hide_frames
from sasl.secret import Secret
from sasl.text import printable
from sasl.value import value

from ._authorization import check_address
from .grant import redeem
from .http import Request
from .messages import bad_response, device_form, post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import Answer, Client
    from .metadata import Metadata

_INTERVAL: Final = 5.0  # seconds, unless the server says otherwise (section 3.2)
_SHORTEST: Final = 1.0  # seconds; some servers say 0
_SLOWER: Final = 5.0  # seconds (section 3.5)
_LONGEST: Final = 3_600.0  # seconds that a person may take, whatever the server says
_LONGEST_CODE: Final = 64  # characters
_LONGEST_MESSAGE: Final = 1_000  # characters


@final
@value
class DeviceCode:
    """What to show to the person.

    Attributes:
        user_code: what to type.
        verification_uri: where.
        verification_uri_complete: the same with the code in it, for a QR code or a link; or None.
        message: a sentence of the server's that says all that, in the person's language (Microsoft); or "".
        expires_in: seconds until it is over.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    message: str
    expires_in: float


@hide_frames  # they hold the answer of the server, with the device code in it
def authorize(
    metadata: Metadata,
    client: Client,
    scope: str,
    *,
    show: Callable[[DeviceCode], object],
    request: Callable[..., Any] | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Let a person sign in wherever there is a browser; return what is granted: with a refresh token and its scope.

    `show` is called once, to show the code and the address. `sleep` and `clock` wait for seconds, and count them. The
    others are as in `browser.authorize`.

    Raises TokenError: needs_user for a person who said no (access_denied, Microsoft: authorization_declined) or did
    nothing (expired_token); not_offered where the server knows no device codes; no_refresh_token.
    """
    request = request or Request()
    code, device_code, interval = _ask(request, metadata, client, scope)
    ends = clock() + code.expires_in
    show(code)
    failure = None
    pause = interval
    while clock() + pause < ends:
        sleep(pause)
        try:
            return redeem(request, metadata, client, device_form(device_code), scope)
        except TokenError as error:
            failure = error
        if not failure.retryable:
            raise failure
        pause = interval = _next(interval, failure)
        if failure.retry_after is not None:
            pause = max(pause, failure.retry_after)
    if failure is None or failure.code in _WAITS:
        raise TokenError("nobody signed in in time", code="expired_token", needs_user=True, hint="Start again.")
    raise failure


_WAITS: Final = ("authorization_pending", "slow_down")


def _next(interval: float, failure: TokenError) -> float:
    """Return the seconds between two questions from now on (section 3.5)."""
    if failure.code == "authorization_pending":
        return interval
    if failure.code == "slow_down":
        return interval + _SLOWER
    return 2 * interval  # the server cannot be reached, or cannot tell


def _ask(
    request: Callable[..., Any], metadata: Metadata, client: Client, scope: str
) -> tuple[DeviceCode, Secret, float]:
    """Ask for a code (section 3.1). Return what to show, the device code, and the seconds between two questions."""
    if metadata.device_authorization_endpoint is None:
        raise TokenError("the authorization server gives no device codes", code="not_offered")
    form = {"scope": scope} if scope else {}
    members = post(request, metadata.device_authorization_endpoint, client, form)
    device_code = members.get("device_code")
    if not isinstance(device_code, str) or not device_code:
        raise bad_response("gave no device code")
    user_code = members.get("user_code")
    if not isinstance(user_code, str) or not 0 < len(user_code) <= _LONGEST_CODE or not user_code.isprintable():
        raise bad_response("gave no code to type")
    message = members.get("message", "")
    if not isinstance(message, str):
        raise bad_response("gave a message that is no text")
    code = DeviceCode(
        user_code,
        _address(members.get("verification_uri", members.get("verification_url"))),  # Google's name for it
        _address(members["verification_uri_complete"]) if "verification_uri_complete" in members else None,
        printable(message, limit=_LONGEST_MESSAGE, instead=" "),
        min(_seconds(members, "expires_in"), _LONGEST),
    )
    return code, Secret(device_code), max(_seconds(members, "interval", _INTERVAL), _SHORTEST)


def _address(content: object) -> str:
    if not isinstance(content, str):
        raise bad_response("gave no address to type the code at")
    check_address(content, "the address to type the code at")
    return content


def _seconds(members: Mapping[str, Any], name: str, default: float | None = None) -> float:
    content = members.get(name, default)
    if type(content) not in (int, float) or not 0 <= content <= 1e9:
        raise bad_response(f"gave no {name} that is a number of seconds")
    return float(content)
