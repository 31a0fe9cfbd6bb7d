"""Secrets and the values that hold them: shown nowhere, copied nowhere (contract, "Values"; rules 6 and 7)."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hmac
import json
import pickle
from dataclasses import is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
from sasl import AccessToken, Anonymous, Bearer, Channel, External, Password, Secret
from sasl.secret import octets, scrubbed, scrubbed_code

from ..support.leaks import locals_of, seen, shown_by

if TYPE_CHECKING:
    from collections.abc import Callable

HOLDERS: dict[str, Callable[[str], Any]] = {
    "Secret": Secret,
    "Password": lambda secret: Password("joe", secret, authzid="jane"),
    "Bearer": lambda secret: Bearer("joe@example.com", secret),
    "AccessToken": AccessToken,
}
SHOWN: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "f-string": lambda value: f"{value} {value!r}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 -- one of the ways
    "in a list": lambda value: str([value]),
    "json": lambda value: json.dumps(value, default=str),
    "dir": lambda value: str([getattr(value, name) for name in dir(value) if name.startswith("__d")]),
}
REFUSED: dict[str, Callable[[Any], object]] = {
    "pickle": pickle.dumps,
    "old pickle": lambda value: pickle.dumps(value, protocol=0),
    "deepcopy": copy.deepcopy,
    "vars": vars,
}

holders = pytest.mark.parametrize("holder", HOLDERS)


@holders
@pytest.mark.parametrize("how", SHOWN)
def test_a_secret_is_not_shown(secret: str, holder: str, how: str) -> None:
    assert seen([SHOWN[how](HOLDERS[holder](secret))], secret) == []


@holders
@pytest.mark.parametrize("how", REFUSED)
def test_a_secret_leaves_in_no_copy(secret: str, holder: str, how: str) -> None:
    with pytest.raises(TypeError) as caught:
        REFUSED[how](HOLDERS[holder](secret))
    assert seen([str(caught.value)], secret) == []


@pytest.mark.parametrize("holder", ["Password", "Bearer", "AccessToken"])
@pytest.mark.parametrize("export", [dataclasses.asdict, dataclasses.astuple])
def test_a_secret_is_not_exported_with_its_holder(secret: str, holder: str, export: Any) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        export(HOLDERS[holder](secret))


def test_a_secret_alone_is_not_copied(secret: str) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        copy.copy(Secret(secret))


def test_a_secret_is_revealed_on_request_only(secret: str) -> None:
    assert Secret(secret).reveal() == secret
    assert Secret(Secret(secret)).reveal() == secret
    assert repr(Secret(secret)) == "Secret(***)"
    assert repr(Password("joe", secret)) == "Password(authcid='joe', password=Secret(***), authzid=None)"
    assert repr(Bearer("joe", secret)) == "Bearer(username='joe', token=Secret(***))"


@pytest.mark.parametrize("text", [b"bytes", None, 7, bytearray(b"x"), ["pencil"]], ids=lambda text: type(text).__name__)
def test_a_secret_is_a_str(text: Any) -> None:
    with pytest.raises(sasl.UsageError, match=f"a secret is a str, not {type(text).__name__}"):
        Secret(text)


def test_secrets_compare_with_secrets_and_with_text() -> None:
    assert Secret("pencil") == Secret("pencil") == "pencil"
    assert Secret("pencil") != Secret("Pencil")
    assert Secret("pencil") != "pencils"
    assert Secret("p\u00e9ncil") == "p\u00e9ncil"
    assert Secret("\ud800") == "\ud800"  # what no charset can encode is still a password of somebody
    assert Secret("pencil") != b"pencil"
    assert Secret("pencil").__eq__(b"pencil") is NotImplemented
    assert Secret("") != None  # noqa: E711 -- the comparison is the point


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str | bytes, str | bytes]] = []

    def compare_digest(one: str | bytes, other: str | bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    assert Secret("one") == Secret("another")
    assert Secret("one") == "another"
    assert Password("joe", "one") == Password("joe", "another")
    assert Secret("\u00e9ne") == Secret("another")
    assert compared == [*[("one", "another")] * 3, ("\u00e9ne".encode(), b"another")]


def test_a_secret_has_no_hash_and_neither_has_what_holds_one(secret: str) -> None:
    for make in HOLDERS.values():
        with pytest.raises(TypeError, match="unhashable"):
            hash(make(secret))


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(" ")


TOKEN = "ya29.A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"bad token {TOKEN}, sorry", "bad token ***, sorry"),
        (TOKEN, "***"),
        (f"{TOKEN} {TOKEN}", "*** ***"),
        (f"bad token {TOKEN[:30]}...", "bad token ***..."),
        (f"...{TOKEN[-30:]}", "...***"),
        (f"{TOKEN[:20]}...{TOKEN[-20:]} is none", "***...*** is none"),
        (f"{TOKEN[:25]}\r\n{TOKEN[25:]}", "***\r\n***"),
        (TOKEN[:-1], "***"),
        (f"x{TOKEN[5:17]}y", "x***y"),
        (f"x{TOKEN[5:16]}y", f"x{TOKEN[5:16]}y"),
        (TOKEN[:20] + TOKEN[3:20], "******"),
        ("", ""),
        ("no", "no"),
        ("the server refused the credential", "the server refused the credential"),
    ],
)
def test_no_part_of_a_secret_is_left_in_a_text_that_could_tell_it(said: str, shown: str) -> None:
    assert scrubbed(said, Secret(TOKEN)) == shown
    long = " ".join(str(number) for number in range(200))
    assert scrubbed(f"{said}|{long}", Secret(TOKEN)) == f"{shown}|{long}"


@pytest.mark.parametrize(
    ("secret", "shown"), [("his", "this is it"), ("this", "*** is it"), ("this is", "*** it"), ("", "this is it")]
)
def test_a_short_secret_is_taken_out_whole_or_not_at_all(secret: str, shown: str) -> None:
    assert scrubbed("this is it", Secret(secret)) == shown


@pytest.mark.parametrize("length", [3, 4, 5])
def test_a_secret_of_four_characters_is_the_shortest_that_is_taken_out(length: int) -> None:
    secret = "pencil"[:length]
    shown = f"no {'***' if length > 3 else secret} here"
    assert scrubbed(f"no {secret} here", Secret(secret)) == shown


@pytest.mark.parametrize("length", [11, 12, 13])
@pytest.mark.parametrize("at", [0, 1, 20, len(TOKEN) - 13])
def test_a_part_of_twelve_characters_is_the_shortest_that_is_taken_out(at: int, length: int) -> None:
    part = TOKEN[at : at + length]
    shown = "***" if length > 11 else part
    assert scrubbed(part, Secret(TOKEN)) == shown
    assert scrubbed(f"said: {part}", Secret(TOKEN)) == f"said: {shown}"


@pytest.mark.parametrize("length", [11, 12, 13])
def test_a_secret_that_is_as_long_as_a_part_is_taken_out(length: int) -> None:
    secret = TOKEN[:length]
    assert scrubbed(f"bad {secret}!", Secret(secret)) == "bad ***!"
    shown = "bad ***!" if length > 12 else f"bad {secret[:-1]}!"
    assert scrubbed(f"bad {secret[:-1]}!", Secret(secret)) == shown


@pytest.mark.parametrize("at", range(len(TOKEN) - 11))
@pytest.mark.parametrize("before", range(30))
def test_a_part_is_found_wherever_it_stands(at: int, before: int) -> None:
    text = f"{'|' * before}{TOKEN[at : at + 12]}{'|' * (29 - before)}"
    assert scrubbed(text, Secret(TOKEN)) == f"{'|' * before}***{'|' * (29 - before)}"


@pytest.mark.parametrize("length", [255, 256, 257, 268, 269, 2_000])
@pytest.mark.parametrize("part", [TOKEN[:12], TOKEN[9:22], TOKEN[-12:], TOKEN[:-1]])
def test_a_part_is_found_in_a_long_word_too(part: str, length: int) -> None:
    """In a word of more than a line the parts are looked up in another way."""
    before = "|" * (length // 3)
    behind = "|" * (length - len(part) - len(before))
    assert scrubbed(f"{before}{part}{behind}", Secret(TOKEN)) == f"{before}***{behind}"
    assert scrubbed("|" * length, Secret(TOKEN)) == "|" * length


def parts_masked(text: str, secret: str) -> str:
    """What `scrubbed` has to give, place by place: parts that begin at one place after the other are masked at once."""
    text = text.replace(secret, "***")
    shown, at = "", 0
    while at < len(text):
        end = at
        while end + 12 <= len(text) and text[end : end + 12] in secret:
            end += 1
        shown, at = (shown + text[at], at + 1) if end == at else (shown + "***", end + 11)
    return shown


@pytest.mark.parametrize("searches", [0, 1, 512], ids=lambda searches: f"{searches} searches, then parts")
@given(secret=st.text("ab ", min_size=12, max_size=60), text=st.text("ab|", max_size=600), data=st.data())
def test_every_part_of_a_secret_is_masked_and_nothing_else(
    searches: int, *, secret: str, text: str, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(0, 3))):
        at, end, place = (data.draw(st.integers(0, length)) for length in (len(secret), len(secret), len(text)))
        text = text[:place] + secret[at:end] + text[place:]
    with mock.patch.object(sasl.secret, "_FEW", searches):
        left = scrubbed(text, Secret(secret))
    assert left == parts_masked(text, secret)
    runs = {secret[at : at + 12] for at in range(len(secret) - 11)}
    assert not any(left[at : at + 12] in runs for at in range(len(left)))


@pytest.mark.parametrize("secret", ["a" * 30_000, "ab" * 15_000, "".join(map(str, range(6_000)))], ids=["a", "ab", "1"])
def test_a_text_of_suspicious_words_is_looked_up_in_parts_that_were_collected_once(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    collected = []

    def collect(parts: list[str]) -> frozenset[str]:
        collected.append(len(parts[0]))
        return frozenset(parts)

    monkeypatch.setattr(sasl.secret, "frozenset", collect, raising=False)
    words = f"{secret[:11]}. {secret[100:140]} " * 300

    assert scrubbed(words, Secret(secret)) == f"{secret[:11]}. *** " * 300
    assert sorted(collected) == [6, 12]


@pytest.mark.parametrize(
    ("code", "secret", "shown"),
    [
        ("CORRECT-HORSE", "Correct-Horse", "***"),
        ("X/CORRECT-HORSE-BATTERY", "correct-horse-battery-staple", "X/***"),
        ("HUNTER22", "hunter22", "***"),
        ("STRASSE1234", "stra\u00dfe1234", "***"),
        ("HUNTER2", "hunter2", "HUNTER2"),
        ("AUTHENTICATIONFAILED", "fail", "AUTHENTICATIONFAILED"),
    ],
)
def test_a_response_code_shows_no_secret_in_whatever_case(code: str, secret: str, shown: str) -> None:
    assert scrubbed_code(code, Secret(secret)) == shown


def test_octets_are_shown_by_their_number() -> None:
    assert (octets(None), octets(b""), octets(b"pencil")) == ("None", "<0 octets>", "<6 octets>")


# --- credentials


def test_credentials_hold_what_they_were_given(secret: str) -> None:
    password = Password("joe", secret, authzid="jane")
    assert (password.authcid, password.password.reveal(), password.authzid) == ("joe", secret, "jane")
    assert Password("joe", Secret(secret)) == Password("joe", secret)
    bearer = Bearer("joe", secret)
    assert isinstance(bearer.token, Secret)
    assert (bearer.username, bearer.token.reveal()) == ("joe", secret)
    assert (External().authzid, External("joe").authzid, External("").authzid) == (None, "joe", "")
    assert (Anonymous().trace, Anonymous("joe@example.com").trace) == ("", "joe@example.com")
    token = AccessToken(secret, None, "mail")
    assert (token.value.reveal(), token.expires_at, token.scope) == (secret, None, "mail")


def test_an_absent_authzid_is_not_an_empty_one() -> None:
    assert Password("joe", "pencil").authzid is None
    assert Password("joe", "pencil", authzid="") != Password("joe", "pencil")


@pytest.mark.parametrize(
    "value",
    [value for value in map(partial(getattr, sasl), sasl.__all__) if isinstance(value, type) and is_dataclass(value)],
    ids=lambda value: value.__name__,
)
def test_every_public_value_is_frozen_and_has_no_room_for_more(value: Any) -> None:
    assert value.__dataclass_params__.frozen
    assert not hasattr(object.__new__(value), "__dict__")


@pytest.mark.parametrize("credentials", [Password("joe", "x"), Bearer("joe", "x"), External(), Anonymous()], ids=repr)
def test_credentials_are_frozen(credentials: Any) -> None:
    field = dataclasses.fields(credentials)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(credentials, field, "other")
    with pytest.raises((AttributeError, TypeError)):
        credentials.another = "field"


def test_a_field_can_be_replaced(secret: str) -> None:
    assert dataclasses.replace(Password("joe", secret), authzid="jane") == Password("joe", secret, authzid="jane")
    assert dataclasses.replace(Bearer("joe", secret), username="jane") == Bearer("jane", secret)


WRONG: dict[str, tuple[Callable[[str], object], str]] = {
    "authcid": (lambda secret: Password(b"joe", secret), "the authcid is a str, not bytes"),  # type: ignore[arg-type]
    "authzid": (lambda secret: Password("joe", secret, authzid=7), "the authzid is a str, not int"),  # type: ignore[arg-type]
    "password": (lambda secret: Password("joe", None), "the password is a str, not NoneType"),  # type: ignore[arg-type]
    "username": (lambda secret: Bearer(None, secret), "the username is a str, not NoneType"),  # type: ignore[arg-type]
    "token": (lambda secret: Bearer("joe", 7), "the token is a str, a callable or a token source, not int"),  # type: ignore[arg-type]
    "no token": (lambda secret: Bearer("joe", None), "not NoneType"),  # type: ignore[arg-type]
    "password in octets": (lambda secret: Password("joe", secret.encode()), "the password is a str, not bytes"),  # type: ignore[arg-type]
    "token in a list": (lambda secret: Bearer("joe", [secret]), "the token is a str, .* not list"),  # type: ignore[arg-type]
    "secret in octets": (lambda secret: Secret(secret.encode()), "a secret is a str, not bytes"),  # type: ignore[arg-type]
    "bare password": (lambda secret: sasl.client("PLAIN", secret), "takes Password credentials, not str"),  # type: ignore[arg-type]
    "bare password to choose for": (lambda secret: sasl.choose(["PLAIN"], secret), "not str"),  # type: ignore[arg-type]
    "password astray": (
        lambda secret: sasl.client("PLAIN", Password("joe", secret), password=secret),
        "does not take these options: password",
    ),
    "stale token in octets": (
        lambda secret: sasl.resolve(Bearer("joe", lambda: "new"), stale=secret.encode()),  # type: ignore[arg-type]
        "a stale token is a str",
    ),
    "stale token in octets, asynchronously": (
        lambda secret: sasl.resolve_async(Bearer("joe", lambda: "new"), stale=secret.encode()).send(None),  # type: ignore[arg-type]
        "a stale token is a str",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_unusable_credentials_are_a_usage_error(
    secret: str, leaks: Callable[[BaseException], list[str]], what: str
) -> None:
    make, text = WRONG[what]
    with pytest.raises(sasl.UsageError, match=text) as caught:
        make(secret)
    assert leaks(caught.value) == []


def test_a_token_source_is_shown_by_its_type(secret: str) -> None:
    class Vault:
        def token(self, *, stale: str | None = None) -> AccessToken:
            return AccessToken(secret)

        def __repr__(self) -> str:
            return secret

    assert repr(Bearer("joe", Vault())) == "Bearer(username='joe', token=<Vault>)"
    assert repr(Bearer("joe", lambda: secret)) == "Bearer(username='joe', token=<function>)"


# --- the channel


def test_a_channel_is_unknown_until_told() -> None:
    channel = Channel()
    assert (channel.tls, channel.loopback, channel.service, channel.host, channel.port) == (
        False,
        False,
        "",
        None,
        None,
    )
    assert dict(channel.bindings) == {}


def test_a_channel_keeps_its_bindings_to_itself() -> None:
    bindings = {"tls-exporter": b"1", "tls-server-end-point": b"2"}
    channel = Channel(bindings=bindings)
    bindings["tls-exporter"] = b"changed"
    assert list(channel.bindings.items()) == [("tls-exporter", b"1"), ("tls-server-end-point", b"2")]
    with pytest.raises(TypeError):
        channel.bindings["tls-exporter"] = b"changed"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        channel.tls = True  # type: ignore[misc]


def test_a_channel_shows_its_bindings_by_their_size(secret: str) -> None:
    channel = Channel(tls=True, service="imap", host="h", port=993, bindings={"tls-exporter": secret.encode()})
    assert repr(channel) == (
        f"Channel(tls=True, loopback=False, service='imap', host='h', port=993, tls-exporter=<{len(secret)} octets>)"
    )


@pytest.mark.parametrize("bindings", [{}, {"tls-exporter": b"exported"}])
def test_a_channel_is_a_value_that_is_hashed_pickled_and_copied(bindings: dict[str, bytes]) -> None:
    channel = Channel(tls=True, service="imap", host="mail.example", port=993, bindings=bindings)
    assert hash(channel) == hash(dataclasses.replace(channel))
    for twin in (copy.copy(channel), copy.deepcopy(channel), pickle.loads(pickle.dumps(channel))):
        assert twin == channel
        with pytest.raises(TypeError):
            twin.bindings["tls-unique"] = b""  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tls", "no"),
        ("tls", 1),
        ("tls", None),
        ("loopback", "yes"),
        ("port", "143"),
        ("host", 5),
        ("host", b"mail.example"),
        ("service", None),
        ("bindings", None),
        ("bindings", [("tls-unique", b"x")]),
    ],
)
def test_a_channel_says_which_of_its_facts_is_of_the_wrong_type(field: str, value: Any) -> None:
    with pytest.raises(sasl.UsageError, match=f"the {field} of a channel is not {type(value).__name__}"):
        Channel(**{field: value})


@pytest.mark.parametrize("bindings", [{"tls-unique": "x"}, {b"tls-unique": b"x"}, {"tls-unique": None}], ids=repr)
def test_bindings_are_octets_by_names(bindings: Any) -> None:
    with pytest.raises(sasl.UsageError, match="octets by the names"):
        Channel(bindings=bindings)


def test_a_secret_gives_no_state(secret: str) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        sasl.Secret(secret).__getstate__()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_a_mechanism_without_its_frames(
    secret: str, interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise interruption

    monkeypatch.setattr("hashlib.pbkdf2_hmac", interrupt)
    client = sasl.client("SCRAM-SHA-256", sasl.Password("alice", secret), nonce=b"n")
    client.start()
    with pytest.raises(interruption) as caught:
        client.respond(b"r=nx,s=QUJD,i=4096")
    assert seen(locals_of(caught.value, everywhere=True), secret) == []
    assert client.state is sasl.State.FAILED

    monkeypatch.setattr("sasl.unicode.prepare", lambda *_, **__: interrupt())
    server = sasl.server("PLAIN")
    with pytest.raises(interruption) as caught:
        server.start(b"\0alice\0" + secret.encode() + "\u00bd".encode())
    assert seen(locals_of(caught.value, everywhere=True), secret) == []
    assert server.state is sasl.State.FAILED


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("wonderland-77", base64.b64encode(b"wonderland-77").decode()),
        ("wonderland-77", base64.b64encode(b"wonderland-77").decode().rstrip("=")),
        ("a?>a?>a?>a?>", base64.urlsafe_b64encode(b"a?>a?>a?>a?>").decode()),
        ("wonderland-77", b"wonderland-77".hex()),
        ("wonderland-77", b"wonderland-77".hex().upper()),
        ("wonderland-77", "WONDERLAND-77"),
        ("Wonderland-77", "wonderLAND-77"),
        ("wonder land&77", "wonder%20land%2677"),
        ("wonderland-77", "".join(f"%{octet:02X}" for octet in b"wonderland-77")),
        ("w\u00f6nderland", "w\u00f6nderland".encode().decode("latin-1")),
        ("w\u00f6nderland", "w\u00f6nderland".encode("latin-1").decode("utf-8", "replace")),
        ("\u00bdpint-of-it", "1\u20442pint-of-it"),
        (TOKEN, TOKEN.upper()),
        (TOKEN, base64.b64encode(TOKEN.encode()).decode()[8:30]),
        (TOKEN, TOKEN.encode().hex()[10:50]),
        ("\u0130stanbul-1453", "\u0130STANBUL-1453"),
    ],
)
def test_a_secret_is_taken_out_in_the_forms_that_programs_make_of_it(secret: str, said: str) -> None:
    shown = scrubbed(f"bad <{said}> there", Secret(secret))
    assert said not in shown
    assert shown.startswith("bad <***")
    assert shown.endswith("> there")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("xyz" * 85, "xyz" * 85),
        ("0123456789abcdef" * 16, "***"),
        ("0123456789a. " * 20, "0123456789a. " * 20),
        ("0123456789ab. " * 20, "***. " * 20),
        ("012345 789abc " * 20, "012345 789abc " * 20),
    ],
)
def test_many_lines_with_a_long_secret_collect_its_parts_once(
    monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    collected: list[int] = []
    parts = sasl.secret._parts
    monkeypatch.setattr(sasl.secret, "_parts", lambda whole, size: collected.append(size) or parts(whole, size))
    secret = Secret("0123456789abcdef" * 3_750)
    for _ in range(1_000):
        assert scrubbed(said, secret) == shown
    assert len(set(collected)) == len(collected) <= 2


ASTRAY: dict[str, Callable[[str], object]] = {
    "a server's message in text": lambda secret: sasl.server("PLAIN").start(f"\0alice\0{secret}"),  # type: ignore[arg-type]
    "a server's second message in text": lambda secret: _begun().receive(f"\0alice\0{secret}"),  # type: ignore[arg-type]
    "a message in the middle of a question": lambda secret: _asking().receive(f"\0alice\0{secret}".encode()),
    "a second beginning": lambda secret: _begun().start(f"\0alice\0{secret}".encode()),
    "a message before the beginning": lambda secret: sasl.server("PLAIN").receive(f"\0alice\0{secret}".encode()),
    "a name to look up": lambda secret: sasl.lookup(f"{secret}!"),
    "a long name to look up": lambda secret: sasl.lookup(secret * 4),
    "octets to look up": lambda secret: sasl.lookup(f"{secret}!".encode()),
    "a mechanism": lambda secret: sasl.choose(["PLAIN"], Password("joe", "x"), mechanism=f"{secret}!"),
    "what is allowed": lambda secret: sasl.Policy(allow=secret),
    "a name that is allowed": lambda secret: sasl.Policy(allow=[f"{secret}!"]),
    "a pin": lambda secret: sasl.Policy(pin=f"{secret}!"),
    "a channel": lambda secret: Channel(tls=True, host=[secret]),  # type: ignore[arg-type]
    "a limit": lambda secret: sasl.Limits(message=secret),  # type: ignore[arg-type]
    "a name for a client": lambda secret: sasl.client(f"{secret}!", Password("joe", "x")),
    "a name for a server": lambda secret: sasl.server(f"{secret}!"),
    "a user name in octets": lambda secret: Password(secret.encode(), "x"),  # type: ignore[arg-type]
    "a user to act as, in octets": lambda secret: Password("joe", "x", authzid=secret.encode()),  # type: ignore[arg-type]
    "a mailbox in octets": lambda secret: Bearer(secret.encode(), "x"),  # type: ignore[arg-type]
    "a token in octets": lambda secret: AccessToken(secret.encode()),  # type: ignore[arg-type]
    "a token in a list": lambda secret: AccessToken([secret]),  # type: ignore[arg-type]
}


def _begun() -> sasl.ServerExchange:
    exchange = sasl.server("PLAIN")
    exchange.start()
    return exchange


def _asking() -> sasl.ServerExchange:
    exchange = sasl.server("PLAIN")
    exchange.start(b"\0alice\0other")
    return exchange


@pytest.mark.parametrize("case", ASTRAY)
def test_a_secret_in_the_wrong_place_is_shown_by_no_frame_of_ours(secret: str, case: str) -> None:
    with pytest.raises(sasl.UsageError) as caught:
        ASTRAY[case](secret)
    assert seen([*shown_by(caught.value), *locals_of(caught.value, everywhere=True)], secret) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, TimeoutError])
def test_an_interruption_leaves_keys_without_the_frames_that_hold_the_password(
    secret: str, interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sasl.ScramKeys.derive("other", iterations=1)

    def interrupt(*_: object) -> None:
        raise interruption

    monkeypatch.setattr("hashlib.pbkdf2_hmac", interrupt)
    for call in (sasl.ScramKeys.derive, keys.verifies):
        with pytest.raises(interruption) as caught:
            call(secret)
        assert seen(locals_of(caught.value, everywhere=True), secret) == []
