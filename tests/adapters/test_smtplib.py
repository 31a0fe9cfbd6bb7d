"""What is smtplib's own: EHLO, the replies and their codes, and the classes that construct a client for themselves."""

from __future__ import annotations

import base64
import contextlib
import inspect
import smtplib
import socket
import sys
from typing import Any

import pytest

import sasl
import sasl.adapters.smtplib
from sasl.adapters.smtplib import (
    SMTP,
    SMTP_SSL,
    SMTPAuthenticationFailed,
    SMTPCancelled,
    SMTPConnectionLost,
    SMTPHeloRefused,
    SMTPLimitExceeded,
    SMTPMechanismUnavailable,
    SMTPPolicyViolation,
    SMTPProtocolError,
    SMTPServerBusy,
    SMTPTemporaryFailure,
    authenticate,
)

from ..support.leaks import seen
from ..support.protocols import b64

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = base64.b64encode(b"\0alice\0wonderland")
LOOPBACK = sasl.Policy(plaintext="loopback")
COMMAND = b"AUTH PLAIN " + PLAIN
BINDING = sasl.adapters.smtplib


# --- EHLO


def test_ehlo_comes_before_auth_and_not_again_before_the_mail(smtp: Any, stage: Any) -> None:
    conn, server = stage.play(
        smtp,
        [
            *smtp.offer("PLAIN", extra=()),
            (COMMAND, smtp.yes),
            (None, b"250 sender ok\r\n"),
            (None, b"250 recipient ok\r\n"),
            (b"data", b"354 go\r\n"),
            (b"hello", b""),
            (b".", b"250 taken\r\n"),
        ],
    )
    authenticate(conn, PASSWORD)
    conn.sendmail("a@example.com", "b@example.com", "hello")
    smtp.close(conn)
    verbs = [line.split()[0].lower() for line in server.heard()[:4]]
    assert verbs == [b"ehlo", b"auth", b"mail", b"rcpt"]


def test_an_ehlo_of_the_callers_is_not_repeated(smtp: Any, stage: Any) -> None:
    conn, server = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, smtp.yes)])
    conn.ehlo()
    authenticate(conn, PASSWORD)
    smtp.close(conn)
    assert len(server.heard()) == 2


def test_a_server_that_only_knows_helo_has_no_auth(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, b"502 what?\r\n"), (b"helo client.example", b"250 hello\r\n"), smtp.noop])
    with pytest.raises(SMTPMechanismUnavailable) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, smtplib.SMTPNotSupportedError)
    conn.noop()


def test_the_old_way_to_advertise_auth_is_understood(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer(extra=("AUTH=LOGIN", "AUTH=PLAIN")), (COMMAND, smtp.yes)])
    assert authenticate(conn, PASSWORD) == smtp.returned


def test_a_server_that_refuses_ehlo_and_helo(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, b"550 go away\r\n"), (None, b"550 5.7.1 go away\r\n"), smtp.noop])
    with pytest.raises(SMTPHeloRefused, match="go away") as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, smtplib.SMTPHeloError)
    assert isinstance(caught.value, SMTPProtocolError)
    assert caught.value.args == (550, b"5.7.1 go away")
    assert (caught.value.smtp_code, caught.value.response_code) == (550, "550")
    assert caught.value.__context__ is None
    conn.noop()


def test_a_421_to_ehlo_is_a_lost_connection(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, b"421 too busy\r\n"), (None, [b"421 too busy\r\n", "close"])])
    with pytest.raises(SMTPConnectionLost, match="too busy") as caught:
        authenticate(conn, PASSWORD)
    assert (caught.value.server_text, caught.value.response_code) == ("too busy", "421")
    assert smtp.is_closed(conn)


@pytest.mark.parametrize("said", [b"", b"250-mx.example\r\n", b"250", b"250-mx.example\r\n250"], ids=repr)
def test_the_end_of_the_connection_at_ehlo_is_a_lost_connection(smtp: Any, stage: Any, said: bytes) -> None:
    conn, _ = stage.play(smtp, [(None, [said, "close"])])
    with pytest.raises(SMTPConnectionLost) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, smtplib.SMTPServerDisconnected)
    assert smtp.is_closed(conn)
    assert conn.file is None  # connect() would read from it


def test_a_line_of_ehlo_that_is_too_long_for_smtplib_is_over_the_limit(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, b"250 " + b"x" * 9000 + b"\r\n")])
    with pytest.raises(SMTPLimitExceeded):
        authenticate(conn, PASSWORD)
    assert smtp.is_closed(conn)


def test_a_silent_server_at_ehlo_is_a_lost_connection(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, "hang")])
    with pytest.raises(SMTPConnectionLost, match="in time"):
        authenticate(conn, PASSWORD, timeout=0.05)
    assert smtp.is_closed(conn)


def test_a_client_that_is_not_connected_has_no_connection() -> None:
    conn = smtplib.SMTP(local_hostname="client.example")
    with pytest.raises(SMTPConnectionLost, match="connect"):
        authenticate(conn, PASSWORD)


def test_a_client_that_was_closed_has_no_connection(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, smtp.offer("PLAIN"))
    conn.ehlo()
    conn.close()
    with pytest.raises(SMTPConnectionLost, match="no connection"):
        authenticate(conn, PASSWORD, timeout=5)


# --- replies


@pytest.mark.parametrize(
    ("reply", "error", "kind"),
    [
        (b"535 5.7.8 no\r\n", sasl.AuthenticationFailed, "credentials"),
        (b"503 5.5.1 already authenticated\r\n", sasl.AuthenticationFailed, "state"),
        (b"555 5.5.2 Syntax error, command line too long\r\n", sasl.AuthenticationFailed, "limit"),
        (b"538 5.7.11 Encryption required\r\n", sasl.AuthenticationFailed, "policy"),
        (b"454 4.7.0 later\r\n", sasl.TemporaryFailure, "unavailable"),
    ],
    ids=lambda value: value[:3].decode() if isinstance(value, bytes) else None,
)
def test_every_no_is_an_error_with_the_servers_code(
    smtp: Any, stage: Any, reply: bytes, error: type[Exception], kind: str
) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, reply), smtp.noop])
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, error)
    assert caught.value.kind == kind
    assert (caught.value.smtp_code, caught.value.smtp_error) == (int(reply[:3]), reply[4:-2])
    assert caught.value.args == (caught.value.smtp_code, caught.value.smtp_error)
    conn.noop()


def test_the_lines_of_a_refusal_are_kept(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, smtp.no)])
    with pytest.raises(SMTPAuthenticationFailed) as caught:
        authenticate(conn, PASSWORD)
    error = caught.value
    assert error.smtp_error == b"5.7.8 Username and Password not accepted.\n5.7.8 See https://help.example"
    assert error.response_code == "535 5.7.8"
    assert str(error) == "Username and Password not accepted. See https://help.example"


def test_a_421_is_a_lost_connection_with_its_text(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, [b"421 4.7.0 Closing\r\n", "close"])])
    with pytest.raises(SMTPConnectionLost, match="Closing") as caught:
        authenticate(conn, PASSWORD)
    assert caught.value.response_code == "421 4.7.0"
    assert smtp.is_closed(conn)


@pytest.mark.parametrize(
    "reply",
    [
        b"235x Accepted\r\n",
        b"235\0 Accepted\r\n",
        b"235-5.7.8 no\r\n535 yes\r\n",
        b"535-5.7.8 no\r\n235 yes\r\n",
        b" 235 yes\r\n",
        b"+235\r\n",
        b"2_35 yes\r\n",
        b"\r\n",
        b"250 yes\r\n",
        b"135 yes\r\n",
    ],
    ids=repr,
)
def test_what_only_looks_like_235_is_no_login(smtp: Any, stage: Any, reply: bytes) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, reply)])
    with pytest.raises(SMTPProtocolError) as caught:
        authenticate(conn, PASSWORD)
    assert isinstance(caught.value, smtplib.SMTPException)
    assert smtp.is_closed(conn)


def test_a_challenge_of_several_lines_cancels(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(
        smtp,
        [*smtp.offer("XOAUTH2"), (None, b"334-e30=\r\n334 e30=\r\n"), (b"*", smtp.cancelled), smtp.noop],
    )
    with pytest.raises(SMTPProtocolError):
        authenticate(conn, sasl.Bearer("alice@example.com", "token"))
    conn.noop()


def test_a_token_too_long_for_a_command_line_goes_after_the_prompt(smtp: Any, stage: Any) -> None:
    token = "t" * 500
    message = base64.b64encode(f"user=alice@example.com\x01auth=Bearer {token}\x01\x01".encode())
    conn, _ = stage.play(smtp, [*smtp.offer("XOAUTH2"), (b"AUTH XOAUTH2", b"334 \r\n"), (message, smtp.yes)])
    assert authenticate(conn, sasl.Bearer("alice@example.com", token)) == smtp.returned


# --- the channel


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_oauthbearer_names_the_host_that_the_client_was_made_with(smtp: Any, stage: Any, host: str) -> None:
    server = stage.serve(smtp, [*smtp.offer("OAUTHBEARER"), (None, smtp.yes)], tls=False)
    conn = smtplib.SMTP(f"{host}:{server.port}", local_hostname="client.example")
    stage.keep(conn.close)
    authenticate(conn, sasl.Bearer("alice", "token"), policy=LOOPBACK)
    conn.close()
    message = base64.b64decode(server.heard()[-1].split()[-1])
    assert f"\x01host={host}\x01port={server.port}\x01".encode() in message


@pytest.mark.parametrize(
    ("named", "host"),
    [("mail.example", "mail.example"), ("mail.example:587", "mail.example"), ("::1", "::1"), ("", None)],
)
def test_the_host_is_what_the_client_was_made_with_but_for_its_port(
    smtp: Any, stage: Any, named: str, host: str | None
) -> None:
    conn, _ = stage.play(smtp, [], tls=False)
    conn._host = named
    assert smtp.described().channel(conn).host == host


def test_oauthbearer_names_no_host_that_nobody_named(smtp: Any, stage: Any) -> None:
    server = stage.serve(smtp, [*smtp.offer("OAUTHBEARER"), (None, smtp.yes)], tls=False)
    conn = smtplib.SMTP(local_hostname="client.example")
    stage.keep(conn.close)
    conn.connect("127.0.0.1", server.port)
    authenticate(conn, sasl.Bearer("alice", "token"), policy=LOOPBACK)
    conn.close()
    message = base64.b64decode(server.heard()[-1].split()[-1])
    assert b"host=" not in message
    assert f"\x01port={server.port}\x01".encode() in message


# --- the drop-in classes


def test_the_arguments_of_auth_are_the_librarys() -> None:
    theirs = inspect.signature(smtplib.SMTP.auth).parameters
    ours = inspect.signature(SMTP.auth).parameters
    assert [(key, value.kind, value.default) for key, value in ours.items()] == [
        (key, value.kind, value.default) for key, value in theirs.items()
    ]


@pytest.mark.parametrize("own", ["own", b"own"], ids=["str", "bytes"])
def test_an_authobject_gives_the_initial_response_without_an_argument(smtp: Any, stage: Any, own: Any) -> None:
    asked = []
    conn, _ = stage.play(smtp, [*smtp.offer(), (b"AUTH X-OWN b3du", smtp.yes), smtp.noop], module=BINDING)
    assert conn.auth("x-own", lambda *arguments: asked.append(arguments) or own) == smtp.returned
    assert asked == [()]
    conn.noop()


@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_an_authobject_answers_each_challenge(smtp: Any, stage: Any, initial_response_ok: bool) -> None:
    asked = []

    def answer(challenge: bytes | None = None) -> str | None:
        asked.append(challenge)
        return None if challenge is None else f"answer to {challenge.decode()}"

    conn, _ = stage.play(
        smtp,
        [
            *smtp.offer(),
            (b"AUTH X-OWN", smtp.challenge(b"one")),
            (b64(b"answer to one"), smtp.challenge(b"two")),
            (b64(b"answer to two"), smtp.yes),
        ],
        module=BINDING,
    )
    assert conn.auth("X-OWN", answer, initial_response_ok=initial_response_ok) == smtp.returned
    assert asked == [None, b"one", b"two"][not initial_response_ok :]


LOGIN_TURNS = [(b64(b"alice"), b"334 " + b64(b"Password:") + b"\r\n"), (b64(b"wonderland"), b"235 2.7.0 Accepted\r\n")]


@pytest.mark.parametrize(
    ("name", "initial_response_ok", "turns"),
    [
        ("login", True, [(b"AUTH LOGIN " + b64(b"alice"), LOGIN_TURNS[0][1]), LOGIN_TURNS[1]]),
        ("login", False, [(b"AUTH LOGIN", b"334 " + b64(b"Username:") + b"\r\n"), *LOGIN_TURNS]),
        ("plain", True, [(COMMAND, b"235 2.7.0 Accepted\r\n")]),
        ("plain", False, [(b"AUTH PLAIN", b"334 \r\n"), (PLAIN, b"235 2.7.0 Accepted\r\n")]),
    ],
)
def test_the_authobjects_of_the_library_work(
    smtp: Any, stage: Any, name: str, initial_response_ok: bool, turns: Any
) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer(), *turns], module=BINDING)
    conn.user, conn.password = "alice", "wonderland"
    authobject = getattr(conn, f"auth_{name}")
    assert conn.auth(name, authobject, initial_response_ok=initial_response_ok) == smtp.returned


def test_an_initial_response_too_long_for_a_command_line_goes_after_the_prompt(smtp: Any, stage: Any) -> None:
    long = "x" * 400
    conn, _ = stage.play(
        smtp, [*smtp.offer(), (b"AUTH X-OWN", b"334 \r\n"), (b64(long.encode()), smtp.yes)], module=BINDING
    )
    assert conn.auth("X-OWN", lambda: long) == smtp.returned


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"503 5.5.1 already authenticated\r\n", SMTPAuthenticationFailed),
        (b"535 5.7.8 no\r\n", SMTPAuthenticationFailed),
        (b"454 4.7.0 later\r\n", SMTPTemporaryFailure),
        (b"421 4.7.0 gone\r\n", SMTPServerBusy),
        (b"235x yes\r\n", SMTPProtocolError),
        (b"250 yes\r\n", SMTPProtocolError),
    ],
    ids=lambda value: value[:4].decode() if isinstance(value, bytes) else None,
)
def test_auth_raises_for_all_that_is_not_235(smtp: Any, stage: Any, reply: bytes, error: type[sasl.SASLError]) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer(), (COMMAND, reply)], module=BINDING)
    with pytest.raises(error) as caught:
        conn.auth("PLAIN", lambda: "\0alice\0wonderland")
    assert caught.value.mechanism == "PLAIN"
    if isinstance(caught.value, smtplib.SMTPAuthenticationError):
        assert (caught.value.smtp_code, caught.value.smtp_error) == (int(reply[:3]), reply[4:-2])


@pytest.mark.parametrize("response", [5, "\udcff"], ids=repr)
def test_an_authobject_that_returns_what_is_no_response_cancels_and_the_next_command_is_answered(
    smtp: Any, stage: Any, response: Any
) -> None:
    conn, _ = stage.play(
        smtp,
        [*smtp.offer(), (b"AUTH X-OWN", smtp.challenge(b"?")), (b"*", smtp.cancelled), smtp.noop],
        module=BINDING,
    )
    with pytest.raises(SMTPProtocolError) as caught:
        conn.auth("X-OWN", lambda challenge=None: challenge and response)
    assert caught.value.__context__ is None
    conn.noop()


def test_an_authobject_that_returns_none_cancels(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(
        smtp,
        [*smtp.offer(), (b"AUTH X-OWN", smtp.challenge(b"?")), (b"*", smtp.cancelled), smtp.noop],
        module=BINDING,
    )
    with pytest.raises(SMTPCancelled):
        conn.auth("X-OWN", lambda _challenge=None: None)
    conn.noop()


@pytest.mark.parametrize("name", ["PLAIN", "X-UNKNOWN"])
def test_auth_sends_nothing_without_tls_that_may_be_usable(
    smtp: Any, stage: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command = b"AUTH " + name.encode() + b" " + PLAIN
    conn, server = stage.play(smtp, [*smtp.offer(), (command, smtp.yes)], tls=False, module=BINDING)
    with pytest.raises(SMTPPolicyViolation, match=name):
        conn.auth(name, lambda: "\0alice\0wonderland")
    assert server.received == []
    monkeypatch.setattr(type(conn), "policy", LOOPBACK)
    assert conn.auth(name, lambda: "\0alice\0wonderland") == smtp.returned


@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_auth_takes_credentials(smtp: Any, stage: Any, initial_response_ok: bool) -> None:
    turns = [(COMMAND, smtp.yes)] if initial_response_ok else [(b"AUTH PLAIN", b"334 \r\n"), (PLAIN, smtp.yes)]
    conn, _ = stage.play(smtp, [*smtp.offer("XOAUTH2", "PLAIN"), *turns], module=BINDING)
    assert conn.auth("plain", PASSWORD, initial_response_ok=initial_response_ok) == smtp.returned


@pytest.mark.parametrize(
    ("mechanism", "authobject"),
    [("PLAIN\r\nRSET", lambda: ""), ("", lambda: ""), ("PLAIN", "wonderland"), ("PLAIN", None)],
    ids=["CRLF", "no name", "str", "None"],
)
def test_auth_with_wrong_arguments_is_the_callers_mistake(
    smtp: Any, stage: Any, mechanism: str, authobject: Any
) -> None:
    conn, server = stage.play(smtp, [], module=BINDING)
    with pytest.raises(sasl.UsageError):
        conn.auth(mechanism, authobject)
    smtp.close(conn)
    assert server.heard() == []


def test_auth_on_a_client_that_is_not_connected_has_no_connection() -> None:
    with pytest.raises(SMTPConnectionLost, match="connect"):
        SMTP(local_hostname="client.example").auth("PLAIN", lambda: "")


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_the_debug_output_of_auth_shows_sizes(
    smtp: Any, stage: Any, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    turns = [(COMMAND, smtp.challenge(b"what?")), (b64(b"wonderland"), getattr(smtp, answer))]
    conn, _ = stage.play(smtp, [*smtp.offer(), *turns], module=BINDING)
    conn.set_debuglevel(1)
    with contextlib.nullcontext() if answer == "yes" else pytest.raises(SMTPAuthenticationFailed):
        conn.auth("PLAIN", lambda challenge=None: "wonderland" if challenge else "\0alice\0wonderland")
    printed = capsys.readouterr()
    assert conn.debuglevel == 1
    assert "C: AUTH PLAIN <17 octets>" in printed.err
    assert seen(printed, "wonderland", "\0alice\0wonderland") == []


@pytest.mark.parametrize("name", ["login", "starttls"])
def test_the_arguments_of_the_library_are_taken(name: str) -> None:
    theirs = inspect.signature(getattr(smtplib.SMTP, name)).parameters
    ours = inspect.signature(getattr(SMTP, name)).parameters
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values())
    assert set(theirs) <= set(ours)
    order = [key for key in ours if key in theirs and ours[key].kind is ours[key].POSITIONAL_OR_KEYWORD]
    theirs_in_order = [key for key in theirs if theirs[key].kind is theirs[key].POSITIONAL_OR_KEYWORD]
    assert order[: len(theirs_in_order)] == theirs_in_order


def test_login_may_be_told_to_send_no_initial_response(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(
        smtp,
        [*smtp.offer("PLAIN"), (b"AUTH PLAIN", b"334 \r\n"), (PLAIN, smtp.yes)],
        module=sasl.adapters.smtplib,
    )
    assert conn.login("alice", "wonderland", initial_response_ok=False) == smtp.returned


def test_login_tries_one_mechanism_and_keeps_no_password(smtp: Any, stage: Any) -> None:
    conn, server = stage.play(
        smtp,
        [*smtp.offer("CRAM-MD5", "PLAIN", "LOGIN"), (COMMAND, smtp.no)],
        module=sasl.adapters.smtplib,
    )
    with pytest.raises(smtplib.SMTPAuthenticationError):
        conn.login("alice", "wonderland")
    smtp.close(conn)
    assert len(server.heard()) == 2
    assert seen([repr(vars(conn))], "wonderland") == []


class EmailBackend:
    """What Django's backend does with its connection_class: it names nothing else of the library."""

    use_tls = True

    def __init__(self, host: str, port: int, username: str, password: Any, context: Any) -> None:
        self.address = host, port
        self.username = username
        self.password = password
        self.ssl_context = context

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return SMTP if self.use_tls else SMTP_SSL

    def open(self) -> smtplib.SMTP:
        parameters: dict[str, Any] = {"local_hostname": "client.example", "timeout": 5}
        if not self.use_tls:
            parameters["context"] = self.ssl_context
        connection = self.connection_class(*self.address, **parameters)
        if self.use_tls:
            connection.starttls(context=self.ssl_context)
        if self.username and self.password:
            connection.login(self.username, self.password)
        return connection


@pytest.mark.parametrize("use_tls", [True, False], ids=["starttls", "ssl"])
@pytest.mark.parametrize(
    "password", ["wonderland", sasl.Secret("wonderland"), PASSWORD], ids=["str", "Secret", "value"]
)
def test_django_may_use_it_as_its_connection_class(smtp: Any, stage: Any, use_tls: bool, password: Any) -> None:
    login = [*smtp.offer("PLAIN"), (COMMAND, smtp.yes), (b"QUIT", b"221 bye\r\n")]
    before = [*smtp.offer(extra=("STARTTLS",)), (b"STARTTLS", [b"220 go\r\n", "tls"])]
    server = stage.serve(smtp, [*before, *login] if use_tls else login, tls=not use_tls)
    backend = EmailBackend("127.0.0.1", server.port, "alice", password, stage.client_context)
    backend.use_tls = use_tls
    with backend.open() as connection:
        assert isinstance(connection, smtplib.SMTP)


def test_its_errors_are_os_errors_for_those_who_fail_silently(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN"), (COMMAND, smtp.no)], module=sasl.adapters.smtplib)
    with pytest.raises(OSError, match="Username and Password not accepted"):
        conn.login("alice", "wonderland")


def test_lmtp_over_a_socket_in_the_file_system_is_this_machine(smtp: Any, tmp_path: Any) -> None:
    import threading

    path = str(tmp_path / "lmtp")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def serve() -> None:
        peer, _ = listening.accept()
        with peer, peer.makefile("rb") as lines:
            peer.sendall(smtp.greeting)
            for reply in (b"250-mx.example\r\n250 AUTH PLAIN\r\n", smtp.yes):
                lines.readline()
                peer.sendall(reply)
            lines.readline()

    thread = threading.Thread(target=serve)
    thread.start()
    conn = smtplib.LMTP(path, local_hostname="client.example")
    try:
        assert authenticate(conn, PASSWORD, policy=LOOPBACK) == smtp.returned
    finally:
        conn.close()
        thread.join(5)
        listening.close()


def test_starttls_that_is_not_offered_is_what_smtplib_raises_too(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, smtp.offer(), tls=False, module=BINDING)
    with pytest.raises(smtplib.SMTPNotSupportedError) as caught:
        conn.starttls(context=stage.client_context)
    assert isinstance(caught.value, SMTPPolicyViolation)


def test_a_refusal_of_starttls_has_the_reply_as_smtplib_has_it(smtp: Any, stage: Any) -> None:
    turns = [*smtp.offer(extra=("STARTTLS",)), (b"STARTTLS", b"454 4.7.0 not now\r\n"), smtp.noop]
    conn, _ = stage.play(smtp, turns, tls=False, module=BINDING)
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        conn.starttls(context=stage.client_context)
    error: Any = caught.value
    assert isinstance(error, SMTPPolicyViolation)
    assert (error.smtp_code, error.smtp_error, error.args) == (454, b"4.7.0 not now", (454, b"4.7.0 not now"))
    assert error.server_text == "4.7.0 not now"
    conn.noop()


def test_starttls_at_a_server_that_refuses_ehlo_and_helo(smtp: Any, stage: Any) -> None:
    conn, _ = stage.play(smtp, [(None, b"550 go away\r\n"), (None, b"550 go away\r\n")], tls=False, module=BINDING)
    with pytest.raises(SMTPHeloRefused):
        conn.starttls(context=stage.client_context)


def test_the_lines_are_audited_as_those_of_smtplib_are(smtp: Any, stage: Any) -> None:
    audited: list[Any] = []
    enabled = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if enabled and event == "smtplib.send":
            audited.append(arguments)

    conn, _ = stage.play(smtp, [*smtp.offer("PLAIN", extra=()), (COMMAND, smtp.yes)])
    sys.addaudithook(hook)
    authenticate(conn, PASSWORD)
    enabled.clear()
    assert [each for each, _ in audited] == [conn] * len(audited)
    assert [line for _, line in audited] == [b"ehlo client.example\r\n", COMMAND + b"\r\n"]
