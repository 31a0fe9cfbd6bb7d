"""ANONYMOUS (RFC 4505): its vectors, its bad inputs, and where they leave something to say."""

from __future__ import annotations

import pytest

import sasl
import sasl.spec

from ..support.exchanges import Verifier, served, two_steps

VECTORS = sasl.spec.vectors("anonymous")
CASES = sasl.spec.cases("anonymous_server")

TRACES = [
    "sirhc",
    " ",
    "a token, of any printable text!",
    "tim@example.com",
    "first.last+tag@mail.example",
    "tim@[192.0.2.1]",
    '"tim and @"@example.com',
    '"quoted \\" mark"@example.com',
    "j\u00f6rg",
    "\u05d0\u05d1 1 \u05d2",
    "\u0627",
    "\u1680",
    "\u2ff0",
    "\U0001f600",
    "x" * 255,
]
NOT_LOGGABLE = {
    "c0": "a\tb",
    "nul": "\0",
    "crlf": "a\r\nb",
    "delete": "\x7f",
    "c1": "a\x85b",
    "line-separator": "a\u2028b",
    "joiner": "a\u200db",
    "private": "\ue000",
    "noncharacter": "\ufffe",
    "surrogate": "\ud800",
    "replacement": "\ufffd",
    "override": "a\u202eb",
    "tag": "\U000e0041",
    "mixed-directions": "\u05d0a\u05d0",
    "begins-left-to-right": "1\u05d0",
    "ends-left-to-right": "\u05d01",
}
NO_ADDRESS = [
    "@",
    "tim@",
    "@example.com",
    "a@b@c",
    "a b@example.com",
    ".a@example.com",
    "a.@example.com",
    "a..b@example.com",
    "a@example..com",
    "a@exam ple.com",
    "a@[b]c",
    "a@[b[c]",
    '"a"b"@example.com',
    '"a@example.com',
    "Tim <tim@example.com>",
    "tim@example.com,",
    "j\u00f6rg@example.com",
    "tim@ex\u00e4mple.com",
]


# --- the data


@pytest.mark.parametrize("deferred", [False, True], ids=["initial", "deferred"])
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "client" in vector.sides], ids=str)
def test_a_client_sends_what_the_vector_says(vector, deferred):
    (message,) = (message.data for message in vector.messages)
    exchange = sasl.client("ANONYMOUS", sasl.Anonymous(vector.credentials["trace"]))
    assert exchange.start() == message
    if deferred:
        exchange.defer()
        assert exchange.respond(b"") == message
    assert vector.expected["outcome"] == "success"
    exchange.succeed()
    assert exchange.state is sasl.State.DONE


@two_steps
@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "server" in vector.sides], ids=str)
def test_a_server_concludes_what_the_vector_says(vector, two_step):
    (message,) = (message.data for message in vector.messages)
    exchange, event = served("ANONYMOUS", message, two_step=two_step)
    door = Verifier(lambda _: sasl.Accepted("anonymous"))
    event = sasl.settle(exchange, event, door)
    if vector.expected["outcome"] == "success":
        identity = vector.expected["authcid"]
        assert event == sasl.Success(identity=identity, authcid=identity)
        assert door.asked == [sasl.CheckAnonymous(vector.credentials["trace"])]
    else:
        assert (type(event), event.kind) == (sasl.Failure, vector.expected["error"])
        assert door.asked == []


@two_steps
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_takes_or_refuses_what_the_corpus_says(case, two_step):
    assert (case.role, case.mechanism) == ("server", "ANONYMOUS")
    (message,) = (step.data for step in case.steps)
    exchange, event = served("ANONYMOUS", message, two_step=two_step)
    door = Verifier(lambda _: sasl.Accepted("anonymous"))
    event = sasl.settle(exchange, event, door)
    if case.expect == "accept":
        assert event == sasl.Success(identity="anonymous", authcid="anonymous")
        assert door.asked == [sasl.CheckAnonymous(message.decode())]
        return
    assert case.expect in ("malformed", "limit")
    assert (type(event), event.kind) == (sasl.Failure, case.expect)
    assert "the mechanism failed" not in event.reason
    assert door.asked == []


# --- both sides have the same rules


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: ascii(trace)[:30])
def test_a_trace_is_sent_as_it_is_and_reaches_the_verifier_so(trace):
    message = sasl.client("ANONYMOUS", sasl.Anonymous(trace)).start()
    assert message == trace.encode()
    assert served("ANONYMOUS", message)[1] == sasl.CheckAnonymous(trace)


@pytest.mark.parametrize("trace", NOT_LOGGABLE.values(), ids=NOT_LOGGABLE)
def test_what_has_no_place_in_a_log_is_neither_sent_nor_taken(trace):
    with pytest.raises(sasl.UsageError, match="control character") as refused:
        sasl.client("ANONYMOUS", sasl.Anonymous(trace)).start()
    assert type(refused.value) is sasl.UsageError
    _, event = served("ANONYMOUS", trace.encode("utf-8", "surrogatepass"))
    assert (type(event), event.kind) == (sasl.Failure, "malformed")


@pytest.mark.parametrize("trace", NO_ADDRESS, ids=ascii)
def test_what_has_an_at_sign_and_is_no_address_is_neither_sent_nor_taken(trace):
    with pytest.raises(sasl.UsageError, match="mail address"):
        sasl.client("ANONYMOUS", sasl.Anonymous(trace)).start()
    _, event = served("ANONYMOUS", trace.encode())
    assert (type(event), event.kind) == (sasl.Failure, "malformed")


@pytest.mark.parametrize("trace", ["x" * 256, "\U0001f600" * 256, "a@" + "b" * 254], ids=["ascii", "wide", "address"])
def test_a_trace_that_is_too_long_is_neither_sent_nor_taken(trace):
    with pytest.raises(sasl.UsageError, match="255 characters") as refused:
        sasl.client("ANONYMOUS", sasl.Anonymous(trace)).start()
    assert type(refused.value) is sasl.UsageError
    assert served("ANONYMOUS", trace.encode())[1].kind == "limit"


@pytest.mark.parametrize("message", [b"\xff", b"\xc0\x80", b"a\xc3"])
def test_a_trace_that_is_not_utf8_is_not_taken(message):
    _, event = served("ANONYMOUS", message)
    assert event == sasl.Failure("malformed", "a trace that is not UTF-8")


@pytest.mark.parametrize("trace", ["a." * 126 + "@", '"' + "\\" * 251 + '"@', "a" * 254 + "@", "a@[" + "[" * 252])
def test_a_trace_that_is_nearly_an_address_is_none(trace):
    """What tries all ways to read one would be at it for ever."""
    assert served("ANONYMOUS", trace.encode())[1].kind == "malformed"


# --- the exchange


def test_no_trace_is_an_empty_message_not_an_absent_one():
    assert sasl.client("ANONYMOUS", sasl.Anonymous()).start() == b""


@pytest.mark.parametrize("challenge", [b"", b"more"])
def test_nothing_follows_the_trace(challenge):
    exchange = sasl.client("ANONYMOUS", sasl.Anonymous("tim"))
    exchange.start()
    with pytest.raises(sasl.ProtocolError) as refused:
        exchange.respond(challenge)
    assert type(refused.value) is sasl.ProtocolError


def test_an_anonymous_client_has_the_rights_that_the_verifier_gives_and_no_others():
    exchange, _ = served("ANONYMOUS", b"root")
    assert exchange.answer(sasl.Accepted("guest")) == sasl.Authorize("guest", None)


def test_a_verifier_that_lets_nobody_in_says_so():
    exchange, _ = served("ANONYMOUS", b"tim")
    assert exchange.answer(sasl.Rejected("members only")) == sasl.Failure("credentials", "members only")


def test_anonymous_is_off_unless_somebody_serves_it():
    exchange, question = served("ANONYMOUS", b"tim")
    assert sasl.settle(exchange, question, lambda _: NotImplemented).kind == "unavailable"


def test_an_option_that_anonymous_does_not_have_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("ANONYMOUS", sasl.Anonymous(), prepare=False)
    with pytest.raises(sasl.UsageError):
        sasl.server("ANONYMOUS", identity="guest")
