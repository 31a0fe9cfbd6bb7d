"""What any octets are given to, and what has to hold: no other error, no endless loop, no login without the secret.

Each target takes octets and raises AssertionError, or whatever should not be raised. The first octet chooses among
what the target can be; the others are cut at 0xFF, which no grammar has, into what comes line by line: with LF, CR and
NUL inside, cut, or without an end. Hypothesis draws octets for them in each run of the tests, atheris in `tox -e fuzz`.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import sasl
from sasl import base64, gs2
from sasl.adapters import refusals
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.imap.arguments import Arguments
from sasl.adapters.wire.line import Line
from sasl.limits import DEFAULT_LIMITS
from sasl.mechanisms import _bearer, _digest_md5_messages, _scram_messages
from sasl.prep import saslprep
from sasl.secret import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CUT = b"\xff"
PASSWORD = "correct horse battery"
TOKEN = "ya29.token-that-nobody-sees"
STAMP = b"<1896.697170952@example.com>"
CHANNEL = sasl.Channel(
    tls=True, service="imap", host="localhost", port=993, bindings={"tls-server-end-point": b"x" * 32}
)
KEYS = sasl.ScramKeys.derive(PASSWORD, iterations=1)
NONCE = b"fyko+d2lbbFgONRv9qkx"
LIMITS = sasl.Limits(min_iterations=1, max_iterations=4_096)
OPTIONS: dict[str, dict[str, Any]] = {
    "CRAM-MD5": {"challenge": STAMP},
    "DIGEST-MD5": {"nonce": NONCE, "realm": "r"},
    "SCRAM-SHA-256": {"nonce": NONCE},
    "SCRAM-SHA-256-PLUS": {"nonce": NONCE},
}
MECHANISMS = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS", *OPTIONS)
PROVED = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "DIGEST-MD5")
"""Mechanisms in which a server proves itself, which no octets here can do."""
COMMANDS = {"imap": ("IMAP-LOGIN",), "pop": ("POP-USER", "POP-APOP"), "smtp": ()}
MODULES: dict[str, Any] = {"imap": imap, "pop": pop, "smtp": smtp}
YES = {
    "imap": re.compile(rb"A1 OK( [^\r\n\0]*)?\r?\n?", re.IGNORECASE),
    "pop": re.compile(rb"\+OK( [^\r\n\0]*)?\r?\n?", re.IGNORECASE),
    "smtp": re.compile(rb"235([ -][^\r\n\0]*)?\r?\n?"),
}


def credentials(mechanism: str) -> Any:
    if mechanism in ("XOAUTH2", "OAUTHBEARER"):
        return sasl.Bearer("alice", TOKEN)
    if mechanism == "EXTERNAL":
        return sasl.External("alice")
    return sasl.Anonymous("someone@example.com") if mechanism == "ANONYMOUS" else sasl.Password("alice", PASSWORD)


def client(mechanism: str) -> sasl.ClientExchange:
    options: dict[str, Any] = {}
    if mechanism.startswith("SCRAM"):
        options = {"nonce": NONCE, "keys": None}
    elif mechanism == "DIGEST-MD5":
        options = {"cnonce": NONCE}
    return sasl.client(mechanism, credentials(mechanism), channel=CHANNEL, limits=LIMITS, **options)


def verify(question: sasl.Question) -> object:
    """Alice has a password and a token; nobody is let in without one."""
    match question:
        case sasl.CheckPassword(password=secret):
            return sasl.Accepted("alice") if secret == PASSWORD else sasl.Rejected()
        case sasl.CheckToken(token=secret):
            return sasl.Accepted("alice") if secret == TOKEN else sasl.Rejected(detail={"scope": "mail"})
        case sasl.FindKeys(authcid="alice", hash="sha256"):
            return sasl.Record("alice", KEYS)
        case sasl.FindSecret(authcid="alice"):
            return sasl.Record("alice", sasl.Secret(PASSWORD))
        case sasl.FindKeys() | sasl.FindSecret():
            return None
    return NotImplemented


def chosen(data: bytes) -> tuple[int, list[bytes]]:
    """Split what is drawn into a number to choose by, and the lines."""
    return data[0] if data else 0, data[1:].split(CUT)


def check_line(line: object) -> None:
    """What is sent is one line, or one with a literal behind it."""
    assert isinstance(line, Line)
    assert line.octets.endswith(b"\r\n")
    assert not re.search(rb"[\r\n\0]", line.octets[:-2])
    assert "\n" not in line.shown


def check_error(error: sasl.SASLError, mechanism: str) -> None:
    """An error is ours, harmless on a terminal, and shows no secret."""
    assert isinstance(error, sasl.SASLError)
    shown = f"{error!s}{error.server_text}{error.response_code}{dict(error.detail)}{error!r}"
    secret = credentials(mechanism).secret
    assert secret is None or secret.reveal() not in shown
    assert str(error).isprintable()
    assert error.server_text.isprintable()


# --- the targets


def client_wire(protocol: str, data: bytes) -> None:
    """No server makes a client believe in a login without its yes, and without a proof where the mechanism has one."""
    choice, lines = chosen(data)
    names = (*MECHANISMS, *COMMANDS[protocol])
    exchange = client(names[choice % len(names)])
    options: dict[str, Any] = {"initial_response": None if choice & 128 else False}
    if protocol == "imap":
        options |= {"tag": "A1", "capabilities": ["SASL-IR"]}
    elif protocol == "pop":
        options["greeting"] = b"+OK " + STAMP
    wire = MODULES[protocol].ClientWire(exchange, **options)
    check_line(wire.command())
    for line in lines:
        assert wire.shown(line).isprintable()
        answer = wire.receive(line)
        if answer is not None:
            check_line(answer)
        if wire.done:
            break
    else:
        wire.lost()
    if wire.error is not None:
        check_error(wire.error, exchange.name)
        return
    assert YES[protocol].fullmatch(line)
    assert exchange.state is sasl.State.DONE
    assert exchange.name not in PROVED


def server_wire(protocol: str, data: bytes) -> None:
    """No client gets in without the secret, and each of its lines is answered by one line, a question, or nothing."""
    choice, lines = chosen(data)
    wire = MODULES[protocol].ServerWire(
        (*MECHANISMS, *COMMANDS[protocol]),
        channel=CHANNEL,
        options=OPTIONS,
        authenticated=choice % 8 == 7,
        **({"timestamp": STAMP} if protocol == "pop" else {}),
    )
    for line in lines:
        event = wire.receive(line)
        if isinstance(event, sasl.Question):
            event = wire.answered(sasl.settle(wire.exchange, event, verify))
        if event is not None:
            check_line(event)
        if wire.result is not None:
            break
    assert isinstance(wire.result, sasl.Failure | None) or knows_secret(b"".join(lines))


def knows_secret(octets: bytes) -> bool:
    """Whether who sent these octets may have known the secret: it stands in them, or in base64."""
    found = [octets]
    for word in re.findall(rb"[A-Za-z0-9+/]{8,}={0,2}", octets):
        with contextlib.suppress(sasl.SASLError):
            found.append(base64.decode(word))
    return any(secret.encode() in each for secret in (PASSWORD, TOKEN) for each in found)


def client_exchange(data: bytes) -> None:
    """Only a SASLError leaves a client, and no server proves itself by chance."""
    choice, messages = chosen(data)
    exchange = client(MECHANISMS[choice % len(MECHANISMS)])
    exchange.start()
    try:
        for message in messages[:-1]:
            exchange.respond(message)
        exchange.succeed(messages[-1] if choice & 128 else None)
    except sasl.SASLError as error:
        check_error(error, exchange.name)
    assert exchange.name not in PROVED or exchange.state is not sasl.State.DONE


def server_exchange(data: bytes) -> None:
    """Nothing leaves a server but events, and no client gets in without the secret."""
    choice, messages = chosen(data)
    name = MECHANISMS[choice % len(MECHANISMS)]
    exchange = sasl.server(name, channel=CHANNEL, success_data=bool(choice & 64), **OPTIONS.get(name, {}))
    event = exchange.start(messages.pop(0) if choice & 128 else None)
    for message in (*messages, None):
        event = sasl.settle(exchange, event, verify)
        if message is None or not isinstance(event, sasl.Challenge):
            break
        event = exchange.receive(message)
    assert isinstance(event, sasl.Challenge | sasl.Failure) or knows_secret(b"".join([b"", *data[1:].split(CUT)]))


def imap_arguments(data: bytes) -> None:
    """The arguments of a command end, or are refused; no atom holds what ends a line."""
    choice, lines = chosen(data)
    arguments = Arguments(40 + choice)
    for line in lines:
        arguments.receive(line)
        if arguments.done:
            break
    assert sum(map(len, arguments.words)) <= len(data)
    if arguments.refusal:
        check_line(arguments.answer("A1"))
    elif arguments.done and b"{" not in data:
        assert not any(re.search(rb"[\r\n\0]", word) for word in arguments.words)


def start_tls(data: bytes) -> None:
    """TLS begins after one line, and never with what came behind it."""
    choice, chunks = chosen(data)
    module = tuple(MODULES.values())[choice % 3]
    wire = module.StartTlsWire()
    check_line(wire.command())
    for chunk in chunks:
        wire.receive(chunk)
    wire.lost()
    assert wire.done
    if wire.error is not None:
        check_error(wire.error, "ANONYMOUS")
    else:
        assert b"".join(chunks).endswith(b"\n")
    server = module.StartTlsServerWire(tls=choice & 64 > 0)
    check_line(server.receive(chunks[0], b"".join(chunks[1:])))
    assert server.failure is not None or not any(chunks[1:])


def refusal(data: bytes) -> None:
    """There is a row for whatever a server says, with advice for a person."""
    choice, lines = chosen(data)
    texts = [line.decode("utf-8", "replace") for line in lines]
    protocol = ("imap", "pop", "smtp", "")[choice % 4]
    phase = refusals.PHASES[choice // 4 % 3]
    code = texts[1] if len(texts) > 1 else None
    row = refusals.classify(protocol, text=texts[0], code=code, phase=phase)
    assert refusals.row(row.id) is row
    said = refusals.advice(row.id, token=choice > 127, host=texts[-1], detail={"referral": texts[0]})
    assert said
    refusals.protocol_of(lines[0])


def parsers(data: bytes) -> None:
    """What reads a message takes it or raises a SASLError."""
    choice, (message, *_) = chosen(data)
    text = message.decode("utf-8", "replace")
    readers: list[Callable[[], object]] = [
        partial(_scram_messages.parse_client_first, message),
        partial(_scram_messages.parse_server_first, message),
        partial(_scram_messages.parse_client_final, message),
        partial(_scram_messages.parse_server_final, message),
        partial(_digest_md5_messages.parse_challenge, message),
        partial(_digest_md5_messages.parse_response, message),
        partial(_bearer.pairs, message),
        partial(_bearer.parse_auth, message),
        partial(_bearer.parse_error, message, DEFAULT_LIMITS),
        partial(gs2.parse, message),
        partial(saslprep, text),
        partial(sasl.ScramKeys.parse, text),
        partial(sasl.lookup, message),
        partial(pop.timestamp, message),
        partial(smtp.mail_auth, message.decode("latin-1")),
        partial(imap.greeting, message),
    ]
    with contextlib.suppress(sasl.SASLError):
        readers[choice % len(readers)]()
    with contextlib.suppress(sasl.SASLError):
        assert base64.encode(base64.decode(message)) == message


def scrubber(data: bytes) -> None:
    """No part of a secret that is long enough to be told is left in a text, and nothing is lost that is none of it."""
    _, (whole, *texts) = chosen(data)
    secret = whole.decode("utf-8", "replace")
    text = " ".join(each.decode("utf-8", "replace") for each in texts)
    left = scrubbed(text, sasl.Secret(secret))
    if len(secret) < 4:
        assert left == text
        return
    assert "*" in secret or secret not in left
    assert not any(part in left for part in parts(secret) if "*" not in part)


def parts(secret: str) -> Iterator[str]:
    return (secret[at : at + 12] for at in range(len(secret) - 11))


TARGETS: dict[str, Callable[[bytes], None]] = {
    **{f"{protocol}-client": partial(client_wire, protocol) for protocol in MODULES},
    **{f"{protocol}-server": partial(server_wire, protocol) for protocol in MODULES},
    "client-exchange": client_exchange,
    "server-exchange": server_exchange,
    "imap-arguments": imap_arguments,
    "starttls": start_tls,
    "refusal": refusal,
    "parsers": parsers,
    "scrubber": scrubber,
}

PIECES = (
    *(b"A1 ", b"* ", b"+ ", b"OK", b"NO", b"BAD", b"BYE", b"[CAPABILITY ", b"]", b"LOGIN ", b"AUTHENTICATE ", b"PLAIN"),
    *(b"+OK", b"-ERR", b"USER ", b"PASS ", b"APOP ", b"AUTH ", b"334 ", b"235 ", b"535-", b"421 ", b"220 ", b"5.7.8 "),
    *(b"{3}", b"{3+}", b'"', b"\\", b"(", b")", b"=", b"AA==", b"*", b"\r\n", b"\n", b"\r", b"\0", b" ", CUT, CUT),
    *(b"n,,", b"n=alice", b"r=" + NONCE, b",s=QUJD,i=4096", b"v=", b"e=other-error", b"c=biws,", b",p=", b"p=tls-x,,"),
    *(b"user=alice", b"\1auth=Bearer x\1\1", b'{"status":"401"}', b"alice", b"\0alice\0", PASSWORD.encode(), STAMP),
    *(b"realm=", b'nonce="x"', b",algorithm=md5-sess", b"STARTTLS", b"STLS", "\u00e9\u0627".encode(), b"\xf0\x9f"),
)
"""What the grammars are made of: the dictionary of both fuzzers."""
