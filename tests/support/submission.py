"""aiosmtpd in a thread, and a handler that keeps the mail."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from sasl.adapters.aiosmtpd import SMTP


class Handler:
    """Keeps what it is told, as a user's handler does."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.sessions: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.sessions.append(session)
        self.messages.append((session.auth_data.identity, envelope.content))
        return "250 kept"


class Server:
    """A server that runs in a thread; `make` returns what serves one connection."""

    def __init__(self, make: Callable[[], SMTP], handler: Any, tls: ssl.SSLContext | None) -> None:
        self.handler = handler
        self.port = 0
        self._make = make
        self._tls = tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve()], daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await self.loop.create_server(self._make, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)  # aiosmtpd closes its connections
