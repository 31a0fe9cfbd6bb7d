"""Every mechanism over every protocol and both kinds of TLS, with credentials right, wrong, expired and revoked."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import smtplib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import reference

if TYPE_CHECKING:
    import ssl

    from sasl.adapters.reference import Servers

BINDINGS = {"imap": sasl.adapters.imaplib, "pop": sasl.adapters.poplib, "smtp": sasl.adapters.smtplib}


ACCEPTED = [
    ("PLAIN", "wonderland"),
    ("XOAUTH2", "good"),
    ("OAUTHBEARER", "good"),
]
REFUSED = [
    ("PLAIN", "looking-glass", "credentials"),
    ("PLAIN", "good", "credentials"),
    *((mechanism, "unknown", "credentials") for mechanism in ("XOAUTH2", "OAUTHBEARER")),
    *((mechanism, "expired", "expired") for mechanism in ("XOAUTH2", "OAUTHBEARER")),
    *((mechanism, "revoked", "credentials") for mechanism in ("XOAUTH2", "OAUTHBEARER")),
]
EXPLAINED = {
    "PLAIN": {},
    "XOAUTH2": {"status": "401", "schemes": "bearer", "scope": "mail"},
    "OAUTHBEARER": {"status": "invalid_token", "scope": "mail"},
}


def credentials(mechanism: str, secret: str, servers: Servers, user: str = "alice") -> sasl.Credentials:
    if mechanism == "PLAIN":
        return sasl.Password(user, secret)
    return sasl.Bearer(user, {**servers.tokens, "unknown": "never-issued"}[secret])


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
@pytest.mark.parametrize("initial", [None, False])
@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize(("mechanism", "secret"), ACCEPTED)
def test_a_good_credential_is_accepted(
    *,
    mechanism: str,
    secret: str,
    protocol: str,
    initial: bool | None,
    over: str,
    servers: Servers,
    context: ssl.SSLContext,
    client: Any,
) -> None:
    server = getattr(servers, protocol)
    good = credentials(mechanism, secret, servers)
    with client(server, over, context) as conn:
        BINDINGS[protocol].authenticate(conn, good, mechanism=mechanism, initial_response=initial)
        conn.noop()
    session = server.sessions[-1]
    assert session.identity == "alice"
    initial_response = initial is None
    turns = 1 if initial_response else 2
    assert list(session.attempts) == [
        reference.Attempt(mechanism, True, initial_response, turns, "accepted", "alice"),
    ]


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
@pytest.mark.parametrize("initial", [None, False])
@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize(("mechanism", "secret", "kind"), REFUSED)
def test_a_bad_credential_is_refused_and_the_refusal_explained(
    *,
    mechanism: str,
    secret: str,
    kind: str,
    protocol: str,
    initial: bool | None,
    over: str,
    servers: Servers,
    context: ssl.SSLContext,
    client: Any,
) -> None:
    server = getattr(servers, protocol)
    bad = credentials(mechanism, secret, servers)
    with client(server, over, context) as conn:
        with pytest.raises(sasl.AuthenticationFailed) as refusal:
            BINDINGS[protocol].authenticate(conn, bad, mechanism=mechanism, initial_response=initial)
        conn.capa() if protocol == "pop" else conn.noop()  # the connection is usable
    assert refusal.value.detail == EXPLAINED[mechanism]
    assert refusal.value.kind == (kind if protocol == "imap" else "credentials")
    assert refusal.value.new_token_may_help == (mechanism != "PLAIN")
    session = server.sessions[-1]
    assert session.identity is None
    (attempt,) = session.attempts
    assert (attempt.mechanism, attempt.outcome, attempt.identity) == (mechanism, kind, None)
    assert attempt.reason


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_opens_no_mailbox_but_its_own(
    mechanism: str, protocol: str, servers: Servers, context: ssl.SSLContext, client: Any
) -> None:
    server = getattr(servers, protocol)
    bobs = credentials(mechanism, "good", servers, user="bob")
    with client(server, "TLS", context) as conn:
        expected = sasl.AuthorizationFailed if protocol == "imap" else sasl.AuthenticationFailed
        with pytest.raises(expected):
            BINDINGS[protocol].authenticate(conn, bobs, mechanism=mechanism)
    assert [attempt.outcome for attempt in server.sessions[-1].attempts] == ["authorization"]


@pytest.mark.parametrize("protocol", BINDINGS)
def test_a_token_for_another_server_is_refused(
    protocol: str, servers: Servers, context: ssl.SSLContext, client: Any
) -> None:
    server = getattr(servers, protocol)
    exchange = sasl.client(
        "OAUTHBEARER",
        sasl.Bearer("alice", servers.tokens["good"]),
        channel=sasl.Channel(tls=True, host=server.host, port=server.port),
    )
    message = exchange.start()
    assert message is not None
    with client(server, "TLS", context) as conn:  # which is another port
        with pytest.raises((imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError)) as refusal:
            if protocol == "imap":
                conn.authenticate("OAUTHBEARER", lambda challenge: b"\x01" if challenge else message)
            elif protocol == "smtp":
                conn.ehlo()
                conn.auth("OAUTHBEARER", lambda challenge=None: "\x01" if challenge else message.decode())
            else:
                import base64

                conn._shortcmd("AUTH OAUTHBEARER")
                conn._shortcmd(base64.b64encode(message).decode())
                conn._shortcmd("AQ==")
        assert "failed" in str(refusal.value)
    assert "another host or port" in server.sessions[-1].attempts[-1].reason


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        (reference.Settings(hosts=["mail.example.org"], check_port=False), "accepted"),
        (reference.Settings(hosts=["mail.example.org"]), "credentials"),
        (reference.Settings(hosts=["example.org"], check_port=False), "credentials"),
        (reference.Settings(hosts=[], check_port=False), "accepted"),
    ],
)
def test_the_server_may_have_another_name_and_port_than_its_socket(
    settings: reference.Settings, outcome: str, client: Any
) -> None:
    """As behind a proxy."""
    with reference.running(settings=settings) as servers:
        exchange = sasl.client(
            "OAUTHBEARER",
            sasl.Bearer("alice", servers.tokens["good"]),
            channel=sasl.Channel(tls=True, host="MAIL.example.org", port=993),
        )
        expected = contextlib.nullcontext() if outcome == "accepted" else pytest.raises(imaplib.IMAP4.error)
        with client(servers.imap, "TLS", servers.client_context()) as conn, expected:
            conn.authenticate("OAUTHBEARER", lambda challenge: b"\x01" if challenge else exchange.start())
        assert [attempt.outcome for attempt in servers.imap.sessions[-1].attempts] == [outcome]


@pytest.mark.parametrize("length", [300, 4_000, 8_192])
@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_long_tokens_are_taken(
    *, mechanism: str, protocol: str, length: int, servers: Servers, context: ssl.SSLContext, client: Any
) -> None:
    server = getattr(servers, protocol)
    token = f"{protocol}-{mechanism}-".ljust(length, "x")
    servers.verifier.add_token(token, "alice")
    with client(server, "TLS", context) as conn:
        BINDINGS[protocol].authenticate(conn, sasl.Bearer("alice", token), mechanism=mechanism)
    assert server.sessions[-1].identity == "alice"


def test_what_the_standard_library_can_do_by_itself_works(
    servers: Servers, context: ssl.SSLContext, client: Any
) -> None:
    with client(servers.imap, "STARTTLS", context) as conn:
        conn.login("alice", "wonderland")
        assert conn.select() == ("OK", [b"0"])
        assert conn.list()[1][0] == b'(\\HasNoChildren) "/" INBOX'
        assert conn.search(None, "ALL") == ("OK", [b""])
        assert conn.status("INBOX", "(MESSAGES)")[1][0].startswith(b"INBOX (MESSAGES 0")
        conn.close()
    with client(servers.pop, "STARTTLS", context) as conn:
        conn.user("alice")
        conn.pass_("wonderland")
        assert conn.stat() == (0, 0)
        assert conn.list()[1] == conn.uidl()[1] == []
        conn.quit()
    with client(servers.smtp, "STARTTLS", context) as conn:
        conn.login("alice", "wonderland")
        assert conn.sendmail("a@example.org", ["b@example.org", "c@example.org"], "Subject: x\n\n.\n.x\n") == {}
        assert conn.verify("alice")[0] == 252
    assert [getattr(servers, name).sessions[-1].attempts[-1].mechanism for name in BINDINGS] == [
        "IMAP-LOGIN",
        "POP-USER",
        "PLAIN",
    ]


@pytest.mark.parametrize("mechanism", ["IMAP-LOGIN", "POP-USER"])
@pytest.mark.parametrize("user", ["alice", "\u00e4lice"])
def test_the_logins_that_are_no_mechanism_are_the_same_to_the_verifier(mechanism: str, user: str, client: Any) -> None:
    """LOGIN sends what is not ASCII as a literal."""
    protocol = mechanism.partition("-")[0].lower()
    with reference.running({user: "p\u00e4ss"}) as servers:
        server = getattr(servers, protocol)
        with client(server, "TLS", servers.client_context()) as conn:
            wrong = sasl.Password(user, "pass")
            with pytest.raises(sasl.AuthenticationFailed):
                BINDINGS[protocol].authenticate(conn, wrong, mechanism=mechanism)
            right = sasl.Password(user, "pa\u0308ss")  # in another spelling, which SASLprep makes the same
            BINDINGS[protocol].authenticate(conn, right, mechanism=mechanism)
        turns = 2 if protocol == "pop" or user.isascii() else 3
        assert [(attempt.outcome, attempt.turns) for attempt in server.sessions[-1].attempts] == [
            ("credentials", 2 if protocol == "pop" else 1 if user.isascii() else 2),
            ("accepted", turns),
        ]


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "OAUTHBEARER"])
def test_nothing_is_sent_without_tls(
    mechanism: str, protocol: str, servers: Servers, context: ssl.SSLContext, client: Any
) -> None:
    server = getattr(servers, protocol)
    secret = "wonderland" if mechanism == "PLAIN" else "good"
    with client(server, "clear", context) as conn, pytest.raises((sasl.MechanismUnavailable, sasl.PolicyViolation)):
        BINDINGS[protocol].authenticate(conn, credentials(mechanism, secret, servers), mechanism=mechanism)
    assert list(server.sessions[-1].attempts) == []


@pytest.mark.parametrize("protocol", BINDINGS)
@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER", None])
def test_a_policy_may_allow_logins_in_the_clear(mechanism: str | None, protocol: str, client: Any) -> None:
    policy = sasl.Policy(plaintext="loopback")
    settings = reference.Settings(policy=policy, mechanisms=["plain", "OAUTHBEARER"] if mechanism else [])
    password = sasl.Password("alice", "wonderland")
    with reference.running(settings=settings) as servers:
        server = getattr(servers, protocol)
        with client(server, "clear", servers.client_context()) as conn:
            if mechanism is None and protocol == "smtp":
                with pytest.raises(sasl.MechanismUnavailable):
                    sasl.adapters.smtplib.authenticate(conn, password, policy=policy)
                return
            wanted = password if mechanism != "OAUTHBEARER" else sasl.Bearer("alice", servers.tokens["good"])
            BINDINGS[protocol].authenticate(conn, wanted, mechanism=mechanism, policy=policy)
        (attempt,) = server.sessions[-1].attempts
        assert (attempt.mechanism, attempt.tls) == (
            mechanism or {"imap": "IMAP-LOGIN", "pop": "POP-USER"}[protocol],
            False,
        )


def test_fifty_at_a_time(servers: Servers, context: ssl.SSLContext, client: Any) -> None:
    def log_in(number: int) -> str:
        protocol = list(BINDINGS)[number % 3]
        mechanism, secret = ACCEPTED[number % 2 + number % 3 // 2]
        with client(getattr(servers, protocol), ("TLS", "STARTTLS")[number % 2], context) as conn:
            BINDINGS[protocol].authenticate(conn, credentials(mechanism, secret, servers), mechanism=mechanism)
            conn.noop()
        return "done"

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(log_in, range(50))) == ["done"] * 50
