"""Logins at Cyrus, which offers -PLUS at every version of TLS and has tls-unique alone behind it."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sasl

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST
from . import cyrus as cyrus_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .cyrus import Cyrus

MECHANISMS = (
    *(name + plus for name in ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1") for plus in ("-PLUS", "")),
    *("PLAIN", "LOGIN", "DIGEST-MD5", "CRAM-MD5"),
)
ALLOWED = sasl.Policy(allow=["CRAM-MD5", "DIGEST-MD5"])

protocols = pytest.mark.parametrize("protocol", cyrus_module.PROTOCOLS)
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
users = pytest.mark.parametrize("user", list(cyrus_module.USERS))


@pytest.fixture(scope="module")
def cyrus(start: Callable[..., Iterator[Any]]) -> Iterator[Cyrus]:
    yield from start(cyrus_module.running)


@contextmanager
def connected(
    server: Cyrus, protocol: str, version: ssl.TLSVersion, *, implicit: bool = True, drop_in: bool = False
) -> Iterator[Any]:
    spoken = PROTOCOLS[protocol]
    module, port = spoken.binding if drop_in else None, server.port(protocol, implicit=implicit)
    with spoken.connected(port, server.context(version), module, implicit=implicit, host=HOST) as conn:
        yield conn


def is_logged_in(conn: Any) -> bool:
    return bool(conn.select()[0] == "OK" if hasattr(conn, "select") else conn.stat() == (0, 0))


@tls
@versions
@users
@protocols
def test_the_right_password_logs_in_with_no_mechanism_named(
    cyrus: Cyrus, *, protocol: str, user: str, version: ssl.TLSVersion, implicit: bool
) -> None:
    with connected(cyrus, protocol, version, implicit=implicit) as conn:
        PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password(user, cyrus.users[user]))

        assert is_logged_in(conn)


@versions
@users
@protocols
def test_the_drop_in_class_logs_in(cyrus: Cyrus, *, protocol: str, user: str, version: ssl.TLSVersion) -> None:
    with connected(cyrus, protocol, version, drop_in=True) as conn:
        conn.login(user, cyrus.users[user])

        assert is_logged_in(conn)


@versions
@protocols
def test_a_wrong_password_is_refused_and_the_right_one_serves_then(
    cyrus: Cyrus, *, protocol: str, version: ssl.TLSVersion
) -> None:
    with connected(cyrus, protocol, version) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", "looking-glass"))
        assert getattr(refused.value, "kind", None) == "credentials"

        PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", cyrus.users["alice"]))
        assert is_logged_in(conn)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@protocols
def test_each_mechanism_logs_in_where_it_is_named(cyrus: Cyrus, *, protocol: str, mechanism: str) -> None:
    version = ssl.TLSVersion.TLSv1_2 if mechanism.endswith("-PLUS") else ssl.TLSVersion.TLSv1_3
    with connected(cyrus, protocol, version) as conn:
        who = sasl.Password("alice", cyrus.users["alice"])
        PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism, policy=ALLOWED)

        assert is_logged_in(conn)
