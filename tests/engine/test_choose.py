"""Which mechanism, and why not the others: `choose`, `offer` and `Policy` (contract, "Client" and "Server")."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Bearer, Channel, CheckCertificate, CheckPassword, CheckToken, External, FindKeys, Password, Policy

from ..support.leaks import seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable

JOE = Password("joe", "pencil")
TOKEN = Bearer("joe@example.com", "ya29.token")
TLS = Channel(tls=True)
BOUND = Channel(tls=True, bindings={"tls-exporter": b"exported", "tls-server-end-point": b"hash"})
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
        "X-SCRAM-PLUS": "no channel-binding data for this connection",
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


def test_a_plus_mechanism_replaces_its_twin_and_keeps_the_bindings() -> None:
    for offered in (["X-SCRAM", "X-SCRAM-PLUS"], ["X-SCRAM-PLUS", "X-SCRAM"], ["X-SCRAM-PLUS"]):
        choice = sasl.choose(offered, JOE, channel=BOUND)
        assert (choice.name, choice.channel) == ("X-SCRAM-PLUS", BOUND)


@pytest.mark.parametrize("rank", [1, 40])
def test_a_plus_mechanism_replaces_its_twin_whatever_its_rank(add: Callable[..., sasl.Mechanism], rank: int) -> None:
    add("X-SCRAM-PLUS", client=lambda *_: None, rank=rank, twin="X-SCRAM")
    choice = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS", "PLAIN"], JOE, channel=BOUND)
    assert choice.name == "X-SCRAM-PLUS"
    assert choice.passed_over == {"X-SCRAM": "X-SCRAM-PLUS is stronger", "PLAIN": "X-SCRAM-PLUS is stronger"}


def test_without_bindings_the_twin_is_taken() -> None:
    choice = sasl.choose(["X-SCRAM", "X-SCRAM-PLUS"], JOE, channel=TLS)
    assert (choice.name, dict(choice.channel.bindings)) == ("X-SCRAM", {})


def test_a_twin_whose_plus_was_not_offered_keeps_the_bindings() -> None:
    """So that it sends "y": the server may know that it does offer -PLUS, and somebody has taken it out."""
    assert sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=BOUND).channel == BOUND
    assert sasl.choose(["X-STRONG", "X-SCRAM-PLUS"], JOE, channel=BOUND).channel == BOUND  # that of another mechanism


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
    assert pins == {f"imap://{JOE.authcid}@mail.example": "X-SCRAM-PLUS"}
    with pytest.raises(sasl.PolicyViolation, match="weaker than X-SCRAM-PLUS"):
        sasl.choose(["X-SCRAM", "PLAIN"], JOE, channel=ACCOUNT, policy=policy)
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
        ("X-SCRAM-PLUS", "X-SCRAM-PLUS"),
    ):
        policy.remember(sasl.Choice(name, ACCOUNT), JOE)
        assert list(pins.values()) == [kept]


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
    assert sasl.choose(["X-SCRAM", "X-OTHER"], JOE, channel=BOUND).channel.bindings == BOUND.bindings


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
