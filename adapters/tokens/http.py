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
from .messages import FORM, bad_response, parse_answer
from .refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from urllib.parse import SplitResult

TIMEOUT: Final = 10.0
"""Seconds for a whole request, unless the caller says otherwise."""

_LARGEST: Final = 65_536  # octets of an answer
_LONGEST_TEXT: Final = 200  # characters of an answer that an error shows

_METADATA: Final = ("169.254.169.254", "metadata.google.internal")  # of a virtual machine at Google, without TLS
_RETRY_AFTER: Final = re.compile(r"[0-9]{1,6}")
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

    __slots__ = ("_context", "timeout")

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
            if _asks_for_token(body, headers):
                parse_answer(response.data)  # before google-auth keeps a part of it
            return response
        if status == 201 and not _asks_for_token(body, headers):  # a client was registered (RFC 7591 section 3.2.1)
            return response
        if body is not None or status >= 500 or status in _LATER_STATUS:
            raise _refusal(response, body)
        return response

    def _exchange(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Response:
        parts = _parts(url, method)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = HTTPConnection(parts.netloc)
        connection.set_debuglevel(0)  # whoever turned it on for all of them would see the refresh token
        try:
            with self._reach(parts, deadline) as sock:
                connection.sock = _Timed(sock, deadline)  # all that it uses of a socket
                connection.request(method, target, body, {**headers, "Host": parts.netloc, "Connection": "close"})
                with connection.getresponse() as response:
                    data = response.read(_LARGEST + 1)
                    if len(data) > _LARGEST:
                        raise bad_response(f"sent more than {_LARGEST} octets")
                    if response.length:
                        raise ConnectionResetError  # http.client does not say that a part is missing
                    names = {name.lower(): value for name, value in response.getheaders()}
                    return Response(response.status, names, data)
        finally:
            connection.close()

    def _reach(self, parts: SplitResult, deadline: Deadline) -> socket.socket:
        """Connect; where that fails with no time-out, nobody need ask what became of what was sent."""
        try:
            return self._connect(parts, deadline)
        except (TimeoutError, ssl.SSLCertVerificationError):
            raise
        except OSError as error:
            kind = type(error).__name__
        raise _NotConnectedError(kind)

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


class _NotConnectedError(OSError):
    """There is no connection, so nothing was sent. Its text is the kind of failure."""


def _explain(error: BaseException) -> BaseException:
    """What a failure means: a TokenError; of what is no failure of a connection, itself, without its frames."""
    if isinstance(error, TimeoutError):
        return TokenError("the token endpoint did not answer in time", code="timeout", retryable=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"the certificate of the token endpoint is not trusted: {error.verify_message}"
        return TokenError(said, code="certificate")
    if isinstance(error, _NotConnectedError):
        said = f"there is no connection to the token endpoint: {error}"
        return TokenError(said, code="no_connection", retryable=True)
    if isinstance(error, OSError | IncompleteRead):
        said = f"the connection to the token endpoint failed with {type(error).__name__}"
        return TokenError(said, code="unreachable", retryable=True)
    if isinstance(error, HTTPException):
        return bad_response("speaks no HTTP")
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
    if parts.scheme == "https" or is_loopback(parts.hostname):
        return parts
    if method == "GET" and parts.hostname in _METADATA:
        return parts
    raise _bad_endpoint("is not under https, and not on this machine")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _asks_for_token(body: bytes | None, headers: Mapping[str, str] | None) -> bool:
    """Whether this asks a token endpoint: with a form that names a kind of grant."""
    kinds = [value for name, value in (headers or {}).items() if name.lower() == "content-type"]
    return body is not None and kinds == [FORM] and any(name == b"grant_type" for name, _ in parse_qsl(body))


def _bad_endpoint(what: str) -> TokenError:
    return TokenError(f"the token endpoint {what}", code="bad_endpoint")


def scope_of(data: object) -> str | None:
    """Return the scope that an answer names (RFC 6749 section 5.1), None where it names none."""
    scope = (parse_object(data) or {}).get("scope") if isinstance(data, bytes) else None
    return scope if isinstance(scope, str) and scope else None


def _refusal(response: Response, sent: bytes | None) -> TokenError:
    """What a no means (RFC 6749 section 5.2)."""
    document = parse_object(response.data) or {}
    error, said = document.get("error"), document.get("error_description")
    if isinstance(inner := error, dict):  # as Google's other interfaces have it
        error, said = inner.get("status"), inner.get("message")
    secrets = _secrets(sent)
    numbers, after = document.get("error_codes"), response.headers.get("retry-after", "")
    return refusal(
        _scrub(error, secrets) if isinstance(error, str) else "",
        printable(_scrub(said, secrets), limit=_LONGEST_TEXT) if isinstance(said, str) else "",
        suberror=str(document.get("suberror", "")),
        numbers=numbers if isinstance(numbers, list) else (),
        status=response.status,
        retry_after=float(after) if _RETRY_AFTER.fullmatch(after) else None,
    )


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
