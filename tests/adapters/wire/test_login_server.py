"""The server's side of the logins that are not SASL: IMAP's LOGIN with its literals, POP's USER and PASS."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.adapters.wire import imap, pop
from sasl.adapters.wire.imap.arguments import Arguments
from sasl.adapters.wire.line import Line
from sasl.errors import AuthenticationFailed, AuthorizationFailed, TemporaryFailure, UsageError
from sasl.policy import against

TLS = sasl.Channel(tls=True)
CLEAR = sasl.Channel()
LOOPBACK = sasl.Channel(loopback=True)
GO_AHEAD = b"+ Go ahead\r\n"
IN = b"A1 OK Authenticated\r\n"
POLICY = sasl.Policy()


def password_of(user: str, password: str) -> sasl.Verifier:
    """A verifier that knows one user."""

    def answer(question: sasl.Question) -> object:
        if not isinstance(question, sasl.CheckPassword):
            return NotImplemented
        known = (question.authcid, question.password.reveal()) == (user, password)
        return sasl.Accepted(user) if known else sasl.Rejected("wrong")

    return answer


def answering(answer: object) -> sasl.Verifier:
    return lambda question: answer if isinstance(question, sasl.CheckPassword) else NotImplemented


def unasked(question: sasl.Question) -> object:
    raise AssertionError(question)


ALICE = password_of("alice", "wonderland")


def allowed(command: str, channel: sasl.Channel, policy: sasl.Policy) -> list[str]:
    """What a server offers that goes by its policy."""
    return [] if against(sasl.lookup(command), policy, channel) else [command]


def login(channel: sasl.Channel = TLS, policy: sasl.Policy = POLICY, **settings: Any) -> imap.ServerWire:
    return imap.ServerWire(allowed("IMAP-LOGIN", channel, policy), channel=channel, **settings)


def user(channel: sasl.Channel = TLS, policy: sasl.Policy = POLICY, **settings: Any) -> pop.ServerWire:
    return pop.ServerWire(allowed("POP-USER", channel, policy), channel=channel, **settings)


def give(wire: Any, line: bytes, verifier: sasl.Verifier = ALICE) -> bytes | None:
    """Give a wire one line; return what it says to it."""
    said = wire.receive(line)
    if isinstance(said, sasl.Question):
        said = wire.answered(sasl.settle(wire.exchange, said, verifier))
    assert said is None or isinstance(said, Line)
    return None if said is None else said.octets


def kind(wire: Any) -> str:
    return "accepted" if isinstance(wire.result, sasl.Success) else wire.result.kind


# --- IMAP LOGIN


@pytest.mark.parametrize(
    ("line", "name", "password"),
    [
        (b"A1 LOGIN alice wonderland", "alice", "wonderland"),
        (b'A1 login "alice" "wonderland"', "alice", "wonderland"),
        (b'A1 LOGIN alice "wonder\\"land"', "alice", 'wonder"land'),
        (b'A1 LOGIN "al\\\\ice" x', "al\\ice", "x"),
        (b'A1 LOGIN "a b" "[x] %*"', "a b", "[x] %*"),
        (b"A1 LOGIN a]b x", "a]b", "x"),
        (b'A1 LOGIN "(" ")"', "(", ")"),
    ],
)
def test_atoms_and_quoted_strings_come_in_one_line(line: bytes, name: str, password: str) -> None:
    wire = login()

    assert give(wire, line + b"\r\n", password_of(name, password)) == IN
    assert wire.result == sasl.Success(name, name)
    assert not wire.must_close


@pytest.mark.parametrize(
    ("lines", "answers"),
    [
        ([b"A1 LOGIN {5}", b"alice {10}", b"wonderland"], [GO_AHEAD, GO_AHEAD, IN]),
        ([b"A1 LOGIN alice {10}", b"wonderland"], [GO_AHEAD, IN]),
        ([b"A1 LOGIN {5}", b'alice "wonderland"'], [GO_AHEAD, IN]),
        ([b"A1 LOGIN {5+}", b"alice {10+}", b"wonderland"], [None, None, IN]),
        ([b"A1 LOGIN {5+}", b"alice {10}", b"wonderland "], [None, GO_AHEAD, IN]),
    ],
)
def test_literals_come_after_a_go_ahead_or_unasked(lines: list[bytes], answers: list[bytes | None]) -> None:
    wire = login()

    assert [give(wire, line + b"\r\n") for line in lines] == answers
    assert kind(wire) == "accepted"


@pytest.mark.parametrize(("prepare", "seen"), [(True, "a"), (False, "\xaa")])
@pytest.mark.parametrize("make", [login, user])
def test_a_command_has_its_own_options(make: Any, prepare: bool, seen: str) -> None:
    wire = make(options={name: {"prepare": prepare} for name in ("IMAP-LOGIN", "POP-USER")})
    lines = ["A1 LOGIN alice {2+}\r\n", "\xaa\r\n"] if make is login else ["USER alice\r\n", "PASS \xaa\r\n"]

    *_, question = [wire.receive(line.encode()) for line in lines]

    assert question == sasl.CheckPassword("alice", sasl.Secret(seen))


def test_the_capabilities_stand_in_the_yes() -> None:
    wire = login(capabilities=["IMAP4rev1", "ID"])

    assert give(wire, b"x.1 LOGIN alice wonderland\r\n") == b"x.1 OK [CAPABILITY IMAP4rev1 ID] Authenticated\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        [b"A1 LOGIN {3+}\r\n", b"a\r\n", b" x\r\n"],
        [b"A1 LOGIN {3+}\r\n", b"a\r", b"\n x\r\n"],
        [b"A1 LOGIN {4+}\r\n", b"\r\n", b"\r\n", b" x\r\n"],
        [b"A1 LOGIN {2+}\r\n", b"a\n", b" x\r\n"],
        [b"A1 LOGIN {0+}\r\n", b" x\r\n"],
        [b"A1 LOGIN x {0}\r\n", b"\r\n"],
        [b"A1 LOGIN x {1+}\r\n", b"\n", b"\r\n"],
    ],
)
def test_what_looks_like_the_end_of_a_line_in_a_literal_is_a_part_of_it(lines: list[bytes]) -> None:
    wire = login()

    *_, last = [give(wire, line, answering(sasl.Rejected())) for line in lines]

    assert last == b"A1 NO [AUTHENTICATIONFAILED] Authentication failed\r\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([b"A1 LOGIN"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN alice"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN alice x y"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN (alice x)"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN (x"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN ) x"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN x {1}", b"a)"], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN {}"], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN {" + b"9" * 20 + b"}"], b"A1 BAD That literal is too large\r\n"),
        ([b"A1 LOGIN {" + b"9" * 21 + b"}"], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN x {1+}", b"a b"], b"A1 BAD Too few arguments, or too many\r\n"),
        ([b"A1 LOGIN alice  x"], b"A1 BAD Not arguments\r\n"),
        ([b'A1 LOGIN alice "x'], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN alice x{3}"], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN {5}", b"alicex"], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN {5}", b"alice " + b"x" * 100_000], b"A1 BAD Not arguments\r\n"),
        ([b"A1 LOGIN {4097}"], b"A1 BAD That literal is too large\r\n"),
        ([b"A1 LOGIN {4096}", b"x" * 4096 + b" {1}"], b"A1 BAD That literal is too large\r\n"),
        ([b"A1 LOGINX alice x"], b"A1 BAD Malformed authentication message\r\n"),
        ([b"A1 AUTHENTICATE PLAIN"], b"A1 NO Unsupported authentication mechanism\r\n"),
        ([b"+ LOGIN alice x"], b"* BAD Malformed authentication message\r\n"),
        ([b"\xff LOGIN alice x"], b"* BAD Malformed authentication message\r\n"),
        ([b"A1 LOGIN \xff x"], b"A1 NO [AUTHENTICATIONFAILED] Authentication failed\r\n"),
        ([b"A1 LOGIN x w\xf6nd"], b"A1 NO [AUTHENTICATIONFAILED] Authentication failed\r\n"),
        ([b"A1 LOGIN alice " + b"x" * 100_000], b"A1 BAD Authentication message too large\r\n"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_is_no_login_command_reaches_no_verifier(lines: list[bytes], said: bytes) -> None:
    wire = login()

    *_, last = [give(wire, line + b"\r\n", unasked) for line in lines]

    assert last == said
    assert kind(wire) in ("malformed", "limit", "unsupported", "credentials")
    assert not wire.must_close


@pytest.mark.parametrize(
    ("text", "words", "nested"),
    [
        (b"", [], False),
        (b"a b", [b"a", b"b"], False),
        (b'"(" ")"', [b"(", b")"], False),
        (b"()", [b"(", b")"], True),
        (b'(a "b") c', [b"(", b"a", b"b", b")", b"c"], True),
        (b"a (", [b"a", b"("], True),
        (b"a))", [b"a", b"))"], True),
    ],
)
def test_a_parenthesis_is_an_argument_by_itself(text: bytes, words: list[bytes], *, nested: bool) -> None:
    arguments = Arguments(100)

    arguments.receive(text)

    assert (arguments.done, arguments.refusal) == (True, "")
    assert (arguments.words, arguments.nested) == (words, nested)


def test_a_line_may_be_as_long_as_a_reader_takes_behind_a_literal_too() -> None:
    fitting, too_long = login(), login()
    rest = login().longest_line - len("alice \r\n")
    for wire in (fitting, too_long):
        give(wire, b"A1 LOGIN {5}\r\n")

    give(fitting, b"alice " + b"x" * rest + b"\r\n", unasked)
    give(too_long, b"alice " + b"x" * (rest + 1) + b"\r\n", unasked)

    assert (kind(fitting), kind(too_long)) == ("limit", "malformed")  # what is too long for a password is read


@pytest.mark.parametrize("begin", [b"A1 LOGIN alice ", b"USER ", b"PASS "])
def test_a_line_of_a_login_may_be_as_long_as_a_reader_takes(begin: bytes) -> None:
    make: Any = login if begin.startswith(b"A1") else user
    fitting, too_long = make(), make()
    rest = fitting.longest_line - len(begin) - len("\r\n")

    for wire, size in ((fitting, rest), (too_long, rest + 1)):
        if begin == b"PASS ":
            give(wire, b"USER alice\r\n")
        said = wire.receive(begin + b"x" * size + b"\r\n")
        if wire is too_long:
            assert wire.result == sasl.Failure("limit", "a command line that is too long")
        else:
            assert said is not None
            assert wire.result != sasl.Failure("limit", "a command line that is too long")


@pytest.mark.parametrize(("size", "tag"), [(64, "A" * 64), (65, "*")])
def test_a_tag_has_64_characters_at_most(size: int, tag: str) -> None:
    wire = login()

    assert give(wire, b"A" * size + b" X\r\n") == f"{tag} BAD Malformed authentication message\r\n".encode()


@pytest.mark.parametrize("lines", [[b"A1 LOGIN {4097+}"], [b'A1 LOGIN "x {5+}'], [b"A1 LOGIN {1+}", b"xy {5+}"]])
def test_a_refused_literal_that_is_on_its_way_is_not_taken_for_commands(lines: list[bytes]) -> None:
    wire = login()

    *_, last = [give(wire, line + b"\r\n", unasked) for line in lines]

    assert last == b"* BYE That literal is too large\r\n"
    assert wire.must_close


@pytest.mark.parametrize("line", [b'A1 LOGIN "" x', b'A1 LOGIN alice ""', b'A1 LOGIN "" ""'])
def test_a_name_or_a_password_that_is_empty_is_nobodys(line: bytes) -> None:
    wire = login()

    assert give(wire, line + b"\r\n", unasked) == b"A1 NO [AUTHENTICATIONFAILED] Authentication failed\r\n"


def test_a_nul_moves_nothing_from_the_password_to_the_name() -> None:
    wire = login()
    give(wire, b"A1 LOGIN {5+}\r\n")

    said = give(wire, b"a\0b\0c x\r\n", unasked)

    assert said == b"A1 NO [AUTHENTICATIONFAILED] Authentication failed\r\n"


PRIVACY = b"A1 NO [PRIVACYREQUIRED] Encryption is required first\r\n"


@pytest.mark.parametrize("line", [b"A1 LOGIN alice wonderland", b"A1 LOGIN {5}", b"A1 LOGIN alice {10}"])
@pytest.mark.parametrize(("channel", "policy"), [(CLEAR, {}), (CLEAR, {"policy": sasl.Policy(plaintext="loopback")})])
def test_without_tls_no_password_is_taken_nor_a_literal_asked_for(
    line: bytes, channel: sasl.Channel, policy: dict[str, Any]
) -> None:
    wire = login(channel=channel, **policy)

    assert give(wire, line + b"\r\n", unasked) == PRIVACY
    assert kind(wire) == "policy"


def test_without_tls_a_literal_that_comes_unasked_is_read_and_refused() -> None:
    wire = login(channel=CLEAR)

    answers = [give(wire, line, unasked) for line in (b"A1 LOGIN {5+}\r\n", b"alice {10+}\r\n", b"wonderland\r\n")]

    assert answers == [None, None, PRIVACY]


@pytest.mark.parametrize("make", [login, user])
def test_nothing_is_taken_where_nobody_said_what_the_channel_is(make: Any) -> None:
    wire = make(channel=sasl.Channel())

    give(wire, b"A1 LOGIN alice wonderland\r\n" if make is login else b"USER alice\r\n", unasked)

    assert kind(wire) == "policy"


@pytest.mark.parametrize("line", [b"A1 LOGIN alice wonderland", b"A1 LOGIN {5}", b"A1 LOGIN alice"])
def test_an_authenticated_session_takes_no_login(line: bytes) -> None:
    wire = login(authenticated=True)

    assert give(wire, line + b"\r\n", unasked) == b"A1 BAD Authenticated already\r\n"
    assert kind(wire) == "state"


# --- POP USER and PASS


def test_user_and_pass_are_two_lines() -> None:
    wire = user()

    assert give(wire, b"user alice\r\n") == b"+OK Now the password\r\n"
    assert (wire.result, wire.exchange) == (None, None)
    assert give(wire, b"PASS wonderland\r\n") == b"+OK Authenticated\r\n"
    assert wire.result == sasl.Success("alice", "alice")


def test_names_and_passwords_may_hold_spaces() -> None:
    wire = user()
    give(wire, b"USER a b \r\n")

    assert give(wire, b"PASS  c  d\r\n", password_of("a b ", " c  d")) == b"+OK Authenticated\r\n"


def test_a_second_user_stands_for_the_first() -> None:
    wire = user()
    give(wire, b"USER bob\r\n")
    give(wire, b"USER alice\r\n")

    assert give(wire, b"PASS wonderland\r\n") == b"+OK Authenticated\r\n"


@pytest.mark.parametrize(
    ("lines", "outcome", "said"),
    [
        ([b"USER"], "malformed", b"-ERR USER takes a name\r\n"),
        ([b"USER "], "malformed", b"-ERR USER takes a name\r\n"),
        ([b"PASS wonderland"], "state", b"-ERR USER comes first\r\n"),
        ([b"USERX alice"], "malformed", b"-ERR Malformed authentication message\r\n"),
        ([b"USER alice", b"CAPA"], "malformed", b"-ERR Malformed authentication message\r\n"),
        ([b""], "malformed", b"-ERR Malformed authentication message\r\n"),
        ([b"USER \xff", b"PASS x"], "credentials", b"-ERR [AUTH] Authentication failed\r\n"),
        ([b"USER " + b"x" * 100_000], "limit", b"-ERR Authentication message too large\r\n"),
        ([b"USER alice", b"PASS " + b"x" * 100_000], "limit", b"-ERR Authentication message too large\r\n"),
        ([b"USER alice", b"PASS"], "credentials", b"-ERR [AUTH] Authentication failed\r\n"),
        ([b"USER alice", b"PASS a\0b"], "malformed", b"-ERR Malformed authentication message\r\n"),
        ([b"USER a\0b"], "malformed", b"-ERR Malformed authentication message\r\n"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_is_no_user_or_no_pass_reaches_no_verifier(lines: list[bytes], outcome: str, said: bytes) -> None:
    wire = user()

    *_, last = [give(wire, line + b"\r\n", unasked) for line in lines]

    assert (kind(wire), last) == (outcome, said)


@pytest.mark.parametrize("line", [b"USER alice", b"PASS wonderland"])
def test_an_authenticated_session_takes_neither(line: bytes) -> None:
    wire = user(authenticated=True)

    assert give(wire, line + b"\r\n", unasked) == b"-ERR Logged in already\r\n"
    assert kind(wire) == "state"


def test_without_tls_no_user_is_taken() -> None:
    wire = user(channel=CLEAR)

    assert give(wire, b"USER alice\r\n", unasked) == b"-ERR Encryption is required first\r\n"
    assert kind(wire) == "policy"


# --- both


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (imap, b"A1 LOGIN alice wonderland", PRIVACY),
        (imap, b"A1 LOGIN alice {10}", PRIVACY),
        (pop, b"USER alice", b"-ERR Encryption is required first\r\n"),
        (pop, b"APOP alice " + b"0" * 32, b"-ERR Unsupported authentication mechanism\r\n"),
    ],
)
def test_a_command_that_is_not_offered_reaches_no_verifier(module: Any, line: bytes, said: bytes) -> None:
    wire = module.ServerWire(["PLAIN", "SCRAM-SHA-256"], channel=TLS)

    assert give(wire, line + b"\r\n", unasked) == said


@pytest.mark.parametrize(("make", "prefix"), [(login, b"A1 AUTHENTICATE IMAP-LOGIN"), (user, b"AUTH POP-USER")])
@pytest.mark.parametrize("argument", [b"", b" =", b" YWxpY2U="])
def test_a_command_is_no_mechanism(make: Any, prefix: bytes, argument: bytes) -> None:
    wire = make()

    give(wire, prefix + argument + b"\r\n", unasked)

    assert kind(wire) == "unsupported"


@pytest.mark.parametrize("make", [login, user])
def test_a_policy_may_allow_passwords_in_the_clear(make: Any) -> None:
    wire = make(channel=LOOPBACK, policy=sasl.Policy(plaintext="loopback"))

    for line in [b"A1 LOGIN alice wonderland"] if make is login else [b"USER alice", b"PASS wonderland"]:
        give(wire, line + b"\r\n")

    assert kind(wire) == "accepted"


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (sasl.Rejected("no"), "credentials", AuthenticationFailed),
        (sasl.Rejected("no", "authorization"), "authorization", AuthorizationFailed),
        (sasl.Rejected("no", "expired"), "expired", AuthenticationFailed),
        (sasl.Rejected("no", "disabled"), "disabled", AuthenticationFailed),
        (sasl.Unavailable("no database"), "unavailable", TemporaryFailure),
        ("yes", "unavailable", TemporaryFailure),
    ],
    ids=repr,
)
@pytest.mark.parametrize("protocol", ["imap", "pop"])
def test_a_no_of_the_verifier_arrives_as_its_kind(
    protocol: str, answer: object, outcome: str, error: type[sasl.SASLError]
) -> None:
    client, server = pair(protocol, sasl.Password("alice", "looking-glass"))

    converse(client, server, answering(answer))

    assert kind(server) == outcome
    assert isinstance(client.error, error if protocol == "imap" else (AuthenticationFailed, TemporaryFailure))
    assert isinstance(client.error, TemporaryFailure) == (error is TemporaryFailure)


@pytest.mark.parametrize("make", [login, user])
def test_a_call_out_of_turn_is_a_usage_error(make: Any) -> None:
    lines = [b"A1 LOGIN alice wonderland\r\n"] if make is login else [b"USER alice\r\n", b"PASS wonderland\r\n"]
    wire = make()
    *_, question = [wire.receive(line) for line in lines]
    with pytest.raises(UsageError):
        wire.receive(lines[0])

    wire.answered(sasl.settle(wire.exchange, question, ALICE))

    with pytest.raises(UsageError):
        wire.receive(lines[0])


def pair(protocol: str, credentials: sasl.Password) -> tuple[Any, Any]:
    if protocol == "imap":
        return imap.ClientWire(sasl.client("IMAP-LOGIN", credentials)), login()
    return pop.ClientWire(sasl.client("POP-USER", credentials)), user()


def converse(client: Any, server: Any, verifier: sasl.Verifier) -> None:
    """Let the two talk until both are done."""
    line = client.command()
    for _ in range(5):
        said = give(server, line.octets, verifier)
        assert said is not None
        line = client.receive(said)
        if client.done:
            return
    raise AssertionError("they do not end")


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)


@given(protocol=st.sampled_from(["imap", "pop"]), name=texts, right=texts, other=texts)
def test_both_ends_agree_on_the_right_password_and_on_no_other(
    protocol: str, name: str, right: str, other: str
) -> None:
    """The verifier sees what SASLprep makes of both; so it is asked by what it saw first."""
    seen: list[tuple[str, str]] = []

    def verifier(question: sasl.Question) -> object:
        if not isinstance(question, sasl.CheckPassword):
            return NotImplemented
        seen.append((question.authcid, question.password.reveal()))
        return sasl.Accepted(question.authcid) if seen[-1] == seen[0] else sasl.Rejected("wrong")

    for password in (right, other):
        client, server = pair(protocol, sasl.Password(name, password))
        converse(client, server, verifier)
        if not seen:
            return  # SASLprep has something against it
        agreed = isinstance(server.result, sasl.Success)
        assert (client.error is None) == agreed
        assert not agreed or seen[-1] == seen[0]
        assert not client.must_close


pieces = st.sampled_from(
    [b"A1 LOGIN ", b"alice", b"wonderland", b" ", b'"', b"\\", b"{5}", b"{5+}", b"{0+}", b"(", b")", b"\0", b"\xff"]
)
heads = st.sampled_from([b"", b"A1 LOGIN ", b"A1 LOGIN {5+}\r\n", b"A1 LOGIN alice "])
POP_PIECES = st.sampled_from([b"USER ", b"PASS ", b"USER alice", b"PASS wonderland", b"\0", b" ", b"\xff"])


@given(
    head=heads, texts=st.lists(st.lists(st.one_of(pieces, st.binary(max_size=6)), max_size=6).map(b"".join), max_size=5)
)
def test_no_octets_are_a_login_where_the_verifier_says_no(head: bytes, texts: list[bytes]) -> None:
    wire = login()
    octets = head + b"".join(text + b"\r\n" for text in texts)

    for line in octets.splitlines(keepends=True) if octets.isascii() else octets.split(b"\n"):
        if wire.result is not None:
            break
        said = give(wire, line if line.endswith(b"\n") else line + b"\n", answering(sasl.Rejected()))
        assert said is None or (said.endswith(b"\r\n") and said.count(b"\n") == 1)

    assert not isinstance(wire.result, sasl.Success)
    assert not wire.must_close or isinstance(wire.result, sasl.Failure)


@given(st.lists(st.lists(st.one_of(POP_PIECES, st.binary(max_size=6)), max_size=4).map(b"".join), max_size=4))
def test_no_lines_are_a_login_where_the_verifier_says_no(lines: list[bytes]) -> None:
    wire = user()

    for line in lines:
        if wire.result is not None:
            break
        said = give(wire, line + b"\r\n", answering(sasl.Rejected()))
        assert said is not None
        assert said.startswith((b"-ERR", b"+OK Now"))

    assert not isinstance(wire.result, sasl.Success)


literals = st.binary(min_size=1, max_size=60).filter(lambda text: b"\0" not in text)


@given(name=literals, password=literals, unasked=st.booleans())
def test_any_octets_come_through_in_literals_as_they_are(name: bytes, password: bytes, *, unasked: bool) -> None:
    """As the server reads them off a connection: line by line, wherever a line ends."""
    wire: Any = login()
    asked: list[bytes] = []
    plus = b"+" if unasked else b""
    stream = b"A1 LOGIN {%d%b}\r\n%b {%d%b}\r\n%b\r\n" % (len(name), plus, name, len(password), plus, password)
    wire._check = lambda *words: asked.extend(words) or sasl.Failure("credentials")

    answers = [give(wire, part + b"\n") for part in stream[:-1].split(b"\n")]

    assert asked == [name, password]
    assert answers.count(GO_AHEAD) == (0 if unasked else 2)
