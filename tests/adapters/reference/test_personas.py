"""Personas: files of one form, each text with its source, and what is made of them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import sasl
from sasl.adapters.reference import personas
from sasl.adapters.reference.personas import LIKE, NAMES, Persona, fields, load
from sasl.adapters.wire.imap import grammar as imap
from sasl.adapters.wire.pop import grammar as pop
from sasl.adapters.wire.smtp import grammar as smtp

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = files("sasl.adapters.reference.personas")
SCHEMA = json.loads(files("sasl.spec").joinpath("schema/persona.json").read_text("utf-8"))
VALID = jsonschema.Draft202012Validator(SCHEMA)
SERVICES = ("imap", "pop", "smtp")
MINIMAL: dict[str, Any] = {
    "name": "Mine",
    "imap": {"greeting": "* OK hi", "capabilities": {"clear": ["IMAP4rev1"]}},
}


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FOLDER.joinpath(f"{name}.json").read_text("utf-8"))
    return loaded


def services() -> list[tuple[str, str]]:
    return [(name, service) for name in NAMES for service in load(name).services]


# --- files


def test_there_is_a_file_for_every_name_and_no_other() -> None:
    here = {path.name.removesuffix(".json") for path in FOLDER.iterdir() if path.name.endswith(".json")}
    assert here == set(NAMES)
    assert personas.DEFAULT in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_form_of_its_schema(name: str) -> None:
    assert [f"{error.json_path}: {error.message[:200]}" for error in VALID.iter_errors(content(name))] == []


def test_the_schema_is_one_and_refuses_something() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert not VALID.is_valid({"name": "x"})


@pytest.mark.parametrize("name", NAMES)
def test_each_text_has_a_source_with_a_date_or_is_said_to_be_ours(name: str) -> None:
    found = content(name)
    sources = found["sources"]
    facts = [each for each in ("folders", "challenges", "password_ends") if each in found]
    for service in SERVICES:
        for member, what in found.get(service, {}).items():
            within = what if member in ("refusals", "replies", "goodbyes") else {"": what}
            facts += [f"{service}.{member}.{each}".rstrip(".") for each in within]
    sourced = {fact for fact in facts if any(fact == each or fact.startswith(f"{each}.") for each in sources)}
    assert set(facts) == sourced
    used = {each for each in sources if any(fact == each or fact.startswith(f"{each}.") for fact in facts)}
    assert set(sources) == used, "a source of something that is not there"
    entries = [entry for of in sources.values() for entry in of]
    assert [entry for entry in entries if not re.search(r"\Aours\b|20[0-9]{2}-[01][0-9]", entry)] == []


@pytest.mark.parametrize(("name", "service"), services())
def test_a_persona_says_nothing_that_breaks_a_line(name: str, service: str) -> None:
    persona = load(name)
    names = fields(now=0, tag="a", user="x\r\n* BYE", id="i\n", ip="::1", command="LOGIN", client="\x1b[2J", mid="<m>")
    of = persona.services[service]
    said = persona.greeting(service, names, ["A"]) + persona.accepted(service, names, ["A"])
    for kind in of.refusals:
        refusal = persona.refusal(service, kind, names)
        assert refusal is not None
        said += refusal.lines
    for why in of.goodbyes:
        goodbye = persona.goodbye(service, why, names)
        assert goodbye is not None
        said += goodbye.lines
    for reply in of.replies:
        said += persona.replies(service, reply, names)
    assert all(line.isprintable() and "{" not in line for line in said)
    assert max(map(len, said)) < 510


@pytest.mark.parametrize(("name", "service"), services())
def test_texts_begin_as_the_protocol_wants(name: str, service: str) -> None:
    persona = load(name)
    of = persona.services[service]
    starts = {
        "imap": (r"\* (?:NO|BAD|BYE) |\{tag\} (?:NO|BAD|OK) ", r"\* BYE "),
        "pop": (r"-ERR ", r"-ERR "),
        "smtp": (r"[45][0-9]{2}[ -][45]\.[0-9]\.[0-9]{1,3} ", r"421 4\.[0-9]\.[0-9] "),
    }[service]
    for refusal in of.refusals.values():
        assert all(re.match(starts[0], line) for line in refusal.lines), refusal
        if service == "imap":
            assert any(line.startswith("{tag} ") for line in refusal.lines)
        if service == "smtp":
            assert [line[3] for line in refusal.lines] == ["-"] * (len(refusal.lines) - 1) + [" "]
    for goodbye in of.goodbyes.values():
        assert all(re.match(starts[1], line) for line in goodbye.lines), goodbye


@pytest.mark.parametrize(("name", "service"), services())
def test_the_mechanisms_of_a_list_stand_together(name: str, service: str) -> None:
    for listed in load(name).services[service].capabilities.values():
        at = [index for index, entry in enumerate(listed) if entry[:5] in ("AUTH=", "AUTH ", "SASL ")]
        assert at == list(range(at[0], at[0] + len(at))) if at else True


@pytest.mark.parametrize(("name", "service"), services())
def test_the_size_that_is_told_is_the_limit_of_a_message(name: str, service: str) -> None:
    persona = load(name)
    for listed in persona.services[service].capabilities.values():
        sizes = [re.fullmatch(r"(?:SIZE |APPENDLIMIT=)([0-9]+)", entry) for entry in listed]
        assert {float(size[1]) for size in sizes if size} <= {persona.limit(service, "message")}


# --- what a profile says is not said again


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).provider])
def test_a_persona_agrees_with_the_profile_of_its_provider(name: str) -> None:
    persona = load(name)
    profile = persona.profile
    assert profile is not None
    names = fields(tag="a", command="FETCH")
    for service, texts in profile.goodbyes.items():
        goodbye = persona.goodbye(service, "expired", names)
        assert goodbye is not None
        assert goodbye.lines == (f"* BYE {texts[0]}",)
    for service, texts in profile.busy.items():
        of = persona.services[service]
        said = "\n".join(line for refusal in of.refusals.values() for line in refusal.lines)
        assert [text for text in texts if text not in said] == []
    for kinds in persona.challenges.values():
        for kind in ("credentials", "expired"):
            challenge = kinds.get(kind, kinds["*"])
            assert challenge is None or challenge["status"] in profile.retry_statuses
    assert {service: persona.line_limit(service) for service in profile.line_limits} == dict(profile.line_limits)
    for service in persona.services:
        assert persona.initial_response(service) == profile.initial_response.get(service, True)
        limits = profile.session_limits.get(service, {})
        assert persona.limit(service, "password") == limits.get("password")
        assert persona.ends_with_token(service) == (limits.get("token") == "token")


def test_what_the_files_say_of_gmail_and_microsoft() -> None:
    gmail, microsoft = load("gmail"), load("microsoft365")
    assert gmail.line_limit("smtp") == 1000
    assert gmail.limit("imap", "password") == 86_400
    assert gmail.limit("imap", "connections") == 15
    assert gmail.ends_with_token("pop")
    assert gmail.whole_words()
    assert not microsoft.whole_words()
    assert not microsoft.initial_response("pop")
    assert not microsoft.takes("imap", "IMAP-LOGIN")
    assert microsoft.takes("pop", "POP-USER")
    assert (microsoft.limit("smtp", "senders"), microsoft.limit("smtp", "messages_a_minute")) == (3, 30)
    assert [folder.name for folder in gmail.folders if folder.use == "\\Sent"] == ["[Gmail]/Sent Mail"]
    assert gmail.challenge("XOAUTH2", "expired") == gmail.challenge("XOAUTH2", "wrong_scope")
    assert microsoft.challenge("XOAUTH2", "expired") is None
    assert load("rfc").challenge("XOAUTH2", "expired") == {}
    assert microsoft.host("smtp") != microsoft.host("imap")
    assert not microsoft.takes_passwords("pop")
    assert microsoft.takes_passwords("smtp")
    assert microsoft.prompt("imap") == "+"


# --- our own client knows what is meant

LIKE_HERE = {**LIKE, "wrong_scope": "credentials", "authorization": "credentials"}
"""What our client is to make of the kinds; no server here tells these two from wrong credentials."""

VAGUE = {
    "gmail imap": {"expired", "malformed", "cancelled"},
    "gmail pop": {"expired"},
    "gmail smtp": {"expired"},
    "microsoft365 imap": {"expired", "disabled", "policy", "encryption"},
    "microsoft365 pop": {"expired", "disabled", "policy", "unexpected_ir"},
    "microsoft365 smtp": {"expired"},
    "exchange imap": {"expired", "disabled", "policy", "encryption"},
    "exchange pop": {"expired", "disabled", "policy"},
    "exchange smtp": {"expired", "disabled", "policy"},
    "yahoo imap": {"expired", "policy", "attempts"},
    "yahoo pop": {"expired", "policy"},
    "yahoo smtp": {"expired", "policy"},
    "icloud imap": {"disabled", "expired", "policy"},
    "icloud smtp": {"disabled", "expired", "policy"},
    "dovecot imap": {"expired", "unsupported"},
    "dovecot pop": {"expired"},
    "dovecot smtp": {"expired"},
}
"""Kinds that a server does not tell from wrong credentials, or from a message that it cannot read."""


def kind_of(service: str, lines: tuple[str, ...]) -> str:
    """Return what our client makes of a reply."""
    said = [line.removeprefix("a ") for line in lines if not line.startswith("* BYE")]
    if service == "smtp":
        return smtp.refusal(int(said[0][:3]), "\n".join(line[4:] for line in said)).kind
    return (imap if service == "imap" else pop).refusal(said[-1]).kind


@pytest.mark.parametrize(("name", "service"), services())
def test_our_client_takes_each_refusal_for_what_it_is(name: str, service: str) -> None:
    persona = load(name)
    vague = VAGUE.get(f"{name} {service}", set())
    found = {}
    for kind in persona.services[service].refusals:
        refusal = persona.refusal(service, kind, fields(tag="a", command="LOGIN"))
        assert refusal is not None
        if (service, kind) != ("smtp", "quota"):  # which is no login's
            found[kind] = kind_of(service, refusal.lines)
    unclear = {"credentials", "malformed"}
    wrong = {kind: got for kind, got in found.items() if got != LIKE_HERE.get(kind, kind) and kind not in vague}
    assert {kind: got for kind, got in wrong.items() if kind != "attempts" or got != "unavailable"} == {}
    assert {kind for kind in vague & found.keys() if found[kind] not in unclear} == set()


# --- nothing is advertised that is not served


@pytest.mark.parametrize(("name", "service"), services())
@pytest.mark.parametrize("authenticated", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_nothing_is_told_that_is_not_served(name: str, service: str, authenticated: bool, tls: bool) -> None:
    persona = load(name)
    served = ["IMAP4rev1", "SASL-IR", "IDLE", "TOP", "SIZE", "PIPELINING", "APPENDLIMIT", "STARTTLS", "X-NEW"]
    offered = ["SCRAM-SHA-256", "XOAUTH2", "PLAIN"]
    told = persona.capabilities(service, tls=tls, authenticated=authenticated, served=served, mechanisms=offered)
    names = {re.sub(r"=[0-9]+\Z| .*\Z", "", each) for each in told} - {"AUTH", "SASL"}
    assert names <= {*served, *(f"AUTH={each}" for each in offered)}
    listed = persona.services[service].capabilities
    order = listed.get("authenticated", ()) if authenticated else listed.get("tls" if tls else "clear", ())
    kept = [each for each in told if each in order]
    assert kept == sorted(kept, key=order.index)
    assert persona.capabilities(service, tls=tls, authenticated=authenticated, served=[], mechanisms=[]) == []


def test_mechanisms_are_those_of_the_provider_in_its_order_and_what_else_is_offered_behind_them() -> None:
    gmail = load("gmail")
    assert gmail.mechanisms("imap", ["SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN"], tls=True) == [
        "XOAUTH2",
        "PLAIN",
        "OAUTHBEARER",
    ]
    assert gmail.mechanisms("smtp", ["PLAIN"], tls=False) == []
    assert load("rfc").mechanisms("pop", ["B", "A"], tls=True) == ["B", "A"]
    told = gmail.capabilities("smtp", tls=True, authenticated=False, served=["SIZE"], mechanisms=["EXTERNAL", "PLAIN"])
    assert told == ["SIZE 35882577", "AUTH PLAIN EXTERNAL"]


# --- a file of one's own


def test_a_file_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "Mine.json"
    file.write_text(json.dumps(MINIMAL))
    for found in (load(file), load(str(file))):
        assert (found.id, found.name, found.services.keys()) == ("mine", "Mine", {"imap"})
        assert found.greeting("imap", {}) == ["* OK hi"]
        assert found.refusal("imap", "credentials", {}) is None
        assert found.goodbye("pop", "late", {}) is None
        assert found.half("imap", "expired", {}) is None
        assert found.reply("imap", "done", {}) is None
        assert found.limit("smtp", "message") is None
        assert found.limit("smtp", "password") is None
        assert not found.ends_with_token("smtp")
        assert found.profile is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nmae": "x"}, "has a member that is unknown here: nmae"),
        ({"name": 1}, "has no name that is text of one line"),
        ({"provider": "gmial"}, "names a provider of which there is no file: gmial"),
        ({"imap": {"greeting": "* OK"}}, "lacks imap.capabilities"),
        ({"imap": {**MINIMAL["imap"], "greeting": "* OK {usr}"}}, "has an unknown {usr} in imap.greeting"),
        ({"imap": {**MINIMAL["imap"], "greeting": ["* OK\r\n"]}}, r"has no imap.greeting[0] that is text of one line"),
        ({"imap": {**MINIMAL["imap"], "refusals": {"rude": "x"}}}, "is unknown here: imap.refusals.rude"),
        ({"imap": {**MINIMAL["imap"], "refusals": {"expired": "policy"}}}, "has no imap.refusals.expired that is a"),
        ({"imap": {**MINIMAL["imap"], "refusals": {"expired": {"lines": "a", "close": 1}}}}, "close that is true or"),
        ({"imap": {**MINIMAL["imap"], "half": {"kinds": []}}}, "lacks imap.half.first"),
        ({"imap": {**MINIMAL["imap"], "limits": {"idle": 0}}}, "limits.idle that is a whole number"),
        ({"imap": {**MINIMAL["imap"], "capabilities": {"clear": ["a b"]}}}, "clear[0] that is a capability"),
        ({"imap": {**MINIMAL["imap"], "goodbyes": {"idle": {"lines": "* BYE {goodbye}"}}}}, "a {goodbye} in imap"),
        ({"challenges": {"XOAUTH": {}}}, "is unknown here: challenges.XOAUTH"),
        ({"folders": [{"use": "Sent"}]}, "lacks folders[0].name"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_file_that_is_wrong_says_where(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({**MINIMAL, **change}))
    with pytest.raises(sasl.UsageError) as caught:
        load(file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_name_that_nobody_has_and_a_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(sasl.UsageError, match="there is no persona 'gmial': one of gmail, microsoft365"):
        load("gmial")
    with pytest.raises(sasl.UsageError, match=r"mine.json cannot be read: No such file"):
        load(tmp_path / "mine.json")
    (tmp_path / "long.json").write_bytes(b" " * 300_000)
    with pytest.raises(sasl.UsageError, match="is too long"):
        load(tmp_path / "long.json")


def test_a_persona_is_read_once() -> None:
    assert load("gmail") is load("gmail")
    assert isinstance(load("gmail"), Persona)


def test_dates_are_those_of_the_clock() -> None:
    names = fields(now=1_790_000_000.25, user="alice")
    assert names["date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert names["time"] == "2026-09-21T14:13:20.250Z"
    assert names["user"] == "alice"
