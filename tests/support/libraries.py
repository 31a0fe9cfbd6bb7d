"""Mail libraries behind one face, so that one test asks the same of each of them.

A library joins by a file of tests/libraries that is named after it and holds `CLIENT = Client(...)`; everything that
is asked of all libraries is asked of it then. One that is not installed is skipped, and the report says so; where
SASLKIT_REQUIRE_INTEROP=1, it is an error.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import ModuleType

FOLDER: Final = Path(__file__).parents[1] / "libraries"
TIMEOUT: Final = 6.0  # seconds for a library that has a time-out of its own; only what hangs without us waits for it
SLOW: Final = 2.0  # seconds for which an event loop may stand still; more is what blocks, on a busy machine too


@dataclass(frozen=True, repr=False)
class Client:
    """A library as tests see it. Each call is synchronous and returns when it is done (see `asynchronous`).

    Attributes:
        name: of its file in tests/libraries, and of the binding: sasl.adapters.NAME; with "_" and the service behind it
            where one binding speaks several protocols.
        service: "imap", "pop", "smtp" or "sieve".
        distribution: its name at PyPI; "" for one of the standard library.
        connect: connect(host, port, *, tls=None, starttls=None) -> a connection that is not logged in; with an
            SSLContext as `tls` under TLS from the first octet, as `starttls` from that command on.
        authenticate: authenticate(conn, credentials, **options) -> what the binding returns; the options are those of
            every `authenticate`: mechanism, initial_response, policy, timeout.
        noop: noop(conn) asks what a server answers before a login, too; raises if it does not, or says anything but
            yes.
        close: close(conn) closes at once, in whatever state the connection is, also for a second time.
        error, refused, lost: the library's exceptions: of all, of a refused login, of a lost connection.
        own: by mechanism what the library can do without us, with its best call: own[name](conn, credentials).
        debug: debug(conn) turns on all that the library can show of a connection.
        plus: whether the library shows its TLS, so that -PLUS is possible.
    """

    name: str
    service: str
    distribution: str
    connect: Callable[..., Any]
    authenticate: Callable[..., Any]
    noop: Callable[[Any], object]
    close: Callable[[Any], object]
    error: type[Exception]
    refused: type[Exception]
    lost: type[Exception]
    own: Mapping[str, Callable[[Any, sasl.Credentials], object]] = field(default_factory=dict)
    debug: Callable[[Any], object] = lambda conn: None
    plus: bool = True

    def __repr__(self) -> str:
        return self.name

    @property
    def module(self) -> str:
        """The name of our module for the library."""
        return self.name.removesuffix(f"_{self.service}")

    @property
    def binding(self) -> ModuleType:
        """Our module for the library."""
        return importlib.import_module(f"sasl.adapters.{self.module}")

    @property
    def version(self) -> str:
        """The release that is installed; "" for a part of Python."""
        return metadata.version(self.distribution) if self.distribution else ""


# --- which there are


def names() -> list[str]:
    """The libraries that have a file."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "conftest" and "test_" not in path.stem)


@cache
def load(name: str) -> Client | str:
    """Return a library, or why it cannot be tested here."""
    try:
        found: Client = importlib.import_module(f"..libraries.{name}", __package__).CLIENT
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if os.environ.get("SASLKIT_REQUIRE_INTEROP") == "1" or missing.partition(".")[0] in ("sasl", "tests"):
            raise
        return f"{missing} is not installed"
    assert found.name == name, f"tests/libraries/{name}.py is named after another library: {found}"
    return found


def modules() -> list[str]:
    """The bindings that they have, as far as their libraries are installed."""
    found = [load(name) for name in names()]
    return sorted({each.module for each in found if isinstance(each, Client)})


def clients(*services: str) -> list[Any]:
    """The parameters for a test of each library that speaks one of these protocols, or any."""
    parameters = []
    for name in names():
        client = load(name)
        if isinstance(client, str):
            parameters.append(pytest.param(None, marks=pytest.mark.skip(reason=client), id=name))
        elif not services or client.service in services:
            parameters.append(pytest.param(client, id=name))
    return parameters


# --- what entries are made of


def message(mechanism: str, credentials: Any) -> bytes:
    """What somebody sends who has no SASL library, and writes the one message of a mechanism by hand."""
    if mechanism == "PLAIN":
        return f"\0{credentials.authcid}\0{_revealed(credentials.password)}".encode()
    user, token = credentials.username, _revealed(credentials.token)
    if mechanism == "XOAUTH2":
        return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
    assert mechanism == "OAUTHBEARER", mechanism
    return f"n,a={user},\x01auth=Bearer {token}\x01\x01".encode()


def _revealed(secret: str | sasl.Secret) -> str:
    return secret if isinstance(secret, str) else secret.reveal()


@dataclass(eq=False)
class Looped:
    """A connection of an asynchronous library, and the event loop in which its calls run.

    Attributes:
        conn: the library's.
    """

    conn: Any
    _runner: asyncio.Runner = field(repr=False)

    def run(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        """Run a call of the connection to its end."""

        async def main() -> Any:
            return await call(self.conn, *arguments, **options)

        return self._runner.run(main())

    def close(self, call: Callable[[Any], Awaitable[Any]]) -> None:
        """Close the connection, and then the loop, unless both are."""
        if self._runner is None:
            return
        try:
            self.run(call)
        finally:
            self._runner.close()
            self._runner = None  # type: ignore[assignment]


def librarys_own(conn: Any) -> Any:
    """The library's connection, without what stands around it here."""
    return conn.conn if isinstance(conn, Looped) else conn


def in_loop(call: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Return a coroutine function call(conn, ...) as a function of a `Looped`: for `own`, and for `debug`."""

    @wraps(call)
    def run(looped: Looped, *arguments: Any, **options: Any) -> Any:
        return looped.run(call, *arguments, **options)

    return run


def asynchronous(
    *,
    connect: Callable[..., Awaitable[Any]],
    authenticate: Callable[..., Awaitable[Any]],
    noop: Callable[[Any], Awaitable[Any]],
    close: Callable[[Any], Awaitable[Any]],
) -> dict[str, Callable[..., Any]]:
    """Return the four calls of a `Client` for those of an asynchronous library, which are coroutine functions.

    Each connection has an event loop of its own, in debug mode. What asyncio has to say of it, it logs: of a callback
    that stood in the way of others for `SLOW` seconds, of an exception that nobody has seen. The tests look there.
    """

    def connect_in_loop(*arguments: Any, **options: Any) -> Looped:
        runner = asyncio.Runner(debug=True)
        looped = Looped(None, runner)
        runner.get_loop().slow_callback_duration = SLOW

        async def main() -> Any:
            return await connect(*arguments, **options)

        try:
            looped.conn = runner.run(main())
        except BaseException:
            runner.close()
            raise
        return looped

    return {
        "connect": connect_in_loop,
        "authenticate": in_loop(authenticate),
        "noop": in_loop(noop),
        "close": lambda looped: looped.close(close),
    }
