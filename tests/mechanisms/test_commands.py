"""The login commands as exchanges, both sides: what they send, what they refuse, whom they let in."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

import sasl
from sasl.errors import ServerNotProven, UsageError

TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"  # RFC 1939 section 7
MROSE = sasl.Password("mrose", "tanstaaf")
NAMES = ["IMAP-LOGIN", "POP-USER", "POP-APOP"]


def verifier(question: sasl.Question) -> Any:
    """Knows mrose by the password tanstaaf."""
    if isinstance(question, sasl.CheckPassword):
        right = question.authcid == "mrose" and question.password == "tanstaaf"
        return sasl.Accepted("mrose") if right else sasl.Rejected("wrong")
    if isinstance(question, sasl.FindSecret):
        return sasl.Record("mrose", "tanstaaf") if question.authcid == "mrose" else None
    return NotImplemented


def serve(name: str, *messages: bytes, **options: Any) -> Any:
    """What a server exchange comes to that gets these messages."""
    given = {"timestamp": TIMESTAMP} if name == "POP-APOP" else {}
    exchange = sasl.server(name, **given, **options)
    event = sasl.settle(exchange, exchange.start(messages[0]), verifier)
    for message in messages[1:]:
        assert isinstance(event, sasl.Challenge), event
        event = sasl.settle(exchange, exchange.receive(message), verifier)
    return event


@pytest.mark.parametrize("name", ["IMAP-LOGIN", "POP-USER"])
def test_the_user_name_is_harmless_and_the_password_comes_after_it(name: str) -> None:
    client = sasl.client(name, sasl.Password("müller", "pä ss"))

    assert client.start() == "müller".encode()
    assert not client.revealed
    assert client.respond(b"") == "pä ss".encode()
    assert client.revealed
    client.succeed()


@pytest.mark.parametrize("name", ["IMAP-LOGIN", "POP-USER"])
def test_a_yes_to_the_user_name_alone_is_no_login(name: str) -> None:
    client = sasl.client(name, MROSE)
    client.start()

    with pytest.raises(ServerNotProven):
        client.succeed()


def test_apop_answers_the_timestamp() -> None:
    client = sasl.client("POP-APOP", MROSE)

    assert client.start() is None
    assert client.respond(TIMESTAMP) == b"mrose c4c9334bac560ecc979e58001b3e22fb"
    client.succeed()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "credentials",
    [
        sasl.Password("mrose", "tanstaaf", authzid="boss"),
        sasl.Password("", "tanstaaf"),
        sasl.Password("mrose", ""),
        sasl.Password("mro\0se", "tanstaaf"),
        sasl.Password("mrose", "tan\r\nstaaf"),
        sasl.Password("\ud800", "tanstaaf"),
        sasl.Password("mrose", "\ud800"),
    ],
    ids=["authzid", "no user", "no password", "NUL", "line end", "surrogate in the user", "surrogate in the password"],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(name: str, credentials: sasl.Password) -> None:
    client = sasl.client(name, credentials)

    with pytest.raises(UsageError) as caught:
        client.start()

    assert "tan" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["LOGIN", "IMAP-LOGIN", "POP-USER"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\t", "\x85"], ids=ascii)
def test_a_line_end_that_came_with_a_name_or_password_is_named(name: str, end: str) -> None:
    told = "with a control character; did a line end or a tab come with it?"
    for prepare in ({"prepare": True}, {"prepare": False}) if name == "LOGIN" else ({},):
        with pytest.raises(UsageError, match=f"a user name {re.escape(told)}"):
            sasl.client(name, sasl.Password("mrose" + end, "tanstaaf"), **prepare).start()
        with pytest.raises(UsageError, match=f"a password {re.escape(told)}"):
            sasl.client(name, sasl.Password("mrose", "tanstaaf" + end), **prepare).start()


@pytest.mark.parametrize("name", ["IMAP-LOGIN", "POP-USER"])
@pytest.mark.parametrize("password", ["\u0627a", "\U0001f468\u200d\U0001f4bb", "p" * 1500], ids=ascii)
def test_a_password_goes_through_as_it_was_typed(name: str, password: str) -> None:
    client, exchange = sasl.client(name, sasl.Password("mrose", password)), sasl.server(name)
    exchange.start(client.start())
    question = exchange.receive(client.respond(b""))

    assert isinstance(question, sasl.CheckPassword)
    assert question.password == password


def test_a_user_name_of_apop_holds_no_space() -> None:
    with pytest.raises(UsageError, match="no space"):
        sasl.client("POP-APOP", sasl.Password("m rose", "x")).start()


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("IMAP-LOGIN", [b"mrose", b"tanstaaf"]),
        ("POP-USER", [b"mrose", b"tanstaaf"]),
        ("POP-APOP", [b"mrose c4c9334bac560ecc979e58001b3e22fb"]),
    ],
)
def test_the_right_password_is_a_yes(name: str, messages: list[bytes]) -> None:
    assert serve(name, *messages) == sasl.Success("mrose", "mrose")


@pytest.mark.parametrize("name", ["IMAP-LOGIN", "POP-USER"])
@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ([b"mrose", b"wrong"], "credentials"),
        ([b"nobody", b"tanstaaf"], "credentials"),
        ([b""], "credentials"),
        ([b"mrose", b""], "credentials"),
        ([b"mro\0se"], "credentials"),
        ([b"mrose", b"tan\0staaf"], "credentials"),
        ([b"\xff"], "credentials"),
        ([b"mrose", b"\xff"], "credentials"),
    ],
)
def test_all_else_is_a_no(name: str, messages: list[bytes], kind: str) -> None:
    event = serve(name, *messages)

    assert isinstance(event, sasl.Failure)
    assert event.kind == kind


@pytest.mark.parametrize(("prepare", "asked"), [(True, "mrose"), (False, "mro\xadse")])
def test_the_server_prepares_what_it_asks_for(prepare: bool, asked: str) -> None:
    exchange = sasl.server("POP-USER", prepare=prepare)
    exchange.start("mro\xadse".encode())

    question = exchange.receive("tan\xadstaaf".encode())

    assert isinstance(question, sasl.CheckPassword)
    assert question.authcid == asked
    assert question.password == ("tanstaaf" if prepare else "tan\xadstaaf")


def test_the_digest_is_of_what_saslprep_makes() -> None:
    exchange = sasl.server("POP-APOP", timestamp=TIMESTAMP)
    digest = hashlib.md5(TIMESTAMP + "pä".encode()).hexdigest().encode()
    question = exchange.start("u\u0308ser ".encode() + digest)

    assert question == sasl.FindSecret("üser", "APOP", None)
    assert exchange.answer(sasl.Record("u", "pa\u0308")) == sasl.Authorize("u", None, "\xfcser")


@pytest.mark.parametrize("kept", [b"octets", "", "\ud800", None, 7], ids=repr)
def test_what_is_kept_and_is_no_password_is_unavailable(kept: object) -> None:
    exchange = sasl.server("POP-APOP", timestamp=TIMESTAMP)
    exchange.start(b"mrose c4c9334bac560ecc979e58001b3e22fb")

    event = exchange.answer(sasl.Record("mrose", kept))

    assert isinstance(event, sasl.Failure)
    assert event.kind == "unavailable"


def test_the_kept_password_may_be_a_secret() -> None:
    exchange = sasl.server("POP-APOP", timestamp=TIMESTAMP)
    exchange.start(b"mrose c4c9334bac560ecc979e58001b3e22fb")

    assert exchange.answer(sasl.Record("mrose", sasl.Secret("tanstaaf"))) == sasl.Authorize("mrose", None, "mrose")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"mrose 00000000000000000000000000000000", "credentials"),
        (b"nobody c4c9334bac560ecc979e58001b3e22fb", "credentials"),
        (b"\xc2\xad c4c9334bac560ecc979e58001b3e22fb", "credentials"),
        (b"\xff c4c9334bac560ecc979e58001b3e22fb", "credentials"),
    ],
)
def test_a_wrong_digest_is_a_no(message: bytes, kind: str) -> None:
    event = serve("POP-APOP", message)

    assert isinstance(event, sasl.Failure)
    assert event.kind == kind
