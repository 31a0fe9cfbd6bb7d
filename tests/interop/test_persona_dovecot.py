"""The persona of Dovecot and Dovecot itself hear the same commands, and say the same."""

from __future__ import annotations

import base64
import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from sasl.adapters.reference import running

from ..adapters.reference.conftest import Raw, plain
from ..support.protocols import b64

if TYPE_CHECKING:
    import ssl

    from .dovecot import Dovecot

pytestmark = pytest.mark.once
ALICE = "alice@example.org"

# "{wrong}" is an XOAUTH2 message with a token that nobody knows, "{expired}" one whose token was good once.
COMMANDS = {
    "imap": """
        a CAPABILITY
        b AUTHENTICATE PLAIN {false}
        c LOGIN alice@example.org looking-glass
        d AUTHENTICATE XOAUTH2 {expired}
        ~
        e AUTHENTICATE OAUTHBEARER {expired_bearer}
        AQ==
        f AUTHENTICATE NONE
        g AUTHENTICATE PLAIN {right}
        h SELECT INBOX
        i SEARCH ALL
        j UID FETCH 1:* FLAGS
        k CLOSE
        l LOGOUT
        """,
    "pop": """
        CAPA
        AUTH PLAIN {false}
        AUTH XOAUTH2 {expired}
        ~
        USER alice@example.org
        PASS looking-glass
        AUTH PLAIN {right}
        QUIT
        """,
    "smtp": """
        EHLO client.example
        AUTH PLAIN {false}
        AUTH XOAUTH2 {expired}
        ~
        AUTH PLAIN {right}
        QUIT
        """,
}


def heard(raw: Raw, protocol: str, command: str) -> list[str]:
    """Return the lines of an answer."""
    many = protocol == "pop" and command in ("", "CAPA")
    lines: list[str] = []
    while not lines or not _ends(protocol, lines[-1], command, many=many and bool(command)):
        line = raw.line()
        if not line:
            break
        lines.append(line)
    return lines


def _ends(protocol: str, line: str, command: str, *, many: bool) -> bool:
    if protocol == "imap":
        return not line.startswith("* ") or not command
    if protocol == "smtp":
        return line[3:4] == " "
    return line == "." if many else True


def normal(line: str) -> str:
    """Return a line without what differs each time, or from one Dovecot to another."""
    if match := re.fullmatch(r"(?:\+|334) ([A-Za-z0-9+/]+={0,2})", line):
        challenge = json.loads(base64.b64decode(match[1]))
        challenge.pop("openid-configuration", None)  # the config has it
        challenge.pop("scope", None)  # so it has this, which RFC 7628 has the persona say in OAUTHBEARER too
        return json.dumps(challenge)
    line = re.sub(r"OK \[CAPABILITY [^\]]*\] Logged in", "OK Logged in", line)  # Dovecot tells who asked untagged
    line = re.sub(r"\(([0-9.]+ \+ [0-9.]+)(?: \+ [0-9.]+)? secs\)", "(secs)", line)
    return re.sub(r" <[^>]*>\Z", "", line)  # APOP's timestamp


def is_list(line: str) -> bool:
    """Whether a line tells capabilities, or something of a mailbox: what is served is compared elsewhere."""
    return line.startswith("* ") and not line.startswith("* BYE")


def talk(port: int, context: ssl.SSLContext, protocol: str, places: dict[str, str]) -> list[list[str]]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as bare,
        context.wrap_socket(bare, server_hostname="127.0.0.1") as sock,
    ):
        raw = Raw(sock)
        answers = [heard(raw, protocol, "")]
        for command in filter(None, map(str.strip, COMMANDS[protocol].splitlines())):
            filled = command.removesuffix("~").format(**places)
            raw.send(f"{filled}\r\n".encode())
            answers.append(heard(raw, protocol, filled or "~"))
        raw.close()
    return answers


def places(expired: str) -> dict[str, str]:
    return {
        "right": plain(ALICE, "wonderland"),
        "false": plain(ALICE, "looking-glass"),
        "expired": b64(f"user={ALICE}\1auth=Bearer {expired}\1\1").decode(),
        "expired_bearer": b64(f"n,a={ALICE},\1auth=Bearer {expired}\1\1").decode(),
    }


@pytest.mark.parametrize("protocol", COMMANDS)
def test_the_persona_of_dovecot_says_what_dovecot_says(protocol: str, dovecot: Dovecot) -> None:
    there = talk(dovecot.port(protocol, implicit=True), dovecot.context(), protocol, places(dovecot.token("expired")))
    with running({ALICE: "wonderland"}, persona="dovecot") as servers:
        port = getattr(servers, protocol).tls_port
        here = talk(port, servers.client_context(), protocol, places(servers.tokens["expired"]))
    assert len(here) == len(there)
    for ours, theirs in zip(here, there, strict=True):
        said = [[normal(line) for line in lines if not is_list(line)] for lines in (ours, theirs)]
        if len(ours) > 3 and protocol != "imap":  # CAPA and EHLO: what is served, in the same order
            both = [line.split()[0] for line in said[0] if line in said[1]]
            assert both == [line.split()[0] for line in said[1] if line in said[0]]
            continue
        assert said[0] == said[1]


def test_the_capabilities_of_the_persona_are_dovecots_in_its_order(dovecot: Dovecot) -> None:
    with running({ALICE: "wonderland"}, persona="dovecot") as servers:
        here = talk(servers.imap.tls_port, servers.client_context(), "imap", places("x"))
    there = talk(dovecot.port("imap", implicit=True), dovecot.context(), "imap", places("x"))
    for at in (0, 1, 9):  # the greeting, the answer to CAPABILITY, the login
        ours, theirs = (re.search(r"CAPABILITY ([^\]]*)", "\n".join(answers[at])) for answers in (here, there))
        assert ours
        assert theirs
        told, known = ours[1].split("\n")[0].split(), theirs[1].split("\n")[0].split()
        assert [name for name in told if name not in known and name != "SPECIAL-USE"] == []
        assert [name for name in told if name in known] == [name for name in known if name in told]
