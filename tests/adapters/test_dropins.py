"""The drop-in classes: what they inherit keeps to the rules as well, their constructors, their signatures."""

from __future__ import annotations

import contextlib
import imaplib
import inspect
import poplib
import smtplib
import socket
import ssl
import sys
import threading
import time
import traceback
from io import BufferedReader
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters.binding import clock

from ..support.protocols import b64
from .conftest import DRIP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

PLAIN = b"\0alice\0wonderland-of-secrets"
PASSWORD = "wonderland-of-secrets"
LOOPBACK = sasl.Policy(plaintext="loopback")
XOAUTH2 = b"user=alice\x01auth=Bearer token-of-alice\x01\x01"
ERROR = b'{"status":"400"}'


def run(speech: Any, conn: Any, mechanism: str, respond: Callable[..., Any]) -> Any:
    """Let a callback speak a mechanism, as each library has it."""
    if speech.name == "imap":
        return conn.authenticate(mechanism, respond)
    if speech.name == "pop":
        return conn.auth(mechanism, respond)
    return conn.auth(mechanism, lambda challenge=None: None if challenge is None else respond(challenge))


def offer(speech: Any, *names: str) -> list[Any]:
    """What is asked before AUTH: IMAP's capabilities with the greeting, EHLO; nothing by POP3."""
    return [] if speech.name == "pop" else speech.offer(*names)


# --- a mechanism that a callback speaks


@pytest.mark.parametrize("mechanism", ["PLAIN", "XOAUTH2", "X-UNKNOWN"])
def test_a_callback_says_nothing_without_tls_that_may_be_usable(speech: Any, stage: Any, mechanism: str) -> None:
    turns = [*offer(speech), (speech.command(mechanism), speech.prompt + b"\r\n"), (b64(PLAIN), speech.yes)]
    conn, server = stage.play(speech, turns, tls=False, module=speech.binding)
    begun = len(server.received)
    with pytest.raises(speech.error_named("PolicyViolation"), match=mechanism):
        run(speech, conn, mechanism, lambda _challenge: PLAIN)
    assert len(server.received) == begun
    conn.policy = LOOPBACK
    assert run(speech, conn, mechanism, lambda _challenge: PLAIN) == speech.returned


def test_after_authenticate_imaplib_knows_that_and_what_the_server_can_do(imap: Any, stage: Any) -> None:
    turns = [*imap.offer("PLAIN"), (imap.command("PLAIN"), b"+ Go ahead\r\n"), (b64(PLAIN), imap.yes)]
    conn, _ = stage.play(imap, turns, module=imap.binding)
    asked: list[bytes] = []
    assert conn.authenticate("plain", lambda challenge: asked.append(challenge) or PLAIN.decode()) == imap.returned
    assert (conn.state, conn.capabilities) == ("AUTH", ("IMAP4REV1", "AFTER"))
    assert asked == [b""]


def test_authenticate_speaks_a_mechanism_in_which_the_server_begins(imap: Any, stage: Any) -> None:
    turns = [(imap.command("CRAM-MD5"), imap.challenge(b"<1@x>")), (b64(b"alice digest"), imap.yes)]
    conn, _ = stage.play(imap, [*imap.offer("CRAM-MD5"), *turns], module=imap.binding)
    conn.policy = sasl.Policy(allow=["CRAM-MD5"])
    asked: list[bytes] = []
    conn.authenticate("CRAM-MD5", lambda challenge: asked.append(challenge) or b"alice digest")
    assert asked == [b"<1@x>"]


@pytest.mark.parametrize(("mechanism", "answer"), [("XOAUTH2", b""), ("OAUTHBEARER", b"\x01")])
def test_an_error_challenge_is_answered_without_the_callback_and_the_token_is_sent_once(
    speech: Any, stage: Any, mechanism: str, answer: bytes
) -> None:
    turns = [
        *offer(speech),
        (speech.command(mechanism), speech.prompt + b"\r\n"),
        (b64(XOAUTH2), speech.challenge(ERROR)),
        (b64(answer), speech.no),
    ]
    conn, server = stage.play(speech, turns, module=speech.binding)
    with pytest.raises(speech.error_named("AuthenticationFailed")) as caught:
        run(speech, conn, mechanism, lambda _challenge: XOAUTH2)
    assert caught.value.detail["status"] == "400"
    speech.close(conn)
    assert server.heard().count(b64(XOAUTH2)) == 1


@pytest.mark.parametrize(("mechanism", "most"), [("PLAIN", 2), ("LOGIN", 2), ("X-UNKNOWN", 5)])
def test_a_callback_answers_as_often_as_the_mechanism_has_to_say(
    speech: Any, stage: Any, mechanism: str, most: int
) -> None:
    turns = [
        *offer(speech),
        (speech.command(mechanism), speech.challenge(b"Username:")),
        *[(b64(PLAIN), speech.challenge(b"more"))] * most,
        (b"*", speech.cancelled),
    ]
    conn, server = stage.play(speech, turns, module=speech.binding)
    with pytest.raises(speech.error_named("ProtocolError"), match="more than the mechanism has"):
        run(speech, conn, mechanism, lambda _challenge: PLAIN)
    speech.close(conn)
    assert server.heard().count(b64(PLAIN)) == most


def test_the_initial_response_of_pop_is_followed_by_the_answer_to_an_error_challenge(pop: Any, stage: Any) -> None:
    turns = [(pop.command("XOAUTH2", XOAUTH2), pop.challenge(ERROR)), (b"", pop.no)]
    conn, _ = stage.play(pop, turns, module=pop.binding)
    with pytest.raises(pop.error_named("AuthenticationFailed")):
        conn.auth("XOAUTH2", initial_response=XOAUTH2)


class Mine(Exception):
    """The caller's own."""


@pytest.mark.parametrize("error", [Mine("no"), KeyError("x"), sasl.TokenError("no token"), OSError("x")], ids=repr)
def test_what_a_callback_raises_leaves_as_it_is_and_closes(speech: Any, stage: Any, error: Exception) -> None:
    def respond(_challenge: bytes) -> bytes:
        raise error

    turns = [*offer(speech), (speech.command("X-OWN"), speech.challenge(b"?")), (b"*", speech.cancelled)]
    conn, _ = stage.play(speech, turns, module=speech.binding)
    with pytest.raises(type(error)) as caught:
        run(speech, conn, "X-OWN", respond)
    assert caught.value is error
    assert speech.is_closed(conn)


@pytest.mark.parametrize("speech", ["imap", "smtp"], indirect=True)
def test_what_a_callback_raises_before_the_command_leaves_as_it_is_too(speech: Any, stage: Any) -> None:
    error = Mine("no")

    def respond(_challenge: bytes | None = None) -> bytes:
        raise error

    conn, server = stage.play(speech, offer(speech), module=speech.binding)
    with pytest.raises(Mine) as caught:
        if speech.name == "imap":
            conn.authenticate("PLAIN", respond)
        else:
            conn.auth("PLAIN", respond)
    assert caught.value is error
    assert speech.is_closed(conn)
    assert len(server.heard()) == 1


def test_an_interruption_of_a_callback_leaves_as_it_is_and_closes(speech: Any, stage: Any) -> None:
    def respond(_challenge: bytes) -> bytes:
        raise KeyboardInterrupt

    conn, _ = stage.play(speech, [*offer(speech), (None, speech.challenge(b"?"))], module=speech.binding)
    with pytest.raises(KeyboardInterrupt):
        run(speech, conn, "X-OWN", respond)
    assert speech.is_closed(conn)


def test_an_authobject_of_imap_is_a_callable(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, imap.offer(), module=imap.binding)
    with pytest.raises(sasl.UsageError, match="str"):
        conn.authenticate("PLAIN", "wonderland")


def test_the_text_of_an_error_of_authenticate_has_the_code(imap: Any, stage: Any) -> None:
    turns = [(None, imap.challenge(b"?")), (b"*", b"{tag} BAD [X] Cancelled\r\n"), (None, imap.no)]
    conn, _ = stage.play(imap, [*imap.offer(), *turns], module=imap.binding)
    with pytest.raises(imap.error_named("Cancelled"), match=r"there is no answer to .*: \[X\] Cancelled\Z"):
        conn.authenticate("X-OWN", lambda _challenge: None)
    with pytest.raises(imap.error_named("AuthenticationFailed"), match=r"\A\[AUTHENTICATIONFAILED\] Invalid"):
        conn.authenticate("X-OWN", lambda _challenge: b"x")


# --- USER and PASS

ALLOWED = sasl.Policy(plaintext="loopback")


def test_user_and_pass_send_nothing_without_tls(pop: Any, stage: Any) -> None:
    conn, server = stage.play(
        pop, [(b"USER alice", b"+OK\r\n"), (b"PASS wonder land", pop.yes)], tls=False, module=pop.binding
    )
    for call, argument in ((conn.user, "alice"), (conn.pass_, "wonder land")):
        with pytest.raises(pop.error_named("PolicyViolation"), match="POP-USER"):
            call(argument)
    assert server.received == []
    conn.policy = ALLOWED
    assert conn.user("alice") == b"+OK"
    assert conn.pass_("wonder land") == pop.returned


@pytest.mark.parametrize(
    "password", ["p\xe4ss", "p\xe4ss".encode(), sasl.Secret("p\xe4ss")], ids=["str", "bytes", "Secret"]
)
def test_user_and_pass_log_in(pop: Any, stage: Any, password: Any) -> None:
    turns = [(b"USER alice", b"+OK who?\r\n"), ("PASS p\xe4ss".encode(), pop.yes), pop.noop]
    conn, _ = stage.play(pop, turns, module=pop.binding)
    assert conn.user("alice") == b"+OK who?"
    assert conn.pass_(password) == pop.returned
    conn.noop()


def test_a_refused_user_or_pass_is_an_error_without_the_password(
    pop: Any, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [(None, b"-ERR who?\r\n"), (None, b"-ERR [AUTH] not wonderland-of-secrets\r\n")]
    conn, _ = stage.play(pop, turns, module=pop.binding)
    conn.set_debuglevel(2)
    with pytest.raises(pop.error, match="who"):
        conn.user("alice")
    with pytest.raises(pop.error_named("AuthenticationFailed")) as caught:
        conn.pass_(PASSWORD)
    assert caught.value.kind == "credentials"
    assert PASSWORD not in str(caught.value) + repr(caught.value) + str(caught.value.args)
    printed = capsys.readouterr()
    assert "C: PASS <21 octets>" in printed.out
    assert PASSWORD not in printed.out + printed.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "that is empty"),
        ("a\r\nb", "with a control character; did a line end or a tab come with it"),
        ("a\0b", "with a control character"),
        ("a\x85b", "with a control character"),
        ("\udcff", "UTF-8"),
    ],
    ids=ascii,
)
def test_user_and_pass_take_no_line_ends(pop: Any, stage: Any, text: str, told: str) -> None:
    conn, server = stage.play(pop, [], module=pop.binding)
    for call, what in ((conn.user, "a user name"), (conn.pass_, "a password")):
        with pytest.raises(sasl.UsageError, match=f"{what} .*{told}") as caught:
            call(text)
        assert caught.value.__context__ is None
    speech_closed = pop.close(conn)
    assert speech_closed is None
    assert server.heard() == []


@pytest.mark.parametrize("password", [5, None, b"\xff"], ids=repr)
def test_pass_takes_a_password(pop: Any, stage: Any, password: Any) -> None:
    conn, _ = stage.play(pop, [], module=pop.binding)
    with pytest.raises(sasl.UsageError, match=type(password).__name__):
        conn.pass_(password)


def test_a_password_may_be_octets(speech: Any, stage: Any) -> None:
    conn, _ = stage.play(
        speech,
        [*speech.offer("PLAIN"), (speech.command("PLAIN", "\0alice\0p\xe4ss".encode()), speech.yes)],
        module=speech.binding,
    )
    assert conn.login("alice", "p\xe4ss".encode()) == speech.returned


def test_cram_md5_by_name_takes_octets_and_keeps_to_the_policy(imap: Any, stage: Any) -> None:
    turns = [*imap.offer("CRAM-MD5"), (imap.command("CRAM-MD5"), imap.challenge(b"<1@x>")), (None, imap.yes)]
    conn, _ = stage.play(imap, turns, module=imap.binding)
    with pytest.raises(imap.error_named("PolicyViolation"), match="CRAM-MD5"):
        conn.login_cram_md5("alice", b"wonderland")
    conn.policy = sasl.Policy(allow=["CRAM-MD5"])
    assert conn.login_cram_md5("alice", b"wonderland") == imap.returned


# --- what frames and debug output show


def frames(error: BaseException) -> str:
    """What a report with the variables of all frames would show, but for those of this test."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(line for each in report.stack if each.filename != __file__ for line in str(each.locals))


@pytest.mark.parametrize("password", [PASSWORD, PASSWORD.encode()], ids=["str", "bytes"])
@pytest.mark.parametrize("policy", [sasl.Policy(), LOOPBACK], ids=["refused here", "refused there"])
def test_the_frames_of_pass_do_not_hold_the_password(pop: Any, stage: Any, password: Any, policy: sasl.Policy) -> None:
    conn, _ = stage.play(pop, [(None, pop.no)], tls=False, module=pop.binding)
    conn.policy = policy
    with pytest.raises(pop.error) as caught:
        conn.pass_(password)
    assert PASSWORD not in frames(caught.value)


def test_the_frames_of_authenticate_do_not_hold_what_the_callback_says(imap: Any, stage: Any) -> None:
    turns = [*imap.offer("PLAIN"), (imap.command("PLAIN"), b"+ \r\n"), (b64(PLAIN), imap.no)]
    conn, _ = stage.play(imap, turns, module=imap.binding)
    with pytest.raises(imap.error) as caught:
        conn.authenticate("PLAIN", lambda _challenge: PLAIN)
    assert PASSWORD not in frames(caught.value)
    assert b64(PLAIN).decode() not in frames(caught.value)


@pytest.mark.parametrize("speech", ["imap", "smtp"], indirect=True)
def test_debug_output_goes_where_the_librarys_own_goes(
    speech: Any, stage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    conn, _ = stage.play(speech, [*speech.offer("PLAIN"), (speech.command("PLAIN", PLAIN), speech.yes)])
    printed: list[str] = []
    if speech.name == "imap":  # as IMAPClient does
        conn.debug, conn._mesg = 5, lambda text, *_: printed.append(text)
    else:
        conn.debuglevel, conn._print_debug = 1, lambda *words: printed.append(" ".join(map(str, words)))
    speech.binding.authenticate(conn, sasl.Password("alice", PASSWORD))
    assert capsys.readouterr() == ("", "")
    assert any(f"<{len(PLAIN)} octets>" in line for line in printed)
    assert PASSWORD not in str(printed)


def test_nothing_of_ours_keeps_the_socket_class_of_ssl_which_gevent_replaces() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("sasl.adapters.")]
    assert [module.__name__ for module in modules if "SSLSocket" in vars(module)] == []


# --- what to do where there is no TLS


def test_an_error_without_tls_says_that_starttls_is_offered(speech: Any, stage: Any) -> None:
    turns = speech.offer("PLAIN", extra=("STLS", "STARTTLS"))
    conn, _ = stage.play(speech, turns * 2, tls=False)
    with pytest.raises(speech.error_named("PolicyViolation"), match=r"; it offers STARTTLS: begin TLS first\Z"):
        speech.binding.authenticate(conn, sasl.Password("alice", PASSWORD))
    with pytest.raises(speech.error_named("MechanismUnavailable"), match=r"; it offers STARTTLS: begin TLS first\Z"):
        speech.binding.authenticate(conn, sasl.Password("alice", PASSWORD), mechanism="SCRAM-SHA-256")


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
def test_else_it_says_nothing_of_starttls(speech: Any, stage: Any, tls: bool) -> None:
    conn, _ = stage.play(speech, speech.offer("PLAIN", extra=("STLS", "STARTTLS") if tls else ("X",)), tls=tls)
    with pytest.raises(sasl.SASLError) as caught:
        speech.binding.authenticate(conn, sasl.Password("alice", PASSWORD), mechanism="SCRAM-SHA-256")
    assert "STARTTLS" not in str(caught.value)


# --- constructors


def test_a_flood_in_the_constructor_is_an_error_and_closes(
    imap: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    server = stage.serve(imap, [(None, [b"* 7 EXISTS\r\n" * 1000] * 6)], tls=False)
    with pytest.raises(imap.error_named("LimitExceeded"), match="octets"):
        imap.connect(server.port, None, imap.binding, timeout=5)


def test_an_endless_reply_is_an_error_and_closes(smtp: Any, stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MOST_OCTETS", 50_000)
    server = stage.serve(smtp, [], tls=False, greeting=b"220-ABCDEFGH\r\n" * 6000)
    with pytest.raises(smtp.error_named("LimitExceeded"), match="octets"):
        smtp.connect(server.port, None, smtp.binding, timeout=5)


def test_a_greeting_that_never_ends_is_given_up(speech: Any, stage: Any) -> None:
    server = stage.serve(speech, [], tls=False, greeting=DRIP)
    begun = time.monotonic()
    with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
        speech.connect(server.port, None, speech.binding, timeout=0.05)
    assert time.monotonic() - begun < 3


def test_a_greeting_under_tls_that_never_ends_is_given_up(
    pop: Any, stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_PATIENCE", 2)
    server = stage.serve(pop, [], greeting=DRIP)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        pop.connect(server.port, stage.client_context, pop.binding, timeout=0.5)
    assert time.monotonic() - begun < 4


def test_the_limits_of_the_constructor_are_gone_after_it(pop: Any, stage: Any) -> None:
    conn, _ = stage.play(pop, [], tls=False, module=pop.binding)
    assert type(conn.sock) is socket.socket
    assert type(conn.file) is BufferedReader
    assert "_limits" not in vars(conn)


def test_what_imaplib_cannot_parse_in_the_constructor_is_a_protocol_error(imap: Any, stage: Any) -> None:
    server = stage.serve(imap, [(None, b"* 1 FETCH {" + b"9" * 5000 + b"}\r\n")], tls=False)
    with pytest.raises(imap.error_named("ProtocolError"), match="cannot be read"):
        imap.connect(server.port, None, imap.binding, timeout=5)


def test_what_the_caller_gets_wrong_in_the_constructor_is_no_protocol_error(imap: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        imap.binding.IMAP4("127.0.0.1", 9, timeout=0)
    with pytest.raises(ConnectionRefusedError), socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
        unused.close()
        imap.binding.IMAP4("127.0.0.1", port)


def test_a_greeting_of_another_protocol_is_said(imap: Any, stage: Any) -> None:
    server = stage.serve(imap, [], tls=False, greeting=b"+OK POP3 server \x1b[31mready\r\n")
    with pytest.raises(imap.error_named("ProtocolError"), match=r"\+OK POP3 server .*ready") as caught:
        imap.connect(server.port, None, imap.binding, timeout=5)
    assert str(caught.value).isprintable()


def test_other_errors_of_the_constructor_are_imaplibs(imap: Any, stage: Any) -> None:
    server = stage.serve(imap, [], tls=False, greeting=b"* BYE no\r\n")
    with pytest.raises(imap.error) as caught:
        imap.connect(server.port, None, imap.binding, timeout=5)
    assert not isinstance(caught.value, sasl.SASLError)


def test_who_overrides_a_method_gets_his_error_from_the_constructor(imap: Any, stage: Any) -> None:
    class Own(sasl.adapters.imaplib.IMAP4):
        def readline(self) -> bytes:
            raise ValueError("mine")

    server = stage.serve(imap, [], tls=False)
    with pytest.raises(ValueError, match="mine"):
        Own("127.0.0.1", server.port, 5)


def test_a_connection_that_is_opened_again_is_under_no_limit(imap: Any, stage: Any) -> None:
    conn, _ = stage.play(imap, imap.offer(), tls=False, module=imap.binding)
    other = stage.serve(imap, [], tls=False)
    imap.close(conn)
    conn.open("127.0.0.1", other.port)
    assert type(conn.sock) is socket.socket
    imap.close(conn)


@pytest.mark.parametrize("name", ["IMAP4_SSL", "POP3_SSL", "SMTP_SSL"])
def test_a_certificate_of_the_client_may_be_a_file(
    name: str, stage: Any, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = {"IMAP4_SSL": "imap", "POP3_SSL": "pop", "SMTP_SSL": "smtp"}[name]
    from ..support.protocols import PROTOCOLS

    protocol = PROTOCOLS[speech]
    monkeypatch.setattr("sasl.adapters.binding.tls.create_default_context", lambda: stage.client_context)
    issued = authority.issue_cert("client.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    server = stage.serve(protocol, protocol.offer() if speech == "imap" else [])
    with pytest.warns(DeprecationWarning, match="context"):
        conn = getattr(protocol.binding, name)(
            "127.0.0.1", server.port, certfile=tmp_path / "cert.pem", keyfile=tmp_path / "key.pem"
        )
    protocol.close(conn)
    for wrong in (
        {"keyfile": "key.pem"},
        {"certfile": "cert.pem", ("ssl_context" if speech == "imap" else "context"): stage.client_context},
    ):
        with pytest.raises(ValueError, match="certfile"):
            getattr(protocol.binding, name)("127.0.0.1", server.port, **wrong)


CLASSES = [
    (imaplib, sasl.adapters.imaplib, ["IMAP4", "IMAP4_SSL", "IMAP4_stream"]),
    (poplib, sasl.adapters.poplib, ["POP3", "POP3_SSL"]),
    (smtplib, sasl.adapters.smtplib, ["SMTP", "SMTP_SSL", "LMTP"]),
]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(getattr(theirs, name), getattr(ours, name)) for theirs, ours, names in CLASSES for name in names],
    ids=lambda cls: f"{cls.__module__}.{cls.__name__}",
)
def test_signatures_name_every_argument(theirs: type, ours: type) -> None:
    for name in ("__init__", "login", "starttls", "stls", "connect", "open", "authenticate", "user", "pass_", "apop"):
        if not hasattr(theirs, name) or (name, theirs) == ("stls", poplib.POP3_SSL):  # which always raises
            continue
        library = inspect.signature(getattr(theirs, name)).parameters
        parameters = inspect.signature(getattr(ours, name)).parameters
        assert not any(each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in parameters.values()), name
        assert set(library) - {"secret", "pswd"} <= {*parameters, "password"}, name


# --- hosts of SMTP


def started(smtp: Any) -> list[Any]:
    return [*smtp.offer(extra=("STARTTLS",)), (b"STARTTLS", [b"220 go\r\n", "tls"])]


@pytest.mark.parametrize("separate", [True, False])
def test_a_host_may_have_its_port_behind_it(smtp: Any, stage: Any, separate: bool) -> None:
    server = stage.serve(smtp, started(smtp), tls=False)
    name = f"localhost:{server.port}"
    conn = sasl.adapters.smtplib.SMTP(*([] if separate else [name]), local_hostname="client.example")
    if separate:
        conn.connect(name)
    with contextlib.closing(conn):
        conn.starttls(context=stage.client_context)
        assert isinstance(conn.sock, ssl.SSLSocket)
        assert sasl.adapters.smtplib.LIBRARY.channel(conn).host == "localhost"


def test_a_host_may_have_its_port_behind_it_under_tls(smtp: Any, stage: Any) -> None:
    server = stage.serve(smtp, [])
    with contextlib.closing(
        sasl.adapters.smtplib.SMTP_SSL(f"localhost:{server.port}", context=stage.client_context)
    ) as conn:
        assert sasl.adapters.smtplib.LIBRARY.channel(conn).host == "localhost"


def test_another_host_is_another_host(smtp: Any, stage: Any) -> None:
    first = stage.serve(smtp, [(b"quit", b"221 bye\r\n")], tls=False)
    second = stage.serve(smtp, started(smtp), tls=False)
    conn = sasl.adapters.smtplib.SMTP("127.0.0.1", first.port, local_hostname="client.example")
    conn.quit()
    conn.connect("localhost", second.port)
    with contextlib.closing(conn):
        assert sasl.adapters.smtplib.LIBRARY.channel(conn).host == "localhost"
        conn.starttls(context=stage.client_context)


def test_an_address_of_ipv6_is_no_host_with_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtplib.SMTP, "connect", lambda *_: (220, b"hi"))
    conn = sasl.adapters.smtplib.SMTP(local_hostname="x")
    for host, port, name in (("::1", 25, "::1"), ("::1", 0, "::1"), ("mx:25", 0, "mx"), ("mx", 25, "mx")):
        conn.connect(host, port)
        assert conn._host == name


# --- LMTP and streams


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no sockets in the file system here")
def test_lmtp_logs_in_over_a_socket_in_the_file_system(tmp_path: Path) -> None:
    received: list[bytes] = []
    path = str(tmp_path / "lmtp")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def serve() -> None:
        sock, _ = listening.accept()
        with sock, sock.makefile("rb") as lines:
            sock.sendall(b"220 mx LMTP\r\n")
            for answer in (b"250-mx\r\n250 AUTH PLAIN\r\n", b"235 in\r\n"):
                received.append(lines.readline())
                sock.sendall(answer)

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    with listening, contextlib.closing(sasl.adapters.smtplib.LMTP(path, local_hostname="client.example")) as conn:
        conn.policy = LOOPBACK
        assert conn.login("alice", PASSWORD) == (235, b"in")
        assert sasl.adapters.smtplib.LIBRARY.channel(conn).service == "smtp"  # as its docstring says
        server.join(5)
    assert received == [b"lhlo client.example\r\n", b"AUTH PLAIN " + b64(PLAIN) + b"\r\n"]


STREAM = """
import sys
out, lines = sys.stdout.buffer, sys.stdin.buffer
def say(octets):
    out.write(octets)
    out.flush()
say(b"* OK [CAPABILITY IMAP4rev1] ready\\r\\n")
tag = lines.readline().split()[0]
say(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN STARTTLS\\r\\n" + tag + b" OK done\\r\\n")
for line in lines:
    tag = line.split()[0]
    say(tag + (b" OK [CAPABILITY IMAP4rev1 AFTER] in\\r\\n" if b"AUTHENTICATE" in line else b" OK\\r\\n"))
"""


def test_a_stream_is_a_connection_in_the_clear(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(STREAM)
    conn = sasl.adapters.imaplib.IMAP4_stream(f"{sys.executable} {script}")
    try:
        with pytest.raises(sasl.PolicyViolation, match="no TLS"):
            conn.login("alice", PASSWORD)
        with pytest.raises(imaplib.IMAP4.error, match="socket"):
            conn.starttls()
        conn.policy = sasl.Policy(plaintext="always")
        assert conn.login("alice", PASSWORD)[0] == "OK"
        assert conn.capabilities == ("IMAP4REV1", "AFTER")
        assert type(conn.readfile).__name__ == "BufferedReader"
    finally:
        conn.shutdown()


@pytest.mark.parametrize("line", [b"220-mx.example ESMTP Exim\r\n220 ready\r\n", b"+OK POP3 server ready\r\n"])
def test_another_protocol_at_the_port_is_told_where_imap_was_meant(imap: Any, stage: Any, line: bytes) -> None:
    server = stage.serve(imap, [], greeting=line)
    with pytest.raises(imap.error_named("ProtocolError"), match="this port speaks") as caught:
        stage.connect(imap, server, module=imap.binding)
    assert caught.value.server_text == line.split(b"\r\n")[0].decode()
