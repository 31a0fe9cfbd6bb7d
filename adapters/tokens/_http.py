"""One request to a token endpoint (RFC 6749 section 3.2): under TLS, bounded in octets and seconds.

It is on http.client, which does none of what must not happen with a refresh token in the body: it asks no
environment for a proxy and follows no redirect.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
from http.client import HTTPConnection, HTTPException, IncompleteRead
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import parse_qsl, quote_plus, urlsplit

from sasl.base64 import encode
from sasl.errors import TokenError, bare
from sasl.secret import Secret, scrubbed
from sasl.text import printable
from sasl.value import value

from ..deadline import Deadline, TimedReader
from ..documents import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import SplitResult

TIMEOUT: Final = 10.0
"""Seconds for a whole request, unless the caller says otherwise."""

_LARGEST: Final = 65_536  # octets of an answer
_LONGEST_TEXT: Final = 200  # characters of an answer that an error shows
_FARTHEST: Final = 1e9  # seconds; a lifetime beyond that is none

_FORM: Final = "application/x-www-form-urlencoded"
_METADATA: Final = ("169.254.169.254", "metadata.google.internal")  # of a virtual machine at Google, without TLS
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b68token, RFC 6750 section 2.1
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# RFC 6749 section 5.2 and OpenID Connect Core section 3.1.2.6; admin_policy_enforced is Google's.
_NEEDS_USER: Final = frozenset(
    {"invalid_grant", "access_denied", "admin_policy_enforced", "consent_required", "interaction_required"}
    | {"login_required"}
)
_LATER: Final = frozenset({"server_error", "temporarily_unavailable", "internal_failure", "slow_down"})
_LATER_STATUS: Final = frozenset({408, 429})


@final
@value
class Response:
    """An answer, in the shape of `google.auth.transport.Response`."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def __repr__(self) -> str:
        return f"Response(status={self.status}, <{len(self.data)} octets>)"


@final
class Request:
    """Sends requests for google-auth, in the shape of `google.auth.transport.Request`.

    An answer that google-auth would ask for again, for three seconds, or that it would trip over never reaches it:
    that is a TokenError at once.

    `timeout` is in seconds, for a whole request, however slowly the answer comes; or what gives the seconds when there
    is a request. `context` is for TLS; by default the certificate is checked by the system's CAs.
    """

    def __init__(
        self, *, timeout: float | Callable[[], float] = TIMEOUT, context: ssl.SSLContext | None = None
    ) -> None:
        self.timeout = timeout
        self._context = context

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_settings: Any,
    ) -> Response:
        """Send a request and return the answer.

        Raises TokenError: retryable where the endpoint cannot be reached, is too slow, or says that it cannot tell
        now; needs_user where it says that the grant is void.
        """
        seconds = seconds_of(self)
        try:
            return self._answer(url, method, body, headers, seconds if timeout is None else min(timeout, seconds))
        except BaseException as error:
            failure = _explain(error)
        del body, headers  # the frames of an error do not show what was sent, nor do those of an interruption
        raise failure

    def _answer(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str] | None, seconds: float
    ) -> Response:
        response = self._exchange(url, method, body, headers or {}, Deadline(seconds))
        status = response.status
        if status == 200:
            if body is not None and _content_type(headers) == _FORM:
                _check(response.data)
            return response
        if body is not None or status >= 500 or status in _LATER_STATUS:
            raise _refusal(status, response.data, body)
        return response

    def _exchange(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Response:
        parts = _parts(url, method)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = HTTPConnection(parts.netloc)
        connection.set_debuglevel(0)  # whoever turned it on for all of them would see the refresh token
        try:
            with self._connect(parts, deadline) as sock:
                connection.sock = _Timed(sock, deadline)  # all that it uses of a socket
                connection.request(method, target, body, {**headers, "Host": parts.netloc, "Connection": "close"})
                with connection.getresponse() as response:
                    data = response.read(_LARGEST + 1)
                    if len(data) > _LARGEST:
                        raise _bad_response(f"sent more than {_LARGEST} octets")
                    if response.length:
                        raise ConnectionResetError  # http.client does not say that a part is missing
                    names = {name.lower(): value for name, value in response.getheaders()}
                    return Response(response.status, names, data)
        finally:
            connection.close()

    def _connect(self, parts: SplitResult, deadline: Deadline) -> socket.socket:
        tls = parts.scheme == "https"
        sock = _open(parts.hostname, parts.port or (443 if tls else 80), deadline)
        if not tls:
            return sock
        try:
            sock.settimeout(deadline.wait())
            context = self._context or ssl.create_default_context()
            return context.wrap_socket(sock, server_hostname=parts.hostname)
        except BaseException:
            sock.close()
            raise


def _explain(error: BaseException) -> BaseException:
    """What a failure means: a TokenError; of what is no failure of a connection, itself, without its frames."""
    if isinstance(error, TimeoutError):
        return TokenError("the token endpoint did not answer in time", code="timeout", retryable=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"the certificate of the token endpoint is not trusted: {error.verify_message}"
        return TokenError(said, code="certificate")
    if isinstance(error, OSError | IncompleteRead):
        said = f"the connection to the token endpoint failed with {type(error).__name__}"
        return TokenError(said, code="unreachable", retryable=True)
    if isinstance(error, HTTPException):
        return _bad_response("speaks no HTTP")
    if isinstance(error, ValueError):  # of the name lookup
        return _bad_endpoint("is no URL")
    return bare(error)


def seconds_of(request: object) -> float:
    """Return the seconds that a request may take now, `TIMEOUT` for one of others' that does not say."""
    timeout = getattr(request, "timeout", None)
    seconds = timeout() if callable(timeout) else timeout
    return seconds if isinstance(seconds, int | float) else TIMEOUT


def _open(host: str | None, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers. Each has its share of the time: one may be silent."""
    failure = OSError("no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for shares, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(deadline.wait() / shares)
            sock.connect(address)
            return sock
        except BaseException as error:
            if sock is not None:
                sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
    raise failure


class _Timed:
    """What http.client uses of a socket, with one deadline for all of it: a time-out begins anew with each octet."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._deadline.wait())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(TimedReader(self._sock, self._deadline))

    def close(self) -> None:
        """Do nothing: whoever opened the socket closes it."""


def _parts(url: str, method: str) -> SplitResult:
    """Return the parts of a URL that a secret may go to: under https, or on this machine."""
    if not re.fullmatch(r"https?://[!-~]+", url, re.IGNORECASE):
        raise _bad_endpoint("is no https URL")
    try:
        parts = urlsplit(url)
        _ = parts.port  # is checked when it is asked for
    except ValueError:
        parts = None
    if parts is None or not parts.hostname or "@" in parts.netloc:
        raise _bad_endpoint("is no https URL")
    if parts.scheme == "https" or _is_loopback(parts.hostname):
        return parts
    if method == "GET" and parts.hostname in _METADATA:
        return parts
    raise _bad_endpoint("is not under https, and not on this machine")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _content_type(headers: Mapping[str, str] | None) -> str:
    return next((value for name, value in (headers or {}).items() if name.lower() == "content-type"), "")


def _bad_endpoint(what: str) -> TokenError:
    return TokenError(f"the token endpoint {what}", code="bad_endpoint")


def _bad_response(what: str) -> TokenError:
    """What is no answer of a token endpoint. Not retryable: mostly it is the wrong URL."""
    return TokenError(f"the token endpoint {what}", code="bad_response")


def _check(data: bytes) -> None:
    """Raise TokenError for a yes that grants nothing (RFC 6749 section 5.1), before google-auth keeps a part of it."""
    document = parse_object(data)
    if document is None:
        raise _bad_response("said yes with what is no JSON object")
    token, kind = document.get("access_token"), document.get("token_type", "Bearer")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise _bad_response("said yes without an access token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _bad_response("gave a token that is no bearer token")
    refresh = document.get("refresh_token", "unchanged")
    if not isinstance(refresh, str) or not refresh:
        raise _bad_response("gave a refresh token that is no text")
    if not _is_lifetime(document.get("expires_in", 0)):
        raise _bad_response("gave a lifetime that is no number of seconds")
    if not isinstance(document.get("scope", ""), str):
        raise _bad_response("gave a scope that is no text")


def _is_lifetime(value: object) -> bool:
    if isinstance(value, str):  # against the RFC, but seen
        return re.fullmatch(r"[0-9]{1,9}", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FARTHEST


def scope_of(data: object) -> str | None:
    """Return the scope that an answer names (RFC 6749 section 5.1), None where it names none."""
    scope = (parse_object(data) or {}).get("scope") if isinstance(data, bytes) else None
    return scope if isinstance(scope, str) and scope else None


def _refusal(status: int, data: bytes, sent: bytes | None) -> TokenError:
    """What a no means (RFC 6749 section 5.2)."""
    document = parse_object(data) or {}
    error, said = document.get("error"), document.get("error_description")
    if isinstance(inner := error, dict):  # as Google's other interfaces have it
        error, said = inner.get("status"), inner.get("message")
    secrets = _secrets(sent)
    code = _scrub(error, secrets) if isinstance(error, str) else ""
    text = f"the token endpoint says no: {code}"
    if not _CODE.fullmatch(code):
        code, text = f"http_{status}", f"the token endpoint answers with the HTTP status {status}"
    if isinstance(said, str) and said:
        text += f": {printable(_scrub(said, secrets), limit=_LONGEST_TEXT)}"
    later = status >= 500 or status in _LATER_STATUS or code in _LATER
    return TokenError(text, code=code, retryable=later, needs_user=not later and code in _NEEDS_USER)


def _secrets(sent: bytes | None) -> list[Secret]:
    """What an answer must not show although the endpoint says it back; what others are a part of comes first."""
    sent = sent or b""
    fields = parse_qsl(sent.decode("utf-8", "replace"))
    values = [value for name, value in fields if name not in ("grant_type", "client_id", "scope")]
    # An assertion is said back in parts: its claims are no secret, its signature is.
    values += [part for value in values for part in value.split(".")]
    values.sort(key=len, reverse=True)
    forms = dict.fromkeys([*values, *map(quote_plus, values), encode(sent).decode("ascii")])
    return [Secret(form) for form in forms]


def _scrub(text: str, secrets: list[Secret]) -> str:
    """Take what was sent, and each part of it that is long enough to be told, out of what an endpoint says."""
    for secret in secrets:
        text = scrubbed(text, secret)
    return text
