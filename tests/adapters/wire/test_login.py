"""The logins that are not SASL: IMAP's LOGIN, POP's USER and PASS, and when `choose` falls back to them."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

import sasl
from sasl.adapters.wire import imap, pop
from sasl.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConnectionLost,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    ServerNotProven,
    TemporaryFailure,
    UsageError,
)

TLS = sasl.Channel(tls=True)
CLEAR = sasl.Channel()
PASSWORD = sasl.Password("user", "secret")
TOKEN = sasl.Bearer("user", "token")


def imap_wire(credentials: sasl.Password, **settings: Any) -> imap.ClientWire:
    return imap.ClientWire(sasl.client("IMAP-LOGIN", credentials), **settings)


def pop_wire(credentials: sasl.Password) -> pop.ClientWire:
    return pop.ClientWire(sasl.client("POP-USER", credentials))


# --- IMAP LOGIN


@pytest.mark.parametrize(
    ("authcid", "password", "line"),
    [
        ("user", "secret", b'A1 LOGIN user "secret"'),
        ("alice@mail.example", "x", b'A1 LOGIN alice@mail.example "x"'),  # as imaplib sends an atom
        ("Nil", "x", b'A1 LOGIN "Nil" "x"'),
        ("a%", "x", b'A1 LOGIN "a%" "x"'),
        ("a b", "x y", b'A1 LOGIN "a b" "x y"'),
        ('q"u', "back\\slash", b'A1 LOGIN "q\\"u" "back\\\\slash"'),
        ("{5}", "*", b'A1 LOGIN "{5}" "*"'),
        ("u", "%(]", b'A1 LOGIN u "%(]"'),
    ],
)
def test_ascii_goes_as_quoted_strings_in_one_line(authcid: str, password: str, line: bytes) -> None:
    wire = imap_wire(sasl.Password(authcid, password))

    command = wire.command()

    assert command.octets == line + b"\r\n"
    assert repr(command) == f"Line('A1 LOGIN <{len(authcid)} octets> <{len(password)} octets>')"
    wire.receive(b"A1 OK in\r\n")
    assert (wire.done, wire.error, wire.turns, wire.initial_response) == (True, None, 1, False)


@pytest.mark.parametrize(
    ("authcid", "password", "lines"),
    [
        ("user", "pässword", [b"A1 LOGIN user {9}\r\n", "pässword\r\n".encode()]),
        ("üser", "secret", [b"A1 LOGIN {5}\r\n", 'üser "secret"\r\n'.encode()]),
        ("üser", "pässword", [b"A1 LOGIN {5}\r\n", "üser {9}\r\n".encode(), "pässword\r\n".encode()]),
    ],
)
@pytest.mark.parametrize("go_ahead", [b"+\r\n", b"+ \r\n", b"+ Ready for literal data\r\n"])
def test_all_else_goes_as_literals_one_at_a_time(
    authcid: str, password: str, lines: list[bytes], go_ahead: bytes
) -> None:
    wire = imap_wire(sasl.Password(authcid, password), tag="A1")

    sent = [wire.command()]
    while len(sent) < len(lines):
        sent.append(wire.receive(go_ahead))
    wire.receive(b"A1 OK [CAPABILITY IMAP4rev1] in\r\n")

    assert [line.octets for line in sent] == lines
    assert not any(word in line.shown for line in sent for word in (authcid, password, "ä"))
    assert (wire.error, wire.capabilities, wire.turns) == (None, ("IMAP4rev1",), len(lines))


@pytest.mark.parametrize("answered", [0, 1])
def test_a_yes_before_all_arguments_left_is_not_a_login(answered: int) -> None:
    wire = imap_wire(sasl.Password("üser", "pässword"))
    wire.command()
    for _ in range(answered):
        wire.receive(b"+ go\r\n")

    wire.receive(b"A1 OK in\r\n")

    assert type(wire.error) is ServerNotProven
    assert (wire.must_close, wire.capabilities) == (True, None)


def test_a_login_command_that_is_complete_takes_no_continuation() -> None:
    wire = imap_wire(PASSWORD)
    wire.command()

    assert wire.receive(b"+ more\r\n") is None

    assert type(wire.error) is ProtocolError
    assert wire.must_close


@pytest.mark.parametrize(
    ("reply", "error", "close"),
    [
        (b"A1 NO [AUTHENTICATIONFAILED] x", AuthenticationFailed, False),
        (b"A1 NO [AUTHORIZATIONFAILED] x", AuthorizationFailed, False),
        (b"A1 NO [UNAVAILABLE] x", TemporaryFailure, False),
        (b"A1 BAD x", ProtocolError, False),
        (b"A2 OK x", ProtocolError, True),
        (b"* BYE x", ConnectionLost, True),
    ],
)
def test_login_ends_as_authenticate_does(reply: bytes, error: type[sasl.SASLError], *, close: bool) -> None:
    wire = imap_wire(PASSWORD)
    wire.command()
    wire.receive(b"* 1 EXISTS {3}\r\n")
    wire.receive(b"abc\r\n")

    wire.receive(reply + b"\r\n")

    assert type(wire.error) is error
    assert (wire.error.mechanism, wire.must_close) == ("IMAP-LOGIN", close)


def test_a_refused_literal_is_a_no() -> None:
    wire = imap_wire(sasl.Password("user", "pässword"))
    wire.command()

    wire.receive(b"A1 NO literals are off\r\n")

    assert type(wire.error) is AuthenticationFailed
    assert not wire.error.new_token_may_help


# --- POP USER and PASS


def test_the_password_follows_the_yes_to_the_user() -> None:
    wire = pop_wire(sasl.Password("user", "pass wörd"))

    user = wire.command()
    password = wire.receive(b"+OK who?\r\n")
    assert wire.receive(b"+OK maildrop ready\r\n") is None

    assert (user.octets, password.octets) == (b"USER user\r\n", "PASS pass wörd\r\n".encode())
    assert (user.shown, password.shown) == ("USER <4 octets>", "PASS <10 octets>")
    assert (wire.done, wire.error, wire.turns, wire.server_text) == (True, None, 2, "maildrop ready")


def test_a_server_that_does_not_know_the_user_gets_no_password() -> None:
    wire = pop_wire(PASSWORD)
    wire.command()

    assert wire.receive(b"-ERR [AUTH] never heard of\r\n") is None

    assert type(wire.error) is AuthenticationFailed
    assert (wire.error.mechanism, wire.turns) == ("POP-USER", 1)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"-ERR [AUTH] x", AuthenticationFailed),
        (b"-ERR [IN-USE] x", TemporaryFailure),
        (b"-ERR x", AuthenticationFailed),
    ],
)
def test_a_refused_password_is_a_no(reply: bytes, error: type[sasl.SASLError]) -> None:
    wire = pop_wire(PASSWORD)
    wire.command()
    wire.receive(b"+OK\r\n")

    wire.receive(reply + b"\r\n")

    assert type(wire.error) is error
    assert not wire.must_close


@pytest.mark.parametrize("line", [b"+ ", b"+", b"+ Zg==", b"+OKAY", b"what"])
@pytest.mark.parametrize("answered", [False, True])
def test_user_and_pass_take_no_challenge(line: bytes, *, answered: bool) -> None:
    wire = pop_wire(PASSWORD)
    wire.command()
    if answered:
        wire.receive(b"+OK\r\n")

    assert wire.receive(line + b"\r\n") is None

    assert type(wire.error) is ProtocolError
    assert wire.must_close


# --- both


LOGINS = pytest.mark.parametrize("wire_type", [imap_wire, pop_wire], ids=["imap", "pop"])


@LOGINS
@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "a\rb", "a\0b", "\x7f", "", "\u0085", "\ud800"])
@pytest.mark.parametrize("part", ["authcid", "password"])
def test_what_would_break_the_line_is_refused_before_it_is_sent(wire_type: Any, text: str, part: str) -> None:
    wire = wire_type(sasl.Password(**{"authcid": "user", "password": "secret", part: text}))

    with pytest.raises(UsageError) as refused:
        wire.command()

    assert wire.turns == 0
    assert text == "" or text not in str(refused.value)


@LOGINS
def test_a_login_command_cannot_act_for_somebody_else(wire_type: Any) -> None:
    with pytest.raises(UsageError):
        wire_type(sasl.Password("user", "secret", authzid="boss")).command()


@LOGINS
def test_a_login_command_serves_once(wire_type: Any) -> None:
    wire = wire_type(PASSWORD)
    wire.command()
    wire.lost()

    assert type(wire.error) is ConnectionLost
    for call in (wire.command, lambda: wire.receive(b"+OK\r\n")):
        with pytest.raises(UsageError):
            call()


@LOGINS
@pytest.mark.parametrize("password", ["hunter22", 'with"quote', "pässword"])
def test_the_password_of_a_login_command_is_seen_nowhere(wire_type: Any, password: str) -> None:
    wire = wire_type(sasl.Password("user", password))
    quoted = password.replace('"', '\\"') if wire_type is imap_wire else password
    seen = f"{vars(wire)} {wire.command()!r} {vars(wire)}"
    line = wire.receive(b"+OK\r\n" if wire_type is pop_wire else b"+ \r\n") if password == "pässword" else None
    if wire_type is pop_wire and line is None:
        line = wire.receive(b"+OK\r\n")
    said = f'what is "{quoted}" or {password}?'.encode()
    reply = (b"-ERR " if wire_type is pop_wire else b"A1 NO ") + said + b"\r\n"

    seen += f"{line!r} {wire.shown(reply)}"
    wire.receive(reply)
    seen += f"{wire.shown(reply)} {wire.server_text} {wire.error!r} {vars(wire.error)} {vars(wire)}"
    seen += "".join(traceback.TracebackException.from_exception(wire.error, capture_locals=True).format())

    assert type(wire.error) is AuthenticationFailed
    assert password not in seen
    assert quoted not in seen


@LOGINS
@pytest.mark.parametrize("password", ["hunter22", "pässword"])
def test_no_variable_of_a_login_command_holds_the_password_that_it_sends(wire_type: Any, password: str) -> None:
    wire = wire_type(sasl.Password("üser", password))
    lines = [wire.command()]

    while not lines[-1].octets.endswith((f"{password}\r\n".encode(), f'"{password}"\r\n'.encode())):
        lines.append(wire.receive(b"+OK\r\n" if wire_type is pop_wire else b"+ \r\n"))

    kept = wire._script.gi_frame.f_locals.values()
    assert not any(password.encode() in getattr(each, "octets", str(each).encode()) for each in kept)


# --- the choice

ROWS = [(imap, "IMAP-LOGIN", ["IMAP4rev1"], "AUTH="), (pop, "POP-USER", ["USER"], "SASL ")]
both = pytest.mark.parametrize(("module", "name", "bare", "prefix"), ROWS, ids=["imap", "pop"])


@both
def test_a_mechanism_comes_before_the_login_command(module: Any, name: str, bare: list[str], prefix: str) -> None:
    choice = module.choose([*bare, f"{prefix}PLAIN"], PASSWORD, channel=TLS)

    assert choice.name == "PLAIN"


@both
def test_the_login_command_is_chosen_where_no_mechanism_takes_a_password(
    module: Any, name: str, bare: list[str], prefix: str
) -> None:
    choice = module.choose([*bare, f"{prefix}XOAUTH2", f"{prefix}X-NEW"], PASSWORD, channel=TLS)
    wire = module.client_wire(choice, PASSWORD)

    assert choice.name == name
    assert set(choice.passed_over) == {"XOAUTH2", "X-NEW"}
    assert type(wire) is module.ClientWire
    assert wire.exchange.name == name


@both
@pytest.mark.parametrize("credentials", [TOKEN, sasl.External(), sasl.Anonymous()], ids=["bearer", "ext", "anonymous"])
def test_only_a_password_falls_back(
    module: Any, name: str, bare: list[str], prefix: str, credentials: sasl.Credentials
) -> None:
    for mechanism in (None, name):
        with pytest.raises(MechanismUnavailable):
            module.choose([*bare, f"{prefix}PLAIN"], credentials, channel=TLS, mechanism=mechanism)
    with pytest.raises(UsageError):
        module.client_wire(sasl.Choice(name), credentials)


@both
def test_the_login_command_may_be_asked_for_by_name(module: Any, name: str, bare: list[str], prefix: str) -> None:
    offered = [*bare, f"{prefix}PLAIN"]

    assert module.choose(offered, PASSWORD, channel=TLS, mechanism=name).name == name
    assert module.choose(offered, PASSWORD, channel=TLS, mechanism=name.lower()).name == name


@both
@pytest.mark.parametrize("mechanism", ["PLAIN", "X-NEW"])
def test_another_mechanism_that_was_asked_for_does_not_fall_back(
    module: Any, name: str, bare: list[str], prefix: str, mechanism: str
) -> None:
    with pytest.raises(MechanismUnavailable):
        module.choose(bare, PASSWORD, channel=TLS, mechanism=mechanism)


@both
@pytest.mark.parametrize("mechanism", ["", "X Y", "PLAIN\r\nNOOP", "\u0131map-login", "x" * 21])
def test_what_is_no_name_is_the_callers_mistake(
    module: Any, name: str, bare: list[str], prefix: str, mechanism: str
) -> None:
    with pytest.raises(UsageError):
        module.choose(bare, PASSWORD, channel=TLS, mechanism=mechanism)


@both
@pytest.mark.parametrize("by_name", [False, True])
def test_the_policy_holds_for_the_login_command(
    module: Any, name: str, bare: list[str], prefix: str, *, by_name: bool
) -> None:
    mechanism = name if by_name else None

    def choose(policy: sasl.Policy, channel: sasl.Channel = TLS) -> str:
        return str(module.choose(bare, PASSWORD, policy=policy, channel=channel, mechanism=mechanism).name)

    refused = [
        (sasl.Policy(), CLEAR),
        (sasl.Policy(), sasl.Channel(loopback=True)),
        (sasl.Policy(plaintext="loopback"), CLEAR),
        (sasl.Policy(pin="PLAIN"), TLS),
        (sasl.Policy(channel_binding="require"), TLS),
    ]
    for policy, channel in refused:
        with pytest.raises(PolicyViolation) as violation:
            choose(policy, channel)
        assert name in violation.value.passed_over
    assert choose(sasl.Policy(plaintext="always"), CLEAR) == name
    assert choose(sasl.Policy(plaintext="loopback"), sasl.Channel(loopback=True)) == name


@both
def test_a_mechanism_that_the_policy_forbids_is_no_reason_to_fall_back(
    module: Any, name: str, bare: list[str], prefix: str
) -> None:
    with pytest.raises(PolicyViolation) as violation:
        module.choose([*bare, f"{prefix}PLAIN"], PASSWORD, channel=CLEAR)

    assert "PLAIN" in violation.value.passed_over


@both
def test_an_account_pinned_to_the_login_command_may_use_it_and_all_that_is_stronger(
    module: Any, name: str, bare: list[str], prefix: str
) -> None:
    policy = sasl.Policy(pin=name.lower())

    assert module.choose(bare, PASSWORD, policy=policy, channel=TLS).name == name
    assert module.choose([*bare, f"{prefix}PLAIN"], PASSWORD, policy=policy, channel=TLS).name == "PLAIN"


@pytest.mark.parametrize("mechanism", [None, "IMAP-LOGIN"])
def test_login_is_never_sent_where_it_is_disabled(mechanism: str | None) -> None:
    with pytest.raises(MechanismUnavailable) as unavailable:
        imap.choose(["IMAP4rev1", "LoginDisabled", "AUTH=XOAUTH2"], PASSWORD, channel=TLS, mechanism=mechanism)

    assert unavailable.value.passed_over["IMAP-LOGIN"] == "the server has LOGINDISABLED"


@pytest.mark.parametrize(
    ("capabilities", "there"),
    [([], True), (["user"], True), (["TOP", "USER"], True), (["TOP", ""], False), ([""], True)],
)
def test_user_is_missing_only_where_a_list_leaves_it_out(capabilities: list[str], *, there: bool) -> None:
    if there:
        assert pop.choose(capabilities, PASSWORD, channel=TLS).name == "POP-USER"
        return
    with pytest.raises(MechanismUnavailable) as unavailable:
        pop.choose(capabilities, PASSWORD, channel=TLS)
    assert unavailable.value.passed_over["POP-USER"].startswith("the server does not have USER")
