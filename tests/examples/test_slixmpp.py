"""examples/slixmpp_mechanism.py at a server that lies."""

from __future__ import annotations

import re
import socket
from functools import partial

import pytest

import sasl
from sasl import base64

from ..support.xmpp import outcome, outcome_without_us
from .conftest import LIES, PASSWORD, USER, Answers, listening

SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
STREAM = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "from='localhost' id='1' version='1.0'><stream:features>{}</stream:features>"
)


def xmpp(sock: socket.socket, *, lie: str = "", believed: bool = False, name: str = "SCRAM-SHA-256") -> None:
    """Serve one login, up to the session that begins behind it; nobody gets there over a lie unless it is believed."""
    heard = ""

    def hear(pattern: str) -> str:
        nonlocal heard
        while (found := re.search(pattern, heard)) is None:
            if not (octets := sock.recv(4_096)):
                raise EOFError
            heard += octets.decode()
        heard = heard[found.end() :]
        return found[1]

    def say(element: str, data: bytes | None) -> None:
        text = "" if data is None else base64.encode(data).decode() or "="
        sock.sendall(f"<{element} {SASL}>{text}</{element}>".encode())

    hear("<stream:stream ([^>]*)>")
    mechanisms = f"<mechanisms {SASL}><mechanism>{name}</mechanism></mechanisms>"
    sock.sendall(STREAM.format(mechanisms).encode())
    answers = Answers(name, lie=lie)
    verdict, data = answers.first(base64.decode(hear("<auth[^>]*>([^<]*)</auth>").encode()))
    while verdict is None:
        say("challenge", data)
        verdict, data = answers.next(base64.decode(hear("<response[^>]*>([^<]*)</response>").encode()))
    if not verdict:
        sock.sendall(f"<failure {SASL}><not-authorized/></failure>".encode())
        hear("(</stream:stream>)")
        return
    say("success", data)
    hear("<stream:stream ([^>]*)>")
    assert believed or not lie, "the client goes on"
    sock.sendall(STREAM.format("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>").encode())
    number = hear('<iq [^>]*id="([^"]*)"')
    bound = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@localhost/1</jid></bind>"
    sock.sendall(f"<iq type='result' id='{number}'>{bound}</iq>".encode())
    hear("(</stream:stream>)")


def test_the_right_password_logs_in() -> None:
    with listening(xmpp) as port:
        login = outcome(USER, PASSWORD, port, None)
    assert (login.end, login.mechanisms) == ("in", ["SCRAM-SHA-256"])
    assert login.exchange is not None
    assert login.exchange.state is sasl.State.DONE


def test_a_wrong_password_is_refused() -> None:
    with listening(xmpp) as port:
        assert outcome(USER, "looking-glass", port, None).end == "refused"


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_has_not_the_password_is_left_whatever_it_says(lie: str) -> None:
    with listening(partial(xmpp, lie=lie)) as port:
        login = outcome(USER, PASSWORD, port, None)
    assert login.end == "left"
    assert login.exchange is not None
    assert login.exchange.state is sasl.State.FAILED


def test_slixmpp_alone_takes_a_yes_that_carries_the_first_challenge_for_a_login() -> None:
    """So says the page. Once that is no longer so, `check_verdicts` may go."""
    with listening(partial(xmpp, lie="half way", believed=True)) as port:
        assert outcome_without_us(USER, PASSWORD, port) == "in"


def test_no_password_goes_out_in_the_clear() -> None:
    with listening(partial(xmpp, name="PLAIN")) as port:
        assert outcome(USER, PASSWORD, port, None) == ("refused", [], None)
