"""Which mechanism, and why not the others: `choose`, `offer` and `Policy` (contract, "Client" and "Server")."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Bearer, Channel, CheckCertificate, CheckPassword, CheckToken, External, FindKeys, Password, Policy

from ..support.leaks import seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOE = Password("joe", "pencil")
TOKEN = Bearer("joe@example.com", "ya29.token")
TLS = Channel(tls=True)
BOUND = Channel(tls=True, bindings={"tls-exporter": b"exported", "tls-server-end-point": b"hash"})
DEFAULT = Channel(tls=True, bindings={"tls-exporter": b"exported"})
"""What is left of `BOUND` for a mechanism: the one type that it binds to, or could."""
LOOPBACK = Channel(loopback=True)


@pytest.fixture(autouse=True)
def table(add: Callable[..., sasl.Mechanism]) -> None:
    """Mechanisms of every sort. The built-in ones stay, and rank between 20 and 31."""

    def script(*_: object) -> Any:
        yield b""

    def row(name: str, rank: int, **fields: Any) -> None:
        add(name, **{"client": script, "server": script, "rank": rank, **fields})

    row("X-LOGIN", 15, plaintext=True)
    row("X-SCRAM", 40, asks=(FindKeys,))
    row("X-SCRAM-PLUS", 41, asks=(FindKeys,), twin="x-scram")
    row("X-STRONG", 50, asks=(FindKeys,))
    row("X-OLD", 60, off_by_default=True)
    row("X-CERT", 70, credentials=External, needs_tls=True)
    row("X-SERVER-ONLY", 80, client=None)
    row("X-CLIENT-ONLY", 80, server=None)


# --- the strongest that fits


@pytest.mark.parametrize(
    ("offered", "name"),
    [
        (["PLAIN"], "PLAIN"),
        (["plain"], "PLAIN"),
        (["pLaIn", "x-Scram"], "X-SCRAM"),
        (["X-LOGIN", "PLAIN", "X-SCRAM"], "X-SCRAM"),
        (["X-SCRAM", "PLAIN", "X-LOGIN"], "X-SCRAM"),
        (["UNKNOWN", "XOAUTH2", "PLAIN", "PLAIN"], "PLAIN"),
        (["X-CLIENT-ONLY", "X-STRONG"], "X-CLIENT-ONLY"),
    ],
    ids=str,
)
def test_the_strongest_mechanism_in_common_is_chosen_whatever_the_order(offered: list[str], name: str) -> None:
    choice = sasl.choose(offered, JOE, channel=TLS)
    assert (choice.name, choice.channel) == (name, TLS)
    assert choice.passed_over.keys() == {each.upper() for each in offered} - {name}
    assert all(choice.passed_over.values())


def test_each_mechanism_passed_over_has_its_reason() -> None:
    offered = ["UNKNOWN", "XOAUTH2", "PLAIN", "X-SCRAM", "X-OLD", "X-SCRAM-PLUS", "X-SERVER-ONLY"]
    assert sasl.choose(offered, JOE, channel=TLS).passed_over == {
        "UNKNOWN": "no mechanism UNKNOWN is known here",
        "XOAUTH2": "takes Bearer, not Password",
        "PLAIN": "X-SCRAM is stronger",
        "X-OLD": "off unless the policy allows it by name",
        "X-SCRAM-PLUS": "this connection has not the channel binding that is the default for its TLS version",
        "X-SERVER-ONLY": "X-SERVER-ONLY has no client side here",
    }


def test_names_are_compared_in_ascii() -> None:
    lookalikes = [
        "PLA\u0131N",
        "PLA\u0130N",
        "\uff30\uff2c\uff21\uff29\uff2e",
        "x-\u017fcram",
        "PLAIN\u200b",
        "PLAIN ",
        "\ud800",
    ]
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose(lookalikes, JOE, channel=TLS)
    assert caught.value.passed_over == {}


@pytest.mark.parametrize(
    "hostile",
    [
        [],
        [""],
        ["=", "*", "../PLAIN", "__class__", "PLAIN;x", "PLAIN\r\nQUIT", "\0", "A" * 21, "A" * 1_000_000],
        [None, 7, b"\xff", object(), ["PLAIN"], True],
        [f"X-{number}" for number in range(1000)],
    ],
    ids=lambda names: f"{len(names)} names",
)
def test_a_hostile_list_neither_crashes_nor_hides_what_can_be_used(hostile: list[Any]) -> None:
    with pytest.raises(sasl.MechanismUnavailable):
        sasl.choose(hostile, JOE, channel=TLS)
    assert sasl.choose([*hostile, "PLAIN", *hostile], JOE, channel=TLS).name == "PLAIN"
    assert sasl.choose(iter([*hostile, b"plain"]), JOE, channel=TLS).name == "PLAIN"


@pytest.mark.parametrize("offered", ["PLAIN", b"PLAIN XOAUTH2"])
def test_a_list_that_is_one_text_is_a_usage_error(offered: Any) -> None:
    with pytest.raises(sasl.UsageError, match="not one text"):
        sasl.choose(offered, JOE, channel=TLS)


def test_nothing_in_common_is_said_with_the_reasons() -> None:
    with pytest.raises(sasl.MechanismUnavailable, match="it offers nothing"):
        sasl.choose([], JOE)
    with pytest.raises(sasl.MechanismUnavailable, match="KERBEROS_V4: no mechanism") as caught:
        sasl.choose(["KERBEROS_V4"], JOE)
    assert caught.value.passed_over.keys() == {"KERBEROS_V4"}


# --- a token never goes into a password mechanism, nor the reverse


@pytest.mark.parametrize(
    ("credentials", "offered"),
    [
        (TOKEN, ["PLAIN", "X-LOGIN", "X-SCRAM", "X-CERT"]),
        (JOE, ["XOAUTH2", "OAUTHBEARER", "X-CERT"]),
        (External(), ["PLAIN", "XOAUTH2"]),
        (sasl.Anonymous(), ["PLAIN", "XOAUTH2", "X-CERT"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_credentials_go_only_into_mechanisms_that_take_them(credentials: Any, offered: list[str]) -> None:
    permissive = Policy(plaintext="always", allow=offered)
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose(offered, credentials, policy=permissive, channel=TLS)
    assert all(reason.startswith("takes ") for reason in caught.value.passed_over.values())
    for name in offered:
        with pytest.raises(sasl.MechanismUnavailable):
            sasl.choose(offered, credentials, policy=permissive, channel=TLS, mechanism=name)


# --- plaintext


@pytest.mark.parametrize(
    ("plaintext", "channel", "allowed"),
    [
        ("never", Channel(), False),
        ("never", LOOPBACK, False),
        ("never", TLS, True),
        ("loopback", Channel(), False),
        ("loopback", LOOPBACK, True),
        ("loopback", TLS, True),
        ("always", Channel(), True),
        ("always", LOOPBACK, True),
        ("always", TLS, True),
    ],
)
def test_a_plaintext_mechanism_wants_tls_or_the_policys_leave(plaintext: Any, channel: Channel, allowed: bool) -> None:
    policy = Policy(plaintext=plaintext)
    assert policy.permits_plaintext(channel) is allowed
    for credentials, name in ((JOE, "PLAIN"), (TOKEN, "XOAUTH2"), (TOKEN, "OAUTHBEARER")):
        if allowed:
            assert sasl.choose([name], credentials, policy=policy, channel=channel).name == name
            continue
        with pytest.raises(sasl.PolicyViolation, match="there is no TLS") as caught:
            sasl.choose([name], credentials, policy=policy, channel=channel)
        assert caught.value.passed_over.keys() == {name}


def test_without_tls_a_mechanism_that_hides_the_secret_is_chosen_before_a_token_could_leave() -> None:
    assert sasl.choose(["PLAIN", "X-SCRAM"], JOE).name == "X-SCRAM"
    assert "no TLS" in sasl.choose(["PLAIN", "X-SCRAM"], JOE).passed_over["PLAIN"]


def test_an_unknown_channel_is_one_without_tls() -> None:
    with pytest.raises(sasl.PolicyViolation):
        sasl.choose(["PLAIN"], JOE)


# --- PolicyViolation or MechanismUnavailable


@pytest.mark.parametrize(
    ("offered", "error"),
    [
        (["PLAIN"], sasl.PolicyViolation),
        (["PLAIN", "UNKNOWN"], sasl.PolicyViolation),
        (["XOAUTH2", "X-OLD"], sasl.PolicyViolation),
        (["XOAUTH2", "UNKNOWN"], sasl.MechanismUnavailable),
        (["X-SCRAM-PLUS"], sasl.MechanismUnavailable),
        (["X-SERVER-ONLY"], sasl.MechanismUnavailable),
    ],
    ids=str,
)
def test_the_policy_is_blamed_only_where_nothing_else_stood_in_the_way(
    offered: list[str], error: type[sasl.SASLError]
) -> None:
    with pytest.raises(error) as caught:
        sasl.choose(offered, JOE)
    assert type(caught.value) is error
    assert caught.value.passed_over.keys() == set(offered)  # type: ignore[attr-defined]


# --- mechanism= narrows


@pytest.mark.parametrize("wanted", ["PLAIN", "plain", "Plain"])
def test_a_mechanism_that_is_asked_for_is_taken_although_it_is_not_the_strongest(wanted: str) -> None:
    choice = sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=TLS, mechanism=wanted)
    assert choice.name == "PLAIN"
    assert choice.passed_over == {"X-SCRAM": "PLAIN was asked for"}


@pytest.mark.parametrize(
    ("wanted", "policy", "channel"),
    [
        ("PLAIN", Policy(), Channel()),
        ("PLAIN", Policy(plaintext="loopback"), Channel()),
        ("X-OLD", Policy(), TLS),
        ("X-OLD", Policy(allow=["PLAIN"]), TLS),
        ("X-SCRAM", Policy(channel_binding="require"), BOUND),
        ("X-SCRAM-PLUS", Policy(channel_binding="never"), BOUND),
        ("PLAIN", Policy(pin="X-SCRAM"), TLS),
    ],
    ids=str,
)
def test_asking_for_a_mechanism_never_bypasses_the_policy(wanted: str, policy: Policy, channel: Channel) -> None:
    offered = ["PLAIN", "X-OLD", "X-SCRAM", "X-SCRAM-PLUS", "X-STRONG"]
    with pytest.raises(sasl.PolicyViolation):
        sasl.choose(offered, JOE, policy=policy, channel=channel, mechanism=wanted)


@pytest.mark.parametrize("wanted", ["X-SCRAM", "UNKNOWN"])
def test_a_mechanism_that_is_not_offered_is_unavailable_although_others_are(wanted: str) -> None:
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose(["PLAIN"], JOE, channel=TLS, mechanism=wanted)
    assert caught.value.passed_over == {"PLAIN": f"{wanted} was asked for", wanted: "the server does not offer it"}


@pytest.mark.parametrize("wanted", ["", "PLAIN ", "PLA\u0131N", "A" * 21, 7])
def test_asking_for_what_is_no_name_is_a_usage_error(wanted: Any) -> None:
    with pytest.raises(sasl.UsageError, match="not a mechanism name"):
        sasl.choose(["PLAIN"], JOE, channel=TLS, mechanism=wanted)


# --- off by default


def test_a_mechanism_that_is_off_by_default_wants_to_be_allowed_by_name() -> None:
    assert sasl.choose(["PLAIN", "X-OLD"], JOE, channel=TLS).name == "PLAIN"
    assert sasl.choose(["PLAIN", "X-OLD"], JOE, channel=TLS, policy=Policy(allow={"x-old"})).name == "X-OLD"
    assert "X-OLD" in sasl.offer(TLS, Policy(allow=["X-OLD"]), [CheckPassword])
    assert "X-OLD" not in sasl.offer(TLS, Policy(), [CheckPassword])


# --- channel binding


def test_a_plus_mechanism_replaces_its_twin_and_keeps_the_default_binding() -> None:
    for offered in (["X-SCRAM", "X-SCRAM-PLUS"], ["X-SCRAM-PLUS", "X-SCRAM"], ["X-SCRAM-PLUS"]):
        choice = sasl.choose(offered, JOE, channel=BOUND)
        assert (choice.name, choice.channel, choice.asked_for) == ("X-SCRAM-PLUS", DEFAULT, False)


@pytest.mark.parametrize("rank", [1, 40])
def test_a_plus_mechanism_replaces_its_twin_whatever_its_rank(add: Callable[..., sasl.Mechanism], rank: int) -> None:
    add("X-SCRAM-PLUS", client=lambda *_: None, rank=rank, twin="X-SCRAM")
    choice = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS", "PLAIN"], JOE, channel=BOUND)
    assert choice.name == "X-SCRAM-PLUS"
    assert choice.passed_over == {"X-SCRAM": "X-SCRAM-PLUS is stronger", "PLAIN": "X-SCRAM-PLUS is stronger"}


def test_without_bindings_the_twin_is_taken() -> None:
    choice = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS"], JOE, channel=TLS)
    assert (choice.name, dict(choice.channel.bindings)) == ("X-SCRAM", {})


def test_a_twin_whose_plus_was_not_offered_keeps_the_default_binding() -> None:
    """So that it sends "y": the server may know that it does offer -PLUS, and somebody has taken it out."""
    assert sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=BOUND).channel == DEFAULT
    assert sasl.choose(["X-STRONG", "X-SCRAM-PLUS"], JOE, channel=BOUND).channel == DEFAULT  # that of another mechanism


@pytest.mark.parametrize(
    ("offered", "policy", "mechanism"),
    [
        (["X-SCRAM", "X-SCRAM-PLUS"], Policy(channel_binding="never"), None),
        (["X-SCRAM"], Policy(channel_binding="never"), None),  # a client that is not to bind is one that cannot
        (["X-SCRAM", "X-SCRAM-PLUS"], Policy(), "X-SCRAM"),
        (["X-STRONG", "X-STRONG-PLUS"], Policy(), None),
        (["x-strong", "x-strong-plus"], Policy(), None),
    ],
    ids=str,
)
def test_a_twin_whose_plus_was_offered_and_not_taken_loses_the_bindings(
    offered: list[str], policy: Policy, mechanism: str | None
) -> None:
    """So that it sends "n": a server that offers -PLUS has to refuse "y" (RFC 5802 section 6)."""
    channel = dataclasses.replace(BOUND, host="mail.example", port=993, service="imap")
    choice = sasl.choose(offered, JOE, policy=policy, channel=channel, mechanism=mechanism)
    assert not choice.name.endswith("-PLUS")
    assert choice.channel == dataclasses.replace(channel, bindings={})


def test_a_twin_goes_by_the_row_where_the_name_does_not_say_it(add: Callable[..., sasl.Mechanism]) -> None:
    add("X-BOUND", client=lambda *_: None, rank=90, twin="X-STRONG")
    assert sasl.choose(["X-STRONG", "X-BOUND"], JOE, channel=BOUND).name == "X-BOUND"
    never = sasl.choose(["X-STRONG", "X-BOUND"], JOE, channel=BOUND, policy=Policy(channel_binding="never"))
    assert (never.name, dict(never.channel.bindings)) == ("X-STRONG", {})


UNIQUE, EXPORTER, END_POINT = "tls-unique", "tls-exporter", "tls-server-end-point"
# TLS version, types at hand, the default of them
DEFAULTS = [
    ("TLSv1", [UNIQUE], UNIQUE),
    ("TLSv1.1", [UNIQUE], UNIQUE),
    ("TLSv1.2", [UNIQUE, END_POINT], UNIQUE),
    ("TLSv1.2", [EXPORTER, UNIQUE, END_POINT], UNIQUE),
    ("TLSv1.2", [END_POINT], None),  # a resumed session, or pyOpenSSL
    ("TLSv1.2", [EXPORTER, END_POINT], None),  # who vouches for the master secret has no default for that
    ("TLSv1.2", [EXPORTER], None),
    ("TLSv1.3", [EXPORTER, END_POINT], EXPORTER),
    ("TLSv1.3", [END_POINT], None),  # all that ssl has
    ("TLSv1.3", [UNIQUE, END_POINT], None),  # is not defined there
    ("TLSv1.3", [], None),
    (None, [UNIQUE, END_POINT], UNIQUE),
    (None, [EXPORTER, END_POINT], EXPORTER),
    (None, [EXPORTER, UNIQUE], UNIQUE),
    (None, [END_POINT], None),
    (None, [], None),
]
defaults = pytest.mark.parametrize(("version", "kinds", "default"), DEFAULTS, ids=str)


def channel_with(version: str | None, kinds: list[str]) -> Channel:
    bindings = {kind: kind.encode() for kind in kinds}
    return Channel(tls=True, service="imap", host="mail.example", bindings=bindings, tls_version=version)


def lazily(channel: Channel, **default: Any) -> Channel:
    return dataclasses.replace(channel, bindings=sasl.LazyBindings(lambda: channel.bindings, **default))


@defaults
def test_the_default_binding_goes_by_the_version_of_tls(
    version: str | None, kinds: list[str], default: str | None
) -> None:
    channel = channel_with(version, kinds)
    assert channel.default_binding == lazily(channel).default_binding == default
    assert pickle.loads(pickle.dumps(channel)).default_binding == default


@defaults
def test_channel_binding_is_unasked_for_where_its_default_type_is_at_hand(
    version: str | None, kinds: list[str], default: str | None
) -> None:
    """By what a client chooses, and what a server offers."""
    known = channel_with(version, kinds)
    bound = [] if default is None else [default]
    for channel in (known, lazily(known), lazily(known, default=default)):
        with_plus = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS"], JOE, channel=channel)
        without = sasl.choose(["X-SCRAM"], JOE, channel=channel)
        assert with_plus.name == ("X-SCRAM" if default is None else "X-SCRAM-PLUS")
        assert list(with_plus.channel.bindings) == list(without.channel.bindings) == bound  # without -PLUS, "y" or "n"
        assert (with_plus.asked_for, with_plus.pin) == (without.asked_for, without.pin) == (False, None)
        assert with_plus.channel.tls_version == version
        offered = sasl.offer(channel, Policy(), [FindKeys])
        assert [name.endswith("-PLUS") for name in offered].count(True) == (0 if default is None else 7)
    if default is None:
        assert "default for its TLS version" in with_plus.passed_over["X-SCRAM-PLUS"]
        with pytest.raises(sasl.MechanismUnavailable, match="default for its TLS version"):
            sasl.choose(["X-SCRAM-PLUS"], JOE, channel=known)


ASKED: list[dict[str, Any]] = [
    {"mechanism": "X-SCRAM-PLUS"},
    {"policy": Policy(channel_binding="require")},
    {"policy": Policy(pin="X-SCRAM-PLUS")},
    {"policy": Policy(pins={"imap://joe@mail.example": "X-SCRAM-PLUS"})},
]


@defaults
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_channel_binding_that_is_asked_for_takes_what_there_is(
    version: str | None, kinds: list[str], default: str | None, asked: dict[str, Any]
) -> None:
    """The default type if it is there, else the server's certificate, which every TLS library has."""
    known = channel_with(version, kinds)
    for channel in (known, lazily(known), lazily(known, default=default)):
        if not kinds:
            with pytest.raises((sasl.MechanismUnavailable, sasl.PolicyViolation), match="no channel-binding data"):
                sasl.choose(["X-SCRAM-PLUS"], JOE, channel=channel, **asked)
            continue
        choice = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS", "PLAIN"], JOE, channel=channel, **asked)
        kind = default or (END_POINT if END_POINT in kinds else kinds[0])
        assert (choice.name, choice.asked_for) == ("X-SCRAM-PLUS", True)
        assert dict(choice.channel.bindings) == {kind: kind.encode()}
        policy = asked.get("policy", Policy())
        assert choice.pin == ("X-SCRAM-PLUS" if policy.pin or policy.pins else None)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"policy": Policy(pin="X-SCRAM-PLUS")}, "pinned to X-SCRAM-PLUS"),
        ({"policy": Policy(pin="X-SCRAM-PLUS"), "mechanism": "X-SCRAM-PLUS"}, "pinned to X-SCRAM-PLUS"),
        ({"policy": Policy(pin="X-SCRAM")}, None),
        ({"policy": Policy(channel_binding="require")}, None),
        ({"mechanism": "X-SCRAM-PLUS"}, None),
    ],
)
def test_a_pin_of_channel_binding_that_is_out_of_reach_is_named(asked: dict[str, Any], named: str | None) -> None:
    error: Any = sasl.MechanismUnavailable if named is None else sasl.PolicyViolation
    with pytest.raises(error, match=named):
        sasl.choose(["X-SCRAM-PLUS"], JOE, channel=TLS, **asked)


def test_who_asks_for_a_mechanism_without_channel_binding_has_asked_too() -> None:
    assert sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=TLS, mechanism="X-SCRAM").asked_for
    pinned = sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=TLS, policy=Policy(pin="X-SCRAM"))
    assert (pinned.asked_for, pinned.pin) == (False, None)


def test_a_default_that_is_known_spares_fetching_the_bindings() -> None:
    calls = []

    def fetch() -> dict[str, bytes]:
        calls.append(1)
        return {UNIQUE: b"u", END_POINT: b"p"}

    for default, name in ((None, "X-SCRAM"), (UNIQUE, "X-SCRAM-PLUS")):
        bindings = sasl.LazyBindings(fetch, default=default)
        channel = Channel(tls=True, bindings=bindings, tls_version="TLSv1.2")
        assert channel.default_binding == default
        assert sasl.choose(["X-SCRAM", "X-SCRAM-PLUS"], JOE, channel=channel).name == name
        assert ("SCRAM-SHA-1-PLUS" in sasl.offer(channel, Policy(), [FindKeys])) is (default is not None)
    assert calls == []
    unbound = sasl.choose(["X-SCRAM"], JOE, channel=dataclasses.replace(channel, bindings=sasl.LazyBindings(fetch)))
    assert list(unbound.channel.bindings) == [UNIQUE]
    assert calls == [1]


def test_required_channel_binding_never_falls_back() -> None:
    required = Policy(channel_binding="require")
    assert sasl.choose(["X-STRONG", "X-SCRAM-PLUS"], JOE, channel=BOUND, policy=required).name == "X-SCRAM-PLUS"
    for offered, channel in ((["X-STRONG", "PLAIN"], BOUND), (["X-SCRAM", "X-SCRAM-PLUS"], TLS)):
        with pytest.raises(sasl.PolicyViolation, match="requires channel binding"):
            sasl.choose(offered, JOE, channel=channel, policy=required)


# --- pin


@pytest.mark.parametrize(
    ("pin", "offered", "name"),
    [
        ("X-SCRAM", ["X-SCRAM", "PLAIN"], "X-SCRAM"),
        ("x-scram", ["X-STRONG", "PLAIN"], "X-STRONG"),
        ("X-SCRAM", ["PLAIN", "X-LOGIN"], None),
        ("X-SCRAM-PLUS", ["X-SCRAM"], None),
        ("NOT-KNOWN", ["X-STRONG"], None),
    ],
)
def test_a_mechanism_weaker_than_the_pin_is_refused(pin: str, offered: list[str], name: str | None) -> None:
    policy = Policy(pin=pin)
    if name is not None:
        assert sasl.choose(offered, JOE, channel=BOUND, policy=policy).name == name
        return
    with pytest.raises(sasl.PolicyViolation, match=f"weaker than {pin.upper()}"):
        sasl.choose(offered, JOE, channel=BOUND, policy=policy)


ACCOUNT = dataclasses.replace(BOUND, service="imap", host="Mail.example", port=993)


def test_a_pin_is_kept_for_each_account() -> None:
    pins: dict[str, str] = {}
    policy = Policy(pins=pins)
    policy.remember(sasl.choose(["X-SCRAM-PLUS", "PLAIN"], JOE, channel=ACCOUNT, policy=policy), JOE)
    assert pins == {f"imap://{JOE.authcid}@mail.example": "X-SCRAM"}
    assert sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=ACCOUNT, policy=policy).name == "X-SCRAM"
    with pytest.raises(sasl.PolicyViolation, match="weaker than X-SCRAM"):
        sasl.choose(["PLAIN"], JOE, channel=ACCOUNT, policy=policy)
    others = [
        (dataclasses.replace(ACCOUNT, host="other.example"), JOE),
        (dataclasses.replace(ACCOUNT, service="smtp"), JOE),
        (ACCOUNT, Password("ann", "x")),
    ]
    for channel, credentials in others:
        assert sasl.choose(["PLAIN"], credentials, channel=channel, policy=policy).name == "PLAIN"


def test_a_weaker_login_does_not_loosen_a_pin_and_a_stronger_one_tightens_it() -> None:
    pins: dict[str, str] = {}
    policy = Policy(pins=pins)
    for name, kept in (
        ("PLAIN", "PLAIN"),
        ("X-SCRAM", "X-SCRAM"),
        ("PLAIN", "X-SCRAM"),
        ("X-SCRAM-PLUS", "X-SCRAM"),
    ):
        policy.remember(sasl.Choice(name, ACCOUNT), JOE)
        assert list(pins.values()) == [kept]
    policy.remember(sasl.Choice("X-SCRAM-PLUS", ACCOUNT, asked_for=True), JOE)
    assert list(pins.values()) == ["X-SCRAM-PLUS"]


@pytest.mark.parametrize(
    ("before", "name", "asked_for", "after"),
    [
        (None, "X-SCRAM-PLUS", False, "X-SCRAM"),
        (None, "X-SCRAM-PLUS", True, "X-SCRAM-PLUS"),
        ("X-SCRAM", "X-SCRAM-PLUS", False, None),
        ("X-SCRAM", "X-SCRAM-PLUS", True, "X-SCRAM-PLUS"),
        ("X-SCRAM-PLUS", "X-SCRAM-PLUS", True, None),
        ("X-STRONG", "X-SCRAM-PLUS", False, None),  # it ranks above, and what is written of it does not
        ("SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", False, None),
        ("SCRAM-SHA-1", "SCRAM-SHA-512-PLUS", False, "SCRAM-SHA-512"),
        ("X-SCRAM", "X-UNKNOWN", False, "X-UNKNOWN"),
    ],
)
def test_a_pin_has_no_channel_binding_that_nobody_asked_for(
    *, before: str | None, name: str, asked_for: bool, after: str | None
) -> None:
    """And what is known already is not written again."""
    written = []

    class Pins(dict[str, str]):
        def __setitem__(self, account: str, mechanism: str) -> None:
            written.append(mechanism)

    pins = Pins({} if before is None else {"imap://joe@mail.example": before})
    Policy(pins=pins).remember(sasl.Choice(name, ACCOUNT, asked_for=asked_for), JOE)
    assert written == ([] if after is None else [after])


def test_a_login_command_is_weaker_than_every_mechanism() -> None:
    pins: dict[str, str] = {}
    policy = Policy(pins=pins)
    policy.remember(sasl.Choice("IMAP-LOGIN", ACCOUNT), JOE)
    assert list(pins.values()) == ["IMAP-LOGIN"]
    policy.remember(sasl.Choice("PLAIN", ACCOUNT), JOE)
    assert list(pins.values()) == ["PLAIN"]


def test_a_token_has_its_account_too() -> None:
    pins: dict[str, str] = {}
    Policy(pins=pins).remember(sasl.Choice("OAUTHBEARER", ACCOUNT), Bearer("joe", "x"))
    assert pins == {"imap://joe@mail.example": "OAUTHBEARER"}


def test_a_pin_of_a_password_says_nothing_of_a_token() -> None:
    pins = {"imap://joe@mail.example": "X-SCRAM"}
    policy, token = Policy(pins=pins), Bearer("joe", "x")
    choice = sasl.choose(["XOAUTH2", "PLAIN"], token, channel=ACCOUNT, policy=policy)
    assert choice.name == "XOAUTH2"
    policy.remember(choice, token)
    assert pins == {"imap://joe@mail.example": "X-SCRAM"}
    pins["imap://joe@mail.example"] = "XOAUTH2"
    policy.remember(sasl.choose(["PLAIN"], JOE, channel=ACCOUNT, policy=policy), JOE)
    assert pins == {"imap://joe@mail.example": "PLAIN"}


@pytest.mark.parametrize(
    ("channel", "credentials"), [(BOUND, JOE), (ACCOUNT, External()), (ACCOUNT, sasl.Anonymous())], ids=repr
)
def test_nothing_is_kept_where_nobody_can_say_whose_account_it_is(channel: Channel, credentials: Any) -> None:
    pins: dict[str, str] = {}
    policy = Policy(pins=pins)
    policy.remember(sasl.Choice("PLAIN", channel), credentials)
    assert pins == {}
    assert policy.pinned(channel, credentials) is policy


def test_what_the_policy_says_itself_comes_before_what_is_kept_and_loosens_nothing() -> None:
    pins = {"imap://joe@mail.example": "X-SCRAM-PLUS"}
    policy = Policy(pin="PLAIN", pins=pins)
    assert policy.pinned(ACCOUNT, Password("joe", "x")) is policy
    policy.remember(sasl.Choice("X-SCRAM", ACCOUNT), Password("joe", "x"))
    assert pins == {"imap://joe@mail.example": "X-SCRAM-PLUS"}


class Broken(dict[str, str]):
    """A store whose disk is full."""

    def get(self, *_: Any) -> Any:
        raise OSError("joe's secret")

    def __setitem__(self, *_: Any) -> None:
        raise OSError("joe's secret")


class Full(Broken):
    """One that can be read."""

    get = dict.get


def test_a_store_that_fails_is_an_error_of_the_caller_without_its_text() -> None:
    with pytest.raises(sasl.UsageError, match="OSError") as caught:
        sasl.choose(["PLAIN"], JOE, channel=ACCOUNT, policy=Policy(pins=Broken()))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    with pytest.raises(sasl.UsageError, match="OSError") as caught:
        Policy(pins=Full()).remember(sasl.Choice("PLAIN", ACCOUNT), JOE)
    assert caught.value.__context__ is None


def test_a_store_is_no_part_of_the_value() -> None:
    assert Policy(pins={"a": "b"}) == Policy()
    assert hash(Policy(pins={"a": "b"})) == hash(Policy())
    assert "pins" not in repr(Policy(pins={"a": "b"}))


# --- what TLS has proved


def test_external_wants_tls() -> None:
    with pytest.raises(sasl.MechanismUnavailable, match="no TLS"):
        sasl.choose(["EXTERNAL"], External())
    assert sasl.choose(["EXTERNAL", "PLAIN"], External(), channel=TLS).name == "EXTERNAL"


# --- the built-in table


def test_the_strongest_scram_comes_first_and_what_is_bound_before_all_that_is_not() -> None:
    names = [row.name for row in sasl.known_mechanisms() if row.name.startswith("SCRAM-")]
    assert sasl.choose(names, JOE, channel=BOUND).name == "SCRAM-SHA3-512-PLUS"
    assert sasl.choose(names, JOE, channel=TLS).name == "SCRAM-SHA3-512"
    assert sasl.choose(["SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"], JOE, channel=BOUND).name == "SCRAM-SHA-1-PLUS"
    assert sasl.choose(["SCRAM-SHA-1", "PLAIN", "LOGIN"], JOE, channel=TLS).name == "SCRAM-SHA-1"
    assert sasl.choose(["LOGIN", "PLAIN"], JOE, channel=TLS).name == "PLAIN"
    with pytest.raises(sasl.PolicyViolation):
        sasl.choose(["SCRAM-SHA-512"], JOE, channel=BOUND, policy=Policy(pin="SCRAM-SHA-1-PLUS"))


@pytest.mark.parametrize(
    ("name", "credentials"), [("CRAM-MD5", JOE), ("DIGEST-MD5", JOE), ("ANONYMOUS", sasl.Anonymous())]
)
def test_a_mechanism_that_is_off_is_used_only_if_it_is_named(name: str, credentials: Any) -> None:
    with pytest.raises(sasl.PolicyViolation, match="by name"):
        sasl.choose([name], credentials, channel=TLS, mechanism=name)
    assert sasl.choose([name], credentials, channel=TLS, policy=Policy(allow=[name])).name == name


# --- the policy is a value


@pytest.mark.parametrize(
    "wrong",
    [
        {"plaintext": "sometimes"},
        {"plaintext": True},
        {"channel_binding": "yes"},
        {"channel_binding": None},
        {"allow": "PLAIN"},
        {"allow": ["PLAIN", "not a name"]},
        {"allow": None},
        {"min_iterations": "4096"},
        {"max_iterations": None},
        {"pin": "not a name"},
        {"pin": ""},
        {"fallback": None},
        {"fallback": 0},
        {"fallback": "no"},
        {"prepare": None},
        {"prepare": 1},
        {"prepare": "never"},
    ],
    ids=str,
)
def test_a_policy_that_is_none_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(sasl.UsageError):
        Policy(**wrong)


def test_a_policy_is_strict_by_default_and_frozen() -> None:
    policy = Policy()
    assert (policy.plaintext, policy.allow, policy.channel_binding, policy.pin) == (
        "never",
        frozenset(),
        "prefer",
        None,
    )
    assert (policy.min_iterations, policy.max_iterations) == (4_096, 600_000)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.plaintext = "always"  # type: ignore[misc]
    assert Policy(allow=["x-old"]) == Policy(allow=("X-OLD",))


def test_the_iteration_counts_of_the_policy_come_with_the_choice() -> None:
    choice = sasl.choose(["PLAIN"], JOE, channel=TLS, policy=Policy(min_iterations=10_000, max_iterations=20_000))
    assert choice.limits == sasl.Limits(min_iterations=10_000, max_iterations=20_000)
    assert sasl.choose(["PLAIN"], JOE, channel=TLS).limits == sasl.Limits()


@pytest.mark.parametrize("wrong", [{"offered": None}, {"policy": None}, {"channel": "tls"}], ids=str)
def test_what_is_no_list_no_policy_and_no_channel_is_a_usage_error(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"offered": ["PLAIN"], "credentials": JOE, "channel": TLS, **wrong}
    with pytest.raises(sasl.UsageError):
        sasl.choose(**arguments)


# --- what a server offers

ALL = (CheckPassword, CheckToken, FindKeys, CheckCertificate)


def offered_of_these(channel: Channel, policy: Policy, answers: Any) -> list[str]:
    """What is offered of the mechanisms of this file; the built-in ones that rank among them are left out."""
    names = sasl.offer(channel, policy, answers)
    return [name for name in names if name.startswith("X-") or name in ("PLAIN", "XOAUTH2", "OAUTHBEARER")]


@pytest.mark.parametrize(
    ("channel", "answers", "names"),
    [
        (TLS, (), []),
        (TLS, (CheckPassword,), ["PLAIN", "X-LOGIN"]),
        (TLS, {CheckToken}, ["OAUTHBEARER", "XOAUTH2"]),
        (TLS, (FindKeys,), ["X-STRONG", "X-SCRAM"]),
        (BOUND, (FindKeys,), ["X-STRONG", "X-SCRAM-PLUS", "X-SCRAM"]),
        (Channel(), ALL, ["X-STRONG", "X-SCRAM"]),
        (LOOPBACK, (CheckPassword,), []),
    ],
    ids=str,
)
def test_a_server_offers_what_its_verifier_answers_and_the_policy_allows(
    channel: Channel, answers: Any, names: list[str]
) -> None:
    offered = [name for name in offered_of_these(channel, Policy(), answers) if name != "X-SERVER-ONLY"]
    assert offered == names


def test_a_server_offers_the_strongest_first_and_only_what_it_can_serve() -> None:
    offered = offered_of_these(BOUND, Policy(allow=["X-OLD"]), ALL)
    assert offered[:6] == ["X-SERVER-ONLY", "X-CERT", "X-OLD", "X-STRONG", "X-SCRAM-PLUS", "X-SCRAM"]
    assert "X-CLIENT-ONLY" not in offered


def test_a_certificate_is_asked_for_only_under_tls() -> None:
    assert sasl.offer(TLS, Policy(), [CheckCertificate]) == ["EXTERNAL", "X-CERT"]
    assert sasl.offer(Channel(), Policy(plaintext="always"), [CheckCertificate]) == []


def test_a_server_that_wants_no_channel_binding_does_not_offer_it() -> None:
    assert offered_of_these(BOUND, Policy(channel_binding="never"), [FindKeys]) == ["X-STRONG", "X-SCRAM"]
    assert offered_of_these(BOUND, Policy(channel_binding="require"), [FindKeys]) == ["X-SCRAM-PLUS"]


def test_what_is_offered_can_be_served_and_chosen() -> None:
    for channel in (TLS, BOUND, Channel(), LOOPBACK):
        for name in sasl.offer(channel, Policy(), ALL):
            assert sasl.server(name, channel=channel).name == name
        offered = sasl.offer(channel, Policy(), (FindKeys,))
        assert sasl.choose(offered, JOE, channel=channel).name == offered[0]


# --- login commands: rows of the same table that no server lists


COMMANDS = {"IMAP-LOGIN": ""}
WEAK = "weaker than {}, which this account is pinned to"


def test_a_login_command_stands_in_where_no_mechanism_fits() -> None:
    choice = sasl.choose(["XOAUTH2", "X-OLD"], JOE, channel=TLS, commands=COMMANDS)

    assert choice.name == "IMAP-LOGIN"
    assert choice.passed_over == {
        "XOAUTH2": "takes Bearer, not Password",
        "X-OLD": "off unless the policy allows it by name",
    }


def test_a_mechanism_comes_before_a_login_command() -> None:
    choice = sasl.choose(["PLAIN"], JOE, channel=TLS, commands=COMMANDS)

    assert (choice.name, choice.passed_over) == ("PLAIN", {"IMAP-LOGIN": "PLAIN comes first"})


def test_what_the_server_has_against_a_login_command_is_why_it_is_passed_over() -> None:
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose([], JOE, channel=TLS, commands={"IMAP-LOGIN": "the server has LOGINDISABLED"})

    assert caught.value.passed_over == {"IMAP-LOGIN": "the server has LOGINDISABLED"}


@pytest.mark.parametrize("name", ["IMAP-LOGIN", "imap-login", "POP-USER", "POP-APOP"])
def test_a_login_command_is_never_taken_from_a_list_of_mechanisms(name: str) -> None:
    for asked in (None, name):
        with pytest.raises(sasl.MechanismUnavailable) as caught:
            sasl.choose([name], JOE, policy=Policy(allow=[name]), channel=TLS, mechanism=asked)
        assert caught.value.passed_over == {name.upper(): "a login command, which is no mechanism"}


def test_a_login_command_is_never_offered_as_a_mechanism() -> None:
    commands = [row.name for row in sasl.mechanisms.ROWS if row.command]

    assert commands == ["IMAP-LOGIN", "POP-USER", "POP-APOP"]
    assert not set(commands) & set(sasl.offer(BOUND, Policy(allow=commands), [*ALL, sasl.FindSecret]))
    assert not set(commands) & {row.name for row in sasl.known_mechanisms()}


def test_a_login_command_may_be_asked_for_by_name() -> None:
    choice = sasl.choose(["PLAIN"], JOE, channel=TLS, mechanism="imap-login", commands=COMMANDS)

    assert (choice.name, choice.passed_over) == ("IMAP-LOGIN", {"PLAIN": "IMAP-LOGIN was asked for"})
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose(["PLAIN"], JOE, channel=TLS, mechanism="POP-USER", commands=COMMANDS)
    assert caught.value.passed_over["POP-USER"] == "the server does not offer it"


@pytest.mark.parametrize(
    ("policy", "channel", "reason"),
    [
        (Policy(), Channel(), "sends the credential in the clear, and there is no TLS"),
        (Policy(channel_binding="require"), TLS, "the policy requires channel binding"),
        (Policy(pin="PLAIN"), TLS, WEAK.format("PLAIN")),
        (Policy(pin="X-NOBODY-KNOWS"), TLS, WEAK.format("X-NOBODY-KNOWS")),
    ],
)
def test_the_policy_holds_for_a_login_command(policy: Policy, channel: Channel, reason: str) -> None:
    with pytest.raises(sasl.PolicyViolation) as caught:
        sasl.choose([], JOE, policy=policy, channel=channel, commands=COMMANDS)

    assert caught.value.passed_over == {"IMAP-LOGIN": reason}


def test_no_login_command_takes_a_token() -> None:
    with pytest.raises(sasl.MechanismUnavailable) as caught:
        sasl.choose([], TOKEN, channel=TLS, commands=COMMANDS)

    assert caught.value.passed_over == {"IMAP-LOGIN": "takes Password, not Bearer"}


# Weaker is what ranks below the pin, and what shows the password where the pin does not: one order for all rows.
@pytest.mark.parametrize(
    ("pin", "offered", "commands", "name"),
    [
        ("IMAP-LOGIN", ["SCRAM-SHA-256"], {}, "SCRAM-SHA-256"),
        ("IMAP-LOGIN", ["PLAIN"], {"IMAP-LOGIN": ""}, "PLAIN"),
        ("POP-USER", [], {"POP-USER": ""}, "POP-USER"),
        ("POP-USER", [], {"POP-APOP": ""}, "POP-APOP"),
        ("POP-APOP", [], {"POP-APOP": "", "POP-USER": ""}, "POP-APOP"),
        ("POP-APOP", ["PLAIN", "X-SCRAM"], {"POP-APOP": ""}, "X-SCRAM"),
        ("POP-APOP", ["PLAIN", "LOGIN"], {"POP-USER": ""}, None),
        ("PLAIN", [], {"POP-APOP": "", "POP-USER": ""}, None),
    ],
)
def test_one_order_holds_for_mechanisms_and_login_commands(
    pin: str, offered: list[str], commands: dict[str, str], name: str | None
) -> None:
    policy = Policy(pin=pin, allow=["POP-APOP"])
    if name is not None:
        assert sasl.choose(offered, JOE, policy=policy, channel=TLS, commands=commands).name == name
        return
    with pytest.raises(sasl.PolicyViolation) as caught:
        sasl.choose(offered, JOE, policy=policy, channel=TLS, commands=commands)
    assert set(caught.value.passed_over.values()) == {WEAK.format(pin)}


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("POP-USER", "POP-APOP", "POP-APOP"),
        ("POP-APOP", "PLAIN", "POP-APOP"),
        ("PLAIN", "POP-APOP", "PLAIN"),
        ("X-NOBODY-KNOWS", "PLAIN", "PLAIN"),
        ("PLAIN", "PLAIN", "PLAIN"),
    ],
)
def test_a_pin_is_kept_by_the_same_order(before: str, name: str, after: str) -> None:
    pins = {"pop://joe@mail.example.org": before}
    policy = Policy(pins=pins)

    policy.remember(sasl.Choice(name, Channel(service="pop", host="mail.example.org")), sasl.Password("joe", "x"))

    assert pins == {"pop://joe@mail.example.org": after}


# --- what was chosen knows how to begin


def test_a_choice_begins_the_exchange_with_its_channel_and_limits(add: Callable[..., sasl.Mechanism]) -> None:
    seen: list[object] = []

    def script(credentials: object, options: sasl.Options, *, colour: str = "") -> Any:
        seen.extend([options.channel, options.limits.min_iterations, colour])
        yield b""

    add("X-STRONG", client=script, rank=50)
    channel = Channel(tls=True, host="mail.example.org")
    choice = sasl.choose(["X-STRONG"], JOE, channel=channel, policy=Policy(min_iterations=9_999))

    exchange = choice.client(JOE, colour="red")

    assert exchange.name == "X-STRONG"
    exchange.start()
    assert seen == [channel, 9_999, "red"]
    with pytest.raises(sasl.UsageError, match="does not take these options: smell"):
        choice.client(JOE, smell="good")


def test_a_bound_row_by_any_name_that_is_not_taken_leaves_no_bindings(add: Callable[..., sasl.Mechanism]) -> None:
    add("X-GLUED", twin="X-SCRAM", rank=42)  # its name does not end in -PLUS

    choice = sasl.choose(["X-GLUED", "X-SCRAM", "X-OTHER"], JOE, channel=BOUND, mechanism="X-SCRAM")

    assert choice.channel.bindings == {}
    assert sasl.choose(["X-SCRAM", "X-OTHER"], JOE, channel=BOUND).channel == DEFAULT


# --- passwords that are not to be hashed as they would be

CHANGED = ["\u00bdpint", "p\U0001f511word", "a\u00a0b", "\u00e9" * 1_025]
LOGINS = ["SCRAM-SHA-1", "PLAIN", "SCRAM-SHA-256"]
STRONGEST = "SCRAM-SHA-256"


@pytest.mark.parametrize("password", CHANGED, ids=["changed", "refused", "blank", "long"])
def test_a_password_that_hashing_would_change_is_sent_as_it_was_typed(password: str) -> None:
    """Over TLS: servers keep it so (RFC 4013 is for those who prepare what they keep)."""
    joe = Password("joe", password)
    choice = sasl.choose([*LOGINS, "LOGIN"], joe, channel=BOUND)
    assert choice.name == "PLAIN"
    for name in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
        assert "SASLprep" in choice.passed_over[name]
    assert choice.passed_over["LOGIN"] == "PLAIN is stronger"
    assert sasl.choose(["SCRAM-SHA-1", "LOGIN"], joe, channel=TLS).name == "LOGIN"
    assert sasl.choose(["SCRAM-SHA-1-PLUS"], joe, channel=BOUND, commands=COMMANDS).name == "IMAP-LOGIN"
    assert sasl.choose(["SCRAM-SHA-1"], joe, channel=TLS, commands={"IMAP-LOGIN": "off"}).name == "SCRAM-SHA-1"
    assert not seen([repr(choice), *choice.passed_over.values()], password)


@pytest.mark.parametrize("password", CHANGED, ids=["changed", "refused", "blank", "long"])
@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"mechanism": "scram-sha-1"}, "SCRAM-SHA-1"),
        ({"policy": Policy(pin="SCRAM-SHA-1")}, STRONGEST),
        ({"policy": Policy(pin="SCRAM-SHA-1-PLUS"), "offered": ["SCRAM-SHA-1-PLUS", "PLAIN"]}, "SCRAM-SHA-1-PLUS"),
        (
            {"policy": Policy(channel_binding="require"), "offered": ["SCRAM-SHA-1-PLUS", "PLAIN"]},
            "SCRAM-SHA-1-PLUS",
        ),
        ({"policy": Policy(plaintext="always"), "channel": Channel()}, STRONGEST),
        ({"channel": Channel()}, STRONGEST),
        ({"policy": Policy(prepare=False)}, STRONGEST),
        ({"offered": ["SCRAM-SHA-1", "SCRAM-SHA-256"]}, STRONGEST),
        ({"offered": ["SCRAM-SHA-1"]}, "SCRAM-SHA-1"),
    ],
    ids=["mechanism", "pin", "pin-plus", "require", "clear-allowed", "clear", "prepare", "no-plain", "nothing-else"],
)
def test_a_password_is_hashed_all_the_same_where_that_is_wanted_or_nothing_else_may_be(
    password: str, how: dict[str, Any], name: str
) -> None:
    how = {"offered": LOGINS, "channel": BOUND, **how}
    assert sasl.choose(credentials=Password("joe", password), **how).name == name


@pytest.mark.parametrize("password", ["pencil", "K\u00f6nigin", " ~", "x" * 1_000], ids=len)
def test_a_password_that_hashing_leaves_is_hashed(password: str) -> None:
    assert sasl.choose(LOGINS, Password("joe", password), channel=TLS).name == STRONGEST


def test_a_user_name_that_cannot_be_prepared_is_not_hashed() -> None:
    choice = sasl.choose(LOGINS, Password("p\u202e", "pencil"), channel=TLS)
    assert choice.name == "PLAIN"
    assert "user name" in choice.passed_over[STRONGEST]
    assert sasl.choose(LOGINS, Password("\u00bdjoe", "pencil"), channel=TLS).name == STRONGEST


def test_a_token_is_not_prepared(add: Callable[..., sasl.Mechanism]) -> None:
    add("X-PROOF", client=lambda *_: None, credentials=Bearer, rank=90)
    assert sasl.choose(["XOAUTH2", "X-PROOF"], Bearer("joe", "\u00bdtoken"), channel=TLS).name == "X-PROOF"


@pytest.mark.parametrize("prepare", [True, False])
def test_a_policy_that_prepares_nothing_tells_the_mechanisms_that_would(
    add: Callable[..., sasl.Mechanism], *, prepare: bool
) -> None:
    told: list[object] = []

    def by_name(_credentials: object, _options: object, *, prepare: bool = True) -> Any:
        told.append(prepare)
        yield b""

    def by_place(_credentials: object, _options: object, prepare: bool = True) -> Any:
        told.append(prepare)
        yield b""

    def knows_nothing(_credentials: object, _options: object) -> Any:
        prepare = "of its own"
        told.append(prepare)
        yield b""

    class Callable_:
        def __call__(self, _credentials: object, _options: object) -> Any:
            return knows_nothing(_credentials, _options)

    policy = Policy(prepare=prepare)
    for script in (by_name, by_place, knows_nothing, Callable_()):
        add("X-SCRAM", client=script)
        choice = sasl.choose(["X-SCRAM"], JOE, channel=TLS, policy=policy)
        assert choice.prepare is prepare
        choice.client(JOE).start()
    assert told == [prepare, prepare, "of its own", "of its own"]
    add("X-SCRAM", client=by_name)
    choice.client(JOE, prepare=True).start()  # who says it himself is listened to
    assert told.pop() is True


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"])
@pytest.mark.parametrize("password", CHANGED[:3], ids=["changed", "refused", "blank"])
def test_every_mechanism_takes_a_policy_that_prepares_nothing(name: str, password: str) -> None:
    joe, policy = Password("joe", password), Policy(prepare=False, allow=["CRAM-MD5", "DIGEST-MD5"])
    choice = sasl.choose([name], joe, policy=policy, channel=ACCOUNT)
    choice.client(joe).start()


def test_a_token_and_a_command_take_a_policy_that_prepares_nothing() -> None:
    policy = Policy(prepare=False)
    token = sasl.choose(["XOAUTH2"], TOKEN, policy=policy, channel=TLS)
    assert (token.client(TOKEN).start() or b"").startswith(b"user=")
    command = sasl.choose([], JOE, policy=policy, channel=TLS, commands=COMMANDS)
    assert command.client(JOE).name == "IMAP-LOGIN"


# --- families


def test_mechanisms_of_one_family_go_by_what_is_kept_on_the_server() -> None:
    for row in (*sasl.known_mechanisms(), *(row for row in sasl.mechanisms.ROWS if row.command)):
        if not row.name.startswith("X-"):
            assert row.family == ("SCRAM" if row.name.startswith("SCRAM-") else row.name)


def test_a_family_that_the_server_refused_does_not_come_again() -> None:
    offered = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
    refused = {"SCRAM": "the server refused SCRAM-SHA-256-PLUS: no"}
    choice = sasl.choose(offered, JOE, channel=BOUND, refused=refused)
    assert choice.name == "PLAIN"
    assert [choice.passed_over[name] for name in offered[:2]] == [refused["SCRAM"]] * 2
    with pytest.raises(sasl.MechanismUnavailable, match="the server refused"):
        sasl.choose(offered[:2], JOE, channel=BOUND, refused=refused)


# --- channel bindings are fetched where somebody looks at them


@pytest.mark.parametrize(
    ("offered", "credentials", "fetched"),
    [
        (["PLAIN", "LOGIN"], JOE, 0),
        (["XOAUTH2", "OAUTHBEARER"], TOKEN, 0),
        (["X-SCRAM-PLUS", "XOAUTH2"], TOKEN, 0),
        (["X-SCRAM", "PLAIN"], JOE, 0),
        (["X-SCRAM", "X-SCRAM-PLUS"], JOE, 1),
    ],
)
def test_bindings_are_fetched_only_for_a_mechanism_that_binds(
    offered: list[str], credentials: Any, fetched: int
) -> None:
    calls = []

    def fetch() -> dict[str, bytes]:
        calls.append(1)
        return {"tls-exporter": b"x" * 32}

    channel = Channel(tls=True, bindings=sasl.LazyBindings(fetch))
    repr(channel)
    sasl.choose(offered, credentials, channel=channel)

    assert len(calls) == fetched
    assert dict(channel.bindings) == {"tls-exporter": b"x" * 32}
    assert channel == Channel(tls=True, bindings={"tls-exporter": b"x" * 32})
    assert len(calls) == 1


def test_lazy_bindings_are_checked_and_show_nothing() -> None:
    lazy = sasl.LazyBindings(lambda: {"tls-exporter": "text"})  # type: ignore[dict-item]

    assert repr(lazy) == "LazyBindings()"
    with pytest.raises(sasl.UsageError):
        len(lazy)


def test_bindings_that_cannot_be_fetched_are_the_callers_fault() -> None:
    def fetch() -> dict[str, bytes]:
        raise KeyError("the secret of a key store")

    channel = Channel(tls=True, bindings=sasl.LazyBindings(fetch))
    with pytest.raises(sasl.UsageError, match="could not be fetched: KeyError") as caught:
        sasl.choose(["SCRAM-SHA-256-PLUS"], sasl.Password("tim", "tanstaaftanstaaf"), channel=channel)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [sasl.UsageError("no handshake yet"), ConnectionResetError(), ImportError("pyasn1")])
def test_what_is_known_of_bindings_that_cannot_be_fetched_is_told(error: Exception) -> None:
    def fetch() -> dict[str, bytes]:
        raise error

    channel = Channel(tls=True, bindings=sasl.LazyBindings(fetch))
    with pytest.raises(type(error)) as caught:
        sasl.choose(["SCRAM-SHA-256-PLUS"], sasl.Password("tim", "tanstaaftanstaaf"), channel=channel)
    assert caught.value is error


# --- credentials of a kind that the engine does not know


class Ticket:
    """A plug-in's own credentials."""

    is_token = False

    def __init__(self, user: str, ticket: str) -> None:
        self.user = user
        self.secret = sasl.Secret(ticket)


def test_credentials_of_another_kind_are_as_good_as_ours(add: Callable[..., sasl.Mechanism]) -> None:
    def script(ticket: Ticket, _options: sasl.Options) -> Any:
        yield sasl.Complete(ticket.secret.reveal().encode())

    add("X-TICKET", client=script, credentials=Ticket, rank=45)
    ticket, pins = Ticket("joe", "four-of-a-kind"), dict[str, str]()
    channel = Channel(tls=True, service="imap", host="mail.example.org")
    policy = Policy(pins=pins)

    choice = sasl.choose(["PLAIN", "X-TICKET"], ticket, channel=channel, policy=policy)
    exchange = choice.client(sasl.resolve(ticket))

    assert choice.name == "X-TICKET"
    assert choice.passed_over == {"PLAIN": "takes Password, not Ticket"}
    assert exchange.start() == b"four-of-a-kind"
    error = exchange.fail("four-of-a-kind is no ticket")
    assert (error.server_text, error.new_token_may_help) == ("*** is no ticket", False)  # type: ignore[attr-defined]
    policy.remember(choice, ticket)
    assert pins == {"imap://joe@mail.example.org": "X-TICKET"}


@pytest.mark.parametrize("value", [None, 7, "hunter22", b"hunter22", ("joe", "hunter22"), object()])
def test_what_is_no_credentials_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(sasl.UsageError, match=f"not {type(value).__name__}$"):
        sasl.choose(["PLAIN"], value, channel=TLS)
    with pytest.raises(sasl.UsageError, match="takes Password credentials"):
        sasl.client("PLAIN", value)
    assert not isinstance(value, sasl.Credentials)


@pytest.mark.parametrize("credentials", [JOE, TOKEN, sasl.External(), sasl.Anonymous("me")], ids=repr)
def test_our_own_kinds_are_credentials(credentials: Any) -> None:
    assert isinstance(credentials, sasl.Credentials)
    assert credentials.is_token is isinstance(credentials, sasl.Bearer)
    assert (credentials.secret is None) is (credentials.user is None)


@pytest.mark.parametrize(
    ("part", "value"),
    [("user", 7), ("user", sasl.Secret("four-of-a-kind")), ("secret", "four-of-a-kind"), ("is_token", 1)],
)
def test_credentials_that_say_what_they_are_in_other_types_are_none(
    add: Callable[..., sasl.Mechanism], part: str, value: Any
) -> None:
    add("X-TICKET", client=str, credentials=Ticket, rank=45)
    ticket = Ticket("joe", "four-of-a-kind")
    setattr(ticket, part, value)

    with pytest.raises(sasl.UsageError, match=r"not Ticket$"):
        sasl.choose(["X-TICKET"], ticket, channel=TLS)
    with pytest.raises(
        sasl.UsageError, match="cannot use Ticket: credentials have user, secret and is_token"
    ) as caught:
        sasl.client("X-TICKET", ticket)
    assert not seen(shown(caught.value), "four-of-a-kind")


@pytest.mark.parametrize("part", ["user", "secret", "is_token"])
def test_what_credentials_raise_stays_where_it_was_raised(add: Callable[..., sasl.Mechanism], part: str) -> None:
    def fail(_ticket: object) -> Any:
        raise ValueError("four-of-a-kind")

    kind = type("Torn", (Ticket,), {"__init__": lambda _self: None, "user": None, "secret": None, part: property(fail)})
    add("X-TORN", client=str, credentials=kind, rank=45)

    for attempt in (sasl.choose, lambda _names, torn, **_: sasl.client("X-TORN", torn)):
        with pytest.raises(sasl.UsageError) as caught:
            attempt(["X-TORN"], kind(), channel=TLS)
        assert not seen(shown(caught.value), "four-of-a-kind")


# --- what goes astray


@pytest.mark.parametrize("option", ["password", "channel", "limits"])
def test_a_password_among_the_options_of_a_choice_is_not_shown(option: str) -> None:
    choice = sasl.choose(["SCRAM-SHA-256"], JOE, channel=TLS)

    with pytest.raises(sasl.UsageError) as caught:
        choice.client(JOE, **{option: "four-of-a-kind"})
    assert not seen(shown(caught.value), "four-of-a-kind")


@pytest.mark.parametrize(
    "commands", [None, ["IMAP-LOGIN"], {"PLAIN": ""}, {"IMAP-LOGIN": None}, {"IMAP-LOGIN": 0}, {"no name": ""}]
)
def test_what_is_no_login_command_with_what_is_against_it_is_a_usage_error(commands: Any) -> None:
    with pytest.raises(sasl.UsageError):
        sasl.choose([], JOE, channel=TLS, commands=commands)


def test_the_name_of_a_login_command_is_compared_as_others_are() -> None:
    assert sasl.choose([], JOE, channel=TLS, commands={"imap-login": ""}, mechanism="Imap-Login").name == "IMAP-LOGIN"


@pytest.mark.parametrize(
    ("host", "service", "user"),
    [("Mail.Example.", "imap", "joe"), ("mail.example", "IMAP", "joe"), ("mail.example", "imap", "j\u00ado\ufeffe")],
)
def test_an_account_is_the_same_however_it_is_spelt(host: str, service: str, user: str) -> None:
    pins = {"imap://joe@mail.example": "X-SCRAM"}
    channel = Channel(tls=True, service=service, host=host)
    with pytest.raises(sasl.PolicyViolation, match="pinned to"):
        sasl.choose(["PLAIN"], Password(user, "x"), channel=channel, policy=Policy(pins=pins))


def test_a_user_whose_name_cannot_be_prepared_has_an_account() -> None:
    pins: dict[str, str] = {}
    channel = Channel(tls=True, service="imap", host="mail.example")
    Policy(pins=pins).remember(sasl.Choice("PLAIN", channel), Password("p\U0001f511\u202e", "x"))
    assert list(pins) == ["imap://p\U0001f511\u202e@mail.example"]


def test_a_list_without_end_costs_little_and_its_error_is_short() -> None:
    def names() -> Iterator[str]:
        for number in itertools.count():
            assert number < 10_000
            yield f"X-{number}"

    with pytest.raises(sasl.MechanismUnavailable, match="and 4080 more") as caught:
        sasl.choose(names(), JOE, channel=TLS)
    assert len(str(caught.value)) < 2_000
    assert len(caught.value.passed_over) == 4_096


@pytest.mark.parametrize(
    ("hashes", "names"),
    [
        (None, ["SCRAM-SHA3-512", "SCRAM-SHA-512", "SCRAM-SHA-384", "SCRAM-SHA-256", "SCRAM-SHA-224", "SCRAM-SHA-1"]),
        (["sha256"], ["SCRAM-SHA-256"]),
        ({"sha1", "sha512"}, ["SCRAM-SHA-512", "SCRAM-SHA-1"]),
        ([], []),
    ],
)
def test_scram_is_offered_for_the_hashes_that_there_are_keys_for(hashes: Any, names: list[str]) -> None:
    offered = sasl.offer(TLS, Policy(), [sasl.FindKeys], hashes)
    assert [name for name in offered if not name.startswith("X-")] == names  # of a plug-in nobody knows which hash
    assert "PLAIN" in sasl.offer(TLS, Policy(), [sasl.FindKeys, CheckPassword], hashes=hashes)
    bound = sasl.Channel(tls=True, tls_version="TLSv1.3", bindings={"tls-exporter": b"x" * 32})
    plus = [f"{name}-PLUS" for name in names]
    assert set(sasl.offer(bound, Policy(), [sasl.FindKeys], hashes)) - set(offered) >= set(plus)
