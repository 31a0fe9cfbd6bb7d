"""What servers say to what a login comes to, and what a library's user may ask about a text that is all there is."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
from typing import Any

import pytest

import sasl
from sasl.adapters import refusals
from sasl.adapters.wire import Verdict, imap, pop, smtp

TABLES = {"imap": imap.REPLIES, "pop": pop.REPLIES, "smtp": smtp.REPLIES}
# Kinds that a protocol has no code of its own for: what a client takes them for.
READ_AS: dict[str, dict[str, str]] = {
    "imap": {},
    "pop": {"authorization": "credentials", "expired": "credentials", "disabled": "credentials"},
    "smtp": {"authorization": "credentials", "expired": "credentials"},
}


def verdict(protocol: str, reply: str, *, revealed: bool = True) -> Verdict:
    """What a client makes of a server's reply, which a library has cut."""
    if protocol == "smtp":
        code, _, text = reply.partition(" ")
        return smtp.refusal(int(code), text, revealed=revealed)
    return {"imap": imap, "pop": pop}[protocol].refusal(reply, revealed=revealed)


@pytest.mark.parametrize("protocol", TABLES)
def test_a_table_has_a_reply_for_every_kind_and_for_a_yes(protocol: str) -> None:
    assert set(TABLES[protocol]) == {"accepted", *sasl.KINDS}


@pytest.mark.parametrize("kind", ["credentials", "authorization", "expired", "disabled", "unavailable"])
@pytest.mark.parametrize("protocol", TABLES)
def test_what_the_table_of_servers_says_a_client_reads_back(protocol: str, kind: sasl.Kind) -> None:
    found = verdict(protocol, TABLES[protocol][kind])
    assert found.kind == READ_AS[protocol].get(kind, kind)


@pytest.mark.parametrize(
    ("text", "kind", "code", "said"),
    [
        ("[EXPIRED] token expired", "expired", "EXPIRED", "token expired"),
        (b"[EXPIRED] token expired", "expired", "EXPIRED", "token expired"),
        ("NO [authorizationfailed] not you", "authorization", "AUTHORIZATIONFAILED", "not you"),
        ("[UNAVAILABLE] later", "unavailable", "UNAVAILABLE", "later"),
        ("wrong password", "credentials", None, "wrong password"),
        ("BAD what?", "malformed", None, "what?"),
        ("BAD [UNAVAILABLE] later", "unavailable", "UNAVAILABLE", "later"),
        ("", "credentials", None, ""),
    ],
)
def test_the_text_of_a_no_in_imap(text: Any, kind: str, code: str | None, said: str) -> None:
    found = imap.refusal(text)
    assert (found.kind, found.response_code, found.text) == (kind, code, said)
    assert refusals.row(found.row).kind == kind


@pytest.mark.parametrize(
    ("text", "kind", "code", "said"),
    [
        (b"-ERR [AUTH] wrong", "credentials", "AUTH", "wrong"),
        ("[in-use] wait", "unavailable", "IN-USE", "wait"),
        ("-ERR [SYS/TEMP/FULL] wait", "unavailable", "SYS/TEMP/FULL", "wait"),
        ("wrong", "credentials", None, "wrong"),
    ],
)
def test_the_text_of_a_no_in_pop(text: Any, kind: str, code: str | None, said: str) -> None:
    found = pop.refusal(text)
    assert (found.kind, found.response_code, found.text) == (kind, code, said)


@pytest.mark.parametrize(
    ("code", "text", "kind", "response_code", "said"),
    [
        (535, "5.7.8 wrong", "credentials", "535 5.7.8", "wrong"),
        (535, b"5.7.8 wrong\n5.7.8 again", "credentials", "535 5.7.8", "wrong again"),
        (535, "wrong", "credentials", "535", "wrong"),
        (454, "4.7.0 later", "unavailable", "454 4.7.0", "later"),
        (525, "5.7.13 closed", "disabled", "525 5.7.13", "closed"),
        (421, "bye", "unavailable", "421", "bye"),
    ],
)
def test_code_and_text_of_a_no_in_smtp(code: int, text: Any, kind: str, response_code: str, said: str) -> None:
    found = smtp.refusal(code, text)
    assert (found.kind, found.response_code, found.text) == (kind, response_code, said)


@pytest.mark.parametrize("protocol", TABLES)
def test_before_the_credential_has_left_nobody_has_judged_it(protocol: str) -> None:
    assert verdict(protocol, TABLES[protocol]["credentials"]).kind == "credentials"
    assert verdict(protocol, TABLES[protocol]["credentials"], revealed=False).kind == "unsupported"


def test_the_errors_of_the_standard_library_can_be_asked_about() -> None:
    smtp_error = smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong")
    assert smtp.refusal(smtp_error.smtp_code, smtp_error.smtp_error).kind == "credentials"
    assert imap.refusal(imaplib.IMAP4.error("[EXPIRED] too old").args[0]).kind == "expired"
    assert pop.refusal(poplib.error_proto(b"-ERR [SYS/TEMP] later").args[0]).kind == "unavailable"


def test_a_verdict_is_what_an_exchange_fails_by() -> None:
    exchange = sasl.client("PLAIN", sasl.Password("alice", "wonderland"))
    exchange.start()
    found = imap.refusal("[EXPIRED] too old")
    error = exchange.fail(found.text, kind=found.kind, response_code=found.response_code)
    assert isinstance(error, sasl.AuthenticationFailed)
    assert (error.kind, error.response_code, error.server_text) == ("expired", "EXPIRED", "too old")


def test_what_a_server_says_is_one_line_without_what_a_terminal_obeys() -> None:
    assert imap.refusal("no\r\n\x1b[31mway").text.isprintable()


@pytest.mark.parametrize("text", [None, 535])
def test_what_is_no_text_is_a_mistake_of_the_caller(text: Any) -> None:
    for refuse in (imap.refusal, pop.refusal, lambda said: smtp.refusal(535, said)):
        with pytest.raises(sasl.UsageError):
            refuse(text)
