"""The clients of spec/corpus/{imap,pop,smtp}_server.json, at the reference servers over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import spec
from sasl.adapters import reference
from sasl.adapters.reference import Settings
from sasl.spec import Step

from .conftest import plain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from sasl.adapters.reference import Servers, Verifier
    from sasl.spec import Case

    from .conftest import Raw

NAMES = ("imap_server", "pop_server", "smtp_server")
PROTOCOLS = ("imap", "pop", "smtp")
CASES = [case for name in NAMES for case in spec.cases(name)]

REPLIES = {
    "accept": ("OK ", "+OK ", "235 2.7.0 "),
    "malformed": ("BAD ", "-ERR ", "501 5.5.2 "),
    "limit": ("BAD ", "-ERR ", "500 5.5.6 "),
    "cancelled": ("BAD ", "-ERR ", "501 5.7.0 "),
    "unsupported": ("NO ", "-ERR ", "504 5.5.4 "),
    "state": ("BAD ", "-ERR ", "503 5.5.1 "),
    "policy": ("NO [PRIVACYREQUIRED] ", "-ERR ", "538 5.7.11 "),
    "temporary": ("NO [UNAVAILABLE] ", "-ERR [SYS/TEMP] ", "454 4.7.0 "),
    "list-or-malformed": ("", "+OK", ""),
}
"""How the verdict begins, behind the tag."""

FAREWELLS = {
    "starttls-injection": "* BYE Octets in the clear behind STARTTLS",
    "stls-injection": "-ERR Octets in the clear behind STLS",
    "slow": "421 4.4.2 Too slow",
    "brute-force": "421 4.7.0 Too many failed logins",
}
"""The verdict where the server ends the connection, by the family of the case."""

OUTCOMES = {
    "accept": "accepted",
    "temporary": "unavailable",
    "closed": "unfinished",
    "timeout": "unfinished",
}
"""What a record calls a class, where it has another name for it."""

# Where the command is refused before it is one of SASL's, so that there is no attempt to record.
NO_ATTEMPT = {
    "imap_server-0012",  # a tag that is none
    "imap_server-0013",
    "imap_server-0022",  # STARTTLS with a command behind it
    "pop_server-0002",  # a list is no login
    "pop_server-0013",
    "smtp_server-0024",  # no EHLO before
    "smtp_server-0025",
    "smtp_server-0027",  # nothing but EHLO
    "smtp_server-0029",
}

ASKED = {"accepted", "credentials", "unavailable"}
"""The outcomes that a verifier has a part in."""

GOOD = b"AHRpbQBwdw=="
"""The user of all cases, by PLAIN."""

LOGIN = {"imap": b"again AUTHENTICATE PLAIN %s\r\n", "pop": b"AUTH PLAIN %s\r\n", "smtp": b"AUTH PLAIN %s\r\n"}
CAPABILITIES = {"imap": b"caps CAPABILITY\r\n", "pop": b"CAPA\r\n", "smtp": b"EHLO caps\r\n"}

HURRIED = Settings(deadline=0.5)
"""For the cases that wait for the deadline."""


class Watched:
    """A verifier that counts what it is asked, and has a bug where the case says so."""

    def __init__(self, verifier: Verifier, bug: str) -> None:
        self.answers = verifier.answers
        self.asked = 0
        self._verifier = verifier
        self._bug = bug

    def __call__(self, question: sasl.Question) -> Any:
        if isinstance(question, sasl.CheckPassword):
            self.asked += 1
            if self._bug:
                raise RuntimeError(self._bug)
        return self._verifier(question)


class Peer:
    """A client that plays the steps of a case."""

    def __init__(self, raw: Raw, protocol: str, context: ssl.SSLContext) -> None:
        self.raw = raw
        self.protocol = protocol
        self._context = context

    def ask(self, octets: bytes) -> list[str]:
        self.raw.send(octets)
        return self.reply()

    def reply(self) -> list[str]:
        """The next reply, in lines; [""] at the end of the connection."""
        lines = [self.raw.line()]
        while self.protocol == "smtp" and lines[-1][3:4] == "-":
            lines.append(self.raw.line())
        return lines

    def play(self, case: Case) -> list[str]:
        """Play a case; return the reply that is its verdict."""
        verdict = self.reply()
        for step in steps(case):
            if step.sender == "tls":
                self.raw.start_tls(self._context)
            elif step.sender == "close":
                self.raw.close()
            elif step.sender == "wait":
                verdict = self.reply()
            elif step.data == b"NOOP\r\n":
                assert self.ask(step.data) == ["250 2.0.0 OK"]
            else:
                assert step.data is not None
                verdict = self.ask(step.data)
                if not ends(case):
                    for _ in step.data.splitlines()[1:]:  # what looks like a literal is a line of its own
                        assert self.reply() == ["* BAD Not a command"]
        return verdict

    def advertised(self) -> list[str]:
        """The words of what the server says that it can do."""
        self.raw.send(CAPABILITIES[self.protocol])
        lines = self.reply()
        last = {"imap": "caps OK", "pop": ".", "smtp": lines[-1]}[self.protocol]
        while not lines[-1].startswith(last):
            lines.append(self.raw.line())
        return " ".join(lines).replace("=", " ").replace("-", " ").split()

    def log_in(self, good: bytes = GOOD) -> str:
        if self.protocol == "smtp":
            self.ask(CAPABILITIES["smtp"])
        return self.ask(LOGIN[self.protocol] % good)[-1]


def steps(case: Case) -> tuple[Step, ...]:
    """The steps of a case; after too many refusals nobody is there any more to play the rest to."""
    if case.family != "brute-force":
        return case.steps
    last = 1 + Settings().failures  # EHLO comes first
    assert len(case.steps) > last
    return (*case.steps[:last], Step("wait", None))


def ends(case: Case) -> bool:
    """Whether the server has to end the connection."""
    return case.family in FAREWELLS


def expected(case: Case, protocol: str) -> str:
    """How the verdict begins."""
    if ends(case):
        return FAREWELLS[case.family]
    begins = REPLIES[case.expect][PROTOCOLS.index(protocol)]
    if protocol != "imap":
        return begins
    (*_, tag) = [step.data[:1].decode() for step in case.steps if step.data and b" AUTHENTICATE " in step.data]
    return f"{tag if tag.isalpha() else '*'} {begins}"


def outcomes(case: Case) -> list[str]:
    """What the server records of a case."""
    if str(case) in NO_ATTEMPT:
        return []
    if case.family == "brute-force":
        return ["credentials"] * Settings().failures
    before = ["accepted"] * case.family.endswith("twice")
    return [*before, OUTCOMES.get(case.expect, case.expect)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_answers_and_records_what_the_corpus_says_and_serves_on(
    case: Case, connect: Callable[..., Raw], caplog: pytest.LogCaptureFixture
) -> None:
    protocol, bug = case.params["protocol"].removesuffix("3"), case.params.get("verifier", "")
    watched: list[Watched] = []

    def watch(verifier: Verifier) -> Watched:
        watched.append(Watched(verifier, bug))
        return watched[0]

    settings = HURRIED if case.expect == "timeout" else Settings()
    if case.expect == "no-auth-advertised":
        settings = Settings(mechanisms=[case.mechanism])  # others may be advertised without TLS
    with reference.running(case.params["users"], settings=settings, checks=watch) as servers:

        def peer(over: str) -> Peer:
            return Peer(connect(servers, protocol, over), protocol, servers.client_context())

        client = peer("TLS" if case.params["tls"] else "clear")
        verdict = client.play(case)
        endpoint = getattr(servers, protocol)
        asked = watched[0].asked
        if case.expect == "closed":
            assert verdict == ["334 "]
        elif case.expect == "no-auth-advertised":
            assert verdict[0] == "250-localhost"
            assert "AUTH" not in client.advertised()
        else:
            assert verdict[-1].startswith(expected(case, protocol)), verdict
        if case.expect == "list-or-malformed":
            assert "PLAIN" in list(iter(client.raw.line, "."))
        if ends(case):
            assert client.raw.rest() == []
        elif case.expect == "policy":
            words = client.advertised()
            assert "PLAIN" not in words
            assert ("LOGINDISABLED" in words) == (protocol == "imap")
        elif "accepted" not in outcomes(case) and case.params["tls"] and case.expect != "closed" and not bug:
            assert client.log_in().startswith(("again OK", "+OK", "235"))
        if not bug:
            other = peer("TLS")
            other.reply()
            assert other.log_in().startswith(("again OK", "+OK", "235"))
    record = [attempt.outcome for attempt in endpoint.sessions[0].attempts]
    assert record[: len(outcomes(case))] == outcomes(case)
    assert asked == sum(outcome in ASKED for outcome in outcomes(case))
    assert "secret" not in caplog.text
    if bug:
        assert "RuntimeError" in caplog.text
        caplog.clear()


def test_every_class_of_these_cases_is_looked_at() -> None:
    assert {case.expect for case in CASES if not ends(case)} == {*REPLIES, "closed", "no-auth-advertised"}
    assert {case.family for case in CASES} >= set(FAREWELLS)
    assert {str(case) for case in CASES} >= NO_ATTEMPT


BLANK_AT_THE_END = {"mechanism_names-0019", "mechanism_names-0022"}
"""Taken for the name before it, as Dovecot does."""

TWO_LINES = {"mechanism_names-0025", "mechanism_names-0026"}
"""PLAIN, and then a response that is no base64."""

TWO_WORDS = {"mechanism_names-0021"}
"""PL, and an initial response."""

BEGINS = {"imap": b"a AUTHENTICATE %s\r\n", "pop": b"AUTH %s\r\n", "smtp": b"AUTH %s\r\n"}
PROMPTS = ("+ ", "+ ", "334 ")
NAMES_IN_CASES = spec.cases("mechanism_names")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", NAMES_IN_CASES, ids=str)
def test_a_server_takes_a_name_for_one_where_it_is_one(
    case: Case, protocol: str, servers: Servers, connect: Callable[..., Raw]
) -> None:
    name = case.inputs["name"]
    octets = name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")
    peer = Peer(connect(servers, protocol), protocol, servers.client_context())
    peer.reply()
    if protocol == "smtp":
        peer.ask(CAPABILITIES["smtp"])
    reply = peer.ask(BEGINS[protocol] % octets)[-1].removeprefix("a ")
    at = PROTOCOLS.index(protocol)
    if reply.startswith(PROMPTS[at]) and str(case) in TWO_LINES:
        reply = peer.reply()[-1].removeprefix("a ")
        assert reply.startswith(REPLIES["malformed"][at])
    elif reply.startswith(PROMPTS[at]):
        assert case.expect == "accept" or str(case) in BLANK_AT_THE_END
        reply = peer.ask(b"*\r\n")[-1].removeprefix("a ")
        assert reply.startswith(REPLIES["cancelled"][at])
    else:
        named = case.expect == "accept" or str(case) in TWO_WORDS
        kind = "limit" if len(octets) > 1_000 else "unsupported" if named else "malformed"
        assert reply.startswith(REPLIES[kind][at])
    assert peer.log_in(plain("alice", "wonderland").encode()).startswith(("again OK", "+OK", "235"))
