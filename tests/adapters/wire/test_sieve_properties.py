"""What holds for any octets that a ManageSieve server may say: documented errors only, and no login without a yes."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from hypothesis import example, given
from hypothesis import strategies as st

import sasl
from sasl.adapters.wire import LONGEST_LINE, Line, sieve
from sasl.adapters.wire.sieve.grammar import Reply, Response, parse
from sasl.errors import PolicyViolation, ProtocolError, SASLError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "correct horse battery"
PASSWORD = sasl.Password("someone@example.com", SECRET)
TOKEN = sasl.Bearer("someone@example.com", SECRET.replace(" ", "-"))


def two_steps() -> Any:
    assert (yield b"first") is not None
    yield sasl.Complete(SECRET.encode())


MAKERS: dict[str, Callable[[], sasl.ClientExchange]] = {
    "PLAIN": lambda: sasl.client("PLAIN", PASSWORD),
    "LOGIN": lambda: sasl.client("LOGIN", PASSWORD),
    "XOAUTH2": lambda: sasl.client("XOAUTH2", TOKEN),
    "OAUTHBEARER": lambda: sasl.client("OAUTHBEARER", TOKEN),
    "TWO-STEPS": lambda: sasl.ClientExchange("TWO-STEPS", two_steps()),
}
LINES = [
    *(b"OK", b'ok "done"', b'OK (SASL "Zg==") "done"', b"OK (WARNINGS)", b"OKAY", b"OK (", b"OK {4}", b"done"),
    *(b'NO "no"', b"NO (TRYLATER)", b'NO (REFERRAL "sieve://x") "y"', b"NO {3}", b"NO {99999999}", b'BYE "see you"'),
    *(b'""', b'"Zg=="', b"{4}", b"Zg==", b"{0}", b'"Zg==" "Zg=="', b'"*"', b'"', b"{", b"(", b")", b"", b"{4", b'{4}"'),
    b'"%b"' % b64encode(b'{"status":"400","schemes":"Bearer"}'),
]
YES = re.compile(rb'OK(?: \((?:[^"()]|"[^"\0\r\n]*")*\))?(?: "(?:[^"\\\r\n\0]|\\["\\])*")?\r?\n', re.IGNORECASE)

line = st.one_of(
    st.sampled_from(LINES),
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda data: b'"%b"' % b64encode(data)),
    st.builds(
        lambda one, at, more: one[:at] + more + one[at:], st.sampled_from(LINES), st.integers(0, 20), st.binary()
    ),
)
ends = st.sampled_from([b"\r\n", b"\r\n", b"\n", b""])
lines = st.lists(st.builds(bytes.__add__, line, ends), max_size=8)


@given(name=st.sampled_from(sorted(MAKERS)), initial=st.sampled_from([None, False]), said=lines)
@example(name="PLAIN", initial=None, said=[b"OK {4}\r\n", b"done\r\n"])
def test_no_server_makes_a_client_believe_in_a_login_without_credential_and_yes(
    *, name: str, initial: bool | None, said: list[bytes]
) -> None:
    wire = sieve.ClientWire(MAKERS[name](), initial_response=initial)
    sent = [wire.command()]

    for each in said:
        assert SECRET not in wire.shown(each)
        answer = wire.receive(each)
        assert answer is None or (isinstance(answer, Line) and not wire.done)
        sent += [] if answer is None else [answer]
        if wire.done:
            break

    assert all(each.octets.endswith(b"\r\n") and SECRET not in each.shown for each in sent)
    if not wire.done:
        assert not wire.must_close
        wire.lost()
        assert wire.must_close
    if wire.error is None:
        assert YES.fullmatch(each) or b"{4}" in b"".join(said)
        assert sent[-1].octets != b'"*"\r\n'
        assert wire.exchange.state is sasl.State.DONE
        assert not wire.must_close
    else:
        assert isinstance(wire.error, SASLError)
        assert not isinstance(wire.error, sasl.UsageError)
        assert wire.error.mechanism == name
        assert wire.exchange.state is sasl.State.FAILED


@given(said=lines)
def test_no_capabilities_leave_another_error(*, said: list[bytes]) -> None:
    wire = sieve.CapabilityWire()
    for each in said:
        if wire.done:
            break
        wire.receive(each)
    assert wire.error is None or isinstance(wire.error, ProtocolError | sasl.ConnectionLost)
    assert all(isinstance(text, str) for pair in wire.capabilities.items() for text in pair)
    assert all(isinstance(name, str) for name in sieve.mechanisms(wire.capabilities))


@given(said=lines)
def test_a_response_is_a_reply_or_strings_or_an_error(*, said: list[bytes]) -> None:
    response = Response()
    try:
        if not any(response.receive(each) for each in said if each.endswith(b"\n")):
            return
        found = parse(bytes(response.octets))
    except ProtocolError:
        return
    assert isinstance(found, Reply) or (found and all(isinstance(each, bytes) for each in found))
    assert len(response.octets) <= LONGEST_LINE


strings = st.lists(st.binary(max_size=50), min_size=1, max_size=3)


@given(texts=strings, literal=st.lists(st.booleans(), min_size=3, max_size=3), end=st.sampled_from([b"\r\n", b"\n"]))
def test_what_a_server_writes_as_strings_is_read_as_they_are(
    *, texts: list[bytes], literal: list[bool], end: bytes
) -> None:
    def string(text: bytes, *, as_literal: bool) -> bytes:
        if as_literal or re.search(rb"[\r\n\0]", text):
            return b"{%d}%b%b" % (len(text), end, text)
        return b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", text)

    octets = b" ".join(string(text, as_literal=each) for text, each in zip(texts, literal, strict=False)) + end
    response = Response()
    complete = [response.receive(each) for each in re.findall(rb"[^\n]*\n", octets)]
    assert complete == [False] * (len(complete) - 1) + [True]
    assert parse(bytes(response.octets)) == texts


pieces = st.sampled_from([b"\n", b"\r\n", b" ", b"OK", b"OK\r\n", b'OK "x"\r\n', b"NO", b"BYE", b'"SASL" "PLAIN"\r\n'])


@given(chunks=st.lists(st.one_of(pieces, st.binary(max_size=5)), max_size=5))
def test_tls_begins_only_where_one_line_says_so_and_nothing_follows(*, chunks: list[bytes]) -> None:
    wire = sieve.StartTlsWire()
    for chunk in chunks:
        wire.receive(chunk)
    wire.lost()

    begins = re.fullmatch(rb"OK(?: [^\r\n\0]*)?\r?\n", b"".join(chunks), re.IGNORECASE) is not None
    assert type(wire.error) is (type(None) if begins else PolicyViolation)
    assert (wire.done, wire.must_close) == (True, not begins)
