"""Dialogues of each protocol and mechanism, recorded at the reference servers; libraries that run over any socket."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import socket
from dataclasses import dataclass
from ssl import PEM_cert_to_DER_cert
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
import sasl.adapters.channel_binding
import sasl.adapters.reference.pop
import sasl.mechanisms.cram_md5
import sasl.mechanisms.digest_md5
import sasl.mechanisms.scram
from sasl import Anonymous, Bearer, External, Password, Policy
from sasl.adapters.reference import Settings, running

from ..support.protocols import PROTOCOLS
from ..support.tls import servers_offer_plus
from .peer import Dialogue, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers, Verifier

USER: Final = "alice@example.org"
PASSWORD: Final = "Wonder!and+42"
UNICODE_PASSWORD: Final = "K\u00f6nigin"
TOKENS: Final = {
    "good": "ya29.g00d-T0ken_AbCdEfGhIjKl",
    "expired": "ya29.0ld-T0ken_MnOpQrStUvWx",
    "revoked": "ya29.g0ne-T0ken_YzAbCdEfGhIj",
}
WRONG: Final = "Looking.G1ass"
NOBODY: Final = "nobody@example.org"
OFF: Final = ("CRAM-MD5", "DIGEST-MD5", "ANONYMOUS", "POP-APOP")
"""What is off unless a policy names it."""
IN_THE_CLEAR: Final = Policy(plaintext="always", allow=OFF)
SETTINGS: Final = Settings(
    policy=Policy(plaintext="loopback", allow=OFF), failures=1_000_000, check_port=False, hosts=()
)


# --- the libraries, over a socket that they are given


def log_in(dialogue: Dialogue, conn: Any) -> Any:
    """Log in as the dialogue was recorded."""
    options = dict(dialogue.options)
    credentials = options.pop("credentials")
    if options.pop("drop_in", False):
        conn.policy, conn.mechanism = IN_THE_CLEAR, options.get("mechanism")
        return conn.login(USER, credentials)
    return PROTOCOLS[dialogue.protocol].binding.authenticate(conn, credentials, policy=IN_THE_CLEAR, **options)


def connect(dialogue: Dialogue, sock: Any) -> Any:
    protocol = PROTOCOLS[dialogue.protocol]
    return protocol.over(sock, protocol.binding if dialogue.options.get("drop_in") else None)


# --- what is another one each time, and here is not


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """Let all nonces be the same, and no key be derived twice: what is proved in a dialogue can be replayed then.

    -PLUS is offered over TLS 1.3: what it binds to there, the certificate, is the same each time, too.
    """
    with servers_offer_plus(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sasl.mechanisms.scram, "new_nonce", lambda: b"fyko+d2lbbFgONRv9qkxdawL")
        patch.setattr(sasl.mechanisms.scram, "derive", _derive)
        patch.setattr(sasl.mechanisms.digest_md5, "new_nonce", lambda: b"OA6MG9tEQGm2hh/yE+4lZ5Ap")
        patch.setattr(sasl.mechanisms.cram_md5, "_new_challenge", lambda host: b"<1896.697170952@localhost>")
        patch.setattr(sasl.adapters.channel_binding, "end_point", _end_point)
        patch.setattr(sasl.adapters.reference.pop, "secrets", SimpleNamespace(token_hex=lambda size: "7e" * size))
        yield


_derive: Final = functools.cache(sasl.mechanisms.scram.derive)
_end_point: Final = functools.cache(sasl.adapters.channel_binding.end_point)


@pytest.fixture(autouse=True)
def one_nonce() -> Iterator[None]:
    """In each test, as it was when the dialogues were recorded."""
    with repeated():
        yield


# --- the dialogues

_COMMANDS: Final = {"imap": "IMAP-LOGIN", "pop": "POP-USER"}


@dataclass(frozen=True)
class Plan:
    """A login to record: its verdict, how it is done, and what of it is the credential, or the proof of it.

    `sent` stands in a line as it is, or in the octets that a line is in base64. `tls` says whose certificate the client
    shows; empty for a login in the clear.
    """

    name: str
    verdict: str
    options: dict[str, Any]
    sent: bytes
    tls: str = ""


_REFUSED: Final = "AuthenticationFailed"


def _plans(protocol: str) -> Iterator[Plan]:
    """Yield the dialogues of a protocol."""
    for how, verdict, password in (("right", "", PASSWORD), ("wrong", _REFUSED, WRONG)):
        credentials = Password(USER, password)

        def plan(name: str, sent: bytes, tls: str = "", **more: Any) -> Plan:
            options = {"mechanism": name, "credentials": credentials, **more}  # noqa: B023 -- called in this turn
            return Plan(f"{name}-{how}", verdict, options, sent, tls)  # noqa: B023

        yield plan("PLAIN", password.encode())
        yield plan("LOGIN", password.encode())
        yield plan("CRAM-MD5", USER.encode() + b" ")
        yield plan("DIGEST-MD5", b"response=")
        yield plan("SCRAM-SHA-256", b",p=")
        yield plan("SCRAM-SHA-256-PLUS", b",p=", tls=USER)
        if protocol in _COMMANDS:
            yield plan(_COMMANDS[protocol], password.encode(), drop_in=True)
        if protocol == "pop":
            yield plan("POP-APOP", b"APOP ")
    for name, sent in (("PLAIN", PASSWORD.encode()), ("SCRAM-SHA-256", b",p=")):
        options = {"mechanism": name, "credentials": Password(USER, PASSWORD), "initial_response": False}
        yield Plan(f"{name}-asked", "", options, sent)
    if protocol == "imap":
        options = {"mechanism": "IMAP-LOGIN", "credentials": Password("j\u00f6rg", UNICODE_PASSWORD)}
        yield Plan("IMAP-LOGIN-literal", "", options, UNICODE_PASSWORD.encode())
    for name in ("XOAUTH2", "OAUTHBEARER"):
        for how, verdict, initial in (("good", "", None), ("expired", _REFUSED, None), ("good", "", False)):
            options = {"mechanism": name, "credentials": Bearer(USER, TOKENS[how]), "initial_response": initial}
            yield Plan(f"{name}-{how if initial is None else 'asked'}", verdict, options, TOKENS[how].encode())
    for how, verdict, trace in (("right", "", USER), ("wrong", _REFUSED, NOBODY)):
        options = {"mechanism": "ANONYMOUS", "credentials": Anonymous(trace)}
        yield Plan(f"ANONYMOUS-{how}", verdict, options, trace.encode())
        options = {"mechanism": "EXTERNAL", "credentials": External(USER)}
        yield Plan(f"EXTERNAL-{how}", verdict, options, USER.encode(), tls=trace)


def _word(lines: list[bytes], sent: bytes) -> bytes:
    """The word in which something was sent, as it is or in base64."""
    for line in lines:
        for word in line.split()[-1:]:
            if sent in line:
                return word
            with contextlib.suppress(ValueError):
                if sent in base64.b64decode(word, validate=True):
                    return word
    raise LookupError(f"{sent!r} was not sent")


def _record(servers: Servers, protocol: str) -> Iterator[Dialogue]:
    endpoint = getattr(servers, protocol)
    for plan in _plans(protocol):
        port = endpoint.tls_port if plan.tls else endpoint.port
        sock: Any = socket.create_connection((endpoint.host, port), timeout=10)
        shown = None
        if plan.tls:
            context, pair = servers.client_context(), servers.client_certificate(plan.tls)
            context.load_cert_chain(*pair)
            sock, shown = (
                context.wrap_socket(sock, server_hostname="localhost"),
                PEM_cert_to_DER_cert(pair[0].read_text()),
            )
        recorder = Recorder(sock)
        mechanism = plan.options["mechanism"]
        planned = Dialogue(f"{protocol}-{plan.name}", protocol, mechanism, (), plan.verdict, b"", plan.options)
        conn = connect(planned, recorder)
        try:
            log_in(planned, conn)
            assert not plan.verdict
        except sasl.AuthenticationFailed:
            assert plan.verdict, planned.name
        finally:
            PROTOCOLS[protocol].close(conn)
        turns = tuple(recorder.turns)
        sent = _word([line for line, _ in turns], plan.sent)
        yield dataclasses.replace(planned, turns=turns, sent=sent, certificate=recorder.certificate, shown=shown)


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


class Checks:
    """The servers' own verifier, but for one who leaves a trace that it does not like."""

    def __init__(self, verifier: Verifier) -> None:
        self.answers = verifier.answers
        self.decoy = verifier.decoy
        self._verifier = verifier

    def __call__(self, question: sasl.Question, /) -> Any:
        if isinstance(question, sasl.CheckAnonymous) and question.trace == NOBODY:
            return sasl.Rejected("not that one")
        return self._verifier(question)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The reference servers, which take passwords in the clear: this is loopback.

    In the tests here they offer -PLUS over TLS 1.3 too (`repeated`).
    """
    users = {USER: PASSWORD, "j\u00f6rg": UNICODE_PASSWORD}
    with running(users, TOKENS, settings=SETTINGS, checks=Checks) as servers:  # type: ignore[arg-type]
        yield servers


@pytest.fixture(scope="session")
def dialogues(servers: Servers) -> dict[str, Dialogue]:
    """Every dialogue by its name."""
    with repeated():
        recorded = [dialogue for protocol in PROTOCOLS for dialogue in _record(servers, protocol)]
    timed = [_timed(dialogue) for dialogue in recorded if dialogue.name.endswith(("PLAIN-asked", "XOAUTH2-expired"))]
    return {dialogue.name: dialogue for dialogue in (*recorded, *_scripted(), *timed)}


def _timed(dialogue: Dialogue) -> Dialogue:
    """The same under a time-out, with which the bindings read in another way."""
    kind, _, how = dialogue.name.rpartition("-")
    return dataclasses.replace(dialogue, name=f"{kind}-timed-{how}", options={**dialogue.options, "timeout": 30.0})
