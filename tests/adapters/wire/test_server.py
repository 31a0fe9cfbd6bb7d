"""The server's side of the three protocols: replies, kinds, initial responses, limits, `*`, questions."""

from __future__ import annotations

import inspect
import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import UsageError
from sasl.exchange import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.adapters.wire.conftest import Protocol

PLAIN = b64encode(b"\0someone@example.com\0correct horse battery")
XOAUTH2 = b64encode(b"user=someone@example.com\1auth=Bearer ya29.token-that-nobody-sees\1\1")

# design.md, "One set of kinds, from verdict to wire"
TABLE = {
    "credentials": ("535 5.7.8 ", "NO [AUTHENTICATIONFAILED] ", "-ERR [AUTH] "),
    "authorization": ("535 5.7.8 ", "NO [AUTHORIZATIONFAILED] ", "-ERR [AUTH] "),
    "expired": ("535 5.7.8 ", "NO [EXPIRED] ", "-ERR [AUTH] "),
    "disabled": ("525 5.7.13 ", "NO [CONTACTADMIN] ", "-ERR [AUTH] "),
    "unavailable": ("454 4.7.0 ", "NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] "),
    "malformed": ("501 5.5.2 ", "BAD ", "-ERR "),
    "unexpected_ir": ("501 5.7.0 ", "BAD ", "-ERR "),
    "cancelled": ("501 5.7.0 ", "BAD ", "-ERR "),
    "limit": ("500 5.5.6 ", "BAD ", "-ERR "),
    "state": ("503 5.5.1 ", "BAD ", "-ERR "),
    "unsupported": ("504 5.5.4 ", "NO ", "-ERR "),
    "policy": ("538 5.7.11 ", "NO [PRIVACYREQUIRED] ", "-ERR "),
}


def said(protocol: Protocol, kind: str) -> str:
    """How a reply of this kind begins."""
    return TABLE[kind][("smtp", "imap", "pop").index(protocol.name)]


def refusal(protocol: Protocol, wire: Any, event: Any) -> str:
    """The kind of a failure, after it was checked that the client is told what the table says."""
    assert isinstance(wire.result, sasl.Failure)
    text = event.octets.decode("ascii")
    assert text.endswith("\r\n")
    assert text.removeprefix("A1 ").startswith(said(protocol, wire.result.kind))
    assert "[" not in text or "[" in said(protocol, wire.result.kind)
    assert event.shown == text.rstrip()
    with pytest.raises(UsageError):
        wire.receive(b"x\r\n")
    return wire.result.kind


def accept(question: sasl.Question) -> object:
    if isinstance(question, sasl.CheckPassword):
        return sasl.Accepted(question.authcid)
    if isinstance(question, sasl.CheckToken):
        return sasl.Accepted(question.username or "")
    return NotImplemented


def reject(question: sasl.Question) -> object:
    return sasl.Rejected("for the log only")


# --- the table


def test_the_table_has_every_kind() -> None:
    assert set(TABLE) == set(sasl.KINDS)


@pytest.mark.parametrize("kind", sasl.KINDS)
def test_each_kind_has_its_reply(protocol: Protocol, kind: str) -> None:
    wire = protocol.server()
    assert isinstance(wire.receive(protocol.command("PLAIN", PLAIN)), sasl.CheckPassword)

    assert refusal(protocol, wire, wire.answered(sasl.Failure(kind, "for the log only"))) == kind


@pytest.mark.parametrize("kind", sasl.KINDS)
def test_what_a_server_says_of_a_kind_a_client_understands(protocol: Protocol, kind: str) -> None:
    server, client = protocol.server(), protocol.plain()
    server.receive(client.command().octets)

    client.receive(server.answered(sasl.Failure(kind)).octets)

    assert client.done
    assert not client.must_close
    assert (type(client.error) is sasl.TemporaryFailure) == (kind == "unavailable")
    if protocol.name != "pop" and kind in ("credentials", "authorization", "expired", "disabled", "policy"):
        lost = protocol.name == "smtp" and kind in ("authorization", "expired")
        assert client.error.kind == ("credentials" if lost else kind)
    assert (type(client.error) is sasl.AuthorizationFailed) == (kind == "authorization" and protocol.name == "imap")


def test_a_login_is_a_yes(protocol: Protocol, settled: Any) -> None:
    wire = protocol.server()

    line = settled(wire, wire.receive(protocol.command("PLAIN", PLAIN)), accept)

    assert line.octets.startswith({"imap": b"A1 OK ", "pop": b"+OK ", "smtp": b"235 2.7.0 "}[protocol.name])
    assert wire.result == sasl.Success("someone@example.com", "someone@example.com")
    with pytest.raises(UsageError):
        wire.receive(b"x\r\n")
    with pytest.raises(UsageError):
        wire.answered(sasl.Success("root", "root"))


def test_a_verdict_is_not_taken_back(protocol: Protocol, settled: Any) -> None:
    wire = protocol.server()
    settled(wire, wire.receive(protocol.command("PLAIN", PLAIN)), reject)

    with pytest.raises(UsageError):
        wire.answered(sasl.Success("root", "root"))
    assert isinstance(wire.result, sasl.Failure)


def test_imap_names_the_capabilities_after_the_login(settled: Any) -> None:
    wire = imap.ServerWire(["PLAIN"], channel=sasl.Channel(tls=True), capabilities=["IMAP4rev1", "IDLE"])

    line = settled(wire, wire.receive(b"x.7 AUTHENTICATE PLAIN " + PLAIN + b"\r\n"), accept)

    assert line.octets.startswith(b"x.7 OK [CAPABILITY IMAP4rev1 IDLE] ")


# --- the command


@pytest.mark.parametrize("name", ["plain", "Plain", "PLAIN"])
@pytest.mark.parametrize("verb", ["auth", "Auth"])
def test_commands_and_names_have_no_case(protocol: Protocol, name: str, verb: str) -> None:
    verb = verb.replace("uth", "uthenticate") if protocol.name == "imap" else verb

    event = protocol.server("plain").receive(protocol.command(name, PLAIN, verb=verb))

    assert isinstance(event, sasl.CheckPassword)


@pytest.mark.parametrize("name", ["FOO", "LOGIN", "PLAIN-", "X" * 20])
def test_a_mechanism_that_nobody_knows_is_unsupported(protocol: Protocol, name: str) -> None:
    wire = protocol.server()

    assert refusal(protocol, wire, wire.receive(protocol.command(name))) == "unsupported"
    assert wire.exchange is None


@pytest.mark.parametrize(
    "name", ["PLA\u0131N", "\u017fCRAM", "X" * 21, "PLAIN\0", "*", "=", "PLAIN,XOAUTH2", "os:system"]
)
def test_what_is_no_mechanism_name_is_malformed(protocol: Protocol, name: str) -> None:
    wire = protocol.server()

    assert refusal(protocol, wire, wire.receive(protocol.command(name))) == "malformed"


def test_a_mechanism_that_was_not_offered_is_unsupported(protocol: Protocol) -> None:
    wire = protocol.server("XOAUTH2")

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", PLAIN))) == "unsupported"


def test_a_plaintext_mechanism_that_was_not_offered_for_want_of_tls_is_a_matter_of_policy(protocol: Protocol) -> None:
    wire = protocol.server("X-NONE", channel=sasl.Channel())

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", PLAIN))) == "policy"
    assert wire.exchange is None


def test_a_mechanism_that_needs_no_tls_is_only_unsupported_without_it(protocol: Protocol, mechanism: Any) -> None:
    mechanism("X-STRONG", server=lambda _options: iter(()))
    wire = protocol.server("X-NONE", channel=sasl.Channel())

    assert refusal(protocol, wire, wire.receive(protocol.command("X-STRONG"))) == "unsupported"


@pytest.mark.parametrize("argument", [None, PLAIN, b"!!!"])
def test_a_session_that_is_authenticated_stays_so(protocol: Protocol, argument: bytes | None) -> None:
    wire = protocol.server(authenticated=True)

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", argument))) == "state"


@pytest.mark.parametrize("name", ["X-NOBODY", "not a name", "", "PLAIN", "IMAP-LOGIN"])
def test_a_session_that_is_authenticated_says_so_whatever_is_asked_for(protocol: Protocol, name: str) -> None:
    wire = protocol.server(authenticated=True)

    assert refusal(protocol, wire, wire.receive(protocol.command(name))) == "state"


@pytest.mark.parametrize(
    "rest", ["", " ", "  PLAIN", " PLAIN  =", " PLAIN = =", " PLAIN AAAA AAAA", "PLAIN", " PLAIN\t="]
)
def test_a_command_that_is_none_is_malformed(protocol: Protocol, rest: str) -> None:
    line = protocol.command("").rstrip() + rest.encode() + b"\r\n"
    wire = protocol.server()

    assert refusal(protocol, wire, wire.receive(line)) == "malformed"


@pytest.mark.parametrize("line", [b"", b"QUIT", b"\0", b"\xff\xfe", b"AUTHX PLAIN", b"A1 LOGINX a b", b"* AUTH PLAIN"])
def test_any_other_line_is_malformed(protocol: Protocol, line: bytes) -> None:
    wire = protocol.server()

    assert isinstance(wire.receive(line + b"\r\n").octets, bytes)
    assert wire.result.kind == "malformed"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"A1 AUTHENTICATE", b"A1 BAD "),
        (b"(1 AUTHENTICATE PLAIN", b"* BAD "),
        (b" AUTHENTICATE PLAIN", b"* BAD "),
        (b"a" * 65 + b" AUTHENTICATE PLAIN", b"* BAD "),
        (b"+ AUTHENTICATE PLAIN", b"* BAD "),
        (b"tag}! AUTHENTICATE PLAIN", b"* BAD "),
        (b"A1 AUTHENTICATE PLAIN " + b"A" * 100_000, b"A1 BAD "),
        (b"A" * 100_000, b"* BAD "),
    ],
)
def test_imap_answers_under_the_tag_of_the_command_where_it_has_one(line: bytes, reply: bytes) -> None:
    wire = imap.ServerWire(["PLAIN"], channel=sasl.Channel(tls=True))

    assert wire.receive(line + b"\r\n").octets.startswith(reply)


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
def test_lines_may_come_with_or_without_their_end(protocol: Protocol, end: bytes) -> None:
    wire = protocol.server()

    assert wire.receive(protocol.command("PLAIN").removesuffix(b"\r\n") + end).octets == protocol.challenge()
    assert isinstance(wire.receive(PLAIN + end), sasl.CheckPassword)


# --- initial responses and responses


def test_without_an_initial_response_the_first_challenge_is_empty_and_ends_in_a_space(protocol: Protocol) -> None:
    wire = protocol.server()

    line = wire.receive(protocol.command("PLAIN"))

    assert line.octets == protocol.prefix + b"\r\n"
    assert line.shown == protocol.prefix.decode() + "<0 octets>"
    assert isinstance(wire.receive(PLAIN + b"\r\n"), sasl.CheckPassword)


def nothing_or_more(_options: sasl.Options) -> sasl.ServerSteps:
    """EXTERNAL's form: an empty message is a message."""
    message = yield sasl.Challenge(b"")
    identity = yield from sasl.ask(sasl.CheckCertificate(None, message.decode()))
    return sasl.Verified(identity)


def test_an_equals_sign_is_an_empty_initial_response_and_none_is_none(protocol: Protocol, mechanism: Any) -> None:
    mechanism("X-EMPTY", server=nothing_or_more)
    empty, absent = protocol.server("X-EMPTY"), protocol.server("X-EMPTY")

    assert empty.receive(protocol.command("X-EMPTY", b"=")) == sasl.CheckCertificate(None, "")
    assert absent.receive(protocol.command("X-EMPTY")).octets == protocol.challenge()
    assert absent.receive(b"\r\n") == sasl.CheckCertificate(None, "")


@pytest.mark.parametrize("space", [b" ", b"  ", b"\t", b" \t "])
def test_white_space_behind_a_command_is_nothing(protocol: Protocol, mechanism: Any, space: bytes) -> None:
    mechanism("X-EMPTY", server=nothing_or_more)
    absent, empty = protocol.server("X-EMPTY"), protocol.server("X-EMPTY")
    prompt, login = protocol.server("LOGIN"), protocol.server("PLAIN")

    assert absent.receive(protocol.command("X-EMPTY").rstrip() + space + b"\r\n").octets == protocol.challenge()
    assert empty.receive(protocol.command("X-EMPTY", b"=" + space)) == sasl.CheckCertificate(None, "")
    assert prompt.receive(protocol.command("LOGIN").rstrip() + space + b"\r\n").octets.startswith(protocol.prefix)
    command = protocol.command("PLAIN").rstrip() + b" AGEAYg==" + space + b"\r\n"
    assert login.receive(command) == sasl.CheckPassword("a", sasl.Secret("b"))


def test_an_equals_sign_is_no_response_to_a_challenge(protocol: Protocol, mechanism: Any) -> None:
    mechanism("X-EMPTY", server=nothing_or_more)
    wire = protocol.server("X-EMPTY")
    wire.receive(protocol.command("X-EMPTY"))

    assert refusal(protocol, wire, wire.receive(b"=\r\n")) == "malformed"
    assert wire.result.reason == '"=" for an empty message stands behind a command only'


BAD = [b"!!!", b"Zg", b"Zh==", b"AAA=BBB", b"====", b"Zg==\t", b" Zg==", b"Zg= =", b"\xff", b"Zg==="]


@pytest.mark.parametrize("text", BAD)
def test_a_response_that_is_not_base64_is_malformed(protocol: Protocol, text: bytes) -> None:
    wire = protocol.server()
    wire.receive(protocol.command("PLAIN"))

    assert refusal(protocol, wire, wire.receive(text + b"\r\n")) == "malformed"


@pytest.mark.parametrize("text", [text for text in BAD if b" " not in text])
def test_an_initial_response_that_is_not_base64_is_malformed(protocol: Protocol, text: bytes) -> None:
    wire = protocol.server()

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", text))) == "malformed"


def test_a_message_that_the_mechanism_cannot_read_is_malformed(protocol: Protocol) -> None:
    wire = protocol.server()

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", b64encode(b"one part")))) == "malformed"


def test_an_initial_response_to_a_mechanism_that_speaks_second_is_unexpected(
    protocol: Protocol, mechanism: Any
) -> None:
    def server(_options: sasl.Options) -> Iterator[Any]:
        yield sasl.Challenge(b"<nonce@example.com>")

    mechanism("X-SECOND", server=server)
    wire, other = protocol.server("X-SECOND"), protocol.server("X-SECOND")

    assert refusal(protocol, wire, wire.receive(protocol.command("X-SECOND", PLAIN))) == "unexpected_ir"
    assert other.receive(protocol.command("X-SECOND")).octets == protocol.challenge(b"<nonce@example.com>")


@pytest.mark.parametrize("initial", [True, False])
def test_responses_are_taken_up_to_the_limit_of_the_protocol(protocol: Protocol, *, initial: bool) -> None:
    limit = 12_288 if protocol.name == "smtp" else 65_536
    message = b"user=someone@example.com\1auth=Bearer "
    message += b"t" * (limit // 4 * 3 - len(message) - 2) + b"\1\1"
    encoded = b64encode(message)
    assert len(encoded) == limit
    wire = protocol.server()

    if initial:
        event = wire.receive(protocol.command("XOAUTH2", encoded))
    else:
        wire.receive(protocol.command("XOAUTH2"))
        event = wire.receive(encoded + b"\r\n")

    assert isinstance(event, sasl.CheckToken)
    assert len(encoded) + 2 < wire.longest_line


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("excess", [4, 10_000])
def test_a_response_beyond_the_limit_is_not_even_decoded(protocol: Protocol, excess: int, *, initial: bool) -> None:
    wire = protocol.server()
    text = b"!" * (wire.response_limit + excess)

    if initial:
        event = wire.receive(protocol.command("PLAIN", text))
    else:
        wire.receive(protocol.command("PLAIN"))
        event = wire.receive(text + b"\r\n")

    assert refusal(protocol, wire, event) == "limit"


def test_a_command_has_room_for_the_longest_response(protocol: Protocol) -> None:
    fitting, too_long = protocol.server(), protocol.server()
    octets = fitting.longest_line

    fitting.receive(b"x" * (octets - 2) + b"\r\n")
    too_long.receive(b"x" * (octets - 1) + b"\r\n")

    assert (fitting.result.kind, too_long.result.kind) == ("malformed", "limit")
    assert octets == fitting.response_limit + 1024


def test_a_mechanism_name_has_no_room_of_a_response(protocol: Protocol) -> None:
    room = 1024 - len(protocol.command("")) + len(b"\r\n")
    fitting, too_long = protocol.server(), protocol.server()

    fitting.receive(protocol.command("X" * room))
    too_long.receive(protocol.command("X" * (room + 1)))

    assert (fitting.result.kind, too_long.result.kind) == ("malformed", "limit")


def test_the_limits_of_the_exchange_hold_too(protocol: Protocol) -> None:
    wire = protocol.server(limits=sasl.Limits(message=8))

    assert refusal(protocol, wire, wire.receive(protocol.command("PLAIN", PLAIN))) == "limit"


# --- cancelling


def test_an_asterisk_cancels(protocol: Protocol) -> None:
    wire = protocol.server()
    wire.receive(protocol.command("PLAIN"))

    assert refusal(protocol, wire, wire.receive(b"*\r\n")) == "cancelled"


def explained(protocol: Protocol, kind: str = "credentials") -> Any:
    """A wire that has refused a token and sent the error challenge."""
    wire = protocol.server()
    question = wire.receive(protocol.command("XOAUTH2", XOAUTH2))
    event = sasl.settle(wire.exchange, question, lambda _: sasl.Rejected("for the log only", kind))
    line = wire.answered(event)
    assert json.loads(event.data)["status"] == "401"
    assert line.octets == protocol.challenge(event.data)
    assert line.shown == f"{protocol.prefix.decode()}<{len(event.data)} octets>"
    return wire


@pytest.mark.parametrize("kind", ["credentials", "expired", "disabled", "authorization"])
@pytest.mark.parametrize("answer", [b"", b"AQ==", b"*", b"!!!", b"=", b"\xff" * 200_000, XOAUTH2])
def test_whatever_answers_an_error_challenge_the_verdict_stands(protocol: Protocol, answer: bytes, kind: str) -> None:
    wire = explained(protocol, kind)

    assert refusal(protocol, wire, wire.receive(answer + b"\r\n")) == kind


# --- questions


def test_every_question_passes_through_the_wire(protocol: Protocol) -> None:
    wire = protocol.server()
    asked = []
    event = wire.receive(protocol.command("PLAIN", PLAIN))

    while isinstance(event, sasl.Question):
        asked.append(type(event))
        with pytest.raises(UsageError):
            wire.receive(b"*\r\n")
        event = wire.answered(wire.exchange.answer(accept(event)))

    assert asked == [sasl.CheckPassword, sasl.Authorize]
    assert isinstance(wire.result, sasl.Success)


def test_an_authzid_that_nobody_allowed_is_an_authorization_failure(protocol: Protocol, settled: Any) -> None:
    wire = protocol.server()
    message = b64encode(b"root\0someone\0secret")

    line = settled(wire, wire.receive(protocol.command("PLAIN", message)), accept)

    assert refusal(protocol, wire, line) == "authorization"


def test_a_verifier_that_breaks_is_unavailable(protocol: Protocol, settled: Any, caplog: Any) -> None:
    wire = protocol.server()

    line = settled(wire, wire.receive(protocol.command("PLAIN", PLAIN)), lambda question: 1 / 0)

    assert refusal(protocol, wire, line) == "unavailable"
    assert "correct horse" not in caplog.text


def test_success_data_is_a_last_challenge_that_nothing_answers(
    protocol: Protocol, mechanism: Any, settled: Any
) -> None:
    def server(_options: sasl.Options) -> sasl.ServerSteps:
        yield sasl.Challenge(b"")
        identity = yield from sasl.ask(sasl.CheckPassword("someone", sasl.Secret("secret")))
        return sasl.Verified(identity, data=b"v=proof")

    mechanism("X-PROOF", server=server)

    def until_the_proof() -> Any:
        wire = protocol.server("X-PROOF")
        event = wire.receive(protocol.command("X-PROOF", PLAIN))
        assert settled(wire, event, accept).octets == protocol.challenge(b"v=proof")
        return wire

    good, bad, cancelled = until_the_proof(), until_the_proof(), until_the_proof()
    good.receive(b"\r\n")

    assert isinstance(good.result, sasl.Success)
    assert refusal(protocol, bad, bad.receive(PLAIN + b"\r\n")) == "malformed"
    assert refusal(protocol, cancelled, cancelled.receive(b"*\r\n")) == "cancelled"


def test_options_reach_the_mechanism_that_they_are_for(protocol: Protocol) -> None:
    wire = protocol.server(options={"XOAUTH2": {"scope": "https://mail.example.com/"}})
    question = wire.receive(protocol.command("XOAUTH2", XOAUTH2))

    event = sasl.settle(wire.exchange, question, reject)

    assert json.loads(event.data)["scope"] == "https://mail.example.com/"


def test_a_family_of_mechanisms_has_its_options_once(protocol: Protocol, settled: Any) -> None:
    decoy = (b"the same secret at all workers", 10_000)
    options = {"SCRAM": {"decoy": decoy}, "SCRAM-SHA-1": {"decoy": (decoy[0], 5_000)}}

    def iterations(name: str) -> bytes:
        wire = protocol.server(name, options=options)
        challenge = settled(
            wire, wire.receive(protocol.command(name, b64encode(b"n,,n=nobody,r=abc"))), lambda _q: None
        )
        return b64decode(challenge.octets.removeprefix(protocol.prefix)).rpartition(b",i=")[2]

    assert iterations("SCRAM-SHA-256") == iterations("SCRAM-SHA-512") == b"10000"
    assert iterations("SCRAM-SHA-1") == b"5000"  # what is its own counts alone


def test_a_client_that_is_gone_leaves_nothing_behind(protocol: Protocol) -> None:
    asked, waiting, unheard = protocol.server(), protocol.server(), protocol.server()
    assert isinstance(asked.receive(protocol.command("XOAUTH2", XOAUTH2)), sasl.Question)
    waiting.receive(protocol.command("PLAIN"))
    for wire in (asked, waiting, unheard):
        wire.lost()
        wire.lost()
        assert wire.result.kind == "cancelled"
        assert wire.exchange is None or wire.exchange.state is State.FAILED
        with pytest.raises(sasl.UsageError):
            wire.receive(b"*\r\n")


def test_a_client_that_is_gone_takes_no_result_back(protocol: Protocol, settled: Any) -> None:
    wire = protocol.server()
    settled(wire, wire.receive(protocol.command("XOAUTH2", XOAUTH2)), accept)
    wire.lost()
    assert isinstance(wire.result, sasl.Success)


def test_a_client_that_is_gone_within_a_login_command_leaves_nothing_behind() -> None:
    wire = imap.ServerWire(["IMAP-LOGIN"], channel=sasl.Channel(tls=True))
    wire.receive(b"A1 LOGIN alice {10}\r\n")
    script = wire._script
    wire.lost()
    assert inspect.getgeneratorstate(script) == inspect.GEN_CLOSED
    assert isinstance(wire.result, sasl.Failure)


def test_a_wire_shows_no_secret(protocol: Protocol, settled: Any) -> None:
    wire = protocol.server()
    event = wire.receive(protocol.command("XOAUTH2", XOAUTH2))

    shown = f"{wire!r} {vars(wire)} {event!r} {settled(wire, event, reject)!r} {wire.result!r}"

    assert "ya29" not in shown
    assert XOAUTH2.decode() not in shown


def test_longest_lines_are_those_that_a_reader_must_take() -> None:
    assert smtp.ServerWire(["PLAIN"]).longest_line > 12_288
    assert pop.ServerWire(["PLAIN"]).longest_line > 65_536
    assert imap.ServerWire(["PLAIN"]).longest_line > 65_536


# --- channel binding

BOUND = sasl.Channel(tls=True, bindings={"tls-exporter": b"e" * 32})
SCRAM = "SCRAM-SHA-256"
PASSWORD = sasl.Password("someone@example.com", "correct horse battery")


def log_in(
    protocol: Protocol, settled: Any, *offered: str, mechanism: str, flag_of: sasl.Channel
) -> sasl.Success | sasl.Failure:
    """Run a client that sees `flag_of` as its channel against a server that offers so much."""
    keys = sasl.ScramKeys.derive("correct horse battery")
    wire = protocol.server(*offered, channel=BOUND)
    client = protocol.client(sasl.client(mechanism, PASSWORD, channel=flag_of))

    def answer(question: sasl.Question) -> Any:
        return sasl.Record("someone@example.com", keys) if isinstance(question, sasl.FindKeys) else NotImplemented

    line = client.command()
    while wire.result is None:
        said = settled(wire, wire.receive(line.octets), answer)
        line = client.receive(said.octets)
    return wire.result


@pytest.mark.parametrize(
    ("offered", "mechanism", "bindings", "kind"),
    [
        ([SCRAM], SCRAM, {}, None),
        ([SCRAM], SCRAM, BOUND.bindings, None),  # it says "y", and is right
        ([SCRAM, "SCRAM-SHA-1-PLUS", "X-UNKNOWN-PLUS"], SCRAM, BOUND.bindings, None),
        ([SCRAM, f"{SCRAM}-PLUS"], SCRAM, {}, None),
        ([SCRAM, f"{SCRAM}-PLUS"], SCRAM, BOUND.bindings, "policy"),  # somebody took it off the list
        ([SCRAM, f"{SCRAM}-PLUS"], f"{SCRAM}-PLUS", BOUND.bindings, None),
        ([f"{SCRAM}-PLUS"], f"{SCRAM}-PLUS", BOUND.bindings, None),
        ([f"{SCRAM}-PLUS"], f"{SCRAM}-PLUS", {"tls-exporter": b"x" * 32}, "policy"),
        ([f"{SCRAM}-PLUS"], f"{SCRAM}-PLUS", {"tls-unique": b"e" * 32}, "policy"),
    ],
)
def test_a_client_that_could_bind_is_refused_only_where_it_was_offered(
    *, protocol: Protocol, settled: Any, offered: list[str], mechanism: str, bindings: Any, kind: str | None
) -> None:
    channel = sasl.Channel(tls=True, bindings=bindings)
    result = log_in(protocol, settled, *offered, mechanism=mechanism, flag_of=channel)
    assert getattr(result, "kind", None) == kind


def test_a_twin_may_have_any_name(protocol: Protocol, mechanism: Any) -> None:
    seen: list[Any] = []

    def server(options: sasl.Options) -> sasl.ServerSteps:
        seen.append(dict(options.channel.bindings))
        yield sasl.Challenge(b"")
        raise AssertionError

    mechanism("X-PLAIN", server=server)
    mechanism("X-BOUND", server=server, twin="X-PLAIN")
    for offered in (["X-PLAIN"], ["X-PLAIN", "X-BOUND"]):
        protocol.server(*offered, channel=BOUND).receive(protocol.command("X-PLAIN"))
    assert seen == [{}, dict(BOUND.bindings)]
