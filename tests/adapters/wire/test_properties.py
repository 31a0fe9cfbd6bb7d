"""What holds for any octets: only the library's errors leave a wire, and no login without credential and yes."""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.line import Line
from sasl.errors import PolicyViolation, ProtocolError, SASLError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.wire.conftest import Protocol

ERROR = b'{"status":"400","schemes":"Bearer"}'
YES = {  # a whole line, with nothing in it that another reader would take for its end
    "imap": re.compile(rb"A1 OK( [^\r\n\0]*)?\r?\n", re.IGNORECASE),
    "pop": re.compile(rb"\+OK( [^\r\n\0]*)?\r?\n", re.IGNORECASE),
    "smtp": re.compile(rb"235([ -][^\r\n\0]*)?\r?\n"),
}
SPECIAL = {
    "imap": [
        *(b"+", b"+ ", b"+Zg==", b"+ *", b"+ =", b"* 1 EXISTS", b"* X {3}", b"abc", b"* X {4294967295}", b"* BYE x"),
        *(b"* PREAUTH x", b"* CAPABILITY A B", b"A1", b"A2 OK x", b"A1 BAD x", b"A1 OK [CAPABILITY X] x", b"A1 OKAY"),
    ],
    "pop": [b"+", b"+ ", b"+OKAY", b"+Zg==", b"+ *", b"-ERR", b"-ERR [IN-USE] x", b"-ERRO", b".", b"+ =", b"-"],
    "smtp": [b"334", b"334 ", b"334-Zg==", b"235-x", b"535-x", b"421 x", b"250 x", b"999 x", b"334 *", b"2350 x"],
}


def lines(protocol: Protocol) -> st.SearchStrategy[list[bytes]]:
    """What a server may say: its own lines, nearly its own, and anything, with and without an end."""
    its_own = [protocol.yes, protocol.no, protocol.later, protocol.aborted, *SPECIAL[protocol.name]]
    line = st.one_of(
        st.sampled_from(its_own),
        st.sampled_from([protocol.yes, protocol.challenge(), protocol.challenge(ERROR)]),
        st.binary(max_size=40),
        st.binary(max_size=40).map(protocol.challenge),
        st.builds(lambda one, other: one[: len(one) // 2] + other, st.sampled_from(its_own), st.binary(max_size=8)),
        st.builds(
            broken, st.sampled_from(its_own), st.sampled_from([b"\0", b"\r", b"\n", b"\r\n"]), st.integers(0, 40)
        ),
    )
    return st.lists(st.builds(lambda text, end: text.rstrip(b"\r\n") + end, line, ends), max_size=8)


def broken(line: bytes, inside: bytes, at: int) -> bytes:
    """A line with what ends one, or NUL, inside it."""
    return line[:at] + inside + line[at:]


ends = st.sampled_from([b"\r\n", b"\n", b""])


def is_a_login(protocol: Protocol, line: bytes) -> bool:
    return YES[protocol.name].fullmatch(line) is not None


def two_steps() -> Any:
    assert (yield b"first") is not None
    yield sasl.Complete(b"second")


def clients(protocol: Protocol) -> dict[str, Callable[[bool | None], Any]]:
    """Makers of a client wire, with and without an initial response."""

    def over(exchange: Callable[[], sasl.ClientExchange]) -> Callable[[bool | None], Any]:
        return lambda initial: protocol.client(exchange(), initial_response=initial)

    makers = {
        "PLAIN": over(lambda: sasl.client("PLAIN", protocol.PASSWORD)),
        "XOAUTH2": over(lambda: sasl.client("XOAUTH2", protocol.TOKEN)),
        "OAUTHBEARER": over(lambda: sasl.client("OAUTHBEARER", protocol.TOKEN)),
        "PROMPTED": over(lambda: sasl.client("LOGIN", protocol.PASSWORD)),
        "TWO-STEPS": over(lambda: sasl.ClientExchange("TWO-STEPS", two_steps())),
    }
    if protocol.module is imap:
        makers["LOGIN"] = lambda _: imap.ClientWire(sasl.client("IMAP-LOGIN", protocol.PASSWORD))
        makers["LOGIN-LITERAL"] = lambda _: imap.ClientWire(
            sasl.client("IMAP-LOGIN", sasl.Password("üser", "pässword"))
        )
    if protocol.module is pop:
        makers["USER"] = lambda _: pop.ClientWire(sasl.client("POP-USER", protocol.PASSWORD))
    return makers


# What each of them sends last, in the form in which it leaves.
LAST = {
    "PLAIN": [b"correct horse battery"],
    "PROMPTED": [b"correct horse battery"],
    "XOAUTH2": [b"ya29.token-that-nobody-sees"],
    "OAUTHBEARER": [b"ya29.token-that-nobody-sees"],
    "TWO-STEPS": [b"second"],
    "LOGIN": [b"correct horse battery"],
    "LOGIN-LITERAL": ["pässword".encode()],
    "USER": [b"correct horse battery"],
}


def carries(line: Line, secret: bytes) -> bool:
    if secret in line.octets:
        return True
    words = line.octets.split()
    return bool(words) and any(secret in decoded(word) for word in words[-1:])


def decoded(word: bytes) -> bytes:
    try:
        return binascii.a2b_base64(word, strict_mode=True)
    except binascii.Error:
        return b""


@given(data=st.data(), initial=st.sampled_from([None, False]))
def test_no_server_makes_a_client_believe_in_a_login_without_credential_and_yes(
    protocol: Protocol, *, data: st.DataObject, initial: bool | None
) -> None:
    makers = clients(protocol)
    name = data.draw(st.sampled_from(sorted(makers)))
    wire = makers[name](initial)
    sent = [wire.command()]
    last = b""

    for last in data.draw(lines(protocol)):
        assert isinstance(wire.shown(last), str)
        line = wire.receive(last)
        assert line is None or (isinstance(line, Line) and not wire.done)
        sent += [] if line is None else [line]
        if wire.done:
            break

    (secret,) = LAST[name]
    left = [line for line in sent if carries(line, secret)]
    assert len(left) <= 1
    assert not any(secret.decode() in line.shown for line in sent)
    assert all(line.octets.endswith(b"\r\n") and line.octets.count(b"\n") == 1 for line in sent)
    if not wire.done:
        assert not wire.must_close
        wire.lost()
        assert wire.must_close
    if wire.error is None:
        assert left
        assert is_a_login(protocol, last)
        assert sent[-1].octets != b"*\r\n"
        assert wire.exchange.state is sasl.State.DONE
        assert not wire.must_close
    else:
        assert isinstance(wire.error, SASLError)
        assert wire.error.mechanism == wire.exchange.name
        assert wire.exchange.state is sasl.State.FAILED
        assert wire.must_close or not is_a_login(protocol, last) or sent[-1].octets == b"*\r\n"


MECHANISMS = ("PLAIN", "XOAUTH2", "OAUTHBEARER")


def reject_all(question: sasl.Question) -> object:
    return sasl.Rejected()


@given(data=st.data())
def test_no_client_gets_past_a_verifier_that_says_no(protocol: Protocol, *, data: st.DataObject) -> None:
    message = b64encode(b"\0user\0password")
    token = b64encode(b"user=user\1auth=Bearer token\1\1")
    names = st.sampled_from([*MECHANISMS, "FOO", "", "x y", "é"])
    arguments = st.one_of(st.none(), st.sampled_from([message, token, b"=", b"*", b"!"]), st.binary(max_size=30))
    commands = st.one_of(st.builds(protocol.command, names, arguments), st.binary(max_size=40))
    responses = st.one_of(st.sampled_from([message, token, b"", b"*", b"=", b"AQ=="]), st.binary(max_size=40))
    wire = protocol.server(*MECHANISMS, authenticated=data.draw(st.booleans()))
    line = data.draw(commands)

    for _ in range(6):
        event = wire.receive(line)
        while isinstance(event, sasl.Question):
            event = wire.answered(wire.exchange.answer(reject_all(event)))
        assert isinstance(event, Line)
        assert event.octets.count(b"\r\n") == 1
        if wire.result is not None:
            break
        assert event.octets.startswith(protocol.prefix)
        line = data.draw(responses) + data.draw(ends)

    assert isinstance(wire.result, sasl.Failure)


def run(client: Any, server: Any, verifier: sasl.Verifier) -> None:
    """Let the two talk until both are done."""
    line = client.command()
    for _ in range(10):
        event = server.receive(line.octets)
        if isinstance(event, sasl.Question):
            event = server.answered(sasl.settle(server.exchange, event, verifier))
        line = client.receive(event.octets)
        if client.done:
            return
    raise AssertionError("they do not end")


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters=",="), min_size=1, max_size=20
)
tokens = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",="), min_size=1, max_size=400
)
VERDICTS = st.sampled_from(["yes", "unavailable", "credentials", "authorization", "expired", "disabled", "policy"])
TOLD = {
    "imap": {"credentials", "authorization", "expired", "disabled", "unavailable", "policy"},
    "pop": {"credentials", "unavailable"},
    "smtp": {"credentials", "disabled", "unavailable", "policy"},
}


@given(
    mechanism=st.sampled_from(MECHANISMS),
    user=names,
    secret=tokens,
    verdict=VERDICTS,
    initial=st.sampled_from([None, False]),
)
def test_client_and_server_agree_on_every_outcome(
    protocol: Protocol, *, mechanism: str, user: str, secret: str, verdict: str, initial: bool | None
) -> None:
    credentials = sasl.Password(user, secret) if mechanism == "PLAIN" else sasl.Bearer(user, secret)
    exchange = sasl.client(mechanism, credentials)
    try:
        client = protocol.client(exchange, initial_response=initial)
        client.command()
    except sasl.UsageError:
        return  # SASLprep has something against it
    client = protocol.client(sasl.client(mechanism, credentials), initial_response=initial)
    server = protocol.server(mechanism)
    asked = []

    def verifier(question: Any) -> object:
        if isinstance(question, sasl.Authorize):
            return NotImplemented
        asked.append(question)
        if verdict == "yes":
            return sasl.Accepted(user)
        return sasl.Unavailable() if verdict == "unavailable" else sasl.Rejected(kind=verdict)

    run(client, server, verifier)

    (question,) = asked
    given_secret = question.password if mechanism == "PLAIN" else question.token
    if mechanism != "PLAIN":  # SASLprep may change a password
        assert (question.username, given_secret.reveal()) == (user, secret)
    assert not client.must_close
    if verdict == "yes":
        assert client.error is None
        assert server.result == sasl.Success(user, user)
    else:
        assert server.result.kind == verdict
        assert client.error.kind == (verdict if verdict in TOLD[protocol.name] else "credentials")
        explained = mechanism != "PLAIN" and verdict != "unavailable"
        assert bool(client.error.detail) == explained


TLS_BEGINS = {
    "imap": re.compile(rb"(?:\* (?!BYE)[^\n]*\n)*A1 OK(?: [^\n]*)?\r?\n", re.IGNORECASE),
    "pop": re.compile(rb"\+OK(?: [^\n]*)?\r?\n", re.IGNORECASE),
    "smtp": re.compile(rb"(?:220-[^\n]*\n)*220(?: [^\n]*)?\r?\n"),
}
pieces = st.sampled_from([b"\n", b"\r\n", b" ", b"220", b"220-x\n", b"+OK", b"A1 OK", b"* x\r\n", b"* BYE", b"x"])


@given(chunks=st.lists(st.one_of(pieces, st.binary(max_size=5)), max_size=5))
def test_tls_begins_only_where_one_line_says_so_and_nothing_follows(protocol: Protocol, *, chunks: list[bytes]) -> None:
    wire = protocol.module.StartTlsWire()

    for chunk in chunks:
        wire.receive(chunk)
    wire.lost()

    begins = TLS_BEGINS[protocol.name].fullmatch(b"".join(chunks)) is not None
    assert type(wire.error) is (type(None) if begins else PolicyViolation)
    assert (wire.done, wire.must_close) == (True, not begins)


@given(answer=st.lists(st.binary(max_size=40)))
def test_no_answer_to_capa_or_ehlo_leaves_another_error(answer: list[bytes]) -> None:
    capa, reply = pop.CapaWire(), smtp.Reply()

    for line in answer:
        if not capa.done:
            capa.receive(line)
    try:
        for line in answer:
            if reply.receive(line):
                break
    except ProtocolError:
        pass

    assert capa.error is None or isinstance(capa.error, ProtocolError | sasl.ConnectionLost)
    assert all(isinstance(name, str) for name in [*pop.mechanisms(capa.capabilities), *capa.capabilities])
    assert isinstance(reply.text, tuple)


@given(line=st.binary(max_size=60))
def test_no_greeting_leaves_another_error(line: bytes) -> None:
    try:
        capabilities = imap.greeting(line)
    except SASLError:
        return
    assert line[:4].upper() == b"* OK"
    assert capabilities is None or all(isinstance(name, str) for name in imap.mechanisms(capabilities))
