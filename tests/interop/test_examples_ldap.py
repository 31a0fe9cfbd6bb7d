"""examples/ldap_bind.py and examples/ldap3_login.py at a real OpenLDAP server, which leaves SASL to that of Cyrus."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import channel

from ..support.examples import example, library
from ..support.leaks import locals_of, seen, shown_by
from ..support.servers import HOST
from . import slapd as slapd_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .slapd import Slapd

BIND = example("ldap_bind")
LDAP3 = example("ldap3_login")
ldap3 = library("ldap3")
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")

pytestmark = pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning")  # ldap3 calls it
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)
users = pytest.mark.parametrize("user", list(slapd_module.USERS))


@pytest.fixture(scope="module")
def slapd(start: Callable[..., Iterator[Any]]) -> Iterator[Slapd]:
    yield from start(slapd_module.running)


def by_pyasn1(server: Slapd, credentials: sasl.Password, *, tls: bool = True, **options: Any) -> str:
    """Bind over a socket, and return who the server thinks that is (RFC 4532)."""
    port = server.tls_port if tls else server.port
    with socket.create_connection(("127.0.0.1", port), 10) as plain, ExitStack() as stack:
        sock = stack.enter_context(server.context().wrap_socket(plain, server_hostname=HOST)) if tls else plain
        stream = stack.enter_context(sock.makefile("rwb"))
        below = channel(sock, service="ldap", host=HOST)
        BIND.bind(stream, MECHANISMS, credentials, channel=below, **options)
        stream.write(bytes.fromhex("301e020163 7719 8017") + b"1.3.6.1.4.1.4203.1.11.3")
        stream.flush()
        length = stream.read(2)[1]  # an LDAPMessage that is short
        return str(stream.read(length).partition(b"\x8b")[2][1:], "utf-8")


def by_ldap3(server: Slapd, credentials: sasl.Password, *, tls: bool = True, **options: Any) -> str:
    """Bind by ldap3, and return who the server thinks that is."""
    checked = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(server.ca))
    port = server.tls_port if tls else server.port
    # Without get_info, nothing takes the place of the last BindRequest in the connection's attributes.
    host = ldap3.Server(HOST, port, use_ssl=tls, tls=checked, get_info=ldap3.NONE, mode=ldap3.IP_V4_ONLY)
    connection = ldap3.Connection(host, receive_timeout=10)
    try:
        assert LDAP3.log_in(connection, credentials, **options) is True
        assert seen([repr(vars(connection))], credentials.password.reveal()) == []
        assert connection.bound
        return str(connection.extend.standard.who_am_i())
    finally:
        connection.unbind()


each = pytest.mark.parametrize("log_in", [by_pyasn1, by_ldap3])


@each
@mechanisms
@users
def test_the_right_password_binds(slapd: Slapd, log_in: Any, user: str, mechanism: str) -> None:
    who = log_in(slapd, sasl.Password(user, slapd_module.USERS[user]), mechanism=mechanism)
    assert who == f"dn:uid={user},{slapd_module.SUFFIX}"


@each
@mechanisms
def test_a_wrong_password_does_not_bind(slapd: Slapd, log_in: Any, mechanism: str) -> None:
    with pytest.raises(sasl.AuthenticationFailed) as raised:
        log_in(slapd, sasl.Password("alice", "looking-glass"), mechanism=mechanism)
    assert (raised.value.kind, raised.value.mechanism) == ("credentials", mechanism)
    assert raised.value.response_code in ("49", "invalidCredentials")
    assert raised.value.server_text.startswith("SASL(-13): authentication failure: ")


@each
@mechanisms
def test_of_a_user_that_there_is_not_slapd_says_that_it_cannot_tell(slapd: Slapd, log_in: Any, mechanism: str) -> None:
    """The result is `other`, an internal error of the server (RFC 4511 appendix A.2), and we take its word for it."""
    with pytest.raises(sasl.TemporaryFailure) as raised:
        log_in(slapd, sasl.Password("nobody", "looking-glass"), mechanism=mechanism)
    assert raised.value.response_code in ("80", "other")


@each
def test_no_password_goes_out_in_the_clear_where_a_proof_will_do_or_nothing(slapd: Slapd, log_in: Any) -> None:
    password = sasl.Password("alice", "wonderland")
    assert log_in(slapd, password, tls=False) == f"dn:uid=alice,{slapd_module.SUFFIX}"
    with pytest.raises(sasl.PolicyViolation):
        log_in(slapd, password, tls=False, mechanism="PLAIN")


@each
def test_whoever_may_not_act_as_another_is_told_so(slapd: Slapd, log_in: Any) -> None:
    with pytest.raises(sasl.AuthorizationFailed) as raised:
        log_in(slapd, sasl.Password("alice", "wonderland", authzid="u:queen"), mechanism="SCRAM-SHA-256")
    assert raised.value.response_code in ("50", "insufficientAccessRights")


@each
def test_a_refusal_shows_no_password(slapd: Slapd, log_in: Any) -> None:
    with pytest.raises(sasl.AuthenticationFailed) as raised:
        log_in(slapd, sasl.Password("alice", "looking-glass"), mechanism="PLAIN")
    assert seen([*shown_by(raised.value), *locals_of(raised.value, everywhere=True)], "looking-glass") == []


def test_a_mechanism_that_the_server_has_not_is_refused_as_such(slapd: Slapd) -> None:
    with (
        socket.create_connection(("127.0.0.1", slapd.port), 10) as sock,
        sock.makefile("rwb") as stream,
        pytest.raises(sasl.AuthenticationFailed) as raised,
    ):
        BIND.bind(stream, ["SCRAM-SHA3-512"], sasl.Password("alice", "wonderland"))
    assert raised.value.kind == "unsupported"


def test_ldap3_does_not_log_a_password(slapd: Slapd, caplog: pytest.LogCaptureFixture) -> None:
    log = library("ldap3.utils.log")
    log.set_library_log_detail_level(log.EXTENDED)
    try:
        with caplog.at_level("DEBUG"):
            by_ldap3(slapd, sasl.Password("alice", "wonderland"), mechanism="PLAIN")
    finally:
        log.set_library_log_detail_level(log.OFF)
    assert "bindRequest" in caplog.text
    assert seen([caplog.text], "wonderland") == []
