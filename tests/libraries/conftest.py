"""What the tests of all libraries share: each library, the servers that it is tested at, credentials."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from sasl import Bearer, Password, Policy
from sasl.adapters.reference import Settings

from ..faults.between import between
from ..support.libraries import Client, clients
from ..support.sieve import running_with_sieve

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    import sasl
    from sasl.adapters.reference import Attempt, Endpoint, Servers

    from ..faults.between import Between

USER: Final = "alice@example.org"
PASSWORD: Final = "Wonder!and+42"
WRONG: Final = "Looking.G1ass"
TOKENS: Final = {
    "good": "ya29.g00d-T0ken_AbCdEfGhIjKl",
    "expired": "ya29.0ld-T0ken_MnOpQrStUvWx",
    "revoked": "ya29.g0ne-T0ken_YzAbCdEfGhIj",
}
LONG: Final = "ya29." + "L0ng-T0ken_" * 363 + "ab"
"""Of 4,000 octets, as Microsoft's may be."""

PASSWORDS: Final = ("PLAIN", "SCRAM-SHA-256")
BEARERS: Final = ("XOAUTH2", "OAUTHBEARER")
MECHANISMS: Final = (*PASSWORDS, *BEARERS)

IN_THE_CLEAR: Final = Policy(plaintext="loopback")
"""For what has to be seen, or cut, on its way."""
SETTINGS: Final = Settings(policy=IN_THE_CLEAR, failures=1_000_000, check_port=False)


def credentials_for(mechanism: str, state: str = "right") -> sasl.Credentials:
    """Return credentials that are "right", "wrong" or, for a token, "expired"."""
    if mechanism in BEARERS:
        return Bearer(USER, {"right": TOKENS["good"], "wrong": "ya29.n0body-kn0ws-1t", **TOKENS}[state])
    return Password(USER, {"right": PASSWORD, "wrong": WRONG}[state])


REFUSED: Final = [
    *[(mechanism, "wrong") for mechanism in MECHANISMS],
    *[(mechanism, "expired") for mechanism in BEARERS],
]


@pytest.fixture(params=clients())
def client(request: pytest.FixtureRequest) -> Client:
    """Each library in turn."""
    found: Client = request.param
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running_with_sieve({USER: PASSWORD}, TOKENS, settings=SETTINGS) as servers:
        servers.verifier.add_token(LONG, USER)
        yield servers


@dataclass(frozen=True)
class Place:
    """Where a library connects to.

    Attributes:
        server: the reference server.
        over: "TLS", "STARTTLS" or "clear".
        port: another one than the server's, which leads there.
    """

    client: Client
    server: Endpoint
    context: ssl.SSLContext
    over: str = "TLS"
    port: int = 0

    @contextmanager
    def connected(self) -> Iterator[Any]:
        conn = self.connect()
        try:
            yield conn
        finally:
            self.client.close(conn)

    def connect(self) -> Any:
        secured = {"TLS": {"tls": self.context}, "STARTTLS": {"starttls": self.context}}.get(self.over, {})
        port = self.port or (self.server.tls_port if self.over == "TLS" else self.server.port)
        return self.client.connect(self.server.host, port, **secured)

    @property
    def attempts(self) -> list[Attempt]:
        """What the server knows of the logins on the last connection."""
        return list(self.server.sessions[-1].attempts)


@pytest.fixture
def at(client: Client, servers: Servers) -> Callable[..., Place]:
    """at("STARTTLS") -> where the library connects to."""

    def place(over: str = "TLS", **settings: Any) -> Place:
        settings = {"context": servers.client_context(), **settings}
        return Place(client, getattr(servers, client.service), over=over, **settings)

    return place


@pytest.fixture
def middle(client: Client, servers: Servers) -> Iterator[Between]:
    """Stands before the library's server, in the clear."""
    with between(getattr(servers, client.service).port) as found:
        yield found


@pytest.fixture
def in_the_clear(at: Callable[..., Place], middle: Between) -> Place:
    """The place of the library, with somebody in the middle."""
    return at("clear", port=middle.port)


@pytest.fixture(autouse=True)
def _asyncio_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No library leaves an exception that nobody has seen, or stands in the way of an event loop."""
    caplog.set_level(logging.DEBUG)
    yield
    records = [*caplog.get_records("setup"), *caplog.records]
    said = [each.getMessage() for each in records if each.name == "asyncio" and each.levelno >= logging.WARNING]
    assert said == []
