"""A connection that is cut after any octet, in either direction, on every protocol and for every mechanism.

Each cut raises the documented error, which is one of the library's as well; the client asks no more than a few times
after it, sends the credential at most once, believes in no login, closes, and logs in on the next connection.
"""

from __future__ import annotations

import dataclasses
import imaplib
import itertools
import random
import re
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

import sasl
import sasl.spec

from .conftest import PROTOCOLS, connect, log_in
from .peer import CLOSE, GARBAGE, JUNK, RESET, STALL, Fault, Peer, Stuck, sampled, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .peer import Dialogue

CASES: Final = sasl.spec.cases("fault_injection")
CUTS: Final = [case for case in CASES if case.expect == "exact-exception"]
PIECES: Final = [case for case in CASES if case.expect == "same-result"]
NAMES: Final = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}

LONGEST: Final = 2.0  # seconds for one cut, of which none waits


def of(dialogues: dict[str, Dialogue], case: sasl.spec.Case) -> list[Dialogue]:
    """The dialogues that a case is about."""
    protocol = NAMES[case.params["protocol"]]
    return [dialogue for dialogue in dialogues.values() if dialogue.protocol == protocol]


def test_each_protocol_is_cut_in_each_way_and_each_mechanism_in_both_outcomes(dialogues: dict[str, Dialogue]) -> None:
    ways = {(case.params["protocol"], case.params["event"]) for case in CUTS}
    assert ways == set(itertools.product(NAMES, (CLOSE, RESET, STALL, GARBAGE)))
    recorded = {(dialogue.protocol, dialogue.mechanism, dialogue.verdict) for dialogue in dialogues.values()}
    mechanisms = {name for case in CUTS for name in case.params["mechanisms"]} | {"SCRAM-SHA-256-PLUS", "DIGEST-MD5"}
    logins = {
        *itertools.product(PROTOCOLS, mechanisms),
        ("imap", "IMAP-LOGIN"),
        ("pop", "POP-USER"),
        ("pop", "POP-APOP"),
    }
    assert recorded >= {(*login, verdict) for login in logins for verdict in ("", "AuthenticationFailed")}


@pytest.fixture(autouse=True)
def one_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """imaplib compiles a pattern for the random prefix of its tags; with one prefix it is compiled once."""
    monkeypatch.setattr(imaplib, "random", SimpleNamespace(randint=lambda low, high: low))


@pytest.mark.cuts
@pytest.mark.parametrize("case", CUTS, ids=lambda case: f"{case.id}-{case.params['protocol']}-{case.params['event']}")
def test_a_cut_after_any_octet_is_the_documented_error_and_the_next_login_works(
    dialogues: dict[str, Dialogue], case: sasl.spec.Case
) -> None:
    assert case.expect == "exact-exception"
    wrong = []
    for first, dialogue in enumerate(of(dialogues, case)):
        for fault in faults(dialogue, case.params["event"], greeting=first == 0):
            begun = time.monotonic()
            if complaint := complaint_about(dialogue, fault):
                wrong.append(f"{dialogue}: {fault}: {complaint}")
            if time.monotonic() - begun > LONGEST and is_slow_again(dialogue, fault):
                wrong.append(f"{dialogue}: {fault}: took too long")
        assert outcome(dialogue, Peer(dialogue))[0] == dialogue.verdict
    assert not wrong, f"{len(wrong)} cuts, first: " + "\n".join(wrong[:10])


def is_slow_again(dialogue: Dialogue, fault: Fault) -> bool:
    """Whether the same cut takes too long a second time: the machine may have been busy, but does not stay so."""
    begun = time.monotonic()
    complaint_about(dialogue, fault)
    return time.monotonic() - begun > LONGEST


def faults(dialogue: Dialogue, event: str, *, greeting: bool) -> Iterator[Fault]:
    """Every cut; what comes before the login is the same in each dialogue of a protocol, so one of them has it."""
    sent, said = (0, 0) if greeting else dialogue.before(dialogue.command)
    yield from (Fault(event, "client", offset) for offset in sampled(dialogue, sent, len(dialogue.client)))
    yield from (Fault(event, "server", offset) for offset in sampled(dialogue, said, len(dialogue.server)))


def outcome(dialogue: Dialogue, peer: Peer) -> tuple[str | None, Exception | None, Any]:
    """Log in. Return "" for a login, or the name of our error, or None for one of the library's; the error; and the
    connection, None if the library did not get as far."""
    protocol, conn = PROTOCOLS[dialogue.protocol], None
    try:
        conn = connect(dialogue, peer)
        log_in(dialogue, conn)
    except Stuck:
        return f"stuck {peer.stuck}", None, conn
    except sasl.SASLError as error:
        name = next(base.__name__ for base in type(error).__mro__ if base.__module__ == "sasl.errors")
        exact = type(error) is protocol.error_named(name) and isinstance(error, protocol.error)
        return name if exact else f"{type(error).__name__}, which is none of the library's", error, conn
    except Exception as error:
        return None, error, conn
    finally:
        if conn is not None and not protocol.is_closed(conn):
            connected = conn
            if not peer.closed:
                leave(protocol, connected, peer)
    return "", None, conn


def leave(protocol: Any, conn: Any, peer: Peer) -> None:
    """Note that the binding left the connection open, and close it."""
    peer.left_open = True
    peer.believed = protocol.is_logged_in(conn)
    protocol.close(conn)


def complaint_about(dialogue: Dialogue, fault: Fault) -> str:
    """What is wrong with how a cut ended; empty if nothing."""
    peer = Peer(dialogue, fault)
    name, error, conn = outcome(dialogue, peer)
    sent = peer.sent.count(dialogue.sent)
    if peer.stuck:
        return f"the client was {peer.stuck}"
    if conn is None:
        # The library did not get its greeting: what it raises is its own matter.
        return "the credential was sent before the greeting" if sent else ""
    expected = Oracle(dialogue, fault).expected()
    if name not in expected:
        return f"{type(error).__name__} ({name!r}): {error}, not {' or '.join(map(repr, sorted(expected)))}"
    if sent > 1:
        return f"the credential was sent {sent} times"
    if (left := getattr(peer, "left_open", False)) and name not in ("", "AuthenticationFailed", "MechanismUnavailable"):
        return f"the connection was left open after {name}"
    if left and peer.believed and name:
        return "the library believes that it is logged in"
    if isinstance(error, sasl.ConnectionLost) and not isinstance(error, PROTOCOLS[dialogue.protocol].lost):
        return f"{type(error).__name__} is not what the library raises for a lost connection"
    if fault.offset % step(dialogue):
        return ""
    again = Peer(dialogue)
    if outcome(dialogue, again)[0] != dialogue.verdict or again.stuck:
        return "the next attempt did not end as the first time"
    return ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_yes_in_the_place_of_another_answer_is_believed_only_where_the_mechanism_is_done(
    dialogues: dict[str, Dialogue], protocol: str
) -> None:
    results: Counter[str | None] = Counter()
    for dialogue in dialogues.values():
        if dialogue.protocol != protocol or dialogue.mechanism == "POP-USER" or dialogue.name.endswith("asked-again"):
            continue  # a yes to USER asks for the PASS; and there the yes is not the last answer
        for turn in range(dialogue.command, len(dialogue.turns) - (dialogue.verdict == "")):
            where = f"{dialogue}: a yes in turn {turn}"
            *before, (line, _) = dialogue.turns[: turn + 1]
            peer = Peer(dataclasses.replace(dialogue, turns=(*before, (line, yes(dialogue)))))
            name, error, _ = outcome(dialogue, peer)
            assert not peer.stuck, where
            assert name == ("" if is_done(dialogue, turn) else "ServerNotProven"), f"{where}: {error!r}"
            assert peer.left_open == (name == ""), where
            assert peer.sent.count(dialogue.sent) <= 1, where
            results[name] += 1
    assert min(results[""], results["ServerNotProven"]) > 5


def yes(dialogue: Dialogue) -> bytes:
    tag = dialogue.turns[dialogue.command][0].partition(b" ")[0]
    lines = {"imap": b"%s OK [CAPABILITY IMAP4rev1] Yes\r\n" % tag, "pop": b"+OK Yes\r\n", "smtp": b"235 2.7.0 Yes\r\n"}
    return lines[dialogue.protocol]


def is_done(dialogue: Dialogue, turn: int) -> bool:
    """Whether a client that has sent the lines up to this turn has nothing more to send, and nothing to ask for."""
    if dialogue.mechanism.startswith(("SCRAM-", "DIGEST-")):
        return False  # the server has to prove itself, and has not
    if dialogue.explained is not None and turn == len(dialogue.turns) - 1:
        return False
    return any(dialogue.sent in line for line, _ in dialogue.turns[: turn + 1])


class Oracle:
    """What has to become of a login whose connection fails, told from what the server said until then."""

    def __init__(self, dialogue: Dialogue, fault: Fault) -> None:
        self._dialogue = dialogue
        self._fault = fault
        sent, said = fault.offset, fault.offset
        if fault.direction == "client":
            answered = [turn for turn in range(len(dialogue.turns)) if dialogue.before(turn + 1)[0] <= sent]
            said = dialogue.before(answered[-1] + 1)[1]
        self._said = dialogue.server[:said]
        self._explained = dialogue.explained is not None and said >= dialogue.explained[1]
        self._line = self._said.rpartition(b"\n")[2]

    def expected(self) -> set[str]:
        lost = "AuthenticationFailed" if self._explained else "ConnectionLost"
        if self._fault.event == STALL:
            return {"ConnectionLost"}
        if self._fault.event in (CLOSE, RESET):
            return {lost}
        return {self._after(self._line + JUNK[:-2], lost)}

    def _after(self, line: bytes, lost: str) -> str:
        """What a last line means that ends in junk, and is followed by the end of the connection."""
        dialogue = self._dialogue
        if len(self._said) < dialogue.before(dialogue.command)[1]:
            return self._before_the_login(line)
        if b"\r" in line and not self._asked_again:  # the cut was between CR and LF, and no line holds one of them
            return "ProtocolError"
        return getattr(self, f"_{dialogue.protocol}")(line, lost)  # type: ignore[no-any-return]

    def _before_the_login(self, line: bytes) -> str:
        behind_the_greeting = self._said.count(b"\n") == 1
        if self._dialogue.protocol == "pop" and behind_the_greeting and not re.match(rb"(\+OK|-ERR) ", line):
            return "ProtocolError"
        if self._dialogue.protocol == "pop" and b"\r" in line and not behind_the_greeting and b"\n" in self._said:
            return "ProtocolError"
        if self._dialogue.protocol == "smtp" and re.match(rb"250[^-]", line):
            # smtplib takes the line for EHLO's last. AUTH may have stood in it, or in one of those before.
            return "ConnectionLost" if re.search(rb"[ -]AUTH .*PLAIN\s", self._said) else "MechanismUnavailable"
        return "ConnectionLost"

    def _imap(self, line: bytes, lost: str) -> str:
        tag = re.compile(rb"\S+ (OK|NO)( .*)?", re.DOTALL)
        commands = [turn[0] for turn in self._dialogue.turns if b" AUTHENTICATE " in turn[0] or b" LOGIN " in turn[0]]
        mine = line.startswith(commands[0].partition(b" ")[0] + b" ")
        if (match := tag.fullmatch(line)) and mine:
            if match[1] == b"NO":
                return "AuthenticationFailed"
            return "" if b"]" in line else "ConnectionLost"  # the capabilities are asked for again
        if self._asked_again:
            return "" if line.startswith(b"AAAA1 OK ") else "ConnectionLost"  # it logs in, and is asked what it can do
        if line.startswith(b"* "):
            return lost
        if line.startswith(b"+"):
            return self._challenge(lost)
        return "ProtocolError"

    def _pop(self, line: bytes, lost: str) -> str:
        if re.match(rb"\+OK ", line):
            return "ConnectionLost" if self._dialogue.mechanism == "POP-USER" and self._asked else ""
        if re.match(rb"-ERR ", line):
            return "AuthenticationFailed"
        return self._challenge(lost) if line.startswith(b"+") else "ProtocolError"

    def _smtp(self, line: bytes, lost: str) -> str:
        match = re.match(rb"(\d\d\d)([ -])", line)
        if match is None:
            return "ProtocolError"
        if match[2] == b"-":
            return lost
        if match[1] == b"334":
            return self._challenge(lost)
        return "" if match[1] == b"235" else "AuthenticationFailed"

    @property
    def _asked_again(self) -> bool:
        """Whether the login is over, and imaplib asks what the server can do."""
        begun = len(self._said) >= self._dialogue.before(self._dialogue.command + 1)[1]
        return begun and b"AAAA1" in self._dialogue.client

    @property
    def _in_last_turn(self) -> bool:
        return len(self._said) >= self._dialogue.before(len(self._dialogue.turns) - 1)[1]

    @property
    def _asked(self) -> bool:
        """Whether the server was asked for the first answer, to a command without the credential."""
        return len(self._said) < self._dialogue.before(self._dialogue.command + 1)[1]

    def _challenge(self, lost: str) -> str:
        """A challenge that is not base64 is cancelled, but what is said where the response waits is not looked at.

        Nor are the prompts of LOGIN: they are answered, and then the connection ends.
        """
        if self._dialogue.mechanism == "LOGIN":
            return "ProtocolError" if self._in_last_turn else lost
        if self._dialogue.name.endswith("literal"):  # of which there are two
            return "ProtocolError" if self._in_last_turn else lost
        return lost if self._dialogue.name.endswith("asked") and self._asked else "ProtocolError"


# --- the pieces in which it comes


def sizes(chunk: Any) -> Iterator[int] | None:
    """How many octets each read gives."""
    if chunk == "all":
        return None
    random_sizes = random.Random(7)
    return (random_sizes.randint(1, 40) if chunk == "random" else chunk for _ in itertools.count())


@pytest.mark.parametrize("case", PIECES, ids=lambda case: f"{case.id}-{case.params['protocol']}-{case.params['chunk']}")
def test_the_result_does_not_depend_on_the_pieces(dialogues: dict[str, Dialogue], case: sasl.spec.Case) -> None:
    assert case.expect == "same-result"
    for dialogue in of(dialogues, case):
        whole, pieces = Peer(dialogue), Peer(dialogue, pieces=sizes(case.params["chunk"]))
        results = [told(dialogue, peer) for peer in (whole, pieces)]
        assert results[0] == results[1], dialogue
        assert results[0][0] == dialogue.verdict, dialogue
        assert not whole.stuck + pieces.stuck, dialogue


def told(dialogue: Dialogue, peer: Peer) -> tuple[Any, ...]:
    """All that a caller learns of a login."""
    protocol, answer, error = PROTOCOLS[dialogue.protocol], None, None
    conn = connect(dialogue, peer)
    try:
        answer = log_in(dialogue, conn)
    except sasl.SASLError as raised:
        error = raised
    facts = vars(error) if error else {}
    state = getattr(conn, "state", None), getattr(conn, "capabilities", None)
    protocol.close(conn)
    name = "" if error is None else type(error).__name__.removeprefix(protocol.prefix)
    return name, answer, facts, error and error.args, str(error), state
