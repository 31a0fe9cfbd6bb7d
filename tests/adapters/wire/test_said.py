"""What a server says with its no, or before it: kept, shown without the credential, bounded."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop, smtp
from sasl.adapters.wire.client import _MOST_SHOWN

from .conftest import Protocol

PASSWORD = sasl.Password("alice", "wonderland-77")
PLAIN = b64encode(b"\0alice\0wonderland-77").decode()


def begun(**settings: Any) -> imap.ClientWire:
    wire = imap.ClientWire(sasl.client("PLAIN", PASSWORD), capabilities=["SASL-IR"], **settings)
    wire.command()
    return wire


# --- before the reply


def test_what_was_said_before_the_reply_is_shown_without_the_credential() -> None:
    wire = begun()
    wire.receive(f"* NO [ALERT] wonderland-77 \x1b[31m{PLAIN} is old\r\n".encode())
    wire.receive(b"A1 NO [WEBALERT https://x.example/?p=wonderland-77] no\r\n")

    assert wire.error is not None
    assert wire.error.server_text == wire.server_text == "***  [31m*** is old no"
    assert wire.error.detail == {"alert": "***  [31m*** is old", "webalert": "https://x.example/?p=***"}


def test_the_same_text_is_shown_once() -> None:
    wire = begun()
    for line in (b"* NO no\r\n", b"* NO no\r\n", b"A1 NO no\r\n"):
        wire.receive(line)
    assert wire.server_text == "no"


def test_many_untagged_responses_are_not_all_kept() -> None:
    wire = begun()
    for number in range(2 * _MOST_SHOWN):
        wire.receive(f"* NO {number}\r\n".encode())
    wire.receive(b"A1 NO no\r\n")
    assert wire.error is not None
    assert len(wire.server_text) <= 1000
    assert f" {_MOST_SHOWN} " not in f" {wire.server_text} "


def test_an_ok_without_an_alert_says_nothing_of_the_command() -> None:
    wire = begun()
    for line in (b"* OK still here\r\n", b"* OK [UIDNEXT 3] x\r\n", b"A1 NO no\r\n"):
        wire.receive(line)
    assert wire.server_text == "no"


def test_a_response_code_without_its_argument_leaves_no_detail() -> None:
    wire = begun()
    wire.receive(b"A1 NO [REFERRAL] elsewhere\r\n")
    assert wire.error is not None
    assert (wire.error.detail, wire.error.refusal) == ({}, "imap-referral")


def test_silence_alone_and_a_refusal_elsewhere_stay_what_they_are() -> None:
    wire = begun()
    wire.receive(b"* NO [AUTHENTICATIONFAILED] no\r\n")
    wire.abandon(sasl.Cancelled("interrupted"))
    assert type(wire.error) is sasl.Cancelled


def test_a_refusal_that_silence_followed_loses_no_session(protocol: Protocol) -> None:
    from sasl.adapters.imaplib import is_session_lost

    wire = begun()
    wire.receive(b"* NO [AUTHENTICATIONFAILED] no\r\n")
    wire.lost()
    assert wire.error is not None
    assert not is_session_lost(wire.error)


# --- a reply's octets


@pytest.mark.parametrize("text", ["请使用授权码登录", "é"])
def test_a_reply_in_another_charset_keeps_its_octets(text: str) -> None:
    wire = smtp.ClientWire(sasl.client("PLAIN", PASSWORD))
    wire.command()
    said = text.encode("gbk")
    wire.receive(b"535 Error: " + said + b": http://x.example\r\n")
    assert wire.reply == b"Error: " + said + b": http://x.example"


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("wonderland-77", b"\xc7\xeb wonderland-77"),
        ("pässword-äöü", "pässword-äöü".encode("latin-1")),
        ("pässword-äöü", "pässword-äöü".encode()),
    ],
)
def test_a_reply_that_holds_the_credential_in_another_charset_does_not_keep_it(password: str, said: bytes) -> None:
    wire = smtp.ClientWire(sasl.client("PLAIN", sasl.Password("alice", password)))
    wire.command()
    wire.receive(b"535 no " + said + b"\r\n")
    for charset in ("utf-8", "latin-1"):
        assert password.encode(charset) not in wire.reply


# --- an exchange whose secret nobody has named


def by_callback(*messages: bytes) -> Any:
    def script() -> Any:
        yield from messages[:-1]
        yield sasl.Complete(messages[-1])

    return sasl.ClientExchange("X", script())


@pytest.mark.parametrize("module", [smtp, pop], ids=["smtp", "pop"])
@pytest.mark.parametrize("said", ["{}", "no {}!", "{}{}"])
@pytest.mark.parametrize(
    ("message", "secret"),
    [
        (b"\0alice\0wonderland", "wonderland"),
        (b"user=alice\1auth=Bearer ya29.token\1\1", "ya29.token"),
        (b"alice 0123456789abcdef", "0123456789abcdef"),
        (b"wonderland", "wonderland"),
        ("\0alice\0wünderländ".encode(), "wünderländ"),
    ],
)
def test_of_an_exchange_without_a_known_secret_every_part_is_one(
    module: Any, said: str, message: bytes, secret: str
) -> None:
    wire = module.ClientWire(by_callback(message))
    wire.command()
    wire.receive(f"{'535' if module is smtp else '-ERR'} {said.format(secret, secret)}\r\n".encode())
    assert secret not in f"{wire.error}{wire.server_text}{getattr(wire, 'reply', b'').decode()}"


def test_what_proves_a_known_secret_is_taken_out_too_and_the_user_name_stays() -> None:
    wire = smtp.ClientWire(sasl.client("CRAM-MD5", sasl.Password("alice", "wonderland-77")))
    wire.command()
    line = wire.receive(b"334 " + b64encode(b"<1.2@x.example>") + b"\r\n")
    assert line is not None
    digest = sasl.base64.decode(line.octets.strip()).split(b" ")[1].decode()
    wire.receive(f"535 {digest} of alice\r\n".encode())
    assert wire.server_text == "*** of alice"

    prompted = smtp.ClientWire(sasl.client("LOGIN", sasl.Password("alice.liddell", "wonderland-77")))
    prompted.command()
    prompted.receive(b"334 VXNlcm5hbWU6\r\n")
    prompted.receive(b"535 alice.liddell is not known\r\n")
    assert prompted.server_text == "alice.liddell is not known"


# --- what it costs


def test_a_reply_of_many_lines_is_not_shown_to_its_end_and_takes_no_time(protocol: Protocol) -> None:
    wire = protocol.client(sasl.client("XOAUTH2", sasl.Bearer("alice", "t" * 60_000)))
    wire.command()
    start = time.process_time()
    shown = [
        wire.shown(f"250-line {number} of many, none of which says anything\r\n".encode()) for number in range(1000)
    ]
    assert time.process_time() - start < 2
    assert shown[0].startswith("250-line 0")
    assert shown[-1] == "<49 octets>"


def test_after_a_line_of_ours_lines_are_shown_again(protocol: Protocol) -> None:
    wire = protocol.plain(initial_response=False)
    wire.command()
    for _ in range(_MOST_SHOWN + 1):
        shown = wire.shown(b"x\r\n")
    assert shown == "<1 octets>"
    wire.receive(protocol.challenge())
    assert wire.shown(b"x\r\n") == "x"
