"""What the tests of the wires share: IMAP, POP3 and SMTP behind one face, with the lines that mean the same in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import sasl

from ...support import protocols

if TYPE_CHECKING:
    from sasl.adapters.wire.line import Line


@dataclass(frozen=True)
class Protocol:
    """One protocol, its lines with CRLF; in IMAP under the tag A1."""

    TLS: ClassVar = sasl.Channel(tls=True)
    PASSWORD: ClassVar = sasl.Password("someone@example.com", "correct horse battery")
    TOKEN: ClassVar = sasl.Bearer("someone@example.com", "ya29.token-that-nobody-sees")

    spoken: protocols.Protocol
    yes: bytes
    no: bytes
    later: bytes
    aborted: bytes
    garbage: bytes

    @property
    def name(self) -> str:
        return self.spoken.name

    @property
    def module(self) -> Any:
        return self.spoken.wire

    @property
    def prefix(self) -> bytes:
        """Of a challenge."""
        return self.spoken.prompt

    def client(self, exchange: sasl.ClientExchange, *, initial_response: bool | None = None) -> Any:
        options = {"tag": "A1", "capabilities": ["SASL-IR"]} if self.name == "imap" else {}
        return self.module.ClientWire(exchange, initial_response=initial_response, **options)

    def plain(self, *, initial_response: bool | None = None) -> Any:
        """A client wire that logs in with PLAIN."""
        return self.client(sasl.client("PLAIN", self.PASSWORD), initial_response=initial_response)

    def xoauth2(self, *, initial_response: bool | None = None) -> Any:
        return self.client(sasl.client("XOAUTH2", self.TOKEN), initial_response=initial_response)

    def server(self, *offered: str, channel: sasl.Channel = TLS, **settings: Any) -> Any:
        return self.module.ServerWire(offered or ("PLAIN", "XOAUTH2", "OAUTHBEARER"), channel=channel, **settings)

    def command(self, mechanism: str, argument: bytes | None = None, *, verb: str | None = None) -> bytes:
        """The client's command; `argument` is base64 already."""
        imap = self.name == "imap"
        verb = verb or ("AUTHENTICATE" if imap else "AUTH")
        line = f"A1 {verb} {mechanism}" if imap else f"{verb} {mechanism}"
        return line.encode("utf-8") + (b"" if argument is None else b" " + argument) + b"\r\n"

    def challenge(self, data: bytes = b"") -> bytes:
        return self.spoken.challenge(data)

    def says(self, text: str) -> bytes:
        """A no with a text."""
        return self.no.rstrip() + b" " + text.encode("utf-8") + b"\r\n"


PROTOCOLS = (
    Protocol(
        protocols.PROTOCOLS["imap"],
        yes=b"A1 OK done\r\n",
        no=b"A1 NO [AUTHENTICATIONFAILED] no\r\n",
        later=b"A1 NO [UNAVAILABLE] later\r\n",
        aborted=b"A1 BAD aborted\r\n",
        garbage=b"what?\r\n",
    ),
    Protocol(
        protocols.PROTOCOLS["pop"],
        yes=b"+OK done\r\n",
        no=b"-ERR [AUTH] no\r\n",
        later=b"-ERR [SYS/TEMP] later\r\n",
        aborted=b"-ERR aborted\r\n",
        garbage=b"what?\r\n",
    ),
    Protocol(
        protocols.PROTOCOLS["smtp"],
        yes=b"235 2.7.0 done\r\n",
        no=b"535 5.7.8 no\r\n",
        later=b"454 4.7.0 later\r\n",
        aborted=b"501 5.7.0 aborted\r\n",
        garbage=b"what?\r\n",
    ),
)


@pytest.fixture(scope="session", params=PROTOCOLS, ids=lambda protocol: protocol.name)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return request.param


@pytest.fixture
def mechanism(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a throw-away mechanism into the table, also in the place of a built-in one, until the test ends."""

    def put(name: str, client: Any = None, server: Any = None, **properties: Any) -> None:
        row = sasl.Mechanism(
            name,
            client,
            server,
            sasl.Password,
            **{"client_first": True, "plaintext": False, "rank": 1, **properties},
        )
        monkeypatch.setitem(sasl.registry._registered, row.name, row)

    return put


@pytest.fixture
def settled() -> Any:
    """Let a verifier answer what a server wire asks; returns the line that the wire has to send."""

    def settle(wire: Any, event: Line | sasl.Question, verifier: sasl.Verifier) -> Line:
        if isinstance(event, sasl.Question):
            assert wire.exchange is not None
            event = wire.answered(sasl.settle(wire.exchange, event, verifier))
        return event

    return settle
