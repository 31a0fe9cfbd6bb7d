"""A ManageSieve server to test clients at (RFC 5804): it has what a login takes, on the engine of all servers.

What it says of a login is what the wire of SMTP says, in the words of ManageSieve. It speaks TLS 1.2, as sievelib
takes no context, and Python's ssl has the data for -PLUS there.
"""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

import sasl.adapters.reference.servers
from sasl.adapters.reference import running
from sasl.adapters.reference.backend import Backend
from sasl.adapters.reference.certificates import server_context
from sasl.adapters.reference.conversation import Conversation
from sasl.adapters.reference.servers import Listening
from sasl.adapters.reference.shown import first_word
from sasl.adapters.wire import Line, smtp

from .tls import tls_1_2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sasl.adapters.reference import Endpoint, Servers, Settings

_LITERAL: Final = re.compile(rb"\{[0-9]+\+?\}\r\n\Z")
_STRING: Final = re.compile(rb'"([^"]*)"')


class _Wire:
    """One AUTHENTICATE, as SMTP's wire takes it."""

    def __init__(self, offered: Any, **settings: Any) -> None:
        self._inner = smtp.ServerWire(offered, **settings)
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def receive(self, line: bytes) -> Any:
        words = _STRING.findall(line)
        if not self._begun:
            self._begun = True
            words = [b"AUTH", *words[:1], *[word or b"=" for word in words[1:]]]
        return self._translated(self._inner.receive(b" ".join(words) + b"\r\n"))

    def answered(self, event: Any) -> Any:
        return self._translated(self._inner.answered(event))

    @staticmethod
    def _translated(said: Any) -> Any:
        if not isinstance(said, Line):
            return said
        code, _, text = said.octets.rstrip().partition(b" ")
        status = {b"334": b"", b"235": b"OK ", b"454": b"NO (TRYLATER) "}.get(code, b"NO ")
        shown = said.shown.partition(" ")[2]
        return Line(b'%b"%b"\r\n' % (status, text), f'{status.decode()}"{shown}"')


class SieveConversation(Conversation):
    """One connection of a ManageSieve client."""

    service = "sieve"
    farewells: ClassVar[Mapping[str, str]] = {"late": 'BYE "Too slow"', "shutdown": 'BYE "The server shuts down"'}

    def greeting(self) -> list[str]:
        tls = [] if self.connection.tls else ['"STARTTLS"']
        return ['"IMPLEMENTATION" "saslkit"', f'"SASL" "{" ".join(self.offered)}"', '"SIEVE" ""', *tls, 'OK "Ready"']

    def wire(self, offered: Any) -> Any:
        return _Wire(offered, **self.wire_settings)

    async def read(self) -> bytes:
        """Return a line in which a literal, which is base64 here, stands as a quoted string."""
        line = await super().read()
        if (literal := _LITERAL.search(line)) is None:
            return line
        return line[: literal.start()] + b'"' + (await super().read()).rstrip(b"\r\n") + b'"\r\n'

    def verb(self, line: bytes) -> str:
        return first_word(line)

    async def command(self, line: bytes) -> None:
        verb = line.split()[0].upper()
        if verb == b"AUTHENTICATE":
            name, *message = _STRING.findall(line)
            self.note(f"AUTHENTICATE {name.decode()}")
            await self.converse(name.decode(), self.wire(self.offered), line, initial=bool(message))
        elif verb == b"STARTTLS":
            await self.say('OK "Begin TLS"')
            self.over = not await self._handshake()
            await self.say(*self.greeting())
        elif verb == b"CAPABILITY":
            await self.say(*self.greeting())
        else:
            self.over = verb == b"LOGOUT"
            await self.say('OK "Fine"' if verb in (b"LOGOUT", b"NOOP") else 'NO "Unknown command"')


@dataclass(frozen=True)
class WithSieve:
    """The reference servers, and one of ManageSieve beside them, whose `sieve` is as their `imap`."""

    servers: Servers
    sieve: Endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self.servers, name)


@contextmanager
def running_with_sieve(users: Mapping[str, str], tokens: Any, *, settings: Settings) -> Iterator[Any]:
    """Do what `sasl.adapters.reference.running` does, with one server more."""
    with running(users, tokens, settings=settings) as servers, _serving(servers, settings) as endpoint:
        yield WithSieve(servers, endpoint)


@contextmanager
def _serving(servers: Servers, settings: Settings) -> Iterator[Endpoint]:
    """Run the server of ManageSieve in a thread of its own."""
    started: Future[tuple[Endpoint, Any]] = Future()

    async def serve() -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        context = tls_1_2(server_context(servers.ca_file.parent))
        listening = Listening("127.0.0.1", {}, Backend(servers.verifier, settings, context))
        try:
            endpoint = await listening.endpoint("sieve")
            started.set_result((endpoint, lambda: loop.call_soon_threadsafe(stopped.set)))
            await stopped.wait()
        finally:
            await listening.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sasl.adapters.reference.servers._CONVERSATIONS, "sieve", SieveConversation)  # type: ignore[arg-type]
        thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        thread.start()
        endpoint, stop = started.result(30)
        try:
            yield endpoint
        finally:
            stop()
            thread.join()
