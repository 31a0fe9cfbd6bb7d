"""APOP (RFC 1939 section 7): the timestamp that is trusted, the command from both sides, and when `choose` takes it."""

from __future__ import annotations

import hashlib
import re
import string
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl.adapters.wire import pop
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    TemporaryFailure,
    UsageError,
)
from sasl.mechanisms import commands
from sasl.prep import saslprep

# The example of RFC 1939 section 7.
TIMESTAMP = b"<1896.697170952@dbc.mtview.ca.us>"
GREETING = b"+OK POP3 server ready " + TIMESTAMP + b"\r\n"
MROSE = sasl.Password("mrose", "tanstaaf")
DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"
COMMAND = b"APOP mrose " + DIGEST + b"\r\n"

TLS = sasl.Channel(tls=True)
CLEAR = sasl.Channel()
ALLOWED = sasl.Policy(allow=["pop-apop"])


def answered(found: object) -> Any:
    """A verifier that answers FindSecret, and Authorize by its default."""
    return lambda question: found if isinstance(question, sasl.FindSecret) else NotImplemented


def kept(secret: Any, identity: str = "mrose") -> Any:
    return answered(sasl.Record(identity, secret))


def served(line: bytes, verifier: Any, **settings: Any) -> tuple[pop.ServerWire, bytes]:
    """The wire after one command line, and what it says."""
    wire = pop.ServerWire(["POP-APOP"], timestamp=TIMESTAMP, **settings)
    said = wire.receive(line)
    if isinstance(said, sasl.Question):
        assert wire.exchange is not None
        said = wire.answered(sasl.settle(wire.exchange, said, verifier))
    assert not isinstance(said, sasl.Question)
    return wire, said.octets


def apop(credentials: sasl.Password, greeting: bytes | str) -> pop.ClientWire:
    return pop.ClientWire(sasl.client("POP-APOP", credentials), greeting=greeting)


# --- the timestamp


@pytest.mark.parametrize(
    "stamp",
    [
        TIMESTAMP,
        b"<7a6e.1.6b073c7e.WM4KkRcwT7w6inYMmb3jkg==@vm>",  # Dovecot 2.3
        b"<voThCFU/lOGi+KqodbyQgA==@mail.example.org>",
        b"<1@x>",
        b"<1.2@[192.0.2.1]>",
        b"<1.2@[IPv6:2001:db8::1]>",
    ],
)
@pytest.mark.parametrize("form", [b"+OK %b\r\n", b"+OK ready %b", b"+ok %b again\n", b"+OK gr\xfc\xdfe %b \r\n"])
def test_the_timestamp_is_the_msg_id_in_the_greeting(stamp: bytes, form: bytes) -> None:
    assert pop.timestamp(form % stamp) == stamp
    assert pop.timestamp((form % stamp).decode("latin-1")) == stamp


NO_MSG_IDS = [
    b"<>",
    b"<1896>",
    b"<1896.697170952.dbc.mtview.ca.us>",
    b"<@x>",
    b"<1@>",
    b"<1@x",
    b"<1@x@y>",
    b"<1@x><2@x>",
    b"<ready> <1@x>",
    b"<1@x> >",
    b"<<1@x>>",
    b"<1 2@x>",
    b"<1@x y>",
    b"<1@x\t>",
    b"<1@x\n>",
    b"<1@x\0>",
    b"<1\x7f@x>",
    b"<1\xe9@x>",
    b"<1@\xc3\xa9>",
    b"<.1@x>",
    b"<1.@x>",
    b"<1..2@x>",
    b"<1@x.>",
    b"<1@[x>",
    b"<1@[]>",
    b"<1@[a[b]>",
    b'<"1 2"@x>',
    b"<1(comment)@x>",
    b"<1,2@x>",
    b"<1\\2@x>",
]


@pytest.mark.parametrize("stamp", NO_MSG_IDS)
def test_what_is_no_msg_id_is_no_timestamp(stamp: bytes) -> None:
    greeting = b"+OK POP3 server ready " + stamp + b"\r\n"

    assert pop.timestamp(greeting) is None
    assert pop.timestamp(greeting.decode("latin-1")) is None
    with pytest.raises(UsageError):
        apop(MROSE, greeting)
    for mechanism in (None, "POP-APOP"):
        with pytest.raises(MechanismUnavailable) as unavailable:
            pop.choose(["UIDL"], MROSE, policy=ALLOWED, channel=TLS, mechanism=mechanism, greeting=greeting)
        assert "not one msg-id" in unavailable.value.passed_over["POP-APOP"]


@pytest.mark.parametrize(
    "greeting", [b"", "", b"+OK", b"+OK ready", "+OK 1@x", b"-ERR <1@x>", b"+OK<1@x>", b"* OK <1@x>", "\ud800 <1@x>"]
)
def test_a_greeting_may_have_no_timestamp(greeting: bytes | str) -> None:
    assert pop.timestamp(greeting) is None
    with pytest.raises(UsageError, match="no timestamp"):
        apop(MROSE, greeting)
    with pytest.raises(MechanismUnavailable, match="no timestamp"):
        pop.choose([], MROSE, policy=ALLOWED, channel=TLS, mechanism="POP-APOP", greeting=greeting)


def test_a_surrogate_in_a_timestamp_is_no_letter_of_it() -> None:
    assert pop.timestamp("+OK <1\ud800@x>") is None
    assert pop.timestamp("+OK \ud800 <1@x>") == b"<1@x>"


@given(st.binary(max_size=80))
def test_a_timestamp_is_printable_ascii_with_one_at_sign(octets: bytes) -> None:
    for greeting in (b"+OK " + octets, b"+OK <" + octets + b"@x>", b"+OK <1@" + octets + b">"):
        stamp = pop.timestamp(greeting)
        assert stamp is None or (re.fullmatch(rb"<[!-?A-~]+@[!-?A-~]+>", stamp) and stamp in greeting)


# --- the client's side


def test_the_example_of_the_rfc() -> None:
    wire = apop(MROSE, GREETING)

    line = wire.command()
    assert line.octets == COMMAND
    assert repr(line) == "Line('APOP <5 octets> <32 octets>')"
    assert wire.receive(b"+OK mrose's maildrop has 1 message (369 octets)\r\n") is None

    assert (wire.done, wire.error, wire.turns, wire.initial_response) == (True, None, 1, False)
    assert wire.server_text == "mrose's maildrop has 1 message (369 octets)"
    assert wire.exchange.state is sasl.State.DONE


def test_what_is_not_ascii_is_hashed_in_utf_8_as_saslprep_makes_it() -> None:
    digest = hashlib.md5(TIMESTAMP + "p\xe4ss".encode()).hexdigest()

    for user, password in (("\xfcser", "p\xe4ss"), ("u\u0308ser", "pa\u0308ss")):
        wire = apop(sasl.Password(user, password), GREETING)
        assert wire.command().octets == f"APOP \xfcser {digest}\r\n".encode()


@pytest.mark.parametrize(
    ("reply", "error", "kind", "code"),
    [
        (b"-ERR [AUTH] x", AuthenticationFailed, "credentials", "AUTH"),
        (b"-ERR [SYS/TEMP] x", TemporaryFailure, "unavailable", "SYS/TEMP"),
        (b"-ERR [SYS/PERM] x", AuthenticationFailed, "disabled", "SYS/PERM"),
        (b"-ERR [IN-USE] x", TemporaryFailure, "unavailable", "IN-USE"),
        (b"-ERR [LOGIN-DELAY] x", TemporaryFailure, "unavailable", "LOGIN-DELAY"),
        (b"-ERR permission denied", AuthenticationFailed, "credentials", None),
    ],
)
def test_a_no_is_what_it_is_for_auth(reply: bytes, error: type[SASLError], kind: str, code: str | None) -> None:
    wire = apop(MROSE, GREETING)
    wire.command()

    assert wire.receive(reply + b"\r\n") is None

    assert wire.error is not None
    assert type(wire.error) is error
    assert (wire.error.kind, wire.error.response_code, wire.error.mechanism) == (kind, code, "POP-APOP")
    assert not wire.must_close


@pytest.mark.parametrize("line", [b"+ ", b"+", b"+ Zg==", b"+OKAY", b"what", b""])
def test_apop_takes_no_challenge(line: bytes) -> None:
    wire = apop(MROSE, GREETING)
    wire.command()

    assert wire.receive(line + b"\r\n") is None

    assert type(wire.error) is ProtocolError
    assert wire.must_close


def test_a_connection_that_ends_is_lost() -> None:
    wire = apop(MROSE, GREETING)
    wire.command()

    wire.lost()

    assert type(wire.error) is ConnectionLost
    assert wire.must_close


def test_an_apop_serves_once() -> None:
    wire = apop(MROSE, GREETING)
    with pytest.raises(UsageError):
        wire.receive(b"+OK\r\n")
    wire.command()
    with pytest.raises(UsageError):
        wire.command()
    wire.receive(b"-ERR no\r\n")
    for call in (wire.command, lambda: wire.receive(b"+OK\r\n")):
        with pytest.raises(UsageError):
            call()


@pytest.mark.parametrize(
    ("authcid", "password"),
    [
        *(
            (text, "tanstaaf")
            for text in ("", "m rose", "mrose\r\nDELE 1", "m\0rose", "m\xadrose\u2003x", "\ud800", "\xad")
        ),
        *(("mrose", text) for text in ("", "tan\r\n", "tan\0", "\ud800", "\xad", "\u0627a")),
    ],
    ids=ascii,
)
def test_what_cannot_be_sent_is_refused_before_it_is(authcid: str, password: str) -> None:
    wire = apop(sasl.Password(authcid, password), GREETING)

    with pytest.raises(UsageError) as refused:
        wire.command()

    assert wire.turns == 0
    assert refused.value.__context__ is None
    assert "tan" not in str(refused.value)


def test_apop_cannot_act_for_somebody_else() -> None:
    with pytest.raises(UsageError, match="another user"):
        apop(sasl.Password("mrose", "tanstaaf", authzid="boss"), GREETING).command()


def test_neither_password_nor_digest_is_seen_anywhere() -> None:
    wire = apop(MROSE, GREETING)
    seen = f"{vars(wire)} {wire.command()!r} {vars(wire)}"
    reply = b"-ERR [AUTH] " + DIGEST + b" is not what tanstaaf gives\r\n"

    seen += wire.shown(reply)
    wire.receive(reply)
    assert wire.error is not None
    seen += f"{wire.shown(reply)} {wire.server_text} {wire.error!r} {vars(wire.error)} {vars(wire)}"
    seen += "".join(traceback.TracebackException.from_exception(wire.error, capture_locals=True).format())

    assert wire.server_text == "*** is not what *** gives"
    assert "tanstaaf" not in seen
    assert DIGEST.decode() not in seen


# --- the server's side


@pytest.mark.parametrize("secret", ["tanstaaf", sasl.Secret("tanstaaf")], ids=["str", "Secret"])
@pytest.mark.parametrize("line", [COMMAND, b"apop mrose " + DIGEST + b"\n"])
def test_the_digest_of_the_kept_password_is_a_yes(secret: Any, line: bytes) -> None:
    wire, said = served(line, kept(secret, "Marshall Rose"))

    assert said == b"+OK Authenticated\r\n"
    assert wire.result == sasl.Success("Marshall Rose", "Marshall Rose")


def test_the_server_asks_for_the_password_of_the_prepared_name() -> None:
    wire = pop.ServerWire(["POP-APOP"], timestamp=TIMESTAMP)

    question = wire.receive("APOP u\u0308ser ".encode() + DIGEST + b"\r\n")

    assert question == sasl.FindSecret("\xfcser", "APOP", None)
    with pytest.raises(UsageError):
        wire.receive(COMMAND)


@pytest.mark.parametrize(
    ("answer", "kind", "reply"),
    [
        (sasl.Record("mrose", "tanstaaff"), "credentials", b"-ERR [AUTH] Authentication failed\r\n"),
        (None, "credentials", b"-ERR [AUTH] Authentication failed\r\n"),
        (sasl.Rejected("locked"), "credentials", b"-ERR [AUTH] Authentication failed\r\n"),
        (sasl.Rejected("locked", "disabled"), "disabled", b"-ERR [AUTH] The account cannot be used\r\n"),
        (sasl.Unavailable("no database"), "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
        (NotImplemented, "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
        (sasl.Accepted("mrose"), "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
        (sasl.Record("mrose", b"tanstaaf"), "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
        (sasl.Record("mrose", ""), "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
        (sasl.Record("mrose", "tan\0"), "unavailable", b"-ERR [SYS/TEMP] Cannot authenticate now, try later\r\n"),
    ],
    ids=repr,
)
def test_all_else_is_a_no_of_its_kind(answer: object, kind: str, reply: bytes) -> None:
    wire, said = served(COMMAND, answered(answer))

    assert isinstance(wire.result, sasl.Failure)
    assert (wire.result.kind, said) == (kind, reply)
    assert "tan" not in wire.result.reason


def test_nobody_gets_in_by_the_password_of_the_decoy() -> None:
    decoy = commands._DECOY.reveal().encode()
    digest = hashlib.md5(TIMESTAMP + decoy).hexdigest().encode()

    wire, said = served(b"APOP nobody " + digest + b"\r\n", answered(None))

    assert said == b"-ERR [AUTH] Authentication failed\r\n"
    assert isinstance(wire.result, sasl.Failure)


def test_who_may_not_act_as_itself_gets_no_login() -> None:
    def verifier(question: sasl.Question) -> object:
        return sasl.Record("mrose", "tanstaaf") if isinstance(question, sasl.FindSecret) else sasl.Rejected("no")

    wire, said = served(COMMAND, verifier)

    assert said == b"-ERR [AUTH] Authorization failed\r\n"
    assert isinstance(wire.result, sasl.Failure)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"APOP", "malformed"),
        (b"APOP mrose", "malformed"),
        (b"APOP  " + DIGEST, "malformed"),
        (b"APOP mrose  " + DIGEST, "malformed"),
        (b"APOP mrose " + DIGEST + b" ", "malformed"),
        (b"APOP m rose " + DIGEST, "malformed"),
        (b"APOP mrose " + DIGEST.upper(), "malformed"),
        (b"APOP mrose " + DIGEST[:-1], "malformed"),
        (b"APOP mrose " + DIGEST + b"0", "malformed"),
        (b"APOP mrose " + b"g" * 32, "malformed"),
        (b"AUTH CRAM-MD5 " + DIGEST, "unsupported"),
        (b"APOP mr\xf6se " + DIGEST, "credentials"),
        (b"APOP m\0rose " + DIGEST, "malformed"),
        ("APOP \xad ".encode() + DIGEST, "credentials"),
        (b"APOP " + b"m" * 216 + b" " + DIGEST, "limit"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_apop_command_reaches_no_verifier(line: bytes, kind: str) -> None:
    wire = pop.ServerWire(["POP-APOP"], timestamp=TIMESTAMP)

    said = wire.receive(line + b"\r\n")

    assert not isinstance(said, sasl.Question)
    assert said.octets.startswith(b"-ERR [AUTH] " if kind == "credentials" else b"-ERR ")
    assert isinstance(wire.result, sasl.Failure)
    assert wire.result.kind == kind
    with pytest.raises(UsageError):
        wire.receive(COMMAND)


def test_a_command_of_255_octets_is_not_too_long() -> None:
    wire = pop.ServerWire(["POP-APOP"], timestamp=TIMESTAMP)
    line = b"APOP " + b"m" * 215 + b" " + DIGEST + b"\r\n"

    assert len(line) == 255
    assert isinstance(wire.receive(line), sasl.FindSecret)


def test_an_authenticated_session_takes_no_apop() -> None:
    wire, said = served(COMMAND, kept("tanstaaf"), authenticated=True)

    assert said.startswith(b"-ERR ")
    assert isinstance(wire.result, sasl.Failure)
    assert wire.result.kind == "state"


@pytest.mark.parametrize("stamp", [b"", TIMESTAMP + b"\r\n", *NO_MSG_IDS])
def test_a_server_cannot_greet_with_what_no_client_takes(stamp: bytes) -> None:
    with pytest.raises(UsageError):
        pop.ServerWire(["POP-APOP"], timestamp=stamp)


NAMES = st.text(string.ascii_letters + string.digits + ".@-_\xe4\xf6\u0416", min_size=1, max_size=30)
PASSWORDS = st.text(max_size=40)


def usable(password: str) -> bool:
    try:
        return bool(saslprep(password))
    except SASLError:
        return False


@given(
    NAMES,
    PASSWORDS.filter(usable),
    PASSWORDS.filter(usable),
    st.from_regex(rb"<[a-z0-9]{1,9}@[a-z]{1,9}>", fullmatch=True),
)
def test_both_sides_agree_on_the_right_password_and_on_no_other(
    user: str, right: str, other: str, stamp: bytes
) -> None:
    for password in (right, other):
        client = apop(sasl.Password(user, password), b"+OK " + stamp + b"\r\n")
        server = pop.ServerWire(["POP-APOP"], timestamp=stamp)
        said = server.receive(client.command().octets)
        assert isinstance(said, sasl.FindSecret)
        assert server.exchange is not None
        said = server.answered(sasl.settle(server.exchange, said, kept(right, said.authcid)))
        assert not isinstance(said, sasl.Question)
        client.receive(said.octets)

        agreed = saslprep(password) == saslprep(right)
        assert (client.error is None) == isinstance(server.result, sasl.Success) == agreed


@given(st.binary(max_size=300), st.booleans())
def test_no_line_is_a_login_but_the_right_one(octets: bytes, prefixed: bool) -> None:
    line = b"APOP mrose " + octets if prefixed else octets
    wire, said = served(line, kept("tanstaaf"))

    assert isinstance(wire.result, sasl.Failure) or line.lower().startswith(COMMAND.lower().rstrip())
    assert said.endswith(b"\r\n")
    assert said.count(b"\n") == 1


@given(st.integers(0, 31), st.sampled_from("0123456789abcdef"))
def test_no_digit_of_the_digest_may_differ(place: int, digit: str) -> None:
    digest = DIGEST[:place] + digit.encode() + DIGEST[place + 1 :]

    wire, _ = served(b"APOP mrose " + digest + b"\r\n", kept("tanstaaf"))

    assert isinstance(wire.result, sasl.Success) == (digest == DIGEST)


@given(st.lists(st.sampled_from([b"+OK", b"+OK x", b"-ERR", b"-ERR [IN-USE] x", b"+", b"+ Zg==", b"x"]), max_size=3))
def test_only_a_yes_at_once_is_a_login(lines: list[bytes]) -> None:
    wire = apop(MROSE, GREETING)
    wire.command()

    for line in lines:
        if not wire.done:
            assert wire.receive(line + b"\r\n") is None
    wire.lost()

    assert (wire.error is None) == (lines[:1] in ([b"+OK"], [b"+OK x"]))


# --- the choice


def choose(
    *capabilities: str, policy: sasl.Policy = ALLOWED, channel: sasl.Channel = CLEAR, **options: Any
) -> sasl.Choice:
    return pop.choose(capabilities, MROSE, policy=policy, channel=channel, **{"greeting": GREETING, **options})


@pytest.mark.parametrize("channel", [CLEAR, TLS], ids=["clear", "TLS"])
@pytest.mark.parametrize("mechanism", [None, "POP-APOP", "pop-apop"])
@pytest.mark.parametrize("capabilities", [(), ("USER",), ("UIDL",), ("USER", "SASL XOAUTH2")])
def test_apop_comes_before_user_and_needs_no_tls(
    capabilities: tuple[str, ...], mechanism: str | None, channel: sasl.Channel
) -> None:
    choice = choose(*capabilities, channel=channel, mechanism=mechanism)

    assert (choice.name, choice.channel) == ("POP-APOP", channel)
    wire = pop.client_wire(choice, MROSE, greeting=GREETING)
    assert wire.command().octets == COMMAND


def test_every_mechanism_comes_before_apop() -> None:
    for channel, offer in [
        (TLS, "SASL PLAIN"),
        (TLS, "SASL LOGIN"),
        (CLEAR, "SASL SCRAM-SHA-1"),
        (CLEAR, "SASL CRAM-MD5"),
    ]:
        policy = sasl.Policy(allow=["POP-APOP", "CRAM-MD5"])
        choice = choose(offer, "USER", policy=policy, channel=channel)
        assert choice.name == offer.removeprefix("SASL ")
        assert choice.passed_over["POP-APOP"] == f"{choice.name} comes first"
        assert choose(offer, "USER", policy=policy, channel=channel, mechanism="POP-APOP").name == "POP-APOP"


def test_apop_stands_in_for_a_mechanism_that_the_policy_forbids() -> None:
    choice = choose("USER", "SASL PLAIN CRAM-MD5")

    assert choice.name == "POP-APOP"
    assert set(choice.passed_over) == {"PLAIN", "CRAM-MD5", "POP-USER"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "POP-USER"])
def test_another_name_that_was_asked_for_gets_no_apop(mechanism: str) -> None:
    assert choose("USER", "SASL PLAIN", channel=TLS, mechanism=mechanism).name == mechanism
    with pytest.raises(PolicyViolation):
        choose("USER", "SASL PLAIN", mechanism=mechanism)
    with pytest.raises(MechanismUnavailable):
        choose("UIDL", channel=TLS, mechanism=mechanism)
    passed_over = choose("SASL PLAIN", channel=TLS, mechanism="PLAIN").passed_over
    assert passed_over == dict.fromkeys(["POP-APOP", "POP-USER"], "PLAIN was asked for")


@pytest.mark.parametrize("policy", [sasl.Policy(), sasl.Policy(allow=["CRAM-MD5"]), sasl.Policy(plaintext="always")])
@pytest.mark.parametrize("channel", [CLEAR, TLS], ids=["clear", "TLS"])
def test_apop_is_off_unless_allowed_by_name(policy: sasl.Policy, channel: sasl.Channel) -> None:
    with pytest.raises(PolicyViolation, match="by name") as violation:
        choose("USER", policy=policy, channel=channel, mechanism="POP-APOP")
    assert violation.value.passed_over["POP-APOP"] == "off unless the policy allows it by name"
    with pytest.raises(PolicyViolation) as violation:
        choose("UIDL", policy=policy, channel=channel)
    assert set(violation.value.passed_over) == {"POP-APOP", "POP-USER"}
    if channel.tls:
        assert choose("USER", policy=policy, channel=channel).name == "POP-USER"
        plain = choose("USER", "SASL PLAIN", policy=policy, channel=channel)
        assert plain.name == "PLAIN"
        assert plain.passed_over["POP-APOP"] == "off unless the policy allows it by name"


def test_what_else_the_policy_has_against_apop() -> None:
    for policy in (
        sasl.Policy(allow=["POP-APOP"], channel_binding="require"),
        sasl.Policy(allow=["POP-APOP"], pin="PLAIN"),
        sasl.Policy(allow=["POP-APOP"], pin="X-GONE"),
    ):
        for mechanism in (None, "POP-APOP"):
            with pytest.raises(PolicyViolation) as violation:
                choose("USER", policy=policy, channel=TLS, mechanism=mechanism)
            assert "POP-APOP" in violation.value.passed_over


WEAKER = "weaker than POP-APOP, which this account is pinned to"


def test_an_account_pinned_to_apop_may_use_it_and_all_that_is_stronger() -> None:
    policy = sasl.Policy(allow=["POP-APOP"], pin="pop-apop")

    assert choose("USER", policy=policy).name == "POP-APOP"
    assert choose("USER", "SASL SCRAM-SHA-256 PLAIN", policy=policy, channel=TLS).name == "SCRAM-SHA-256"
    plain = choose("USER", "SASL PLAIN not+a+name", policy=policy, channel=TLS)  # which hands the password over
    assert (plain.name, plain.passed_over["PLAIN"]) == ("POP-APOP", WEAKER)
    with pytest.raises(PolicyViolation) as violation:
        choose("USER", "SASL plain", policy=policy, channel=TLS, mechanism="PLAIN")
    assert violation.value.passed_over["PLAIN"] == WEAKER
    for greeting in (b"+OK ready\r\n", b""):  # somebody took the timestamp away
        for mechanism in (None, "POP-USER"):
            with pytest.raises(PolicyViolation) as violation:
                choose("USER", policy=policy, channel=TLS, greeting=greeting, mechanism=mechanism)
            assert "POP-APOP" in violation.value.passed_over["POP-USER"]
    assert choose("USER", policy=sasl.Policy(allow=["POP-APOP"], pin="POP-USER")).name == "POP-APOP"


@pytest.mark.parametrize("greeting", [b"", b"+OK ready\r\n"])
def test_without_a_timestamp_user_and_pass_stand_in_as_before(greeting: bytes) -> None:
    choice = choose("USER", "SASL XOAUTH2", channel=TLS, greeting=greeting)

    assert (choice.name, set(choice.passed_over)) == ("POP-USER", {"XOAUTH2"})


def test_a_timestamp_that_is_none_is_named_where_user_stands_in() -> None:
    choice = choose("USER", channel=TLS, greeting=b"+OK <\xff@x>\r\n")

    assert choice.name == "POP-USER"
    assert "attack" in choice.passed_over["POP-APOP"]


@pytest.mark.parametrize("credentials", [sasl.Bearer("mrose", "token"), sasl.External(), sasl.Anonymous()], ids=repr)
def test_only_a_password_goes_into_apop(credentials: sasl.Credentials) -> None:
    for mechanism in (None, "POP-APOP"):
        with pytest.raises(MechanismUnavailable):
            pop.choose([], credentials, policy=ALLOWED, channel=TLS, mechanism=mechanism, greeting=GREETING)
    with pytest.raises(UsageError):
        pop.client_wire(sasl.Choice("POP-APOP"), credentials, greeting=GREETING)


def test_a_choice_of_apop_wants_its_greeting() -> None:
    with pytest.raises(UsageError, match="no timestamp"):
        pop.client_wire(sasl.Choice("POP-APOP"), MROSE)


def test_a_user_name_that_does_not_fit_into_a_command_is_refused_before_anything_is_sent() -> None:
    longest = 255 - len("APOP  \r\n") - 32
    for octets, fits in ((longest, True), (longest + 1, False)):
        wire = apop(sasl.Password("u" * octets, "secret"), GREETING)
        if fits:
            assert len(wire.command().octets) == 255
        else:
            with pytest.raises(UsageError, match="too long"):
                wire.command()
