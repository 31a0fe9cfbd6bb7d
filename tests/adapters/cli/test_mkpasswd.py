"""`sasl mkpasswd`: what it prints verifies the password, and nothing shows it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm

from sasl import ScramKeys
from sasl.hashes import HASHES

from ...support.leaks import seen
from .conftest import PASSWORD, script
from .test_process import typing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Result, Run

SCRAM = [mechanism.lower() for mechanism in HASHES]


@pytest.fixture
def mkpasswd(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the verb in this process, with octets for stdin."""

    def call(*arguments: str, stdin: bytes = PASSWORD.encode() + b"\n") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return run("mkpasswd", *arguments)

    return call


def argon2id() -> Any:
    """cryptography's, where it has one that works and can verify what is stored (45 and later)."""
    module = pytest.importorskip("cryptography.hazmat.primitives.kdf.argon2", reason="no Argon2 in cryptography")
    try:
        module.Argon2id(salt=bytes(16), length=32, iterations=1, lanes=1, memory_cost=8)
    except UnsupportedAlgorithm:
        pytest.skip("no Argon2 in OpenSSL")
    if not hasattr(module.Argon2id, "verify_phc_encoded"):
        pytest.skip("this cryptography verifies no PHC string")
    return module.Argon2id


# --- SCRAM


def test_by_default_it_is_scram_sha_256_as_dovecot_has_it(mkpasswd: Callable[..., Result]) -> None:
    result = mkpasswd()
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    assert result.out.startswith("{SCRAM-SHA-256}4096,")
    keys = ScramKeys.parse(result.out.strip())
    assert keys.verifies(PASSWORD)
    assert not keys.verifies(PASSWORD + "s")
    assert mkpasswd().out != result.out  # a new salt


@pytest.mark.parametrize("scheme", SCRAM)
@pytest.mark.parametrize("form", ["dovecot", "gsasl", "rfc5803", "postgresql", "mongodb"])
def test_what_is_printed_is_parsed_and_verifies_the_password(
    mkpasswd: Callable[..., Result], scheme: str, form: str
) -> None:
    result = mkpasswd("--scheme", scheme, "--format", form, "--iterations", "5000")
    if form in ("postgresql", "mongodb") and scheme != "scram-sha-256":
        assert (result.code, result.out, result.err) == (64, "", f"sasl: the format {form} is for scram-sha-256\n")
        return
    assert (result.code, result.err) == (0, "")
    stored = json.loads(result.out) if form == "mongodb" else result.out.strip()
    keys = ScramKeys.parse(stored)
    assert (keys.mechanism.lower(), keys.iterations) == (scheme, 5000)
    assert getattr(keys, form)() == stored
    assert keys.verifies(PASSWORD)


@pytest.mark.parametrize("form", ["dovecot", "mongodb"])
def test_json_is_one_object(mkpasswd: Callable[..., Result], form: str) -> None:
    result = mkpasswd("--format", form, "--json", "--scheme", "SCRAM-SHA-256")
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    report = result.report()
    assert ScramKeys.parse(report.pop("stored")).verifies(PASSWORD)
    assert report == {"scheme": "scram-sha-256", "format": form}


def test_all_spellings_of_a_password_are_stored_as_one(mkpasswd: Callable[..., Result]) -> None:
    result = mkpasswd("--format", "rfc5803", stdin="p\u0061\u0308ss\u2168".encode())
    assert ScramKeys.parse(result.out).verifies("p\u00e4ssIX")
    assert result.err == (
        "sasl: warning: SASLprep changes or refuses this password: clients that do not prepare it cannot log in "
        "by SCRAM with these keys\n"
    )


TYPED = ["\xbdpint", "pa\xb4ss", "a\u00a0b", "p\U0001f511word"]


@pytest.mark.parametrize("password", TYPED)
@pytest.mark.parametrize("arguments", [(), ("--format", "rfc5803", "--no-prepare")])
def test_a_password_may_be_stored_as_it_was_typed(
    mkpasswd: Callable[..., Result], password: str, arguments: tuple[str, ...]
) -> None:
    result = mkpasswd(*arguments, stdin=password.encode())
    assert ScramKeys.parse(result.out).verifies(password, prepare=False)
    assert result.code == 0
    assert "clients that prepare it cannot log in by SCRAM with these keys" in result.err
    assert password not in result.err


def test_a_password_that_cannot_be_prepared_wants_to_be_taken_as_it_is(mkpasswd: Callable[..., Result]) -> None:
    result = mkpasswd("--format", "postgresql", stdin=TYPED[-1].encode())
    assert (result.code, result.out) == (64, "")
    assert result.err == "sasl: SASLprep (RFC 4013) refuses this password; --no-prepare takes it as it was typed\n"


def test_ascii_has_one_form_however_long_it_is(mkpasswd: Callable[..., Result]) -> None:
    for arguments in ((), ("--format", "rfc5803")):
        result = mkpasswd(*arguments, stdin=b"x" * 1_500)
        assert (result.code, result.err) == (0, "")
        assert ScramKeys.parse(result.out).verifies("x" * 1_500)


@pytest.mark.skipif(shutil.which("doveadm") is None, reason="no Dovecot here")
@pytest.mark.parametrize("password", [*TYPED, "wonderland"])
def test_dovecot_and_we_verify_what_the_other_stores(mkpasswd: Callable[..., Result], password: str) -> None:
    def doveadm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [shutil.which("doveadm") or "", "pw", *arguments, "-p", password]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ours = mkpasswd(stdin=password.encode()).out.strip()
    assert "(verified)" in doveadm("-t", ours).stdout
    assert ScramKeys.parse(doveadm("-s", "SCRAM-SHA-256").stdout).verifies(password)


# --- Argon2id


def test_argon2id_is_a_phc_string_with_what_rfc_9106_recommends(mkpasswd: Callable[..., Result]) -> None:
    verify = argon2id().verify_phc_encoded
    result = mkpasswd("--scheme", "argon2id")
    assert (result.code, result.err) == (0, "")
    phc = result.out.strip()
    assert phc.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert "=" not in phc.rpartition("p=4$")[2]
    verify(PASSWORD.encode(), phc)
    with pytest.raises(InvalidKey):
        verify(PASSWORD.encode() + b"s", phc)


def test_argon2id_takes_a_password_as_it_is(mkpasswd: Callable[..., Result]) -> None:
    verify = argon2id().verify_phc_encoded
    octets = "p\u0061\u0308ss\u2168".encode()  # a client sends it so, and Dovecot compares it so
    verify(octets, mkpasswd("--scheme", "argon2id", stdin=octets + b"\r\n").out.strip())


def test_dovecot_has_its_own_name_for_it(mkpasswd: Callable[..., Result]) -> None:
    verify = argon2id().verify_phc_encoded
    result = mkpasswd("--scheme", "argon2id", "--format", "dovecot", "--json")
    assert result.report()["format"] == "dovecot"
    scheme, phc = result.report()["stored"][:10], result.report()["stored"][10:]
    assert scheme == "{ARGON2ID}"
    verify(PASSWORD.encode(), phc)


@pytest.mark.skipif(shutil.which("doveadm") is None, reason="no doveadm")
@pytest.mark.parametrize("scheme", ["scram-sha-1", "scram-sha-256", "argon2id"])
def test_dovecot_verifies_it(mkpasswd: Callable[..., Result], scheme: str) -> None:
    if scheme == "argon2id":
        argon2id()
    stored = mkpasswd("--scheme", scheme, "--format", "dovecot").out.strip()
    doveadm = [shutil.which("doveadm") or "", "-c", "/dev/null", "pw", "-t", stored, "-p"]
    for password, verified in ((PASSWORD, True), ("crayon", False)):
        run = subprocess.run([*doveadm, password], capture_output=True, text=True, timeout=20)
        assert ("(verified)" in run.stdout) is verified, run.stderr


@pytest.mark.parametrize("missing", ["module", "OpenSSL"])
def test_without_argon2_in_cryptography_it_is_69(
    mkpasswd: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def old(**_parameters: object) -> None:
        raise UnsupportedAlgorithm("This version of OpenSSL does not support argon2id")

    module = None if missing == "module" else SimpleNamespace(Argon2id=old)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.kdf.argon2", module)
    result = mkpasswd("--scheme", "argon2id")
    assert (result.code, result.out) == (69, "")
    assert result.err == "sasl: argon2id needs cryptography 44 or later, with OpenSSL 3.2 or later\n"


def test_scram_needs_no_cryptography(mkpasswd: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert mkpasswd().code == 0


# --- the password


@pytest.mark.parametrize(
    "stdin",
    [b"wonderland", b"wonderland\n", b"wonderland\r\n", b"wonderland\nuser: alice\n\xff"],
    ids=["no-line-end", "line", "crlf", "lines"],
)
def test_the_first_line_of_stdin_is_the_password(mkpasswd: Callable[..., Result], stdin: bytes) -> None:
    assert ScramKeys.parse(mkpasswd(stdin=stdin).out.strip()).verifies(PASSWORD)


@pytest.mark.parametrize("scheme", ["scram-sha-256", "argon2id"])
@pytest.mark.parametrize(
    ("stdin", "code", "says"),
    [
        (b"", 64, "the first line of stdin is empty"),
        (b"\nwonderland\n", 64, "the first line of stdin is empty"),
        (b"wonderland\xff\n", 65, "the first line of stdin is not UTF-8"),
        (b"wonderland\xed\xa0\x80\n", 65, "the first line of stdin is not UTF-8"),
        (b"wonderland\x07\n", 64, "a password with a control character, or one that has no UTF-8"),
        (b"wonderland\0\n", 64, "a password with a control character, or one that has no UTF-8"),
        (b"\xc2\xad\n", 64, "a password that is empty, or of which SASLprep leaves nothing (RFC 4013)"),
        (b"w" * 100_000, 64, "the first line of stdin has more than 65536 octets"),
    ],
    ids=["nothing", "empty", "not-utf8", "surrogate", "control", "nul", "soft-hyphen", "endless"],
)
def test_what_is_no_password_is_an_error_that_does_not_show_it(
    mkpasswd: Callable[..., Result], scheme: str, stdin: bytes, code: int, says: str
) -> None:
    result = mkpasswd("--scheme", scheme, stdin=stdin)
    assert (result.code, result.out, result.err) == (code, "", f"sasl: {says}\n")


def test_without_any_stdin_it_is_64(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    result = run("mkpasswd")
    assert (result.code, result.out) == (64, "")
    assert "no stdin" in result.err


def test_stdin_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    with (tmp_path / "password").open() as file:
        result = script("mkpasswd", "--format", "postgresql", stdin=file)
    assert (result.code, result.err) == (0, "")
    assert ScramKeys.parse(result.out.strip()).verifies(PASSWORD)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (f"{PASSWORD}\n{PASSWORD}\n", 0, "{SCRAM-SHA-256}4096,"),
        (f"{PASSWORD}\n{PASSWORD}s\n", 64, "the two passwords differ"),
        ("\n", 64, "no credential was given"),
        (f"{PASSWORD}\n\n", 64, "no credential was given"),
        ("\x03", 130, "interrupted"),
    ],
    ids=["twice", "two", "empty", "empty-again", "interrupted"],
)
def test_the_terminal_is_asked_twice_and_shows_nothing(words: str, code: int, says: str) -> None:
    ended, screen = typing(words, "mkpasswd")
    assert ended == code, screen
    assert says in screen
    assert seen([screen], PASSWORD) == []
    assert "Password: " in screen
    if code == 0:
        assert "The same again: " in screen
        assert ScramKeys.parse(screen.splitlines()[-1]).verifies(PASSWORD)


@pytest.mark.parametrize("missing", ["password", "again"])
def test_what_is_typed_has_to_be_utf8(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def ask(prompt: str) -> str:
        if missing == "password" or "again" in prompt:
            return (PASSWORD.encode() + b"\xff").decode()
        return PASSWORD

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", ask)
    result = run("mkpasswd")
    assert (result.code, result.out, result.err) == (65, "", "sasl: what was typed is not UTF-8\n")


# --- what goes together, and what does not


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scheme", "md5"], "invalid choice"),
        (["--format", "shadow"], "invalid choice"),
        (["--iterations", "4095"], "from 4096 to 600000"),
        (["--iterations", "600001"], "from 4096 to 600000"),
        (["--iterations", "9" * 5000], "from 4096 to 600000"),
        (["--iterations", "many"], "from 4096 to 600000"),
        (["--iterations", "-5000"], "iterations"),
        (["--scheme", "argon2id", "--format", "gsasl"], "argon2id has the formats dovecot and phc, not gsasl"),
        (["--scheme", "argon2id", "--iterations", "5000"], "--iterations is for SCRAM"),
        (["--format", "phc"], "the format phc is for argon2id"),
        (["--password", PASSWORD], "unknown: --password"),
        ([f"--password={PASSWORD}"], "unknown: --password"),
        ([PASSWORD], "more arguments than it takes"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_call_is_64_and_asks_for_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace())  # whoever looks at it fails
    result = run("mkpasswd", *arguments)  # which looks for the password in what it says
    assert (result.code, result.out) == (64, "")
    assert says in result.err


def test_every_scheme_and_format_is_in_the_help(run: Run) -> None:
    text = run("mkpasswd", "--help").out
    for word in [*SCRAM, "argon2id", "dovecot", "gsasl", "postgresql", "mongodb", "rfc5803", "phc"]:
        assert word in " ".join(text.split()).replace("- ", "-")
