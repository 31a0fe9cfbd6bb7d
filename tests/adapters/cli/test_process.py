"""The installed `sasl` script as a process: exit codes, streams, signals, the terminal, what others can see of it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sasl

from ...support.leaks import seen
from .conftest import PASSWORD, SCRIPT, at, script, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from sasl.adapters.reference import Servers

PW = ("--password-env", "SECRET")


@contextmanager
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """The URL of a server that takes connections and says nothing, and its listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield f"imaps://alice@127.0.0.1:{listening.getsockname()[1]}", listening


@pytest.mark.parametrize(("secret", "code"), [(PASSWORD, 0), ("looking-glass", 77)], ids=["right", "wrong"])
@pytest.mark.parametrize("options", [("--json",), ("--json", "--trace"), ()], ids=" ".join)
def test_a_login(servers: Servers, secret: str, code: int, options: tuple[str, ...]) -> None:
    result = script(*at(servers, "imap"), *PW, *options, secret=secret)
    assert result.code == code
    assert ("C: " in result.err) == ("--trace" in options)
    if "--json" in options:
        assert result.report()["ok"] is (code == 0)
    else:
        assert ("sasl: refused" in result.err) == (code == 77)


@pytest.mark.parametrize("verb", ["login", "demo", "mechs", "mkpasswd"])
def test_each_verb_has_help(verb: str) -> None:
    result = script(verb, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"  sasl {verb}" in result.out


@pytest.mark.parametrize("arguments", [(), ("logout",), ("login",), ("mechs", "--bogus")], ids=" ".join)
def test_a_wrong_call_is_64(arguments: tuple[str, ...]) -> None:
    result = script(*arguments)
    assert (result.code, result.out) == (64, "")
    assert result.err


def test_the_package_runs_as_a_module_outside_the_checkout(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sasl", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == (f"saslkit {sasl.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        ("--help", {"ssl", "asyncio", "socket", "json", "logging", "sasl.exchange.login"}),
        ("mechs", {"ssl", "asyncio", "subprocess", "sasl.adapters.cli.login", "sasl.adapters.imaplib"}),
        ("mkpasswd --help", {"ssl", "asyncio", "cryptography", "sasl.adapters.cli.login"}),
        ("login --help", {"asyncio", "sasl.adapters.imaplib", "sasl.adapters.smtplib", "sasl.adapters.poplib"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_verb_loads_what_it_needs(arguments: str, spared: set[str]) -> None:
    code = (
        "import sys; from sasl.__main__ import main; "
        f"sys.argv[1:] = {arguments.split()!r}; main(); print(*sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert spared & set(run.stderr.split()) == set()


# --- streams


@pytest.mark.parametrize("arguments", [("mechs",), ("mechs", "--json"), ("--help",), ("login", "--help")], ids=" ".join)
def test_a_reader_that_has_gone_is_74_without_a_word(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        result = script(*arguments, stdout=closed)
    assert (result.code, result.err) == (74, "")


def test_a_reader_that_leaves_during_a_login_is_74(servers: Servers) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        assert script(*at(servers, "imap"), *PW, stdout=closed).code == 74


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_74() -> None:
    with Path("/dev/full").open("w") as full:
        result = script("mechs", stdout=full)
    assert result.code == 74
    assert result.err == "sasl: I/O error: No space left on device\n"


def test_closed_streams_are_no_reason_to_fail() -> None:
    run = subprocess.run(["sh", "-c", f"{SCRIPT} mechs <&- >&- 2>&-"], timeout=20)
    assert run.returncode == 0


@pytest.mark.parametrize("secret", [PASSWORD, "looking-glass"], ids=["right", "wrong"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", ["", "--json", "--trace"])
def test_a_login_survives_closed_streams(servers: Servers, closed: str, options: str, *, secret: str) -> None:
    command = " ".join([SCRIPT, *at(servers, "imap"), *PW, options, closed])
    environment = {**os.environ, "SECRET": secret}
    run = subprocess.run(["sh", "-c", command], timeout=20, capture_output=True, text=True, env=environment)
    assert run.returncode == (0 if secret == PASSWORD else 77)
    assert "a bug in sasl" not in run.stderr
    if closed == "2>&-" and options == "--json":
        assert run.stdout.count("\n") == 1
    if closed == ">&-" and options != "--trace":
        assert ("sasl: refused" in run.stderr) == (secret != PASSWORD and not options)


def test_a_wrong_call_with_closed_streams_is_64() -> None:
    run = subprocess.run(["sh", "-c", f"{SCRIPT} login >&- 2>&-"], timeout=20)
    assert run.returncode == 64


def test_an_old_terminal_gets_what_it_can_show(servers: Servers) -> None:
    environment = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    result = script(*at(servers, "imap", "j%C3%B6rg"), *PW, secret="looking-glass", environment=environment)
    assert result.code == 77


# --- the terminal


_ON_A_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


def typing(words: str, *arguments: str) -> tuple[int, str]:
    """Run the script on a terminal where somebody types a line at each prompt; return exit code and what is seen.

    An interrupt is pressed again where nothing happens, as people do: CPython does not notice one that comes between
    its last look for signals and the read that then waits.
    """
    lines = words.splitlines(keepends=True)
    again = b"\x03" if "\x03" in words else b""
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-c", _ON_A_TERMINAL, SCRIPT, *arguments], stdin=theirs)
    os.close(theirs)
    seen = b""
    try:
        with os.fdopen(ours, "r+b", buffering=0) as terminal:
            while octets := _seen(terminal, again if not lines else b""):
                seen += octets
                if lines and seen.endswith(b": "):
                    terminal.write(lines.pop(0).encode())
        return process.wait(timeout=20), seen.decode()
    finally:
        process.kill()
        process.wait()


def _seen(terminal: FileIO, again: bytes) -> bytes:
    """What came next on a terminal, where a key is pressed again each second; nothing at its end.

    Linux tells the end by an error.
    """
    for _ in range(20):
        if select.select([terminal], [], [], 1)[0]:
            break
        terminal.write(again)
    else:
        pytest.fail("the script waits for more")
    try:
        return terminal.read(1024)
    except OSError:
        return b""


def test_the_password_is_typed_on_a_terminal_and_not_seen(servers: Servers) -> None:
    code, screen = typing(PASSWORD + "\n", *at(servers, "imap"))
    assert code == 0
    assert "Password for alice: " in screen
    assert "logged in" in screen
    assert seen([screen], PASSWORD) == []


def test_a_terminal_that_gives_nothing_is_64(servers: Servers) -> None:
    for words in ("\n", "\x04"):
        code, screen = typing(words, *at(servers, "imap"))
        assert code == 64
        assert "no credential was given" in screen


def test_an_interrupted_prompt_is_130_and_leaves_a_clean_line(servers: Servers) -> None:
    code, screen = typing("\x03", *at(servers, "imap"))
    assert "Traceback" not in screen
    assert code == 130
    lines = screen.replace("\r", "").splitlines()
    assert lines[0].removesuffix("^C") == "Password for alice: "
    assert any(line.startswith("  server ") for line in lines)
    assert _plain(lines[-1]) == "sasl: cancelled: interrupted"


def test_a_prompt_without_an_answer_leaves_a_clean_line(servers: Servers) -> None:
    _, screen = typing("\x04", *at(servers, "imap"))
    assert "Password for alice: \r\n" in screen


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9]*m", "", text)


def test_a_terminal_gets_colours_and_lines_that_fit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, screen = typing("looking-glass\n", *at(servers, "imap"))
    assert "\x1b[31msasl: refused: \x1b[0m" in screen
    lines = [_plain(line) for line in screen.replace("\r", "").splitlines()]
    assert max(map(len, lines)) < 60
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in typing("looking-glass\n", *at(servers, "imap"))[1]


# --- signals, and what others can see


_LEFT_OPEN = {"PYTHONWARNINGS": "ignore::ResourceWarning"}  # ssl does so with a socket whose handshake is interrupted


def test_an_interrupted_login_is_130_and_no_process_list_shows_the_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    with silent_server() as (url, listening):
        process = start(
            "login", url, "--password-command", f"cat {tmp_path / 'password'}", "--json", environment=_LEFT_OPEN
        )
        with listening.accept()[0] as sock:
            assert sock.recv(1)  # TLS begins
            commands = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert [command for command in commands if PASSWORD.encode() in command] == []
    assert any(url.encode() in command for command in commands)
    assert (process.returncode, err) == (130, "")
    assert '"type": "Cancelled"' in out


def test_an_interruption_ends_the_command_as_well(servers: Servers, tmp_path: Path) -> None:
    started = tmp_path / "started"
    # Not before the command's parent waits for it: Python warns of a process that it was interrupted in starting.
    command = f"sh -c 'sleep 0.5; echo > {started}; exec sleep 60'"
    process = start(*at(servers, "imap"), "--token-command", command, process_group=0, environment=_LEFT_OPEN)
    while not started.exists():
        assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=20)  # ends when nobody has its streams any more
    assert process.returncode == 130
    assert err == "sasl: cancelled: interrupted\n"
    assert "localhost" in out


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended
