"""A port that leads to a real server, and fails where a test says: for any library, which opens its own sockets."""

from __future__ import annotations

import base64
import contextlib
import re
import selectors
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from .peer import GARBAGE, JUNK, RESET, STALL, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT: Final = 30.0  # seconds, of which none is waited for

_LOGIN: Final = re.compile(rb"^(?:\S+ )?(?:AUTHENTICATE|AUTH) ", re.MULTILINE)


class Between:
    """Passes on, octet by octet, what both sides say on one connection at a time, in the clear.

    Attributes:
        port: where.
        heard: what the client has sent on the last connection.
        said: what the client was told.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._ended = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.plan()
        self._thread.start()

    def plan(
        self,
        fault: Fault | None = None,
        *,
        farewell: bytes = b"",
        rewrite: Callable[[bytes], bytes] = lambda octets: octets,
    ) -> None:
        """Say what is to happen on the next connection.

        `farewell` is what the client is told when it comes to the fault, `rewrite` changes what the server says.
        """
        self._fault, self._farewell, self._rewrite = fault, farewell, rewrite
        self.heard = self.said = b""
        self._marks: list[tuple[int, int]] = []
        self._idle.clear()

    def wait(self) -> bool:
        """Wait until the connection is over; return whether it is so in time."""
        return self._idle.wait(TIMEOUT)

    def before_login(self) -> tuple[int, int]:
        """How many octets client and server had sent when the login began."""
        command = _LOGIN.search(self.heard)
        assert command is not None, "the client has not begun a login"
        said = max(said for heard, said in self._marks if heard <= command.start())
        return command.start(), said

    def words(self) -> list[bytes]:
        """The client's words; without the quotes that strings have in ManageSieve."""
        return [word.strip(b'"') for word in self.heard.split()]

    def words_with(self, secret: bytes) -> list[bytes]:
        """Those of them that hold a secret, as it is or in base64."""
        return [word for word in self.words() if secret in word or secret in _decoded(word)]

    def line_after(self, word: bytes) -> bytes | None:
        """The line that follows the one with this word, without quotes; None if there is none."""
        line, end, _ = self.heard.partition(word)[2].partition(b"\r\n")[2].partition(b"\r\n")
        return line.strip(b'"') if end else None

    def stop(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join(TIMEOUT)
        self._listening.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            client, _ = self._listening.accept()
            with client:
                if self._ended.is_set():
                    return
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", self._behind), TIMEOUT) as server,
                ):
                    self._pass_on(client, server)
            self._idle.set()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, self._take)
            selector.register(server, selectors.EVENT_READ, self._give)
            while ready := selector.select(TIMEOUT):
                for key, _ in ready:
                    if not key.data(client, server):
                        return

    def _take(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what the client sends; return whether to go on."""
        octets = client.recv(65_536)
        self._marks.append((len(self.heard), len(self.said)))
        left = self._left("client", len(self.heard))
        self.heard += octets
        server.sendall(octets[:left])
        if left is not None and len(octets) >= left:
            self._fail(client)
            return False
        return bool(octets)

    def _give(self, client: socket.socket, server: socket.socket) -> bool:
        octets = self._rewrite(server.recv(65_536))
        left = self._left("server", len(self.said))
        told = octets[:left]
        self.said += told
        client.sendall(told)
        if left is not None and len(octets) > left:
            self._fail(client)
            return False
        return bool(octets)

    def _left(self, direction: str, already: int) -> int | None:
        """How many octets of a direction may still pass; None for any number."""
        fault = self._fault
        return None if fault is None or fault.direction != direction else max(fault.offset - already, 0)

    def _fail(self, client: socket.socket) -> None:
        assert self._fault is not None
        event = self._fault.event
        if event == RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        client.sendall(JUNK if event == GARBAGE else self._farewell)
        if event != STALL:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(TIMEOUT)
        while octets := client.recv(65_536):  # the client has to go by itself
            self.heard += octets


def _decoded(word: bytes) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        return b""


@contextlib.contextmanager
def between(port: int) -> Iterator[Between]:
    """Stand before a port of this machine until the block ends."""
    found = Between(port)
    try:
        yield found
    finally:
        found.stop()
