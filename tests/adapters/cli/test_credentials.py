"""Where the secret of `sasl login` comes from, and what it becomes."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sasl
from sasl import registry
from sasl.adapters.cli import credentials, exits
from sasl.adapters.cli.exits import Undecodable
from sasl.adapters.deadline import Deadline

if TYPE_CHECKING:
    from sasl import Credentials


def obtain(*words: str, user: str | None = "alice", mechanism: str | None = None, timeout: float = 20) -> Credentials:
    parser = argparse.ArgumentParser()
    credentials.configure(parser)
    arguments = parser.parse_args(words)
    arguments.mechanism = mechanism
    return credentials.obtain(arguments, user, Deadline(timeout))


def python(code: str) -> str:
    """A command that runs a line of Python."""
    return shlex.join([sys.executable, "-c", code])


@pytest.fixture
def external(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, takes in (("X-EXTERNAL", sasl.External), ("X-ANONYMOUS", sasl.Anonymous)):
        row = sasl.Mechanism(name, "a:b", None, takes, client_first=True, plaintext=False, rank=1)
        monkeypatch.setitem(registry._registered, name, row)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody who answers "typed" to every prompt; returns the prompts."""
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "typed"

    monkeypatch.setattr("sys.stdin", argparse.Namespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", answer)
    return prompts


# --- variables


def test_a_variable_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "p\u00e4ss wort ")
    found = obtain("--password-env", "SECRET", "--authzid", "bob")
    assert found == sasl.Password("alice", "p\u00e4ss wort ", authzid="bob")


def test_a_variable_holds_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "ya29.token\n")
    assert obtain("--token-env", "SECRET") == sasl.Bearer("alice", "ya29.token")


@pytest.mark.parametrize("option", ["--password-env", "--token-env"])
def test_a_variable_that_is_missing_or_empty_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    with pytest.raises(sasl.UsageError, match="not set, or is empty") as caught:
        obtain(option, "hunter2")
    assert "hunter2" not in str(caught.value)
    for value in ("", "\n"):
        monkeypatch.setenv("SECRET", value)
        with pytest.raises(sasl.UsageError, match="not set, or is empty"):
            obtain(option, "SECRET")


@pytest.mark.parametrize("option", ["--password-env", "--token-env"])
def test_a_variable_that_looks_like_one_is_named(option: str) -> None:
    with pytest.raises(sasl.UsageError, match=f"the variable NOPE_77 of {option} is not set") as caught:
        obtain(option, "NOPE_77")
    assert exits.kind(caught.value) == "variable_not_set"


def test_a_variable_that_is_not_utf8_is_undecodable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "p\udcffss")
    with pytest.raises(Undecodable, match="UTF-8") as caught:
        obtain("--password-env", "SECRET")
    assert caught.value.__context__ is None


# --- commands


@pytest.mark.parametrize(
    ("prints", "secret"),
    [
        ("wonderland", "wonderland"),
        ("wonderland\nuser: alice\n", "wonderland"),
        ("wonderland\r\n", "wonderland"),
        (" wonder land \n", " wonder land "),
        ("p\u00e4ss \u2603\n", "p\u00e4ss \u2603"),
    ],
    ids=ascii,
)
def test_the_first_line_that_a_command_prints_is_the_secret(tmp_path: Path, prints: str, secret: str) -> None:
    file = tmp_path / "a secret"
    file.write_bytes(prints.encode())
    command = f"cat '{file}'"
    assert obtain("--password-command", command) == sasl.Password("alice", secret)
    if secret.isascii() and " " not in secret:  # no server takes another token
        assert sasl.resolve(obtain("--token-command", command)) == sasl.Bearer("alice", secret)


def test_no_shell_comes_between(tmp_path: Path) -> None:
    command = f"echo $HOME; touch {tmp_path}/made > {tmp_path}/made"
    found = obtain("--password-command", command)
    assert found == sasl.Password("alice", command.removeprefix("echo "))
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_has_much_more_to_say_may_say_it() -> None:
    code = "print('wonderland'); [print('x' * 65536) for _ in range(40)]"
    assert obtain("--password-command", python(code)) == sasl.Password("alice", "wonderland")


@pytest.mark.parametrize(
    ("code", "retryable", "needs_user"),
    [
        ("raise SystemExit(1)", False, True),
        ("print('x'); raise SystemExit(2)", False, True),
        ("raise SystemExit(75)", True, False),
    ],
    ids=["1", "2-with-output", "75"],
)
def test_a_token_command_that_fails_says_what_may_help(
    capfd: pytest.CaptureFixture[str], code: str, *, retryable: bool, needs_user: bool
) -> None:
    source = obtain("--token-command", python("import sys; print('sign in', file=sys.stderr); " + code))
    with pytest.raises(sasl.TokenError, match="failed with exit code") as caught:
        sasl.resolve(source)
    assert (caught.value.retryable, caught.value.needs_user) == (retryable, needs_user)
    assert capfd.readouterr() == ("", "sign in\n")


@pytest.mark.parametrize("option", ["--password-command", "--token-command"])
@pytest.mark.parametrize(
    ("command", "why"),
    [
        (python(""), "no text"),
        (python("print()"), "no text"),
        (python("print(); print('second')"), "no text"),
        (python("import os; os.write(1, b'\\xff\\n')"), "no text in UTF-8"),
        ("/nonexistent/command hunter2", "cannot run"),
        (str(Path.cwd()), "cannot run"),
        ("echo 'a\x00b'", "cannot run"),
    ],
    ids=["nothing", "empty-line", "second-line", "not-utf8", "no-such-command", "a-folder", "nul"],
)
def test_a_command_that_gives_no_secret_is_an_error_without_its_text(option: str, command: str, why: str) -> None:
    error = sasl.UsageError if option.startswith("--password") else sasl.TokenError
    with pytest.raises(error, match=why) as caught:
        sasl.resolve(obtain(option, command))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["--password-command", "--token-command"])
@pytest.mark.parametrize("command", ["", "  ", "echo 'hunter2", 'echo "hunter2'])
def test_a_command_that_is_none_is_a_usage_error_without_its_text(option: str, command: str) -> None:
    with pytest.raises(sasl.UsageError, match="a quote in it is not closed") as caught:
        obtain(option, command)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("option", ["--password-command", "--token-command"])
@pytest.mark.parametrize(
    ("command", "says", "kind"),
    [
        (
            "/nonexistent/command --x",
            r"\(/nonexistent/command\) cannot run: there is no such program",
            "command_not_run",
        ),
        ("nosuchprogram show mail", r"\(nosuchprogram\) cannot run: there is no such program", "command_not_run"),
        ("hunter2", "cannot run: there is no such program", "command_not_run"),
        ("sh -c 'exit 3'", r"\(sh\) failed with exit code 3", "command_failed"),
        ("sh -c 'exit 75'", r"\(sh\) failed with exit code 75", "try_later"),
        ("sh -c :", r"\(sh\) printed no text", "no_token"),
    ],
    ids=lambda value: value,
)
def test_a_command_that_fails_is_named_by_its_option_and_its_program(
    option: str, command: str, says: str, kind: str
) -> None:
    error = sasl.UsageError if option.startswith("--password") else sasl.TokenError
    with pytest.raises(error, match=f"{option}.*{says}") as caught:
        sasl.resolve(obtain(option, command))
    assert exits.kind(caught.value) == kind
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: print('x')"], ids=["silent", "endless"])
def test_a_command_that_takes_too_long_is_killed(code: str) -> None:
    begun = time.monotonic()
    with pytest.raises(sasl.TokenError, match="took too long") as caught:
        sasl.resolve(obtain("--token-command", python(code), timeout=0.3))
    assert caught.value.retryable
    assert time.monotonic() - begun < 30


def test_a_password_command_that_takes_too_long_is_an_error_as_well() -> None:
    with pytest.raises(sasl.UsageError, match="took too long"):
        obtain("--password-command", "sleep 60", timeout=0.1)


def test_the_runs_of_a_token_command_share_the_time_that_there_is(tmp_path: Path) -> None:
    """The first run takes none of it; then it is over."""
    clock = Deadline(20)
    source = credentials._command(["echo", str(tmp_path)], clock)
    assert source.token()
    clock._ends = 0
    begun = time.monotonic()
    with pytest.raises(sasl.TokenError, match="took too long") as caught:
        source.token()
    assert (caught.value.code, caught.value.retryable) == ("command_timeout", True)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("typed", [(), ("--mechanism",)], ids=["password", "token"])
def test_the_time_that_somebody_types_does_not_count(monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...]) -> None:
    clock = Deadline(20)
    clock._ends = 0

    def ask(_prompt: str) -> str:
        assert clock.left() == 0
        return "typed"

    monkeypatch.setattr(credentials, "ask", ask)
    monkeypatch.setattr(credentials, "check_terminal", lambda: None)
    parser = argparse.ArgumentParser()
    credentials.configure(parser)
    arguments = parser.parse_args([])
    arguments.mechanism = "XOAUTH2" if typed else None
    credentials.obtain(arguments, "alice", clock)
    assert clock.left() > 10


def test_a_token_command_is_asked_anew_and_gives_no_token_twice(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    source = obtain("--token-command", f"cat {file}")
    assert sasl.resolve(source) == sasl.Bearer("alice", "first")
    with pytest.raises(sasl.TokenError) as caught:
        sasl.resolve(source, stale="first")
    assert caught.value.code == "stale_token"
    file.write_text("second")
    assert sasl.resolve(source, stale="first") == sasl.Bearer("alice", "second")


def test_a_token_source_shows_nothing_of_its_command() -> None:
    assert "hunter2" not in repr(obtain("--token-command", "echo hunter2"))


# --- the terminal


def test_the_terminal_is_asked_for_a_password(terminal: list[str]) -> None:
    assert obtain(user="al\u202eice") == sasl.Password("al\u202eice", "typed")
    assert terminal == ["Password for al\\u202eice: "]


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "oauthbearer"])
def test_the_terminal_is_asked_for_a_token_where_the_mechanism_wants_one(terminal: list[str], mechanism: str) -> None:
    assert obtain(mechanism=mechanism) == sasl.Bearer("alice", "typed")
    assert terminal == ["Access token for alice: "]


@pytest.mark.parametrize("mechanism", ["PLAIN", "IMAP-LOGIN", "pop-user", "POP-APOP"])
def test_a_mechanism_for_passwords_asks_for_one(terminal: list[str], mechanism: str) -> None:
    assert obtain(mechanism=mechanism) == sasl.Password("alice", "typed")
    assert terminal == ["Password for alice: "]


def test_without_a_terminal_an_option_has_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for stdin in (argparse.Namespace(isatty=lambda: False), None):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(sasl.UsageError, match="--password-env, --password-command"):
            obtain()


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("answer", ["nothing", "end", "echo"])
def test_a_terminal_that_gives_nothing_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    import warnings
    from getpass import GetPassWarning

    def ask(_prompt: str) -> str:
        if answer == "end":
            raise EOFError
        if answer == "echo":
            warnings.warn("Can not control echo on the terminal.", GetPassWarning, stacklevel=2)
            pytest.fail("the secret would have been echoed")
        return ""

    monkeypatch.setattr("getpass.getpass", ask)
    with pytest.raises(sasl.UsageError, match="no credential was given"):
        obtain()


@pytest.mark.usefixtures("terminal")
def test_what_is_typed_has_to_be_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda _prompt: b"p\xffss".decode())
    with pytest.raises(Undecodable, match="what was typed is not UTF-8") as caught:
        obtain()
    assert caught.value.__context__ is None


# --- what it becomes


def test_an_option_decides_before_the_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert obtain("--token-env", "SECRET", mechanism="PLAIN") == sasl.Bearer("alice", "x")
    assert obtain("--password-env", "SECRET", mechanism="XOAUTH2") == sasl.Password("alice", "x")
    assert obtain("--password-command", "echo x", mechanism="XOAUTH2") == sasl.Password("alice", "x")


@pytest.mark.usefixtures("external")
def test_some_mechanisms_need_no_secret() -> None:
    assert obtain(mechanism="X-EXTERNAL") == sasl.External("alice")
    assert obtain("--authzid", "bob", mechanism="X-EXTERNAL") == sasl.External("bob")
    assert obtain(mechanism="X-EXTERNAL", user=None) == sasl.External(None)
    assert obtain(mechanism="X-ANONYMOUS") == sasl.Anonymous("alice")
    assert obtain(mechanism="X-ANONYMOUS", user=None) == sasl.Anonymous("")


def test_all_others_need_a_user() -> None:
    with pytest.raises(sasl.UsageError, match="names no user"):
        obtain("--password-env", "HOME", user=None)


def test_a_token_has_no_authzid() -> None:
    with pytest.raises(sasl.UsageError, match="the mailbox to open"):
        obtain("--token-env", "HOME", "--authzid", "bob")


def test_a_mechanism_that_nobody_has_is_noticed_before_anything_is_asked(terminal: list[str]) -> None:
    with pytest.raises(sasl.MechanismUnavailable):
        obtain(mechanism="X-NOBODY")
    with pytest.raises(sasl.UsageError):
        obtain(mechanism="not a name")
    assert terminal == []
