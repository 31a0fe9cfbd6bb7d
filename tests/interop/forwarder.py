"""A port that leads to another one, as containers, ssh and stunnel have it."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def forwarded(port: int) -> Iterator[int]:
    """Forward a port of 127.0.0.1 to this one until the block ends; give it."""

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port), 10) as behind, suppress(OSError):
                _pass_on(self.request, behind)

    class Forwarder(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Forwarder(("127.0.0.1", 0), Session) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Give each side what the other sends, until one ends or nothing comes for so long."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while ready := selector.select(30):
            for key, _ in ready:
                octets = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                if not octets:
                    return
                key.data.sendall(octets)
