"""Stored SCRAM keys (RFC 5802 section 3): all forms, and no secret seen."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import hmac
import json
import pickle
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sasl
import sasl.spec
from sasl import ScramKeys, Secret, UsageError
from sasl.hashes import DIGEST_SIZES, HASHES
from sasl.keys import derive
from sasl.prep import saslprep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
STORED = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
SERVER = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
PARTS = f"4096:W22ZaJ0SNY7soEsUEjb6gQ==${STORED}:{SERVER}"
DOVECOT = f"{{SCRAM-SHA-256}}4096,W22ZaJ0SNY7soEsUEjb6gQ==,{STORED},{SERVER}"
MONGODB = {"iterationCount": 4096, "salt": "W22ZaJ0SNY7soEsUEjb6gQ==", "storedKey": STORED, "serverKey": SERVER}
VECTORS = [vector for vector in sasl.spec.vectors("scram") if vector.derived]


@pytest.fixture(scope="module")
def pencil() -> ScramKeys:
    """The keys of RFC 7677 section 3."""
    return ScramKeys.derive("pencil", salt=SALT)


def test_the_sizes_of_the_keys_are_those_of_the_hashes() -> None:
    assert {name: hashlib.new(name).digest_size for name in HASHES.values()} == DIGEST_SIZES


# --- derived


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_keys_are_derived_as_in_the_vectors(vector: Any) -> None:
    known, hash_name = vector.credentials, HASHES[vector.mechanism.removesuffix("-PLUS")]
    salt, iterations = base64.b64decode(known["salt_b64"]), known["iterations"]
    keys = ScramKeys.derive(known["password"], hash_name, salt=salt, iterations=iterations)
    names = ("client_key", "server_key", "stored_key")
    client_key, server_key = derive(saslprep(known["password"]), hash_name, salt, iterations)
    assert [vector.derived[name] for name in names] == [client_key, server_key, keys.stored_key]
    assert keys.server_key == server_key


@pytest.mark.parametrize("mechanism", HASHES)
def test_every_hash_of_scram_has_keys_that_verify_the_password(mechanism: str) -> None:
    keys = ScramKeys.derive("pencil", HASHES[mechanism], iterations=2)
    assert keys.mechanism == mechanism
    assert (keys.iterations, len(keys.salt)) == (2, 16)
    assert keys.verifies("pencil")
    assert keys.verifies(Secret("pencil"))
    assert not keys.verifies("pencils")


def test_by_default_they_are_those_of_scram_sha_256_with_a_new_salt() -> None:
    first, second = ScramKeys.derive("pencil"), ScramKeys.derive(Secret("pencil"))
    assert (first.mechanism, first.iterations) == ("SCRAM-SHA-256", 4096)
    assert first.salt != second.salt
    assert first.stored_key != second.stored_key


def test_a_row_is_there_for_each_hash() -> None:
    scram = {row.name for row in sasl.known_mechanisms() if row.name.startswith("SCRAM-")}
    assert scram == {*HASHES, *(f"{name}-PLUS" for name in HASHES)}


@pytest.mark.parametrize("spelling", ["IX", "\u2168", "I\u00adX"], ids=ascii)
def test_all_spellings_that_saslprep_makes_equal_are_one_password(spelling: str) -> None:
    assert ScramKeys.derive("IX", iterations=1).verifies(spelling)
    assert ScramKeys.derive(spelling, iterations=1).verifies("IX")


def test_a_password_is_taken_as_it_is_on_request() -> None:
    raw = ScramKeys.derive("\u2168\U0001f600\x07", iterations=1, prepare=False)  # what Dovecot would store
    assert raw.verifies("\u2168\U0001f600\x07", prepare=False)
    assert not raw.verifies("IX\U0001f600\x07", prepare=False)
    assert raw.verifies("\u2168\U0001f600\x07")  # whoever asks need not know how they were made


TYPED = ("\u00bdpint", "pa\u00b4ss", "\ufb01sh\u2122", "\uff41\uff42\uff43\uff11\uff12\uff13", "a\u00a0b")


@pytest.mark.parametrize("password", TYPED, ids=ascii)
def test_keys_of_either_form_verify_the_password_as_it_is_typed(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, prepared = (ScramKeys.derive(password, iterations=1, prepare=prepare) for prepare in (False, True))
    others = ScramKeys.derive("pencil", iterations=1)
    spent = []
    real = hashlib.pbkdf2_hmac
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *arguments: spent.append(1) or real(*arguments))
    assert [keys.verifies(password) for keys in (raw, prepared, others)] == [True, True, False]
    assert spent == [1] * 6  # two for each, whatever the keys were made of
    question = sasl.server("PLAIN").start(f"\0tim\0{password}".encode())
    assert isinstance(question, sasl.CheckPassword)
    assert [keys.verifies(question.password) for keys in (raw, prepared, others)] == [True, True, False]
    assert raw.verifies(question.password, prepare=False)
    assert not prepared.verifies(question.password, prepare=False)


@pytest.mark.skipif(shutil.which("doveadm") is None, reason="no doveadm")
@pytest.mark.parametrize("password", [*TYPED, "p\U0001f511word", "\u0627a1"], ids=ascii)
def test_dovecot_and_we_verify_what_the_other_has_made_of_a_password(password: str) -> None:
    def doveadm(*arguments: str) -> str:
        command = [shutil.which("doveadm") or "", "-c", "/dev/null", "pw", "-p", password, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout

    assert ScramKeys.parse(doveadm("-s", "SCRAM-SHA-256").strip()).verifies(password)
    assert "(verified)" in doveadm("-t", ScramKeys.derive(password, prepare=False).dovecot())


def test_a_later_code_point_is_not_stored_but_asked_for() -> None:
    with pytest.raises(UsageError, match="does not assign"):
        ScramKeys.derive("\U0001f600")
    assert ScramKeys.derive("\U0001f600", iterations=1, prepare=False).verifies("\U0001f600")


@pytest.mark.parametrize("password", ["", "\u00ad", "a\x07", "\u0627a", "x" * 1025, "\ud800"], ids=ascii)
@pytest.mark.parametrize("stored", ["pencil", ""], ids=["pencil", "nothing"])
def test_what_cannot_be_prepared_is_nobodys_password(
    monkeypatch: pytest.MonkeyPatch, stored: str, password: str
) -> None:
    client_key, server_key = derive(stored, "sha256", SALT, 1)  # even where somebody stored the empty one
    keys = ScramKeys("sha256", SALT, 1, hashlib.sha256(client_key).digest(), server_key)
    spent = []
    real = hashlib.pbkdf2_hmac
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *arguments: spent.append(1) or real(*arguments))
    assert not keys.verifies(password)
    assert spent == [1]  # it takes as long


@pytest.mark.parametrize("password", ["", "\ud800"], ids=ascii)
def test_nor_as_it_is(password: str) -> None:
    assert not ScramKeys.derive("pencil", iterations=1).verifies(password, prepare=False)


def test_a_secret_remembers_what_was_prepared() -> None:
    secret = Secret("p\u0061\u0308ss")
    assert ScramKeys.derive(secret, iterations=1).verifies(secret)
    assert secret.prepared == "p\u00e4ss"  # the next login prepares nothing


@pytest.mark.parametrize("right", [True, False])
def test_a_password_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, pencil: ScramKeys, *, right: bool
) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *sides: compared.append(sides) or real(*sides))
    assert pencil.verifies("pencil" if right else "crayon") is right
    assert len(compared) == 1


# --- parsed and printed


@pytest.mark.parametrize(
    "stored",
    [
        DOVECOT,
        f"{DOVECOT},{'c4' * 32}",
        f"SCRAM-SHA-256${PARTS}",
        f" SCRAM-SHA-256 $ {PARTS.replace('$', ' $ ')} ",
        {"SCRAM-SHA-256": MONGODB},
        {"SCRAM-SHA-1": {"iterationCount": 10_000}, "SCRAM-SHA-256": MONGODB},
        {"_id": "admin.user", "credentials": {"SCRAM-SHA-256": MONGODB}, "roles": []},
    ],
    ids=["dovecot", "gsasl-verbose", "postgresql", "rfc5803-spaces", "mongodb", "mongodb-two", "mongodb-user"],
)
def test_the_forms_of_others_are_parsed_and_verify_a_password(pencil: ScramKeys, stored: Any) -> None:
    keys = ScramKeys.parse(stored)
    assert keys == pencil
    assert keys.verifies("pencil")
    assert not keys.verifies("crayon")


def test_each_form_is_printed_as_the_others_print_it(pencil: ScramKeys) -> None:
    assert pencil.dovecot() == pencil.gsasl() == DOVECOT
    assert pencil.postgresql() == pencil.rfc5803() == f"SCRAM-SHA-256${PARTS}"
    assert pencil.mongodb() == {"SCRAM-SHA-256": MONGODB}


@given(
    st.sampled_from(sorted(HASHES.values())),
    st.binary(min_size=1, max_size=64),
    st.integers(1, 2**31 - 1),
    st.binary(min_size=64, max_size=64),
)
def test_what_is_printed_is_parsed_to_the_same(hash_name: str, salt: bytes, iterations: int, key: bytes) -> None:
    size = hashlib.new(hash_name).digest_size
    keys = ScramKeys(hash_name, salt, iterations, key[:size], key[-size:])
    assert ScramKeys.parse(keys.dovecot()) == keys
    assert ScramKeys.parse(keys.gsasl()) == keys
    assert ScramKeys.parse(keys.rfc5803()) == keys
    if hash_name == "sha256":
        assert ScramKeys.parse(keys.postgresql()) == keys
        assert ScramKeys.parse(json.loads(json.dumps(keys.mongodb()))) == keys


@pytest.mark.parametrize("form", ["postgresql", "mongodb"])
@pytest.mark.parametrize("hash_name", [name for name in HASHES.values() if name != "sha256"])
def test_who_has_scram_sha_256_only_gets_no_other(form: str, hash_name: str) -> None:
    with pytest.raises(UsageError, match="SCRAM-SHA-256"):
        getattr(ScramKeys.derive("pencil", hash_name, iterations=1), form)()


SALT_B64 = "W22ZaJ0SNY7soEsUEjb6gQ=="
HEX = {"stored_key": base64.b64decode(STORED).hex(), "server_key": base64.b64decode(SERVER).hex()}
LUA = f"""return {{
    ["iteration_count"] = 4096;
    ["salt"] = "a-salt";
    ["stored_key"] = "{HEX["stored_key"]}";
    ["server_key"] = "{HEX["server_key"]}";
}};
"""


@pytest.mark.parametrize(
    "stored",
    [
        DOVECOT + "\n",
        DOVECOT + "\r\n",
        DOVECOT.encode(),
        (DOVECOT + "\n").encode(),
        DOVECOT.replace("SCRAM-SHA", "scram-sha"),
        DOVECOT.replace("==", ""),
        DOVECOT.replace("=", ""),
        f"scram-sha-256${PARTS}\n",
        {"SCRAM-SHA-256": {**MONGODB, "iterationCount": {"$numberInt": "4096"}}},
        {"SCRAM-SHA-256": {**MONGODB, "iterationCount": {"$numberLong": "4096"}}},
        {"SCRAM-SHA-256": {**MONGODB, "iterationCount": {"$numberDouble": "4096.0"}}},
        {"SCRAM-SHA-256": {**MONGODB, "iterationCount": 4096.0}},
        f"salt={SALT_B64},stored_key={STORED},server_key={SERVER},iterations=4096",
        f"SCRAM-SHA-256=salt={SALT_B64},stored_key={STORED},server_key={SERVER},iterations=4096",
        f"SCRAM-SHA-256=[salt={SALT_B64}, stored_key={STORED}, server_key={SERVER}, iterations=4096]",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_files_and_exports_make_of_it_is_read(stored: Any) -> None:
    assert ScramKeys.parse(stored) == ScramKeys.parse(DOVECOT)


@pytest.mark.parametrize("stored", [LUA, {"salt": "a-salt", "iteration_count": 4096, **HEX}], ids=["file", "values"])
def test_what_prosody_keeps_is_read(stored: Any) -> None:
    known = ScramKeys.parse(DOVECOT)
    assert ScramKeys.parse(stored) == ScramKeys("sha256", b"a-salt", 4096, known.stored_key, known.server_key)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("clear", "it has none of the forms of Dovecot, PostgreSQL, RFC 5803, MongoDB, GNU SASL, Kafka or Prosody"),
        ("none", "it is text, octets or a document, not NoneType"),
        ("salt-not-base64", "the base64 of the salt is none"),
        ("short-key", "a key of sha256 has 32 octets"),
        ("keys-of-another-hash", "a key of sha1 has 20 octets"),
        ("unknown-hash", "no hash of its mechanism is known"),
        ("too-many", "iterations are a number from 1 to 2147483647"),
        ("mongodb-sha-1", "a document without SCRAM-SHA-256; MongoDB makes its SCRAM-SHA-1 of another password"),
        ("mongodb-no-key", "the base64 of the server key is none"),
        ("mongodb-other-number", "iterations are a number from 1 to 2147483647"),
        ("kafka-short", "no hash is known that has keys of this size"),
        ("prosody-no-hex", "the hexadecimal text of a key is none"),
    ],
)
def test_a_stored_credential_that_cannot_be_read_is_told_why(name: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        ScramKeys.parse(WRONG_TEXTS[name])
    assert str(caught.value) == f"not a stored SCRAM credential: {reason}"


WRONG_TEXTS: dict[str, Any] = {
    "empty": "",
    "clear": "{PLAIN}pencil",
    "space": DOVECOT + " ",
    "no-scheme": DOVECOT.removeprefix("{SCRAM-SHA-256}"),
    "plus": DOVECOT.replace("256}", "256-PLUS}"),
    "unknown-hash": DOVECOT.replace("256}", "3}"),
    "md5": DOVECOT.replace("SHA-256", "MD5"),
    "no-iterations": DOVECOT.replace("4096", "0"),
    "negative": DOVECOT.replace("4096", "-4096"),
    "leading-zero": DOVECOT.replace("4096", "04096"),
    "too-many": DOVECOT.replace("4096", "2147483648"),
    "far-too-many": DOVECOT.replace("4096", "9" * 400),
    "arabic-digits": DOVECOT.replace("4096", "\u0664\u0660\u0669\u0666"),
    "no-salt": DOVECOT.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
    "salt-not-base64": DOVECOT.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z="),
    "salt-not-canonical": DOVECOT.replace("gQ==", "gR=="),
    "endless-salt": DOVECOT.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "AAAA" * 2000),
    "short-key": DOVECOT.replace(STORED, "WG5d8oPm"),
    "keys-of-another-hash": DOVECOT.replace("SHA-256", "SHA-1"),
    "one-key": DOVECOT.removesuffix(f",{SERVER}"),
    "a-fifth-field": f"{DOVECOT},nohex",
    "dollar-in-dovecot": DOVECOT.replace(",", "$", 1),
    "rfc5803-comma": f"SCRAM-SHA-256${PARTS}".replace(":", ",", 1),
    "rfc5803-one-key": f"SCRAM-SHA-256${PARTS}".removesuffix(f":{SERVER}"),
    "octets": b"\xff" + DOVECOT.encode(),
    "kafka-three": f"salt={SALT_B64},stored_key={STORED},server_key={SERVER}",
    "kafka-twice": f"salt={SALT_B64},salt={SALT_B64},server_key={SERVER},iterations=4096",
    "kafka-short": f"salt={SALT_B64},stored_key=AAAA,server_key=AAAA,iterations=4096",
    "kafka-no-count": f"salt={SALT_B64},stored_key={STORED},server_key={SERVER},iterations=many",
    "prosody-no-hex": {"salt": "s", "stored_key": "xy", "server_key": "00", "iteration_count": 1},
    "prosody-short": {"salt": "s", "stored_key": "00", "server_key": "00", "iteration_count": 1},
    "prosody-no-salt": {"stored_key": "00" * 20, "server_key": "00" * 20, "iteration_count": 1},
    "prosody-lua": 'return { ["iteration_count"] = 4096; }',
    "mongodb-other-number": {"SCRAM-SHA-256": {**MONGODB, "iterationCount": {"$numberDecimal": "4096"}}},
    "mongodb-half": {"SCRAM-SHA-256": {**MONGODB, "iterationCount": 4096.5}},
    "none": None,
    "list": [DOVECOT],
    "mongodb-empty": {},
    "mongodb-sha-1": {"SCRAM-SHA-1": MONGODB},
    "mongodb-credentials": {"credentials": DOVECOT},
    "mongodb-text": {"SCRAM-SHA-256": DOVECOT},
    "mongodb-true": {"SCRAM-SHA-256": {**MONGODB, "iterationCount": True}},
    "mongodb-no-count": {"SCRAM-SHA-256": {key: value for key, value in MONGODB.items() if key != "iterationCount"}},
    "mongodb-no-key": {"SCRAM-SHA-256": {key: value for key, value in MONGODB.items() if key != "serverKey"}},
    "mongodb-octets": {"SCRAM-SHA-256": {**MONGODB, "salt": SALT}},
    "mongodb-not-ascii": {"SCRAM-SHA-256": {**MONGODB, "salt": "\u00e9" * 4}},
}


@pytest.mark.parametrize("name", WRONG_TEXTS)
def test_anything_else_is_a_usage_error_that_does_not_show_it(name: str) -> None:
    with pytest.raises(UsageError, match="not a stored SCRAM credential") as caught:
        ScramKeys.parse(WRONG_TEXTS[name])
    assert shows(caught.value) == []


def shows(error: BaseException) -> list[str]:
    """Where an error shows one of the keys: its text, its chain, the locals of our frames."""
    forms = (STORED[:16], SERVER[:16], repr(base64.b64decode(STORED))[2:14], repr(base64.b64decode(SERVER))[2:14])
    found = [form for form in forms if form in f"{error!r}{error.args!r}{error.__cause__!r}{error.__context__!r}"]
    traceback = error.__traceback__
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if frame.f_globals["__name__"].startswith("sasl."):
            found += [f"{name} in {frame.f_code.co_name}" for name, value in frame.f_locals.items()
                      if any(form in repr(value) for form in forms)]  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hash": "md5"}, "a hash is one of sha1, sha224, "),
        ({"hash": "SCRAM-SHA-256"}, "a hash is one of"),
        ({"hash": ["sha256"]}, "a hash is one of"),
        ({"salt": b""}, "a salt is octets"),
        ({"salt": bytes(4_097)}, "a salt is octets"),
        ({"salt": "salt"}, "a salt is octets"),
        ({"iterations": 0}, "iterations are a number from 1 to 2147483647"),
        ({"iterations": 2**31}, "iterations are a number"),
        ({"iterations": "4096"}, "iterations are a number"),
        ({"iterations": True}, "iterations are a number"),
        ({"stored_key": b"short"}, "a key of sha256 has 32 octets"),
        ({"server_key": b"short"}, "a key of sha256 has 32 octets"),
        ({"server_key": "x" * 32}, "a key of sha256 has 32 octets"),
        ({"hash": "sha512"}, "a key of sha512 has 64 octets"),
    ],
    ids=str,
)
def test_a_part_that_does_not_fit_is_a_usage_error_that_shows_no_key(change: Mapping[str, Any], why: str) -> None:
    stored, server = base64.b64decode(STORED), base64.b64decode(SERVER)
    parts = {"hash": "sha256", "salt": SALT, "iterations": 4096, "stored_key": stored, "server_key": server}
    with pytest.raises(UsageError, match=why) as caught:
        ScramKeys(**{**parts, **change})
    assert shows(caught.value) == []


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda secret: ScramKeys.derive(secret + "\x07"), "prohibits"),
        (lambda secret: ScramKeys.derive(Secret(secret + "\x07")), "prohibits"),
        (lambda secret: ScramKeys.derive(secret + "\u00fc" * 1024), "more than 1024 characters"),
        (lambda secret: ScramKeys.derive(secret + "\ud800"), "prohibits"),
        (lambda secret: ScramKeys.derive(secret + "\ud800", prepare=False), "has no UTF-8"),
        (lambda secret: ScramKeys.derive(secret, "md5"), "a hash is one of"),
        (lambda secret: ScramKeys.derive(secret, salt=b""), "a salt is octets"),
        (lambda secret: ScramKeys.derive(secret, iterations=0), "iterations are"),
        (lambda secret: ScramKeys.derive(secret.encode()), "the password is a str, not bytes"),
        (lambda secret: ScramKeys.derive("pencil").verifies(secret.encode()), "the password is a str, not bytes"),
    ],
    ids=[
        "control", "in-a-secret", "long-to-normalize", "surrogate", "surrogate-as-it-is", "hash", "salt",
        "iterations", "octets", "octets-to-verify",
    ],
)  # fmt: skip
def test_a_password_that_cannot_be_stored_is_a_usage_error_that_does_not_show_it(
    secret: str, leaks: Callable[[BaseException], list[str]], make: Callable[[str], object], why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        make(secret)
    assert leaks(caught.value) == []


@pytest.mark.parametrize("password", ["", "\u00ad"], ids=ascii)
@pytest.mark.parametrize("prepare", [True, False])
def test_an_empty_password_is_not_stored(password: str, *, prepare: bool) -> None:
    if password and not prepare:
        assert ScramKeys.derive(password, iterations=1, prepare=False).verifies(password, prepare=False)
        return
    with pytest.raises(UsageError, match="empty"):
        ScramKeys.derive(password, prepare=prepare)


# --- with the tools of others


@pytest.mark.skipif(shutil.which("gsasl") is None, reason="no gsasl")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize("password", ["pencil", "p\u00e4\u00adss\u00bd"], ids=ascii)
@pytest.mark.parametrize("verbose", [[], ["--verbose"]], ids=["short", "verbose"])
def test_gsasl_derives_and_prints_the_same(mechanism: str, password: str, verbose: list[str]) -> None:
    salt = base64.b64encode(SALT).decode()
    words = ["gsasl", "--mkpasswd", "--mechanism", mechanism, "--password", password, "--iteration-count", "5000"]
    run = subprocess.run(
        [*words, "--salt", salt, *verbose], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}, timeout=20
    )
    printed = run.stdout.decode().strip()
    keys = ScramKeys.parse(printed)
    assert keys.verifies(password)
    assert keys == ScramKeys.derive(password, HASHES[mechanism], salt=SALT, iterations=5000)
    assert printed.startswith(keys.gsasl())
    assert (printed == keys.gsasl()) is not bool(verbose)


@pytest.mark.skipif(shutil.which("doveadm") is None, reason="no doveadm")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_dovecot_and_we_verify_what_the_other_prints(mechanism: str) -> None:
    doveadm = [shutil.which("doveadm") or "", "-c", "/dev/null", "pw"]
    printed = subprocess.run([*doveadm, "-s", mechanism, "-p", "pencil"], capture_output=True, text=True, check=True)
    keys = ScramKeys.parse(printed.stdout.strip())
    assert (keys.mechanism, keys.verifies("pencil"), keys.verifies("crayon")) == (mechanism, True, False)
    assert keys.dovecot() == printed.stdout.strip()
    ours = ScramKeys.derive("pencil", HASHES[mechanism], iterations=5000).dovecot()
    for password, verified in (("pencil", True), ("crayon", False)):
        run = subprocess.run([*doveadm, "-t", ours, "-p", password], capture_output=True, text=True, timeout=20)
        assert ("(verified)" in run.stdout) is verified, run.stderr


# --- as a secret

HOLDERS: dict[str, Callable[[bytes], Any]] = {
    "ScramKeys": lambda key: ScramKeys("sha256", SALT, 4096, key, key),
    "Record": lambda key: sasl.Record("joe", ScramKeys("sha256", SALT, 4096, key, key)),
    "a key": lambda key: ScramKeys("sha256", SALT, 4096, key, key).stored_key,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_keys_are_not_shown(holder: str) -> None:
    key = b"KEYKEYKEYKEYKEYKEYKEYKEYKEYKEY32"
    held = HOLDERS[holder](key)
    for text in (repr(held), str(held), f"{held} {held!r}", "%s %r" % (held, held), str([held])):  # noqa: UP031
        assert "KEY" not in text


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "how", [pickle.dumps, lambda value: pickle.dumps(value, protocol=0), copy.copy, copy.deepcopy, vars],
    ids=["pickle", "old-pickle", "copy", "deepcopy", "vars"],
)  # fmt: skip
def test_keys_leave_in_no_copy(holder: str, how: Callable[[Any], object]) -> None:
    if (holder, how) == ("Record", copy.copy):
        return  # the same keys, held by another answer
    with pytest.raises(TypeError):
        how(HOLDERS[holder](b"K" * 32))


@pytest.mark.parametrize("holder", ["ScramKeys", "Record"])
@pytest.mark.parametrize("export", [dataclasses.asdict, dataclasses.astuple])
def test_keys_are_not_exported_with_their_holder(holder: str, export: Any) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        export(HOLDERS[holder](b"K" * 32))


def test_what_is_shown_is_what_a_client_gets_to_see(pencil: ScramKeys) -> None:
    assert repr(pencil) == "ScramKeys(hash='sha256', salt=<16 octets>, iterations=4096, keys=***)"
    assert repr(pencil.stored_key) == "<32 octets>"


def test_keys_are_octets_to_whoever_computes_with_them(pencil: ScramKeys) -> None:
    assert pencil.stored_key == base64.b64decode(STORED)
    assert hmac.digest(pencil.server_key, b"x", "sha256") == hmac.digest(base64.b64decode(SERVER), b"x", "sha256")


def test_keys_are_frozen(pencil: ScramKeys) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pencil.iterations = 1  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        pencil.another = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["hash", "salt", "iterations", "stored_key", "server_key"])
def test_keys_are_equal_if_all_parts_are(pencil: ScramKeys, part: str) -> None:
    parts = {name: getattr(pencil, name) for name in ("hash", "salt", "iterations", "stored_key", "server_key")}
    other = {"hash": "sha3_512", "salt": b"salt", "iterations": 1, "stored_key": bytes(32), "server_key": bytes(32)}
    changed = {**parts, part: other[part]}
    if part == "hash":
        changed |= {"stored_key": bytes(64), "server_key": bytes(64)}
    assert ScramKeys(**parts) == pencil
    assert ScramKeys(**changed) != pencil


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, pencil: ScramKeys) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *sides: compared.append(sides) or False)
    other = ScramKeys("sha256", SALT, 4096, bytes(32), bytes(32))
    assert pencil != other
    assert compared == [(pencil.stored_key, bytes(32)), (pencil.server_key, bytes(32))]  # both, whatever the first says
    assert pencil != DOVECOT
    assert ScramKeys.__eq__(pencil, DOVECOT) is NotImplemented


def test_keys_have_no_hash(pencil: ScramKeys) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(pencil)
