"""What the tests of token sources share: an endpoint, files for it, a server that answers as told, secrets to find."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ...support.leaks import seen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference.token_endpoint import TokenEndpoint


@pytest.fixture
def user_file(endpoint: TokenEndpoint, tmp_path: Path) -> Path:
    """The file of alice's consent."""
    path = tmp_path / "token.json"
    path.write_text(json.dumps(endpoint.authorized_user("alice")))
    return path


ACCOUNT = "robot@project.example"


@pytest.fixture
def account_file(endpoint: TokenEndpoint, tmp_path: Path) -> Path:
    """The key file of a service account that may act for alice."""
    path = tmp_path / "account.json"
    path.write_text(json.dumps(endpoint.service_account(ACCOUNT, ["alice"])))
    return path


def reply(document: object, status: int = 200) -> bytes:
    """An HTTP response, the last of its connection; the document is octets, or goes out as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


class Scripted:
    """Gives each connection the next of its answers, the last one for ever, and keeps the requests."""

    def __init__(self, answers: list[bytes], context: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.url = f"http{'s' * (context is not None)}://localhost:{self._listening.getsockname()[1]}/token"

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                with contextlib.suppress(OSError), sock:
                    sock.settimeout(5)
                    self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True)
        with sock:
            request = b""
            while b"\r\n\r\n" not in request:
                octets = sock.recv(65_536)
                if not octets:
                    return
                request += octets
            head, _, body = request.partition(b"\r\n\r\n")
            length = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0")
            while len(body) < int(length.partition(b":")[2]):
                body += sock.recv(65_536)
            self.requests.append(head + b"\r\n\r\n" + body)
            sock.sendall(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """scripted(answer, ..., context=None) -> Scripted."""
    with contextlib.ExitStack() as stack:

        def start(*answers: bytes, context: ssl.SSLContext | None = None) -> Scripted:
            server = Scripted(list(answers), context)
            stack.callback(server.stop)
            return server

        yield start


def found_in(text: str, secrets: list[str]) -> list[str]:
    """The secrets that a text shows in one of their forms."""
    return [secret for secret in secrets if seen([text], secret)]


def secrets_of(info: dict[str, Any]) -> list[str]:
    """What must not be seen of a file."""
    secrets = [info[name] for name in ("client_secret", "refresh_token", "private_key") if name in info]
    return secrets + [line for secret in secrets for line in secret.splitlines()[1:-1]]
