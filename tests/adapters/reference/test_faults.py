"""Rules of faults, as values, as text and as JSON, and when they strike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sasl import UsageError
from sasl.adapters.reference import effects as does
from sasl.adapters.reference.faults import PRESETS, Faults, Place, parse
from sasl.adapters.reference.rules import MAIL, Rule

IMAP = Place("imap", None, 1)

SAME = [
    (
        "imap:AUTHENTICATE drop",
        Rule("imap", "AUTHENTICATE", (does.DROP,)),
        {"protocol": "imap", "on": "AUTHENTICATE", "do": {"drop": True}},
    ),
    (
        "imap:FETCH nth=2 times=* user=alice session=3 delay 2.5; reply NO [THROTTLED] Later; close",
        Rule(
            "imap",
            "FETCH",
            (does.Delay(2.5), does.Reply("NO [THROTTLED] Later"), does.Close()),
            nth=2,
            times=None,
            user="alice",
            session=3,
        ),
        {
            "protocol": "imap",
            "on": "FETCH",
            "nth": 2,
            "times": None,
            "user": "alice",
            "session": 3,
            "do": {"delay": 2.5},
            "then": [{"reply": "NO [THROTTLED] Later"}, {"close": True}],
        },
    ),
    (
        r"smtp:AUTH challenge raw=!!!\_x count=* \;; split pause=0.1 1",
        Rule("smtp", "AUTH", (does.Challenge(";", raw=b"!!! x", count=None), does.Split(1, 0.1))),
        {
            "protocol": "smtp",
            "on": "AUTH",
            "do": {"challenge": {"text": ";", "raw": "!!! x", "count": None}},
            "then": [{"split": {"octets": 1, "pause": 0.1}}],
        },
    ),
    (
        'oauth:token probability=0.25 seed=7 status json={"error":"x"} 503',
        Rule("oauth", "token", (does.Status(503, {"error": "x"}),), probability=0.25, seed=7),
        {
            "protocol": "oauth",
            "on": "token",
            "probability": 0.25,
            "seed": 7,
            "do": {"status": {"code": 503, "json": {"error": "x"}}},
        },
    ),
    (
        r"imap:UID FETCH raw a\r\n\xff",
        Rule("imap", "UID FETCH", (does.Raw(b"a\r\n\xff"),)),
        {"protocol": "imap", "on": "UID FETCH", "do": {"raw": "a\r\nÿ"}},
    ),
    (
        "pop:capabilities hide SASL; offer X-Y",
        Rule("pop", "capabilities", (does.Hide("SASL"), does.Offer("X-Y"))),
        {"protocol": "pop", "on": "capabilities", "do": {"hide": "SASL"}, "then": [{"offer": "X-Y"}]},
    ),
]


@pytest.mark.parametrize(("text", "rule", "document"), SAME, ids=[text for text, _, _ in SAME])
def test_a_rule_is_the_same_in_python_as_text_and_as_json(text: str, rule: Rule, document: dict[str, Any]) -> None:
    assert Rule.parse(text) == rule
    assert str(rule) == text
    assert Rule.from_json(document) == rule
    assert rule.to_json() == document
    assert Rule.from_json(json.loads(json.dumps(document))) == rule


@pytest.mark.parametrize(("name", "rules"), PRESETS.items(), ids=list(PRESETS))
def test_a_preset_is_made_of_rules_that_have_text_and_json(name: str, rules: tuple[Rule, ...]) -> None:
    assert parse(name) == rules
    for rule in rules:
        assert Rule.parse(str(rule)) == rule
        assert Rule.from_json(rule.to_json()) == rule


def test_a_preset_may_hold_at_one_server_alone() -> None:
    assert parse("imap:hang") == (Rule("imap", "AUTH", (does.HANG,), times=None),)
    assert parse("oauth:hang") == (Rule("oauth", "token", (does.HANG,), times=None),)
    assert {rule.protocol for rule in parse("smtp:strip-starttls")} == {"smtp"}


def test_a_fault_has_a_method_for_each_effect_but_those_that_the_server_has() -> None:
    methods = set(dir(Faults().on("imap", "X"))) | {"hide", "offer"}
    assert set(does.NAMES) <= methods


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
EFFECTS = st.one_of(
    st.sampled_from([does.DROP, does.RESET, does.HANG, does.ANSWER, does.ACCEPT]),
    st.builds(does.Reply, TEXTS.filter(bool)),
    st.builds(does.Raw, st.binary(min_size=1, max_size=20)),
    st.builds(does.Delay, st.floats(0, 86_400)),
    st.builds(does.Truncate, st.integers(0, 1_000)),
    st.builds(
        does.Challenge,
        TEXTS | st.sampled_from(["raw=x", "count=*", " raw=x "]),
        raw=st.none() | st.binary(min_size=1, max_size=9),
        count=st.none() | st.integers(0, 9),
    ),
)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "nth": st.integers(1, 10**12 - 1),
        "times": st.none() | st.integers(1, 10**12 - 1),
        "user": TEXTS | st.sampled_from(["", "*", "a b", "a\u2028b", "nth=2", "\\;"]),
        "session": st.integers(1, 10**12 - 1),
        "probability": st.floats(0, 1, exclude_min=True),
    },
)


@given(OPTIONS, st.integers(1 - 10**12, 10**12 - 1), st.sampled_from(["*", "AUTH:end", "uid fetch", "UID FETCH"]))
def test_options_survive_text_and_json(options: dict[str, Any], seed: int, event: str) -> None:
    rule = Rule("imap", event, (does.DROP,), seed=seed, **options)
    assert Rule.parse(str(rule)) == rule
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@given(st.lists(EFFECTS, min_size=1, max_size=4))
def test_effects_survive_text_and_json(effects: list[does.Effect]) -> None:
    rule = Rule("imap", "AUTHENTICATE", tuple(effects))
    assert Rule.parse(str(rule)) == rule
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@given(st.text(max_size=60))
def test_a_text_is_a_rule_or_a_usage_error(text: str) -> None:
    for candidate in (text, f"imap:FETCH {text}", f"imap:FETCH reply {text}"):
        try:
            rules = parse(candidate)
        except UsageError:
            continue
        assert all(Rule.parse(str(rule)) == rule for rule in rules)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "imap",
        "imap:",
        "nothing",
        "mail:hang",
        "oauth:early-yes",
        "imap:FETCH raw ",
        "smtp:untagged-no",
        "imap:FETCH jump",
        "imap:FETCH drop now",
        "imap:FETCH delay",
        "imap:FETCH delay soon",
        "imap:FETCH delay -1",
        "imap:FETCH delay nan",
        "imap:FETCH delay 1e9",
        "imap:FETCH split 0",
        "imap:FETCH split 1.5",
        "imap:FETCH truncate true",
        "imap:FETCH reply",
        "imap:FETCH reply \\q",
        "imap:FETCH reply \\",
        "imap:FETCH raw \N{GREEK SMALL LETTER ALPHA}",
        "imap:FETCH drop;",
        "imap:FETCH ; drop",
        "imap:FETCH nth=0 drop",
        "imap:FETCH nth=1 nth=2 drop",
        "imap:FETCH nth=* drop",
        "imap:FETCH times=0 drop",
        "imap:FETCH times=1.5 drop",
        "imap:FETCH probability=0 seed=1 drop",
        "imap:FETCH probability=2 seed=1 drop",
        "imap:FETCH probability=0.5 drop",
        "imap:FETCH status 503",
        "imap:FETCH hide SASL-IR",
        "imap:capabilities drop",
        "oauth:token reply NO",
        "oauth:token status 99",
        "oauth:token status json=[] 503",
        "oauth:token fail slowly",
        "oauth:token user=alice drop",
        "imap:SELECT INBOX drop",
        "imap:FETCH nth=1000000000000 drop",
        "imap:FETCH delay " + "9" * 400,
        "imap:FETCH split pause=1 pause=2 1",
        "imap:FETCH " + "answer;" * 100 + "drop",
        'oauth:token status json={"a":NaN} 500',
        'oauth:token status json={"a":' + "[" * 33 + "]" * 33 + "} 500",
        'oauth:token status json={"a":' + "[" * 100_000 + " 500",
    ],
)
def test_what_is_no_rule_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"protocol": "imap", "on": "FETCH"},
        {"protocol": "imap", "do": {"drop": True}},
        {"protocol": "imap", "on": "FETCH", "do": {}},
        {"protocol": "imap", "on": "FETCH", "do": "drop"},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": False}},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True, "reset": True}},
        {"protocol": "imap", "on": "FETCH", "do": {"reply": True}},
        {"protocol": "imap", "on": "FETCH", "do": {"reply": 1}},
        {"protocol": "imap", "on": "FETCH", "do": {"reply": {"text": "NO", "loud": True}}},
        {"protocol": "imap", "on": "FETCH", "do": {"raw": "\N{GREEK SMALL LETTER ALPHA}"}},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "then": "close"},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "often": 3},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "nth": True},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "nth": 1.0},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "user": 7},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "session": "1"},
        {"protocol": "imap", "on": "FETCH", "do": {"drop": True}, "seed": "a"},
        {"protocol": "imap", "on": 7, "do": {"drop": True}},
        {"protocol": ["imap"], "on": "FETCH", "do": {"drop": True}},
        {"protocol": "imap", "on": "F" * 65, "do": {"drop": True}},
        {"protocol": "imap", "on": "FETCH\r\n", "do": {"drop": True}},
    ],
)
def test_json_that_is_no_rule_is_a_usage_error(document: object) -> None:
    with pytest.raises(UsageError):
        Rule.from_json(document)


def struck(faults: Faults, *events: str, place: Place = IMAP) -> list[bool]:
    return [bool(faults.strike(place, (event, "*"))) for event in events]


def test_a_fault_strikes_once_unless_it_is_told_otherwise() -> None:
    faults = Faults()
    fault = faults.on("imap", "FETCH").drop()
    assert struck(faults, "NOOP", "FETCH", "FETCH") == [False, True, False]
    assert fault.hits == 1


def test_nth_and_after_let_events_pass_and_times_bounds_the_hits() -> None:
    faults = Faults()
    second = faults.on("imap", "FETCH", nth=2, times=2).drop()
    third = faults.on("imap", "fetch").after(2).close()
    assert struck(faults, *["FETCH"] * 5) == [False, True, True, False, False]
    assert (second.hits, third.hits) == (2, 1)


def test_a_fault_of_all_times_strikes_each_time() -> None:
    faults = Faults()
    fault = faults.on("imap", "*", times=None).drop()
    assert all(struck(faults, "FETCH", "NOOP", "LOGIN"))
    assert fault.hits == 3


def test_a_fault_strikes_only_its_protocol_its_user_and_its_session() -> None:
    faults = Faults()
    faults.on("imap", "NOOP", user="alice", session=2, times=None).drop()
    places = [Place("imap", "alice", 2), Place("imap", "bob", 2), Place("imap", "alice", 1), Place("pop", "alice", 2)]
    assert [struck(faults, "NOOP", place=place) for place in places] == [[True], [False], [False], [False]]


def test_a_fault_of_all_mail_servers_is_none_of_the_authority() -> None:
    faults = Faults()
    faults.on("*", "*", times=None).drop()
    protocols = ("imap", "pop", "smtp", "lmtp", "oauth")
    assert [struck(faults, "X", place=Place(name))[0] for name in protocols] == [True, True, True, True, False]


def test_faults_that_strike_at_one_event_are_combined() -> None:
    faults = Faults()
    faults.on("imap", "*", times=None).delay(1)
    faults.on("imap", "FETCH").reply("NO x").then("delay 2; close")
    assert faults.strike(IMAP, ("FETCH", "*")) == [does.Delay(1), does.Reply("NO x"), does.Delay(2.0), does.Close()]


def test_what_is_random_comes_out_the_same_with_the_same_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = Faults()
        faults.on("imap", "NOOP", times=None, probability=0.5, seed=seed).drop()
        return struck(faults, *["NOOP"] * 40)

    assert drawn(1) == drawn(1) != drawn(2)
    assert 5 < sum(drawn(1)) < 35


def test_what_never_struck_is_told() -> None:
    faults = Faults()
    struck_once = faults.add("imap:NOOP drop")
    idle, empty = faults.add("hang"), faults.on("imap", "NOOP")
    struck(faults, "NOOP")
    assert faults.unused == (idle, empty)
    assert faults.standing == (struck_once, idle, empty)
    assert repr(struck_once) == "<Fault imap:NOOP drop: 1 hits>"
    idle.remove()
    assert faults.unused == (empty,)
    faults.clear()
    assert faults.standing == ()


def test_a_fault_needs_a_rule_and_effects_that_are_some() -> None:
    faults = Faults()
    with pytest.raises(UsageError):
        faults.add()
    with pytest.raises(UsageError):
        faults.on("imap", "FETCH").delay("long")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Rule("imap", "FETCH", ("drop",))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        faults.on("imap", "token").fail("503")


@pytest.mark.parametrize(
    ("protocol", "hidden", "before", "after"),
    [
        ("imap", "SASL-IR", ["IMAP4rev1", "SASL-IR"], ["IMAP4rev1"]),
        ("imap", "AUTH=PLAIN", ["AUTH=PLAIN", "AUTH=LOGIN"], ["AUTH=LOGIN"]),
        ("imap", "AUTH", ["X", "AUTH=PLAIN", "AUTH=LOGIN"], ["X"]),
        ("pop", "AUTH=PLAIN", ["SASL PLAIN LOGIN", "UIDL"], ["SASL LOGIN", "UIDL"]),
        ("smtp", "size", ["SIZE 100", "DSN"], ["DSN"]),
        ("smtp", "AUTH=LOGIN", ["AUTH PLAIN LOGIN"], ["AUTH PLAIN"]),
    ],
)
def test_a_capability_is_hidden_by_its_name(protocol: str, hidden: str, before: list[str], after: list[str]) -> None:
    faults = Faults()
    fault = faults.hide(protocol, hidden)
    assert faults.advertise(Place(protocol), before) == after
    assert fault.hits == 1
    assert faults.advertise(Place(protocol), after) == after
    assert fault.hits == 1


def test_a_capability_is_offered_that_is_none() -> None:
    faults = Faults()
    fault = faults.offer("imap", "X-GM-EXT-1")
    assert faults.advertise(IMAP, ["IMAP4rev1"]) == ["IMAP4rev1", "X-GM-EXT-1"]
    assert faults.advertise(IMAP, ["X-GM-EXT-1"]) == ["X-GM-EXT-1"]
    assert fault.hits == 1


def test_the_page_about_faults_names_all_that_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "gmail-behaviour.md").read_text("utf-8")
    missing = [name for name in (*does.NAMES, *PRESETS, *MAIL) if not re.search(rf"`{name}[ `]", page)]
    assert missing == []
