"""The engine alone, driven through what the standard library has: imaplib's callback, a POP line, SMTP's docmd."""

from __future__ import annotations

import base64
import imaplib
import poplib
import smtplib
from typing import TYPE_CHECKING, Any

import pytest

import sasl

if TYPE_CHECKING:
    from .dovecot import Dovecot

MECHANISMS = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
PROTOCOLS = ("imap", "pop", "smtp")


def credentials(dovecot: Dovecot, mechanism: str, *, good: bool, length: int) -> sasl.Password | sasl.Bearer:
    if mechanism == "PLAIN":
        return sasl.Password("alice", dovecot.users["alice"] if good else "looking-glass")
    return sasl.Bearer(dovecot.mailbox, dovecot.token("good" if good else "expired", length))


def login(dovecot: Dovecot, protocol: str, exchange: sasl.ClientExchange, *, initial: bool) -> None:
    {"imap": login_imap, "pop": login_pop, "smtp": login_smtp}[protocol](dovecot, exchange, initial=initial)


def login_imap(dovecot: Dovecot, exchange: sasl.ClientExchange, *, initial: bool) -> None:
    """imaplib has no initial response; its callback is the exchange's `respond` as it is."""
    port = dovecot.port("imap", implicit=True)
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=dovecot.context()) as conn:
        exchange.start()
        exchange.defer()
        try:
            conn.authenticate(exchange.name, exchange.respond)
        except imaplib.IMAP4.error as error:
            raise exchange.fail(str(error)) from None
        exchange.succeed()
        assert conn.select() == ("OK", [b"0"])


def login_pop(dovecot: Dovecot, exchange: sasl.ClientExchange, *, initial: bool) -> None:
    conn: Any = poplib.POP3_SSL("localhost", dovecot.port("pop", implicit=True), context=dovecot.context())
    try:
        reply = conn._shortcmd(f"AUTH {exchange.name}{initial_response(exchange, initial=initial)}")
        while reply.startswith(b"+ "):
            reply = conn._shortcmd(base64.b64encode(exchange.respond(base64.b64decode(reply[2:]))).decode("ascii"))
        exchange.succeed()
        assert conn.stat() == (0, 0)
    except poplib.error_proto as error:
        raise exchange.fail(error.args[0].decode("ascii")) from None
    finally:
        conn.quit()


def login_smtp(dovecot: Dovecot, exchange: sasl.ClientExchange, *, initial: bool) -> None:
    port = dovecot.port("smtp", implicit=True)
    with smtplib.SMTP_SSL("localhost", port, context=dovecot.context()) as conn:
        conn.ehlo()
        code, text = conn.docmd(f"AUTH {exchange.name}{initial_response(exchange, initial=initial)}")
        while code == 334:
            code, text = conn.docmd(base64.b64encode(exchange.respond(base64.b64decode(text))).decode("ascii"))
        if code != 235:
            raise exchange.fail(f"{code} {text.decode('ascii')}")
        exchange.succeed()
        assert conn.docmd("MAIL FROM:<alice@example.org>")[0] == 250


def initial_response(exchange: sasl.ClientExchange, *, initial: bool) -> str:
    message = exchange.start()
    assert message is not None
    if initial:
        return " " + base64.b64encode(message).decode("ascii")
    exchange.defer()
    return ""


@pytest.mark.parametrize("length", [300, 3000])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_good_credential_logs_in(dovecot: Dovecot, protocol: str, mechanism: str, length: int) -> None:
    exchange = sasl.client(mechanism, credentials(dovecot, mechanism, good=True, length=length))

    login(dovecot, protocol, exchange, initial=length == 300)

    assert exchange.state is sasl.State.DONE


@pytest.mark.parametrize("length", [300, 3000])
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_credential_is_refused_with_what_the_server_said(
    dovecot: Dovecot, protocol: str, mechanism: str, length: int
) -> None:
    exchange = sasl.client(mechanism, credentials(dovecot, mechanism, good=False, length=length))

    with pytest.raises(sasl.AuthenticationFailed, match="Authentication failed") as refused:
        login(dovecot, protocol, exchange, initial=length == 300)

    assert refused.value.detail == dovecot.refusals.get(mechanism, {})
    assert refused.value.new_token_may_help == (mechanism != "PLAIN")
    assert exchange.state is sasl.State.FAILED
