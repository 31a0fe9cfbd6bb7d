"""Dialogues of each protocol and mechanism, recorded at the reference servers; libraries that run over any socket."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import imaplib
import poplib
import signal
import smtplib
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl import Bearer, Password, Policy
from sasl.adapters.reference import Settings, running

from .peer import Dialogue, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from sasl.adapters.reference import Servers

USER: Final = "alice@example.org"
PASSWORD: Final = "Wonder!and+42"
UNICODE_PASSWORD: Final = "K\u00f6nigin"
TOKENS: Final = {
    "good": "ya29.g00d-T0ken_AbCdEfGhIjKl",
    "expired": "ya29.0ld-T0ken_MnOpQrStUvWx",
    "revoked": "ya29.g0ne-T0ken_YzAbCdEfGhIj",
}
IN_THE_CLEAR: Final = Policy(plaintext="always")


# --- the libraries, over a socket that they are given


class Imap(imaplib.IMAP4):
    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 143)

    def _create_socket(self, timeout: float | None) -> Any:
        return self.given


class DropInImap(sasl.adapters.imaplib.IMAP4):
    policy = IN_THE_CLEAR

    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 143)

    def _create_socket(self, timeout: float | None) -> Any:
        return self.given


class Pop(poplib.POP3):
    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 110)

    def _create_socket(self, timeout: float | None) -> Any:
        return self.given


class DropInPop(sasl.adapters.poplib.POP3):
    policy = IN_THE_CLEAR

    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 110)

    def _create_socket(self, timeout: float | None) -> Any:
        return self.given


class Smtp(smtplib.SMTP):
    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 25, "client.example")

    def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
        return self.given


class DropInSmtp(sasl.adapters.smtplib.SMTP):
    policy = IN_THE_CLEAR

    def __init__(self, sock: Any) -> None:
        self.given = sock
        super().__init__("mail.example", 25, "client.example")

    def _get_socket(self, host: str, port: int, timeout: float | None) -> Any:
        return self.given


@dataclass(frozen=True)
class Protocol:
    """One protocol and its library."""

    name: str
    binding: ModuleType
    prefix: str
    error: type[Exception]
    lost: type[Exception]
    connect: Callable[[Any], Any]
    drop_in: Callable[[Any], Any]

    def error_named(self, name: str) -> type[sasl.SASLError]:
        """The binding's class for an error of ours."""
        error: type[sasl.SASLError] = getattr(self.binding, self.prefix + name)
        return error

    def is_closed(self, conn: Any) -> bool:
        """Whether library and binding know that the connection is closed."""
        return conn.state == "LOGOUT" if self.name == "imap" else conn.sock is None

    def is_logged_in(self, conn: Any) -> bool:
        """What the library believes; poplib and smtplib keep no such state."""
        return self.name == "imap" and conn.state == "AUTH"

    def close(self, conn: Any) -> None:
        with contextlib.suppress(OSError):
            if self.name == "imap":
                conn.shutdown()
            else:
                conn.close()


PROTOCOLS: Final = {
    "imap": Protocol("imap", sasl.adapters.imaplib, "IMAP", imaplib.IMAP4.error, imaplib.IMAP4.abort, Imap, DropInImap),
    "pop": Protocol("pop", sasl.adapters.poplib, "POP", poplib.error_proto, poplib.error_proto, Pop, DropInPop),
    "smtp": Protocol(
        "smtp", sasl.adapters.smtplib, "SMTP", smtplib.SMTPException, smtplib.SMTPServerDisconnected, Smtp, DropInSmtp
    ),
}


def log_in(dialogue: Dialogue, conn: Any) -> Any:
    """Log in as the dialogue was recorded."""
    options = dict(dialogue.options)
    credentials = options.pop("credentials")
    if options.pop("drop_in", False):
        conn.mechanism = options.get("mechanism")
        return conn.login(USER, credentials)
    return PROTOCOLS[dialogue.protocol].binding.authenticate(conn, credentials, policy=IN_THE_CLEAR, **options)


def connect(dialogue: Dialogue, sock: Any) -> Any:
    protocol = PROTOCOLS[dialogue.protocol]
    return (protocol.drop_in if dialogue.options.get("drop_in") else protocol.connect)(sock)


# --- the dialogues

_COMMANDS: Final = {"imap": "IMAP-LOGIN", "pop": "POP-USER"}


def _plans(protocol: str) -> Iterator[tuple[str, str, dict[str, Any], bytes]]:
    """Yield the dialogues: name, verdict, how to log in, and what of it is the credential on the wire."""
    refused = "AuthenticationFailed"
    for how, verdict, password in (("right", "", PASSWORD), ("wrong", refused, "Looking.G1ass")):
        sent = base64.b64encode(f"\0{USER}\0{password}".encode())
        yield f"PLAIN-{how}", verdict, {"mechanism": "PLAIN", "credentials": Password(USER, password)}, sent
        if protocol in _COMMANDS:
            options = {"mechanism": _COMMANDS[protocol], "credentials": Password(USER, password), "drop_in": True}
            yield f"{_COMMANDS[protocol]}-{how}", verdict, options, password.encode()
    options = {"mechanism": "PLAIN", "credentials": Password(USER, PASSWORD), "initial_response": False}
    yield "PLAIN-asked", "", options, base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
    if protocol == "imap":
        options = {"mechanism": "IMAP-LOGIN", "credentials": Password("j\u00f6rg", UNICODE_PASSWORD)}
        yield "IMAP-LOGIN-literal", "", options, UNICODE_PASSWORD.encode()
    for name in ("XOAUTH2", "OAUTHBEARER"):
        for how, verdict, initial in (("good", "", None), ("expired", refused, None), ("good", "", False)):
            token = TOKENS[how]
            options = {"mechanism": name, "credentials": Bearer(USER, token), "initial_response": initial}
            sent = base64.b64encode(b"\0" + token.encode())[4:-4]  # aligned by hand below
            yield f"{name}-{how if initial is None else 'asked'}", verdict, options, sent


def _in_base64(lines: list[bytes], secret: bytes) -> bytes:
    """The argument or line in which a secret went out."""
    for line in lines:
        for word in line.split():
            with contextlib.suppress(ValueError):
                if secret in base64.b64decode(word, validate=True):
                    return word
    raise LookupError("the credential was not sent")


def _record(servers: Servers, protocol: str) -> Iterator[Dialogue]:
    endpoint = getattr(servers, protocol)
    for name, verdict, options, sent in _plans(protocol):
        recorder = Recorder(socket.create_connection((endpoint.host, endpoint.port), timeout=10))
        planned = Dialogue(f"{protocol}-{name}", protocol, options["mechanism"], (), verdict, sent, options)
        conn = connect(planned, recorder)
        try:
            log_in(planned, conn)
            assert not verdict
        except sasl.AuthenticationFailed:
            assert verdict
        finally:
            PROTOCOLS[protocol].close(conn)
        if isinstance(options["credentials"], Bearer):
            sent = _in_base64([line for line, _ in recorder.turns], options["credentials"].token.reveal().encode())
        yield Dialogue(planned.name, protocol, options["mechanism"], tuple(recorder.turns), verdict, sent, options)


def _scripted() -> Iterator[Dialogue]:
    """What the reference servers do not say: Gmail's two lines, and an IMAP server that has to be asked again."""
    credentials = Bearer(USER, TOKENS["good"])
    message = f"user={USER}\x01auth=Bearer {TOKENS['good']}\x01\x01".encode()
    sent = base64.b64encode(message)
    error = base64.b64encode(b'{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}')
    tag = b"S" + b"0" * 16
    options = {"mechanism": "XOAUTH2", "credentials": credentials}
    refused = "AuthenticationFailed"
    greeting = (
        (b"", b"220 mx.example ESMTP\r\n"),
        (b"ehlo client.example\r\n", b"250-mx.example\r\n250-SIZE 1000\r\n250-AUTH XOAUTH2 PLAIN\r\n250 HELP\r\n"),
    )
    no = b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 See https://support.example\r\n"
    turns = (*greeting, (b"AUTH XOAUTH2 %s\r\n" % sent, b"334 %s\r\n" % error), (b"\r\n", no))
    yield Dialogue("smtp-two-lines", "smtp", "XOAUTH2", turns, refused, sent, options)
    offer = b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=PLAIN\r\n"
    begin = ((b"", b"* OK ready\r\n"), (b"AAAA0 CAPABILITY\r\n", offer + b"AAAA0 OK done\r\n"))
    command = tag + b" AUTHENTICATE XOAUTH2 %s\r\n" % sent
    after = (b"AAAA1 CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1 IDLE\r\nAAAA1 OK done\r\n")
    turns = (*begin, (command, b"* 3 EXISTS\r\n" + tag + b" OK Logged in\r\n"), after)
    yield Dialogue("imap-asked-again", "imap", "XOAUTH2", turns, "", sent, options)
    challenge = (command, b"+ %s\r\n" % error)
    turns = (*begin, challenge, (b"\r\n", tag + b" NO SASL authentication failed\r\n"))
    yield Dialogue("imap-gmail", "imap", "XOAUTH2", turns, refused, sent, options)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The reference servers, which take passwords in the clear: this is loopback."""
    settings = Settings(policy=Policy(plaintext="loopback"), failures=1000, check_port=False, hosts=())
    users = {USER: PASSWORD, "j\u00f6rg": UNICODE_PASSWORD}
    with running(users, TOKENS, settings=settings) as servers:  # type: ignore[arg-type]
        yield servers


@pytest.fixture(scope="session")
def dialogues(servers: Servers) -> dict[str, Dialogue]:
    """Every dialogue by its name."""
    recorded = [dialogue for protocol in PROTOCOLS for dialogue in _record(servers, protocol)]
    timed = [_timed(dialogue) for dialogue in recorded if dialogue.name.endswith(("PLAIN-asked", "XOAUTH2-expired"))]
    return {dialogue.name: dialogue for dialogue in (*recorded, *_scripted(), *timed)}


def _timed(dialogue: Dialogue) -> Dialogue:
    """The same under a time-out, with which the bindings read in another way."""
    kind, _, how = dialogue.name.rpartition("-")
    return dataclasses.replace(dialogue, name=f"{kind}-timed-{how}", options={**dialogue.options, "timeout": 30.0})


# --- no test hangs

_DEADLINE: Final = 60  # seconds


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """End a test that hangs, where the system can."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise RuntimeError(f"a test took more than {_DEADLINE} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
