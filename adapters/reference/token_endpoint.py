"""A token endpoint on this machine: refresh tokens (RFC 6749 section 6) and signed assertions (RFC 7523).

    with token_endpoint.running() as endpoint, reference.running(checks=endpoint.checks) as servers:
        Path("token.json").write_text(json.dumps(endpoint.authorized_user("alice")))
        ...  # whoever asks for a token by that file can log in as alice
        endpoint.revoke(token)

It listens at a loopback address only, without TLS, and fails on demand. What it grants is in `grants`.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote_plus

from sasl.errors import UsageError, place_of

from ..deadline import Deadline, TimedReader
from .certificates import ADDRESSES
from .grants import ASSERTION, FAULTS, MAIL, Asked, Fault, Refusal, TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FAULTS", "MAIL", "Asked", "Fault", "TokenEndpoint", "running"]

_REFRESH: Final = "refresh_token"
_PATH: Final = "/token"
_LONGEST_BODY: Final = 65_536  # octets
_DEADLINE: Final = 10.0  # seconds
_PAUSE: Final = 0.05  # seconds between two octets of a slow answer

_log: Final = logging.getLogger("sasl")


@contextmanager
def running(*, host: str = "127.0.0.1", port: int = 0, deadline: float = _DEADLINE) -> Iterator[TokenEndpoint]:
    """Run an endpoint in threads of its own until the block ends. Port 0 is one that is free.

    `deadline` is the seconds that a client has for its whole request, from when it connects.
    Raises UsageError for an address that is not of this machine alone, OSError if the port is taken.
    """
    if host not in ADDRESSES:
        raise UsageError(f"the token endpoint listens at {' or '.join(ADDRESSES)}, not at {host!r}")
    server = _Server(host, port, deadline)
    thread = threading.Thread(target=server.serve_forever, args=(_PAUSE,), name="saslkit-token-endpoint", daemon=True)
    thread.start()
    try:
        yield server.endpoint
    finally:
        server.stop()
        thread.join()


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, deadline: float) -> None:
        self.deadline = deadline
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        bound: int = self.server_address[1]
        self.endpoint = TokenEndpoint(f"http://{f'[{host}]' if ':' in host else host}:{bound}{_PATH}")
        self.stopped = threading.Event()
        self._connections: set[socket.socket] = set()

    def stop(self) -> None:
        """End everything, also what a client keeps open, or a fault."""
        self.stopped.set()
        self.shutdown()
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended
        self.server_close()  # waits for the threads

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's names for them
        """Log a bug by its type and place; a client that goes away is none."""
        error = sys.exception()
        if error is None or isinstance(error, OSError):
            return
        _log.error("the token endpoint failed with %s at %s", type(error).__name__, place_of(error))


class _Handler(BaseHTTPRequestHandler):
    """One request; then the connection ends."""

    default_request_version = "HTTP/1.0"  # with 0.9, an answer to a broken line would have no status
    error_content_type = "text/plain"
    error_message_format = "%(code)d %(message)s\n"

    @property
    def _server(self) -> _Server:
        return cast("_Server", self.server)

    def setup(self) -> None:
        """Let the whole request have one deadline: a time-out of the socket begins anew with each octet."""
        super().setup()
        self.connection.settimeout(self._server.deadline)  # for an answer
        self.rfile.close()
        self.rfile = io.BufferedReader(TimedReader(self.connection, Deadline(self._server.deadline)))

    def do_POST(self) -> None:
        """Answer a request for a token."""
        endpoint = self._server.endpoint
        body = self._body()
        if body is None:
            return
        form, duplicates = _form(body)
        grant = {_REFRESH: _REFRESH, ASSERTION: "jwt-bearer"}.get(form.get("grant_type", ""), "")
        try:
            if self.path != _PATH:
                raise Refusal("not_found", f"the token endpoint is {_PATH}", 404)
            if endpoint.faults:
                fault = endpoint.faults.popleft()
                endpoint.requests.append(Asked(self.path, grant, fault))
                self._fail(fault, body)
                return
            if self.headers.get_content_type() != "application/x-www-form-urlencoded" or duplicates:
                raise Refusal("invalid_request", "a form is wanted, and each of its fields once")
            user, answer = endpoint.grant(form, _basic(self.headers.get("Authorization")))
        except Refusal as no:
            endpoint.requests.append(Asked(self.path, grant, no.error))
            self._refuse(no)
            return
        endpoint.requests.append(Asked(self.path, grant, "granted", user))
        self._answer(200, json.dumps(answer).encode())

    def do_GET(self) -> None:
        """Refuse it: a request for a token is a POST (RFC 6749 section 3.2)."""
        self._server.endpoint.requests.append(Asked(self.path, "", "method"))
        self._answer(405, b"<h1>POST only</h1>", {"Allow": "POST"})

    def version_string(self) -> str:
        """Return the name of this server."""
        return "saslkit-reference"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its names
        """Say nothing."""

    def _body(self) -> bytes | None:
        """Return the body, or None where there is none that is whole; that is said already then."""
        given = {length.strip(" \t") for length in self.headers.get_all("Content-Length", [])}
        if not given:
            self.send_error(411)
            return None
        length, *others = given
        if others or "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]+", length):
            self.send_error(400)  # RFC 9112 section 6.3
        elif len(length) > len(str(_LONGEST_BODY)) or int(length) > _LONGEST_BODY:
            self.send_error(413)
        elif len(body := self.rfile.read(int(length))) == int(length):
            return body
        return None

    def _refuse(self, no: Refusal) -> None:
        headers = {"WWW-Authenticate": "Basic"} if no.status == 401 else {}
        document = {"error": no.error, "error_description": no.description}
        self._answer(no.status, json.dumps(document).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        kind = "application/json" if body.startswith(b"{") else "text/html"
        usual = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        self.send_response(status)
        for name, text in {**usual, **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, fault: Fault, body: bytes) -> None:
        match fault:
            case "invalid_grant":
                self._refuse(Refusal("invalid_grant", "Token has been expired or revoked."))
            case "429" | "500" | "503":
                self._answer(int(fault), b"<h1>Try later</h1>")
            case "garbage":
                self._answer(200, b"<h1>Sign in to this network</h1>")
            case "hang":
                self._server.stopped.wait()
            case "drip":
                for octet in b"HTTP/1.0 200 " + b"O" * 60_000:
                    self.wfile.write(bytes([octet]))
                    if self._server.stopped.wait(_PAUSE):
                        return
            case "huge":
                self._answer(200, b'{"access_token": "' + b"A" * 8_388_608 + b'"}')
            case "redirect":
                self._answer(307, b"<h1>Elsewhere</h1>", {"Location": "/elsewhere"})
            case "cut":
                self._answer(200, b'{"access_token": "half', {"Content-Length": "1000"})
            case "echo":
                sent = body.decode("utf-8", "replace")
                self._refuse(Refusal("invalid_request", f"what you sent: {unquote_plus(sent)}, as {sent}"))


def _form(body: bytes) -> tuple[dict[str, str], bool]:
    """Return the fields, and whether one is there twice. One without a value is none (RFC 6749 section 3.2)."""
    pairs = parse_qsl(body.decode("utf-8", "replace"))
    form = dict(pairs)
    return form, len(form) < len(pairs)


def _basic(header: str | None) -> tuple[str, str] | None:
    """Return client id and secret (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(user), unquote_plus(secret)
