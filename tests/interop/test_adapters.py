"""imaplib, poplib and smtplib log in at Dovecot: by `authenticate` on the library's own class, and by our drop-in."""

from __future__ import annotations

import base64
import imaplib
import poplib
import smtplib
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import sasl

from ..support.protocols import PROTOCOLS
from ..support.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .dovecot import Dovecot

MECHANISMS = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
YES: dict[str, object] = {
    "imap": ("OK", [b"Logged in"]),
    "pop": b"+OK Logged in.",
    "smtp": (235, b"2.7.0 Logged in."),
}
CODES = {"imap": "AUTHENTICATIONFAILED", "pop": "AUTH", "smtp": "535 5.7.8"}
protocols = pytest.mark.parametrize("protocol", list(PROTOCOLS))
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS)
tls = pytest.mark.parametrize("implicit", [True, False], ids=["implicit-tls", "starttls"])
classes = pytest.mark.parametrize("drop_in", [False, True], ids=["library-class", "drop-in-class"])


@contextmanager
def connected(server: Dovecot, protocol: str, *, implicit: bool = True, drop_in: bool = False) -> Iterator[Any]:
    """A connection over TLS, of the library's class or of ours."""
    spoken = PROTOCOLS[protocol]
    module, port = spoken.binding if drop_in else None, server.port(protocol, implicit=implicit)
    with spoken.connected(port, server.context(), module, implicit=implicit, host=HOST) as conn:
        yield conn


def credential(server: Dovecot, mechanism: str, kind: str = "good", length: int = 300) -> sasl.Password | sasl.Bearer:
    if mechanism == "PLAIN":
        return sasl.Password("alice", server.users["alice"] if kind == "good" else "looking-glass")
    return sasl.Bearer(server.mailbox, server.token(kind, length))


def is_logged_in(conn: Any, server: Dovecot) -> bool:
    """Whether the session takes what only an authenticated one may do."""
    if isinstance(conn, imaplib.IMAP4):
        return conn.state == "AUTH" and conn.select() == ("OK", [b"0"])
    if isinstance(conn, poplib.POP3):
        return conn.stat() == (0, 0)
    subject = f"Subject: from {conn.sock.getsockname()[1]}"
    conn.sendmail("alice@example.org", ["bob@example.org"], f"{subject}\r\n\r\nhello\r\n")
    return any(subject.encode("ascii") in message for message in server.relayed)


def still_answers(conn: Any) -> bool:
    """Whether a connection that is not authenticated is in step with its server."""
    if isinstance(conn, poplib.POP3):
        return "SASL" in conn.capa()
    return conn.noop()[0] in ("OK", 250)


@tls
@pytest.mark.parametrize("initial", [None, False], ids=["initial-response", "no-initial-response"])
@pytest.mark.parametrize("length", [300, 3000])
@mechanisms
@protocols
def test_a_good_credential_logs_in(
    dovecot: Dovecot, *, protocol: str, mechanism: str, length: int, initial: bool | None, implicit: bool
) -> None:
    who = credential(dovecot, mechanism, length=length)
    with connected(dovecot, protocol, implicit=implicit) as conn:
        answer = PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism, initial_response=initial)

        assert answer == YES[protocol]
        assert is_logged_in(conn, dovecot)


@tls
@pytest.mark.parametrize("length", [300, 3000])
@mechanisms
@protocols
def test_the_drop_in_class_logs_in(
    dovecot: Dovecot, *, protocol: str, mechanism: str, length: int, implicit: bool
) -> None:
    with connected(dovecot, protocol, implicit=implicit, drop_in=True) as conn:
        conn.mechanism = mechanism
        if mechanism == "PLAIN":
            answer = conn.login("alice", dovecot.users["alice"])
        else:
            answer = conn.login(dovecot.mailbox, lambda: dovecot.token(length=length))

        assert answer == YES[protocol]
        assert is_logged_in(conn, dovecot)


@tls
@pytest.mark.parametrize("kind", ["expired", "badsig"])
@mechanisms
@protocols
def test_a_refusal_is_an_error_of_ours_and_of_the_library_and_a_second_login_succeeds(
    dovecot: Dovecot, *, protocol: str, mechanism: str, kind: str, implicit: bool
) -> None:
    authenticate = PROTOCOLS[protocol].binding.authenticate
    with connected(dovecot, protocol, implicit=implicit) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            authenticate(conn, credential(dovecot, mechanism, kind), mechanism=mechanism)

        assert_refused(refused.value, dovecot, protocol, mechanism)
        assert still_answers(conn)
        assert authenticate(conn, credential(dovecot, mechanism), mechanism=mechanism) == YES[protocol]
        assert is_logged_in(conn, dovecot)


def assert_refused(error: Any, server: Dovecot, protocol: str, mechanism: str) -> None:
    assert isinstance(error, sasl.AuthenticationFailed)
    assert error.mechanism == mechanism
    assert error.response_code == CODES[protocol]
    assert error.server_text == "Authentication failed."
    assert error.detail == server.refusals.get(mechanism, {})
    assert error.new_token_may_help == (mechanism in server.refusals)
    if protocol == "imap":
        assert not isinstance(error, imaplib.IMAP4.abort)
    if protocol == "smtp":
        assert error.args == (535, b"5.7.8 Authentication failed.")


@protocols
def test_the_drop_in_class_serves_a_second_login_after_a_refusal(dovecot: Dovecot, protocol: str) -> None:
    with connected(dovecot, protocol, drop_in=True) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            conn.login("alice", "looking-glass")

        assert_refused(refused.value, dovecot, protocol, "SCRAM-SHA-256")
        assert conn.login("alice", dovecot.users["alice"]) == YES[protocol]
        assert is_logged_in(conn, dovecot)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@protocols
def test_the_token_of_another_user_is_refused(dovecot: Dovecot, protocol: str, mechanism: str) -> None:
    who = sasl.Bearer("bob", dovecot.token())
    with connected(dovecot, protocol) as conn, pytest.raises(PROTOCOLS[protocol].refused) as refused:
        PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism)

    assert_refused(refused.value, dovecot, protocol, mechanism)


@pytest.mark.parametrize("user", ["alice", "joerg", "j\u00f6rg"])
@classes
@protocols
def test_a_password_may_have_any_letters(dovecot: Dovecot, *, protocol: str, user: str, drop_in: bool) -> None:
    with connected(dovecot, protocol, drop_in=drop_in) as conn:
        if drop_in:
            assert conn.login(user, dovecot.users[user]) == YES[protocol]
        else:
            assert (
                PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password(user, dovecot.users[user]))
                == YES[protocol]
            )


@protocols
def test_an_authzid_that_is_oneself_is_accepted_and_another_refused(dovecot: Dovecot, protocol: str) -> None:
    password = dovecot.users["alice"]
    with connected(dovecot, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", password, authzid="bob"))
        answer = PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", password, authzid="alice"))

    assert isinstance(refused.value, sasl.AuthenticationFailed)
    assert answer == YES[protocol]


@protocols
def test_a_token_is_asked_for_at_the_login_and_only_then(dovecot: Dovecot, protocol: str) -> None:
    asked = []

    def source() -> str:
        asked.append("asked")
        return dovecot.token()

    who = sasl.Bearer(dovecot.mailbox, source)
    for logins in (1, 2):
        with connected(dovecot, protocol) as conn:
            assert PROTOCOLS[protocol].binding.authenticate(conn, who) == YES[protocol]
        assert len(asked) == logins


@protocols
def test_without_tls_no_password_is_sent_unless_the_policy_allows_it(dovecot: Dovecot, protocol: str) -> None:
    who = credential(dovecot, "PLAIN")
    port = dovecot.port(protocol, implicit=False)
    with PROTOCOLS[protocol].connected(port, host=HOST) as conn:
        with pytest.raises(sasl.PolicyViolation):
            PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism="PLAIN")
        assert still_answers(conn)

        policy = sasl.Policy(plaintext="loopback")
        assert PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism="PLAIN", policy=policy) == YES[protocol]


@protocols
def test_a_password_does_not_go_to_a_server_that_takes_tokens_only(tokens_only: Dovecot, protocol: str) -> None:
    with connected(tokens_only, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].error) as refused:
            PROTOCOLS[protocol].binding.authenticate(conn, credential(tokens_only, "PLAIN"))
        assert still_answers(conn)

    # Dovecot has LOGINDISABLED there, but goes on to list USER.
    expected = sasl.AuthenticationFailed if protocol == "pop" else sasl.MechanismUnavailable
    assert isinstance(refused.value, expected)


@protocols
def test_a_bearer_uses_the_one_mechanism_that_a_server_has(tokens_only: Dovecot, protocol: str) -> None:
    with connected(tokens_only, protocol) as conn:
        assert PROTOCOLS[protocol].binding.authenticate(conn, credential(tokens_only, "XOAUTH2")) == YES[protocol]


@pytest.mark.parametrize("user", ["alice", "joerg", "j\u00f6rg"])
@classes
@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_a_password_goes_into_the_login_command_where_no_mechanism_takes_it(
    commands_only: Dovecot, *, protocol: str, user: str, drop_in: bool
) -> None:
    with connected(commands_only, protocol, drop_in=drop_in) as conn:
        login = (
            conn.login if drop_in else lambda *who: PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password(*who))
        )
        with pytest.raises(PROTOCOLS[protocol].refused) as refused:
            login(user, "looking-glass")

        assert isinstance(refused.value, sasl.AuthenticationFailed)
        assert login(user, commands_only.users[user]) == YES[protocol]
        assert is_logged_in(conn, commands_only)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@protocols
def test_a_server_that_cannot_check_a_token_has_not_refused_it(
    cannot_tell: Dovecot, protocol: str, mechanism: str
) -> None:
    with connected(cannot_tell, protocol) as conn:
        with pytest.raises(PROTOCOLS[protocol].refused) as failed:
            PROTOCOLS[protocol].binding.authenticate(conn, credential(cannot_tell, mechanism), mechanism=mechanism)
        assert still_answers(conn)

    assert isinstance(failed.value, sasl.TemporaryFailure)
    assert not isinstance(failed.value, sasl.AuthenticationFailed)
    assert failed.value.response_code == {"imap": "UNAVAILABLE", "pop": "SYS/TEMP", "smtp": "454 4.7.0"}[protocol]


def test_a_second_session_where_one_is_allowed_is_no_refusal_of_the_credential(one_at_a_time: Dovecot) -> None:
    who = credential(one_at_a_time, "PLAIN")
    with connected(one_at_a_time, "imap") as first, connected(one_at_a_time, "imap") as second:
        sasl.adapters.imaplib.authenticate(first, who)
        with pytest.raises(imaplib.IMAP4.error) as failed:
            sasl.adapters.imaplib.authenticate(second, who)

    assert isinstance(failed.value, sasl.TemporaryFailure)
    assert failed.value.response_code in ("LIMIT", "UNAVAILABLE")  # Dovecot says the one or the other

    with connected(one_at_a_time, "smtp") as first, connected(one_at_a_time, "smtp") as second:
        sasl.adapters.smtplib.authenticate(first, who)
        with pytest.raises(smtplib.SMTPServerDisconnected) as ended:
            sasl.adapters.smtplib.authenticate(second, who)
        assert second.sock is None

    assert isinstance(ended.value, sasl.ConnectionLost)
    # Some builds of 2.3.19 die of it ("Panic: epoll_ctl") before they have said so.
    assert ended.value.response_code in ("421 4.7.0", None)


@pytest.mark.parametrize("length", [4000, 6000])
@protocols
def test_a_token_may_be_as_long_as_the_server_takes_it(dovecot: Dovecot, protocol: str, length: int) -> None:
    with connected(dovecot, protocol) as conn:
        assert (
            PROTOCOLS[protocol].binding.authenticate(conn, credential(dovecot, "XOAUTH2", length=length))
            == YES[protocol]
        )


@protocols
def test_a_token_that_is_too_long_for_the_server_is_not_called_a_refused_one(dovecot: Dovecot, protocol: str) -> None:
    with connected(dovecot, protocol) as conn, pytest.raises(sasl.SASLError) as failed:
        PROTOCOLS[protocol].binding.authenticate(conn, credential(dovecot, "XOAUTH2", length=8000), timeout=10)

    if protocol == "smtp":
        assert isinstance(failed.value, sasl.AuthenticationFailed)
        assert failed.value.kind == "limit"
        assert not failed.value.new_token_may_help
    else:  # Dovecot hangs up
        assert isinstance(failed.value, sasl.ConnectionLost)


@protocols
def test_a_login_on_a_connection_that_is_logged_in_is_an_error(dovecot: Dovecot, protocol: str) -> None:
    who = credential(dovecot, "PLAIN")
    with connected(dovecot, protocol) as conn:
        PROTOCOLS[protocol].binding.authenticate(conn, who)
        with pytest.raises(sasl.SASLError) as failed:
            PROTOCOLS[protocol].binding.authenticate(conn, who)
        assert is_logged_in(conn, dovecot)

    # In POP3 all that is left is APOP, by the greeting's timestamp, and that is off.
    expected = {"imap": sasl.UsageError, "pop": sasl.PolicyViolation, "smtp": sasl.AuthenticationFailed}
    assert isinstance(failed.value, expected[protocol])
    if protocol == "pop":
        assert "logged in" in failed.value.passed_over["POP-USER"]


@protocols
def test_the_drop_in_class_checks_the_certificate_without_being_asked(dovecot: Dovecot, protocol: str) -> None:
    name, module = PROTOCOLS[protocol].plain, PROTOCOLS[protocol].binding
    with pytest.raises(ssl.SSLCertVerificationError):
        getattr(module, f"{name}_SSL")(HOST, dovecot.port(protocol, implicit=True))

    port = dovecot.port(protocol, implicit=False)
    with (
        PROTOCOLS[protocol].connected(port, None, module, host=HOST) as conn,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        (conn.stls if protocol == "pop" else conn.starttls)()


@mechanisms
def test_imaplib_knows_its_state_and_the_new_capabilities_right_afterwards(dovecot: Dovecot, mechanism: str) -> None:
    with connected(dovecot, "imap") as conn:
        before = conn.capabilities
        sasl.adapters.imaplib.authenticate(conn, credential(dovecot, mechanism), mechanism=mechanism)

        assert conn.state == "AUTH"
        assert "SORT" not in before
        assert "SORT" in conn.capabilities
        assert f"AUTH={mechanism}" not in conn.capabilities


@classes
@mechanisms
@protocols
def test_no_debug_output_shows_a_credential(
    dovecot: Dovecot, capfd: pytest.CaptureFixture[str], *, protocol: str, mechanism: str, drop_in: bool
) -> None:
    who = credential(dovecot, mechanism)
    secret = who.password if isinstance(who, sasl.Password) else who.token
    assert isinstance(secret, sasl.Secret)
    exchange = sasl.client(mechanism, who)
    message = exchange.start()
    assert message is not None
    with connected(dovecot, protocol, drop_in=drop_in) as conn:
        if protocol == "imap":
            conn.debug = 5
        else:
            conn.set_debuglevel(2)
        PROTOCOLS[protocol].binding.authenticate(conn, who, mechanism=mechanism)
        if protocol == "imap":
            conn.print_log()  # imaplib keeps its last commands, whatever the level

    shown = "".join(capfd.readouterr())
    assert f"{'AUTHENTICATE' if protocol == 'imap' else 'AUTH'} {mechanism}" in shown
    assert secret.reveal() not in shown
    assert base64.b64encode(message).decode("ascii")[:40] not in shown
