"""The lying, broken and slow servers of spec/corpus/{imap,pop,smtp}_client.json against a client made of the wires.

The client is complete and does no I/O: it greets, asks for capabilities, starts TLS where the case wants it, chooses
and authenticates. The peer follows the script of the case in memory, and at its end hangs up.
"""

from __future__ import annotations

import io
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import spec
from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConnectionLost,
    LimitExceeded,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    ServerBusy,
    TemporaryFailure,
    UsageError,
)

from ...support.leaks import seen, shown

if TYPE_CHECKING:
    from sasl.spec import Case

NAMES = ("imap_client", "pop_client", "smtp_client")
CASES = [case for name in NAMES for case in spec.cases(name)]

ERRORS: dict[str, tuple[type[SASLError] | None, ...]] = {
    "accept": (None,),
    "refuse_local": (UsageError,),
    "policy": (PolicyViolation,),
    "fail": (AuthenticationFailed,),
    "temporary": (TemporaryFailure,),
    "limit": (LimitExceeded,),
    "protocol": (ProtocolError,),
    "abort": (ProtocolError,),
    "timeout-or-protocol": (ProtocolError, ConnectionLost),
}
# Where the class has a narrower error, or another one that its words name.
EXACTLY: dict[str, type[SASLError]] = {
    "imap_client-0005": AuthorizationFailed,  # [AUTHORIZATIONFAILED]
    "imap_client-0020": ConnectionLost,  # BYE
    "imap_client-0041": ConnectionLost,  # BYE
    "smtp_client-0007": ServerBusy,  # 421
    "smtp_client-0036": LimitExceeded,  # more than 12,288 octets of challenge
    "smtp_client-0040": MechanismUnavailable,  # nothing is offered
    "smtp_client-0041": MechanismUnavailable,  # nothing for a token
    "smtp_client-0054": MechanismUnavailable,  # nothing of what was asked for
    "smtp_client-0055": MechanismUnavailable,  # nothing that is known
}


class Peer:
    """A server that follows a script, and hangs up when it ends."""

    def __init__(self, case: Case) -> None:
        self.steps = list(case.steps)
        self.sent: list[bytes] = []
        self.tls = False
        self._tag = b""
        self._octets = io.BytesIO()

    def awaits(self, command: bytes) -> bool:
        """Whether the script has an answer to a command."""
        return any(step.sender == "expect" and step.data == command for step in self.steps)

    def hear(self, line: bytes) -> None:
        self.speak()
        self.sent.append(line)
        if not self.steps:
            return
        step = self.steps.pop(0)
        assert step.sender == "expect", f"{line!r} was sent out of turn"
        tag, _, command = line.partition(b" ")
        if tag[:1] == b"T":
            self._tag = tag
        assert (command if tag[:1] == b"T" else line).startswith(step.data or b""), f"{line!r} is not {step.data!r}"

    def speak(self) -> None:
        while self.steps and (self.steps[0].sender == "server" or (self.steps[0].sender == "tls" and self.tls)):
            unread = self._octets.read()
            self._octets = io.BytesIO(unread + (self.steps.pop(0).data or b"").replace(b"{tag}", self._tag))

    def line(self) -> bytes:
        self.speak()
        return self._octets.readline()

    def octets(self) -> bytes:
        """All that is there."""
        self.speak()
        return self._octets.read()


class Client:
    """The part of a mail client that gets it logged in."""

    def __init__(self, case: Case, peer: Peer) -> None:
        self.case = case
        self.peer = peer
        self.wire: Any = None
        self.seen = ""  # what it would have logged
        params = case.params
        self.channel = sasl.Channel(tls=params["tls"], service=params["protocol"], host="mail.example.com")
        self.credentials: sasl.Credentials = sasl.Password(params["username"], params["password"])
        if not case.mechanism.startswith("SCRAM"):
            self.credentials = sasl.Bearer(params["username"], params["token"])

    def starts_tls(self, wire: Any) -> None:
        self.peer.hear(wire.command().octets)
        while not wire.done:
            octets = self.peer.octets()
            if octets:
                wire.receive(octets)
            else:
                wire.lost()
        if wire.error is not None:
            raise wire.error
        self.peer.tls = True
        self.channel = replace(self.channel, tls=True)

    @property
    def wants_tls(self) -> bool:
        return self.case.params.get("starttls") == "required" and not self.channel.tls

    def authenticate(self, wire: Any) -> None:
        self.wire = wire
        line = wire.command()
        while True:
            if line is not None:
                self.seen += f"{line!r}\n"
                self.peer.hear(line.octets)
            if wire.done:
                break
            answer = self.peer.line()
            if answer:
                self.seen += f"{wire.shown(answer)}\n"
                line = wire.receive(answer)
            else:
                wire.lost()
                line = None
        if wire.error is not None:
            raise wire.error

    @property
    def assumed(self) -> str:
        """What a client knows that does not ask."""
        return self.case.params.get("known_capabilities") or f"IMAP4rev1 SASL-IR AUTH={self.case.mechanism}"


class ImapClient(Client):
    def login(self) -> None:
        known = imap.greeting(self.peer.line())
        if self.wants_tls:
            self.starts_tls(imap.StartTlsWire(tag="T1"))
        if known is None and self.peer.awaits(b"CAPABILITY"):
            self.peer.hear(b"T2 CAPABILITY\r\n")
            known = tuple(self.peer.line().decode().split()[2:])
            assert self.peer.line().startswith(b"T2 OK")
        capabilities = known or self.assumed.split()
        choice = imap.choose(capabilities, self.credentials, channel=self.channel, mechanism=self.case.mechanism)
        self.authenticate(imap.client_wire(choice, self.credentials, tag="T3", capabilities=capabilities))


class PopClient(Client):
    def login(self) -> None:
        assert self.peer.line().startswith(b"+OK")
        if self.wants_tls:
            self.starts_tls(pop.StartTlsWire())
        capabilities = [f"SASL {self.case.mechanism}"]
        if self.peer.awaits(b"CAPA"):
            wire = pop.CapaWire()
            self.peer.hear(wire.command().octets)
            while not wire.done:
                wire.receive(self.peer.line())
            if wire.error is not None:
                raise wire.error
            capabilities = wire.capabilities
        choice = pop.choose(capabilities, self.credentials, channel=self.channel, mechanism=self.case.mechanism)
        self.authenticate(pop.client_wire(choice, self.credentials))


class SmtpClient(Client):
    def reply(self) -> list[str]:
        reply = smtp.Reply()
        while not reply.receive(self.peer.line()):
            pass
        return [line.decode() for line in reply.lines]

    def login(self) -> None:
        self.reply()
        extensions = self.hello()
        if self.wants_tls:
            if "STARTTLS" not in extensions:
                raise PolicyViolation("the server does not offer the TLS that is required")
            self.starts_tls(smtp.StartTlsWire())
            extensions = self.hello()
        offered = smtp.mechanisms(extensions)
        choice = sasl.choose(offered, self.credentials, channel=self.channel, mechanism=self.case.mechanism)
        on_command_line = self.case.params.get("initial_response_on_command_line")
        self.authenticate(smtp.client_wire(choice, self.credentials))
        assert on_command_line in (None, self.wire.initial_response)

    def hello(self) -> list[str]:
        if not self.peer.awaits(b"EHLO"):
            return [f"AUTH {self.case.mechanism}"]
        self.peer.hear(b"EHLO client.example.com\r\n")
        return self.reply()


CLIENTS: dict[str, type[Any]] = {"imap": ImapClient, "pop3": PopClient, "smtp": SmtpClient}


def goes_on(case: Case) -> Case:
    """A script that stops before the login of a client that it has not stopped: the rest is that of any server."""
    if case.family != "caps-from-cleartext":
        return case
    return replace(case, steps=(*case.steps, spec.Step("expect", b"AUTH"), spec.Step("server", b"235 2.7.0 done\r\n")))


def secrets(case: Case, client: Client) -> list[str]:
    """What must not be seen: the secret itself, and the message that carried it."""
    secret = case.params["token"] if isinstance(client.credentials, sasl.Bearer) else case.params["password"]
    return [secret, f"user={case.params['username']}\1auth=Bearer {secret}\1\1"]


def carries(line: bytes, secret: str) -> bool:
    """Whether a line that was sent holds the credential."""
    words = [line]
    for word in line.split():
        try:
            words.append(b64decode(word, validate=True))
        except ValueError:
            continue
    return any(secret.encode() in word for word in words)


def outcome(client: Client) -> SASLError | None:
    try:
        client.login()
    except SASLError as error:
        return error
    return None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_client_made_of_the_wires_ends_as_the_corpus_says(case: Case) -> None:
    case = goes_on(case)
    peer = Peer(case)
    client = CLIENTS[case.params["protocol"]](case, peer)
    secret = secrets(case, client)[0]

    error = outcome(client)

    allowed = (EXACTLY[str(case)],) if str(case) in EXACTLY else ERRORS[case.expect]
    assert (None if error is None else type(error)) in allowed, repr(error)
    left = [line for line in peer.sent if carries(line, secret)]
    assert len(left) <= 1, "the credential left more than once"
    if case.expect == "refuse_local":
        assert peer.sent == []
    elif case.expect == "policy":
        assert left == []
        assert not any(line.split()[:1] == [b"AUTH"] or b"AUTHENTICATE" in line for line in peer.sent)
    elif case.expect == "abort":
        assert peer.sent.count(b"*\r\n") == 1
        assert peer.sent[-1] == b"*\r\n"
    elif case.expect == "accept":
        assert len(left) == 1
        assert not client.wire.must_close
    assert seen([client.seen, *shown(error), repr(client.wire)], *secrets(case, client)) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.family == "error-challenge"], ids=str)
def test_the_error_challenge_reaches_whoever_catches_the_refusal(case: Case) -> None:
    error = outcome(CLIENTS[case.params["protocol"]](case, Peer(case)))

    assert isinstance(error, AuthenticationFailed)
    assert error.detail == {"status": "401", "schemes": "bearer mac", "scope": "https://mail.google.com/"}
    assert error.new_token_may_help


def test_a_line_that_was_too_long_is_no_reason_for_a_new_token() -> None:
    (case,) = (case for case in CASES if case.family == "555-reply")

    error = outcome(SmtpClient(case, Peer(case)))

    assert isinstance(error, AuthenticationFailed)
    assert (error.kind, error.response_code, error.new_token_may_help) == ("limit", "555 5.5.2", False)


def test_every_class_of_result_in_the_corpus_is_known_here() -> None:
    assert {case.expect for case in CASES} <= set(ERRORS)
    assert set(EXACTLY) <= {str(case) for case in CASES}
