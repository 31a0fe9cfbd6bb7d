"""APOP by poplib, at the reference server: with the drop-in classes, `authenticate`, and poplib's own client."""

from __future__ import annotations

import contextlib
import poplib
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.poplib
from sasl.adapters import reference
from sasl.adapters.poplib import (
    POPAuthenticationFailed,
    POPConnectionLost,
    POPMechanismUnavailable,
    POPPolicyViolation,
    authenticate,
)
from sasl.adapters.wire.pop import timestamp

from ..support.leaks import locals_of, seen, shown_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

BINDING = sasl.adapters.poplib
ALLOWED = sasl.Policy(allow=["POP-APOP"])
ALICE = sasl.Password("alice", "wonderland")
STAMPED = b"+OK ready <1896.697170952@dbc.mtview.ca.us>\r\n"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    settings = reference.Settings(policy=ALLOWED)
    with reference.running({"alice": "wonderland", "j\u00f6rg": "k\u00f6nigin"}, settings=settings) as servers:
        yield servers


@contextlib.contextmanager
def connected(servers: Servers, *, tls: bool = False, module: Any = BINDING, allowed: bool = True) -> Iterator[Any]:
    """A client, which may use APOP if it is one of ours and that is `allowed`."""
    server, context = servers.pop, servers.client_context()
    if tls:
        conn = module.POP3_SSL(server.host, server.tls_port, context=context, timeout=10)
    else:
        conn = module.POP3(server.host, server.port, timeout=10)
    if allowed:
        conn.policy = ALLOWED
    try:
        yield conn
    finally:
        conn.close()


def attempts(servers: Servers) -> list[tuple[str, str, str | None]]:
    return [(each.mechanism, each.outcome, each.identity) for each in servers.pop.sessions[-1].attempts]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "password", ["wonderland", sasl.Secret("wonderland"), ALICE], ids=["str", "Secret", "Password"]
)
def test_apop_logs_in_as_that_of_poplib_does(servers: Servers, password: Any, *, tls: bool) -> None:
    with connected(servers, tls=tls) as conn:
        assert conn.apop("alice", password) == b"+OK Authenticated"
        assert conn.stat() == (0, 0)
        assert conn.quit().startswith(b"+OK")
    assert attempts(servers) == [("POP-APOP", "accepted", "alice")]


def test_a_name_and_a_password_in_other_letters(servers: Servers) -> None:
    for user, password in (("j\u00f6rg", "k\u00f6nigin"), ("jo\u0308rg", "ko\u0308nigin")):
        with connected(servers) as conn:
            assert conn.apop(user, password).startswith(b"+OK")


def test_poplibs_own_apop_works_at_the_reference_server(servers: Servers) -> None:
    with connected(servers, module=poplib) as conn:
        with pytest.raises(poplib.error_proto):
            conn.apop("alice", "looking-glass")
        assert conn.apop("alice", "wonderland") == b"+OK Authenticated"


def test_no_two_greetings_have_the_same_timestamp(servers: Servers) -> None:
    stamps = []
    for _ in range(3):
        with connected(servers) as conn:
            stamps.append(timestamp(conn.getwelcome()))
    assert None not in stamps
    assert len(set(stamps)) == 3


def test_login_and_authenticate_use_it_where_no_mechanism_may_be() -> None:
    """In the clear PLAIN is out, and so are USER and PASS."""
    settings = reference.Settings(policy=ALLOWED, mechanisms=["POP-APOP", "PLAIN"])
    with reference.running(settings=settings) as servers:
        with connected(servers) as conn:
            assert conn.login("alice", "wonderland") == b"+OK Authenticated"
        with connected(servers, module=poplib) as conn:
            assert authenticate(conn, ALICE, policy=ALLOWED) == b"+OK Authenticated"
        with connected(servers, allowed=False) as conn, pytest.raises(POPPolicyViolation):
            conn.login("alice", "wonderland")
        assert attempts(servers) == []
        with connected(servers, tls=True) as conn:
            conn.login("alice", "wonderland")
        assert attempts(servers) == [("PLAIN", "accepted", "alice")]
        with connected(servers, tls=True) as conn:
            conn.mechanism = "pop-apop"
            conn.login("alice", "wonderland")
        assert attempts(servers) == [("POP-APOP", "accepted", "alice")]


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "looking-glass"), ("nobody", "wonderland"), ("al\xadice", "x")]
)
def test_a_refusal_is_a_refusal_and_the_connection_goes_on(servers: Servers, user: str, password: str) -> None:
    with connected(servers) as conn:
        with pytest.raises(POPAuthenticationFailed) as caught:
            conn.apop(user, password)
        assert caught.value.args == (b"-ERR [AUTH] Authentication failed",)
        assert (caught.value.mechanism, caught.value.response_code) == ("POP-APOP", "AUTH")
        conn.apop("alice", "wonderland")
    assert [outcome for _, outcome, _ in attempts(servers)] == ["credentials", "accepted"]


def test_it_is_off_unless_the_policy_allows_it(servers: Servers) -> None:
    with connected(servers, allowed=False) as conn:
        with pytest.raises(POPPolicyViolation, match="by name"):
            conn.apop("alice", "wonderland")
        assert conn.capa()
    assert attempts(servers) == []


def test_a_server_has_it_only_where_its_settings_allow_it_and_passwords_are_kept() -> None:
    keys = sasl.ScramKeys.derive("wonderland", "sha256", iterations=4096)
    for users, settings in (
        ({"alice": "wonderland"}, reference.Settings()),
        ({"alice": "wonderland"}, reference.Settings(policy=ALLOWED, mechanisms=["PLAIN"])),
        ({"alice": keys}, reference.Settings(policy=ALLOWED)),
    ):
        with reference.running(users, settings=settings) as servers, connected(servers) as conn:
            assert b"<" not in conn.getwelcome()
            with pytest.raises(POPMechanismUnavailable, match="no timestamp"):
                conn.apop("alice", "wonderland")
            with pytest.raises(poplib.error_proto, match="Unknown command"):
                conn._shortcmd("APOP alice " + "0" * 32)


def test_what_is_no_apop_is_answered_and_not_written_down(servers: Servers) -> None:
    with connected(servers, module=poplib) as conn:
        for line in ("APOP", "APOP alice", "apop alice wonderland", "APOP alice " + "A" * 32):
            with pytest.raises(poplib.error_proto, match="Malformed"):
                conn._shortcmd(line)
        conn.apop("alice", "wonderland")
        with pytest.raises(poplib.error_proto, match="already"):
            conn.apop("alice", "wonderland")
    transcript = servers.pop.sessions[-1].transcript
    assert ("C", "APOP <38 octets>") in transcript
    assert not any("wonderland" in text or "alice" in text for _, text in transcript)
    assert [outcome for _, outcome, _ in attempts(servers)] == ["malformed"] * 4 + ["accepted", "state"]


def test_refused_digests_count_as_failures() -> None:
    settings = reference.Settings(policy=ALLOWED, failures=2)
    with reference.running(settings=settings) as servers, connected(servers) as conn:
        for _ in range(2):
            with pytest.raises(POPAuthenticationFailed):
                conn.apop("alice", "looking-glass")
        with pytest.raises(poplib.error_proto):
            conn.noop()
            conn.noop()


# --- servers that no reference server is


@pytest.mark.parametrize("stamp", [b"<1896>", b"<\xff\xfe@x>", b"<1@x> <2@x>", b"< 1@x>"], ids=repr)
def test_a_timestamp_that_somebody_made_up_is_never_hashed(pop: Any, stage: Any, stamp: bytes) -> None:
    server = stage.serve(pop, [(b"CAPA", b"-ERR\r\n")] * 2, tls=False, greeting=b"+OK ready " + stamp + b"\r\n")
    conn = pop.connect(server.port, None, BINDING)
    conn.policy = ALLOWED
    for login in (conn.apop, conn.login):
        with pytest.raises((POPMechanismUnavailable, POPPolicyViolation)) as caught:
            login("alice", "wonderland")
        assert "msg-id" in caught.value.passed_over["POP-APOP"]
    pop.close(conn)
    assert server.heard() == [b"CAPA"] * 2


@pytest.mark.parametrize("answer", ["close", [b"+OK wel", "close"]], ids=str)
def test_a_connection_that_ends_before_the_verdict_is_lost(pop: Any, stage: Any, answer: Any) -> None:
    server = stage.serve(pop, [(b"CAPA", b"-ERR\r\n"), (None, answer)], tls=False, greeting=STAMPED)
    conn = pop.connect(server.port, None, BINDING)
    conn.policy = ALLOWED
    with pytest.raises(POPConnectionLost):
        conn.apop("alice", "wonderland")
    assert pop.is_closed(conn)


def test_what_cannot_be_used_is_known_before_the_command_is_sent(pop: Any, stage: Any) -> None:
    server = stage.serve(pop, [(b"CAPA", b"-ERR\r\n")] * 2, tls=False, greeting=STAMPED)
    conn = pop.connect(server.port, None, BINDING)
    conn.policy = ALLOWED
    for user, password in (("al ice", "wonderland"), ("alice", "wonder\0land"), ("alice", 5), (None, "wonderland")):
        with pytest.raises(sasl.UsageError) as caught:
            conn.apop(user, password)
        assert "wonder" not in str(caught.value)
    with pytest.raises(sasl.UsageError):
        conn.apop("alice", b"wonderland\xff")
    pop.close(conn)
    assert server.heard() == [b"CAPA"] * 2


def test_a_token_never_goes_into_apop(pop: Any, stage: Any) -> None:
    server = stage.serve(pop, [(b"CAPA", b"-ERR\r\n")], tls=False, greeting=STAMPED)
    conn = pop.connect(server.port, None, BINDING)
    conn.policy = ALLOWED
    with pytest.raises(POPMechanismUnavailable):
        conn.apop("alice", lambda: pytest.fail("no token is asked for"))
    pop.close(conn)
    assert server.heard() == [b"CAPA"]


def test_neither_password_nor_digest_is_shown(
    pop: Any, stage: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "sasl")
    server = stage.serve(pop, [(b"CAPA", b"-ERR\r\n"), (None, b"-ERR wonderland\r\n")], tls=False, greeting=STAMPED)
    conn = pop.connect(server.port, None, BINDING)
    conn.policy = ALLOWED
    conn.set_debuglevel(2)
    with pytest.raises(POPAuthenticationFailed) as caught:
        conn.apop("alice", "wonderland")
    told = [*shown_by(caught.value), *locals_of(caught.value, everywhere=True)]
    pop.close(conn)
    (_, sent) = server.heard()
    digest = sent.split(b" ")[2].decode()
    told += [*capsys.readouterr(), caplog.text]
    assert "APOP <5 octets> <32 octets>" in "".join(told)
    assert seen(told, "wonderland", digest, bytes.fromhex(digest)) == []
