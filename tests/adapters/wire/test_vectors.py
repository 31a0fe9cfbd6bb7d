"""The published exchanges of spec/vectors/protocol-*.json, from both ends.

Mechanisms that the library does not have run as throw-away ones, which yield exactly the octets of the vector.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import spec
from sasl.adapters.wire import imap, pop, smtp
from sasl.errors import AuthenticationFailed, AuthorizationFailed, ConnectionLost, ProtocolError, TemporaryFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

CANCEL = None  # in place of a message

COMMANDS = {
    "protocol-imap": re.compile(rb"(?P<tag>\w+) AUTHENTICATE (?P<name>[^ ]+)(?: (?P<ir>.*))?"),
    "protocol-pop3": re.compile(rb"(?P<tag>)AUTH (?P<name>[^ ]+)(?: (?P<ir>.*))?"),
    "protocol-smtp": re.compile(rb"(?P<tag>)AUTH (?P<name>[^ ]+)(?: (?P<ir>.*))?"),
}
MODULES: dict[str, Any] = {"protocol-imap": imap, "protocol-pop3": pop, "protocol-smtp": smtp}
PREFIX = {"protocol-imap": b"+", "protocol-pop3": b"+", "protocol-smtp": b"334"}

BUILT_IN = ("PLAIN", "XOAUTH2", "OAUTHBEARER")
# Where no honest peer with the built-in mechanism would send these lines.
SCRIPTED_CLIENT = {
    "cancel",  # nothing goes wrong that PLAIN would have to cancel
    "server-cancel",
    "oauthbearer-fail-dummy",  # asks for the scope with an empty token
    "oauthbearer-fail-cancel",  # answers the error challenge by "*"
}
SCRIPTED_SERVER = {
    "oauthbearer-fail-cancel",  # as above
    "xoauth2-fail",  # a line feed within the JSON
    "xoauth2-fail-microsoft",  # no error challenge
}
# Each has a test of its own: no client sends what is not base64, and the others carry no SASL.
APART = {
    "server-bad-base64",
    "session-expired-gmail",
    "530-before-auth",
    "mail-from-auth-param",
    "mail-from-auth-empty",
}


@dataclass(frozen=True)
class Exchange:
    """One command and what follows it, decoded."""

    file: str
    vector: spec.ProtocolVector
    number: int  # in its vector
    lines: tuple[spec.Step, ...]
    tag: str
    mechanism: str
    initial: bool
    responses: tuple[bytes | None, ...]
    challenges: tuple[bytes, ...]

    @property
    def verdict(self) -> str:
        """What the server said in the end, without its text: "NO [EXPIRED]", "-ERR", "535 5.7.8"."""
        first = next(step for step in self.lines if step.sender == "server" and not self.is_challenge(step))
        assert first.data is not None
        line = first.data.decode("ascii").removeprefix(f"{self.tag} ")
        match = re.match(r"\d{3}(?:[ -]\d\.\d\.\d+)?|[+*]? ?[A-Z-]+(?: \[[A-Z/-]+\])?", line)
        assert match is not None, line
        return match[0].replace("535-", "535 ")

    def is_challenge(self, step: spec.Step) -> bool:
        prefix = PREFIX[self.file]
        return step.data is not None and (step.data == prefix or step.data.startswith(prefix + b" "))

    @property
    def explained(self) -> dict[str, str] | None:
        """The error challenge, if there is one."""
        last = self.challenges[-1] if self.challenges else b""
        return json.loads(last) if last.startswith(b"{") else None

    def __str__(self) -> str:
        return f"{self.file.removeprefix('protocol-')}-{self.vector.name}-{self.number}"


def exchanges() -> Iterator[Exchange]:
    for file, command in COMMANDS.items():
        for vector in spec.vectors(file):
            if vector.name in APART:
                continue
            starts = [index for index, step in enumerate(vector.lines) if command.fullmatch(step.data or b"")]
            for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True), 1):
                yield decoded(file, vector, number, vector.lines[start:end])


def decoded(file: str, vector: spec.ProtocolVector, number: int, lines: tuple[spec.Step, ...]) -> Exchange:
    command = COMMANDS[file].fullmatch(lines[0].data or b"")
    assert command is not None
    initial = command["ir"]
    responses: list[bytes | None] = [] if initial is None else [b64decode(initial.removeprefix(b"="), validate=True)]
    challenges = []
    for step in lines[1:]:
        assert step.data is not None
        if step.sender == "client":
            responses.append(CANCEL if step.data == b"*" else b64decode(step.data, validate=True))
        elif step.data == PREFIX[file] or step.data.startswith(PREFIX[file] + b" "):
            challenges.append(b64decode(step.data[len(PREFIX[file]) :], validate=False))
    return Exchange(
        file,
        vector,
        number,
        lines,
        command["tag"].decode(),
        command["name"].decode(),
        initial is not None,
        tuple(responses),
        tuple(challenges),
    )


EXCHANGES = list(exchanges())
every_exchange = pytest.mark.parametrize("exchange", EXCHANGES, ids=str)


def test_every_vector_is_run() -> None:
    names = {(exchange.file, exchange.vector.name) for exchange in EXCHANGES}
    missing = {vector.name for file in COMMANDS for vector in spec.vectors(file) if (file, vector.name) not in names}

    assert missing == APART
    assert [exchange.vector.name for exchange in EXCHANGES if exchange.number > 1] == ["reauth-refused"]


# --- the client's end


def the_client(exchange: Exchange) -> sasl.ClientExchange:
    """The built-in mechanism with the credentials of the vector, or a script of its messages."""
    if exchange.mechanism not in BUILT_IN or exchange.vector.name in SCRIPTED_CLIENT:
        return sasl.ClientExchange(exchange.mechanism, scripted_client(exchange))
    message = exchange.responses[0]
    assert message is not None
    if exchange.mechanism == "PLAIN":
        authzid, authcid, password = message.decode().split("\0")
        return sasl.client("PLAIN", sasl.Password(authcid, password, authzid=authzid or None))
    token = re.search(rb"auth=Bearer ([^\x01]+)\x01", message)
    user = re.search(rb"user=([^\x01]+)\x01", message) or re.search(rb"a=([^,]+),", message)
    assert token is not None
    assert user is not None
    return sasl.client(exchange.mechanism, sasl.Bearer(user[1].decode(), token[1].decode()))


def scripted_client(exchange: Exchange) -> sasl.ClientSteps:
    *before, last = exchange.responses or (b"",)
    challenges = list(exchange.challenges)
    if challenges and not exchange.initial:
        first = challenges.pop(0)  # an empty one is not shown to a mechanism that speaks first
        if first or exchange.responses[0] is CANCEL:
            assert (yield None) == first
    for message, challenge in zip(before, challenges, strict=True):
        assert message is not CANCEL
        received = yield sasl.Complete(message) if exchange.explained else message
        assert received == challenge
    if last is CANCEL:
        raise ProtocolError("the script cancels")
    yield sasl.ErrorAnswer(last, exchange.explained) if exchange.explained else sasl.Complete(last)


def the_client_wire(exchange: Exchange) -> Any:
    sasl_exchange = the_client(exchange)
    wanted = None if exchange.initial else False
    if exchange.file != "protocol-imap":
        return MODULES[exchange.file].ClientWire(sasl_exchange, initial_response=wanted)
    known = exchange.vector.capabilities
    if known is None:
        known = ("IMAP4rev1", "SASL-IR", f"AUTH={exchange.mechanism}")
    else:
        wanted = None  # the capabilities alone decide
    return imap.ClientWire(sasl_exchange, tag=exchange.tag, capabilities=known, initial_response=wanted)


ERRORS: dict[str, type[sasl.SASLError]] = {
    "NO [AUTHORIZATIONFAILED]": AuthorizationFailed,
    "NO [UNAVAILABLE]": TemporaryFailure,
    "BAD": ProtocolError,
    "* BYE": ConnectionLost,
    "-ERR [SYS/TEMP]": TemporaryFailure,
    "-ERR [SYS/TEMP/FUTURE]": TemporaryFailure,
    "-ERR [IN-USE]": TemporaryFailure,
    "-ERR [LOGIN-DELAY]": TemporaryFailure,
    "454 4.7.0": TemporaryFailure,
}


@every_exchange
def test_the_client_sends_exactly_these_lines_and_reports_the_outcome(exchange: Exchange) -> None:
    wire = the_client_wire(exchange)
    line = wire.command()

    for step in exchange.lines:
        assert step.data is not None
        if step.sender == "server":
            assert line is None, "the client spoke out of turn"
            line = wire.receive(step.data + b"\r\n")
        else:
            assert line is not None
            assert line.octets == step.data + b"\r\n"
            line = None

    assert (line, wire.done) == (None, True)
    if re.match(r"OK|\+OK|235", exchange.verdict):
        assert wire.error is None
    elif CANCEL in exchange.responses:
        assert type(wire.error) is ProtocolError  # why the script cancelled
    else:
        assert type(wire.error) is ERRORS.get(exchange.verdict, AuthenticationFailed)
        assert wire.error.detail == (exchange.explained or {})
    if exchange.vector.response_code is not None:
        assert wire.error.response_code == exchange.vector.response_code
    if exchange.vector.reply_code is not None:
        assert wire.code == exchange.vector.reply_code
    if exchange.vector.capabilities_after is not None:
        assert wire.capabilities == exchange.vector.capabilities_after
    if exchange.vector.error == "invalid_token":
        assert exchange.vector.name == "oauthbearer-fail-dummy" or wire.error.new_token_may_help


# --- the server's end

KINDS = {
    "NO": "credentials",
    "NO [AUTHENTICATIONFAILED]": "credentials",
    "NO [AUTHORIZATIONFAILED]": "authorization",
    "NO [EXPIRED]": "expired",
    "NO [CONTACTADMIN]": "disabled",
    "NO [UNAVAILABLE]": "unavailable",
    "NO [PRIVACYREQUIRED]": "policy",
    "-ERR": "credentials",
    "-ERR [AUTH]": "credentials",
    "-ERR [SYS/PERM]": "disabled",
    "-ERR [SYS/TEMP]": "unavailable",
    "-ERR [SYS/TEMP/FUTURE]": "unavailable",
    "-ERR [IN-USE]": "unavailable",
    "-ERR [LOGIN-DELAY]": "unavailable",
    "432 4.7.12": "expired",
    "454 4.7.0": "unavailable",
    "501 5.5.2": "malformed",
    "501 5.7.0": "unexpected_ir",
    "534 5.7.9": "policy",
    "535 5.7.1": "credentials",
    "535 5.7.3": "credentials",
    "535 5.7.8": "credentials",
}
# The table of kinds has one reply for each kind; others that mean the same are understood and never said.
SAID_INSTEAD = {
    "-ERR [SYS/PERM]": "-ERR [AUTH]",
    "-ERR [SYS/TEMP/FUTURE]": "-ERR [SYS/TEMP]",
    "-ERR [IN-USE]": "-ERR [SYS/TEMP]",
    "-ERR [LOGIN-DELAY]": "-ERR [SYS/TEMP]",
    "432 4.7.12": "535 5.7.8",
    "534 5.7.9": "538 5.7.11",
    "535 5.7.1": "535 5.7.8",
    "535 5.7.3": "535 5.7.8",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "server-unknown-mechanism": {"offered": ["PLAIN"]},
    "code-500-5.5.6": {"limits": sasl.Limits(message=4)},
    "code-503-5.5.1": {"authenticated": True},
    "code-504-5.5.4": {"offered": ["XOAUTH2"]},
    "code-538-5.7.11": {"offered": [], "channel": sasl.Channel()},
}


def scripted_server(exchange: Exchange) -> Any:
    def server(_options: sasl.Options) -> sasl.ServerSteps:
        script = list(exchange.challenges)
        if exchange.initial and exchange.vector.name != "server-ir-for-server-first-mech":
            script.insert(0, b"")
        if exchange.vector.name == "server-ir-for-server-first-mech":
            script = [b"<a.challenge@example.com>"]
        explained = script.pop() if exchange.explained else None
        for message, response in zip(script, exchange.responses, strict=False):
            assert (yield sasl.Challenge(message)) == response
        try:
            identity = yield from sasl.ask(sasl.CheckPassword("someone", sasl.Secret("secret")))
        except sasl.Rejected:
            if explained is not None:
                yield sasl.Challenge(explained)
            raise
        return sasl.Verified(identity)

    return server


def verifier(exchange: Exchange) -> sasl.Verifier:
    def answer(question: sasl.Question) -> object:
        if isinstance(question, sasl.Authorize):
            return NotImplemented
        if re.match(r"OK|\+OK|235", exchange.verdict):
            return sasl.Accepted(getattr(question, "authcid", None) or getattr(question, "username", None))
        kind = KINDS[exchange.verdict]
        return sasl.Unavailable() if kind == "unavailable" else sasl.Rejected("", kind, exchange.explained)

    return answer


@every_exchange
def test_the_server_says_these_lines_but_for_their_texts(exchange: Exchange, mechanism: Any, settled: Any) -> None:
    name = exchange.vector.name
    settings = {"offered": [exchange.mechanism], "channel": sasl.Channel(tls=True), **SETTINGS.get(name, {})}
    if exchange.mechanism not in BUILT_IN or name in SCRIPTED_SERVER:
        if name != "server-unknown-mechanism":
            mechanism(exchange.mechanism, server=scripted_server(exchange))
    elif name == "oauthbearer-fail-dummy":  # the scope that the client asks for
        about = {key.replace("-", "_"): value for key, value in exchange.explained.items() if key != "status"}
        settings["options"] = {"OAUTHBEARER": about}
    if exchange.vector.capabilities_after:
        settings["capabilities"] = exchange.vector.capabilities_after
    settings["authenticated"] = settings.get("authenticated", exchange.number > 1)
    wire = MODULES[exchange.file].ServerWire(**settings)

    said = None
    for step in exchange.lines:
        assert step.data is not None
        if step.sender == "client":
            event = wire.receive(step.data + b"\r\n")
            if exchange.verdict == "* BYE" and isinstance(event, sasl.Question):
                return  # the server leaves instead of answering; nothing of it is the wire's
            said = settled(wire, event, verifier(exchange)).octets
        elif exchange.is_challenge(step):
            assert said == (step.data if b" " in step.data else step.data + b" ") + b"\r\n"
            said = None

    assert said is not None
    said = said.decode("ascii").removeprefix(f"{exchange.tag} ")
    verdict = SAID_INSTEAD.get(exchange.verdict, exchange.verdict)
    assert re.match(re.escape(verdict) + r"(?![^ \r])", said), f"{said!r} instead of {verdict}"
    assert isinstance(wire.result, sasl.Success) == bool(re.match(r"OK|\+OK|235", verdict))
    if exchange.vector.capabilities_after:
        assert f"[CAPABILITY {' '.join(exchange.vector.capabilities_after)}]" in said


# --- vectors apart


def only(file: str, name: str) -> spec.ProtocolVector:
    return next(vector for vector in spec.vectors(file) if vector.name == name)


def test_text_that_is_not_base64_is_bad_on_both_sides(protocol: Any) -> None:
    command, bad = only("protocol-imap", "server-bad-base64").lines
    assert command.data is not None
    assert bad.data is not None
    client = imap.ClientWire(sasl.client("PLAIN", protocol.PASSWORD), tag="a")
    server = imap.ServerWire(["PLAIN"], channel=sasl.Channel(tls=True))

    client.command()
    client.receive(bad.data + b"\r\n")
    said = server.receive(command.data + b"\r\n").octets

    assert type(client.error) is sasl.AuthenticationFailed
    assert client.error.kind == "unsupported"  # nothing of the credential has left
    assert said.split()[:2] == bad.data.split()[:2] == [b"a", b"BAD"]


def test_a_session_that_expires_is_a_lost_connection_that_says_why(protocol: Any) -> None:
    (bye,) = only("protocol-imap", "session-expired-gmail").lines
    assert bye.data is not None

    with pytest.raises(ConnectionLost) as lost:
        imap.greeting(bye.data + b"\r\n")
    wire = imap.ClientWire(sasl.client("PLAIN", protocol.PASSWORD))
    wire.command()
    wire.receive(bye.data + b"\r\n")

    assert type(wire.error) is ConnectionLost
    assert wire.error.server_text == lost.value.server_text == "Session expired, please login again."


def test_a_server_asks_for_a_login_with_530() -> None:
    said = only("protocol-smtp", "530-before-auth").lines[-1].data
    reply = smtp.Reply()

    assert said is not None
    assert reply.receive(said)
    assert (reply.code, reply.text[0]) == (530, "5.7.0")
    assert said.decode() == smtp.AUTH_REQUIRED


@pytest.mark.parametrize("name", ["mail-from-auth-param", "mail-from-auth-empty"])
def test_the_auth_parameter_of_mail_is_decoded_and_encoded(name: str) -> None:
    vector = only("protocol-smtp", name)
    command = vector.lines[0].data
    assert command is not None
    mailbox, parameters = command.decode().removeprefix("MAIL FROM:").split(" ", 1)

    assert smtp.mail_auth(parameters) == vector.more["decoded_auth"]
    assert vector.more["decoded_auth"] == "<>" or parameters == f"AUTH={smtp.as_xtext(mailbox[1:-1])}"
