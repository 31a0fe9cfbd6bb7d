"""`main`: verbs, help, usage errors, and what becomes of errors that a verb lets out."""

from __future__ import annotations

import argparse
import io
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import cli
from sasl.adapters.cli import main

from ...support.leaks import seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Run

VERBS = list(cli.VERBS)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], list[str]]:
    """Puts another function in the place of `sasl mechs`; returns the arguments that call it."""

    def replace(body: Callable[[], int]) -> list[str]:
        module = SimpleNamespace(configure=lambda _parser: None, run=lambda _arguments: body())
        monkeypatch.setattr(cli, "import_module", lambda *_names: module)
        return ["mechs"]

    return replace


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


def test_help_lists_the_verbs_and_the_exit_codes(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    assert result.err == ""
    for word in [*VERBS, "64 usage", "77  refused", "130 interrupted"]:
        assert word in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_an_example(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.code == 0
    assert result.err == ""
    assert f"usage: sasl {verb}" in result.out
    assert "\nexample" in result.out
    assert f"\n  sasl {verb}" in result.out
    assert max(map(len, result.out.splitlines())) <= 120


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").out == f"saslkit {sasl.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "VERB"),
        (["logout"], "invalid choice"),
        (["--bogus", "mechs"], "unknown: --bogus"),
        (["mechs", "--bogus"], "unknown: --bogus"),
        (["mechs", "-x"], "more arguments than it takes"),
        (["mechs", "more"], "more arguments than it takes"),
        (["mechs", "--js"], "unknown: --js"),
        (["login"], "URL"),
        (["login", "imaps://a@b", "--password-env"], "expected one argument"),
        (["login", "imaps://a@b", "--password-env", "A", "--token-env", "B"], "not allowed with"),
        (["login", "imaps://a@b", "--timeout", "0"], "seconds"),
        (["login", "imaps://a@b", "--timeout", "soon"], "seconds"),
        (["login", "imaps://a@b", "--timeout", "nan"], "seconds"),
        (["login", "imaps://a@b", "--timeout", "inf"], "seconds"),
        (["login", "imaps://a@b", "--timeout=-1"], "seconds"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_64_and_explained_on_stderr(run: Run, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.code == 64
    assert result.out == ""
    assert says in result.err
    assert result.err.startswith("usage: sasl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["login", "imaps://a@b", "--password", "hunter2"],
        ["login", "imaps://a@b", "--password=hunter2"],
        ["login", "imaps://a@b", "--token=hunter2"],
        ["login", "imaps://a@b", "hunter2"],
        ["login", "imaps://a@b", "-phunter2"],
        ["login", "imaps://a@b", "--json", "--password=hunter2"],
        ["login", "imaps://a@b", "--json", "--password", "hunter2"],
        ["login", "imaps://a@b", "--json", "--trace=hunter2"],
        ["login", "imaps://a@b", "--json=hunter2"],
    ],
    ids=" ".join,
)
def test_a_secret_in_a_wrong_place_is_not_shown(run: Run, arguments: list[str]) -> None:
    result = run(*arguments, secret="hunter2")  # `run` looks for it
    assert result.code == 64


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["login", "--json"], "the following arguments are required: URL"),
        (["--json", "login", "imaps://a@b"], "unknown: --json"),
        (["login", "imaps://a@b", "--json", "--bogus=hunter2"], "unknown: --bogus"),
        (["login", "imaps://a@b", "--json", "more"], "unknown: more arguments than it takes"),
        (["login", "imaps://a@b", "--json", "--timeout", "soon"], "argument --timeout: seconds, more than 0"),
        (["login", "imaps://a@b", "--json", "--trace=hunter2"], "argument --trace: ignored explicit argument"),
        (["login", "imaps://a@b", "--json", "--timeout", "hunter2"], "argument --timeout: seconds, more than 0"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_of_login_with_json_is_an_object_too(run: Run, arguments: list[str], says: str) -> None:
    result = run(*arguments, secret="hunter2")

    assert (result.code, result.out.count("\n")) == (64, 1)
    report = result.report()
    assert report == {
        **dict.fromkeys(report),
        "ok": False,
        "turns": 0,
        "initial_response": False,
        "milliseconds": 0,
        "new_token_may_help": False,
        "server_text": "",
        "exit": 64,
    } | {
        "error": {
            "type": "UsageError",
            "kind": None,
            "detail": {"message": says},
            "advice": "See `sasl login --help`.",
        }
    }
    assert says in result.err


@pytest.mark.parametrize("arguments", [["login", "--json", "--help"], ["mechs", "--json", "--bogus"], ["--json"]])
def test_no_other_call_that_is_not_run_prints_such_an_object(run: Run, arguments: list[str]) -> None:
    assert not run(*arguments).out.startswith("{")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (sasl.TemporaryFailure("not now"), 75, "sasl: not now"),
        (sasl.ProtocolError("odd \x1b[31m\n"), 76, r"sasl: odd \x1b[31m\n"),
        (ModuleNotFoundError("No module named 'jwt'", name="jwt"), 69, "sasl: not installed: jwt"),
        (sasl.TokenError("no", needs_user=True, hint="Sign in."), 77, "sasl: no. Sign in."),
        (KeyboardInterrupt(), 130, "sasl: interrupted"),
        (RuntimeError("wonderland"), 70, "sasl: a bug in sasl: RuntimeError; SASL_DEBUG=1 shows where"),
        (KeyError("wonderland"), 70, "sasl: a bug in sasl: KeyError; SASL_DEBUG=1 shows where"),
    ],
    ids=repr,
)
def test_what_a_verb_raises_is_said_in_one_line(
    run: Run, verb: Callable[..., list[str]], error: BaseException, code: int, says: str
) -> None:
    result = run(*verb(raising(error)))
    assert (result.code, result.out, result.err) == (code, "", says + "\n")


def test_a_bug_is_shown_by_its_place_and_not_by_its_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: Callable[..., list[str]]
) -> None:
    monkeypatch.setenv("SASL_DEBUG", "1")
    assert main(verb(raising(RuntimeError("wonder" + "land")))) == 70
    err = capsys.readouterr().err
    assert "test_main.py" in err
    assert "in body" in err
    assert seen([err], "wonderland") == []


class _Full(io.StringIO):
    """A stream onto which nothing can be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.fixture
def descriptor_1() -> Any:
    """Puts the process's stdout back, which `main` gives up when it cannot be written to."""
    kept = os.dup(1)
    yield
    os.dup2(kept, 1)
    os.close(kept)


@pytest.mark.usefixtures("descriptor_1")
@pytest.mark.parametrize(
    ("error", "said"),
    [(BrokenPipeError(32, "Broken pipe"), ""), (OSError(28, "No space left"), "sasl: I/O error: No space left\n")],
    ids=["broken-pipe", "disk-full"],
)
def test_output_that_nobody_takes_is_74(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    monkeypatch.setattr(sys, "stdout", _Full(error))
    assert main(["mechs"]) == 74
    assert capsys.readouterr().err == said


def test_an_error_that_nobody_can_read_still_has_its_code(
    monkeypatch: pytest.MonkeyPatch, verb: Callable[..., list[str]]
) -> None:
    monkeypatch.setattr(sys, "stderr", _Full(BrokenPipeError()))
    assert main(verb(raising(sasl.TemporaryFailure("not now")))) == 75


@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")], ids="+".join)
def test_a_process_without_standard_streams_works(monkeypatch: pytest.MonkeyPatch, streams: tuple[str, ...]) -> None:
    for name in streams:
        monkeypatch.setattr(sys, name, None)
    assert main(["mechs"]) == 0


def test_a_letter_that_the_terminal_does_not_have_is_escaped(
    monkeypatch: pytest.MonkeyPatch, verb: Callable[..., list[str]]
) -> None:
    octets = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(octets, "ascii"))

    def body() -> int:
        print("j\u00f6rg \u2603")
        return 0

    assert main(verb(body)) == 0
    assert octets.getvalue() == b"j\\xf6rg \\u2603\n"


def test_a_verb_is_imported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    asked: list[str] = []
    real = cli.import_module

    def note(name: str, package: str) -> object:
        asked.append(name)
        return real(name, package)

    monkeypatch.setattr(cli, "import_module", note)
    run("--help")
    assert asked == []
    run("mechs")
    assert asked == [".mechs"]


def test_an_interruption_is_130_even_while_the_command_line_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from sasl import __main__

    def interrupt(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_load", interrupt)
    assert __main__.main() == 130


def test_configure_gets_a_parser_that_keeps_line_ends() -> None:
    parser = argparse.ArgumentParser()
    cli.import_module(".mechs", "sasl.adapters.cli").configure(parser)
    assert parser.parse_args(["--json"]).json


@pytest.mark.parametrize(
    "arguments",
    [
        ["hunter2"],
        ["hunter2)(choose from"],
        ["mkpasswd", "--scheme", "hunter2"],
        ["mkpasswd", "--format", "hunter2"],
        ["mkpasswd", "--format", "hunter2 (choose from x)\nhunter2"],
        ["mkpasswd", "--iterations", "hunter2"],
        ["mkpasswd", "hunter2"],
        ["mkpasswd", "--what=hunter2"],
        ["serve", "--imap-port", "hunter2"],
        ["demo", "hunter2"],
        ["mechs", "hunter2"],
    ],
    ids=ascii,
)
def test_what_was_typed_is_not_said_back(run: Run, arguments: list[str]) -> None:
    assert run(*arguments, secret="hunter2").code == 64  # `run` looks for it


def test_the_choices_are_named_all_the_same(run: Run) -> None:
    assert "invalid choice (choose from " in run("mkpasswd", "--scheme", "x").err
