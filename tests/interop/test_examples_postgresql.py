"""examples/postgresql_scram.py logs in at a real PostgreSQL, with and without TLS and channel binding."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

import sasl

from ..support.examples import example
from ..support.servers import HOST
from . import postgresql as postgresql_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .postgresql import PostgreSQL

EXAMPLE = example("postgresql_scram")

versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
users = pytest.mark.parametrize("user", list(postgresql_module.USERS))


@pytest.fixture(scope="module")
def postgresql(start: Callable[..., Iterator[Any]]) -> Iterator[PostgreSQL]:
    yield from start(postgresql_module.running)


@contextmanager
def connected(
    server: PostgreSQL, version: ssl.TLSVersion | None = None
) -> Iterator[tuple[BinaryIO, sasl.Channel | None]]:
    """A connection, as the stream that the example takes, and its channel; under TLS if a version is named."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
        if version is None:
            with plain.makefile("rwb") as stream:
                yield stream, None
            return
        with EXAMPLE.begin_tls(plain, server.context(version), HOST) as tls, tls.makefile("rwb") as stream:
            yield stream, EXAMPLE.channel(tls, HOST)


def answer_of(stream: BinaryIO, query: str) -> bytes:
    """Ask a query of one row and one column, and return what is in it."""
    EXAMPLE.send(stream, b"Q", query.encode() + b"\0")
    while True:
        kind, size = stream.read(1), int.from_bytes(stream.read(4))
        body = stream.read(size - 4)
        assert kind != b"E", body
        if kind == b"D":
            return body[6:]


def log_in(
    server: PostgreSQL, user: str, password: str, version: ssl.TLSVersion | None = None, **options: Any
) -> bytes:
    """Log in, and return who the server thinks that is."""
    with connected(server, version) as (stream, channel):
        credentials = sasl.Password(user, password)
        EXAMPLE.log_in(stream, credentials, postgresql_module.DATABASE, channel=channel, **options)
        return answer_of(stream, "SELECT session_user")


@users
def test_the_right_password_logs_in(postgresql: PostgreSQL, user: str) -> None:
    assert log_in(postgresql, user, postgresql_module.USERS[user]) == user.encode()


@versions
@users
def test_the_right_password_logs_in_over_tls_bound_to_the_channel(
    postgresql: PostgreSQL, user: str, version: ssl.TLSVersion
) -> None:
    assert log_in(postgresql, user, postgresql_module.USERS[user], version) == user.encode()


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_a_wrong_password_is_refused_and_so_is_a_user_that_there_is_not(
    postgresql: PostgreSQL, user: str, version: ssl.TLSVersion | None
) -> None:
    with pytest.raises(sasl.AuthenticationFailed) as raised:
        log_in(postgresql, user, "looking-glass", version)
    error = raised.value
    assert (error.kind, error.response_code) == ("credentials", "28P01")
    assert error.server_text == f'password authentication failed for user "{user}"'
    assert error.mechanism == ("SCRAM-SHA-256" if version is None else "SCRAM-SHA-256-PLUS")


@pytest.mark.parametrize("user", list(postgresql_module.UNPREPARED))
def test_a_password_that_saslprep_forbids_is_hashed_as_it_is_where_the_policy_says_so(
    postgresql: PostgreSQL, user: str
) -> None:
    password = postgresql_module.UNPREPARED[user]
    assert log_in(postgresql, user, password, policy=sasl.Policy(prepare=False)) == user.encode()
    with pytest.raises(sasl.UsageError, match="RFC 4013"):
        log_in(postgresql, user, password)


def test_the_user_name_within_scram_may_be_any(postgresql: PostgreSQL) -> None:
    """What the example sends there is the name that PostgreSQL looks at elsewhere; here it is another."""
    with connected(postgresql) as (stream, _):
        start = f"user\0alice\0database\0{postgresql_module.DATABASE}\0\0".encode()
        EXAMPLE.send(stream, b"", (196608).to_bytes(4) + start)
        exchange = sasl.client("SCRAM-SHA-256", sasl.Password("whoever", "wonderland"))
        first = exchange.start()
        assert first is not None
        EXAMPLE.receive(stream, sasl.ConnectionLost)
        EXAMPLE.send(stream, b"p", b"SCRAM-SHA-256\0" + len(first).to_bytes(4) + first)
        _, challenge = EXAMPLE.receive(stream, exchange.fail)
        EXAMPLE.send(stream, b"p", exchange.respond(challenge))
        _, proof = EXAMPLE.receive(stream, exchange.fail)
        assert exchange.respond(proof) == b""
        assert EXAMPLE.receive(stream, exchange.fail) == (EXAMPLE.OK, b"")
        exchange.succeed()


@versions
def test_another_channel_is_refused(postgresql: PostgreSQL, version: ssl.TLSVersion) -> None:
    kind = "tls-server-end-point"
    other = sasl.Channel(tls=True, bindings=sasl.LazyBindings(lambda: {kind: b"another"}, default=kind))
    with connected(postgresql, version) as (stream, _), pytest.raises(sasl.AuthenticationFailed) as raised:
        EXAMPLE.log_in(stream, sasl.Password("alice", "wonderland"), postgresql_module.DATABASE, channel=other)
    assert raised.value.kind == "policy"
    assert "channel binding" in raised.value.server_text


@pytest.mark.parametrize("user", [postgresql_module.OLD, postgresql_module.TRUSTED])
def test_a_server_that_asks_for_no_sasl_gets_no_password(postgresql: PostgreSQL, user: str) -> None:
    with pytest.raises(sasl.MechanismUnavailable):
        log_in(postgresql, user, "wonderland")


def test_who_is_turned_away_at_once_is_told_why(postgresql: PostgreSQL) -> None:
    with pytest.raises(sasl.ConnectionLost, match="rejects connection") as raised:
        log_in(postgresql, postgresql_module.TURNED_AWAY, "wonderland")
    assert (raised.value.kind, raised.value.response_code) == ("policy", "28000")
