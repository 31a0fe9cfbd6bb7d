"""A token that a command prints: real commands, in a process group of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sasl
from sasl.adapters.tokens import command as commands
from sasl.adapters.tokens.command import CommandTokens

from .test_environment import NOW, SECRET, refused

COUNT = 'echo x >> "$0"; n=$(wc -l < "$0"); '
"""Counts the runs in a file, which is the first argument behind the script."""


def shell(script: str, *words: str) -> list[str]:
    return ["sh", "-c", script, *words]


def value(source: CommandTokens, **arguments: Any) -> str:
    return source.token(**arguments).value.reveal()


@pytest.fixture
def count(tmp_path: Path) -> str:
    return str(tmp_path / "count")


def test_the_command_runs_at_each_call(count: str) -> None:
    source = CommandTokens(shell(COUNT + "echo token-$n; echo more", count))
    assert [value(source), value(source), value(source, stale="token-2")] == ["token-1", "token-2", "token-3"]
    assert source.token() == sasl.AccessToken("token-4")
    assert source.held() is None


def test_a_token_that_says_when_it_ends_is_kept_until_shortly_before(count: str) -> None:
    now = [NOW]
    script = COUNT + """printf '{"access_token": "token-%s",\\n "expires_in": 3600}' $n"""
    source = CommandTokens(shell(script, count), clock=lambda: now[0])
    assert source.token() == source.token() == sasl.AccessToken("token-1", datetime.fromtimestamp(NOW + 3_600, UTC))
    now[0] += 3_301
    assert value(source) == "token-2"
    assert value(source, stale="token-2") == "token-3"
    assert source.held() == source.token()


def test_a_lifetime_stands_in_for_the_end_that_nobody_names(count: str) -> None:
    now = [NOW]
    source = CommandTokens(shell(COUNT + "echo token-$n", count), lifetime=900, clock=lambda: now[0])
    assert source.token() == source.token() == sasl.AccessToken("token-1", datetime.fromtimestamp(NOW + 900, UTC))
    now[0] += 601
    assert value(source) == "token-2"


def test_the_same_token_again_is_no_new_one() -> None:
    failure = refused(CommandTokens(shell("echo " + SECRET)), stale=SECRET)
    assert (failure.code, failure.needs_user) == ("stale_token", True)


def test_threads_that_ask_at_once_share_a_run(count: str, tmp_path: Path) -> None:
    """policy_and_state-0026. The first run waits until all the others wait for it."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    source = CommandTokens(shell(COUNT + "read go < $1; echo token-$n", count, str(fifo)))
    arrived = threading.Semaphore(0)

    def ask() -> str:
        arrived.release()
        return value(source)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        for _ in asked:
            arrived.acquire()
        fifo.write_text("go\n")
        given = {future.result() for future in asked}
    runs = len(Path(count).read_text().splitlines())
    assert given == {f"token-{number + 1}" for number in range(runs)}
    assert runs <= 2  # who came too late to wait has a run of its own


@pytest.mark.parametrize("argv", ["echo token", b"echo", [], [b"echo"], ["echo", 7]], ids=repr)
def test_what_is_no_sequence_of_texts_is_the_callers_mistake(argv: Any) -> None:
    with pytest.raises(sasl.UsageError):
        CommandTokens(argv)


def test_its_environment_may_be_given() -> None:
    source = CommandTokens(["/bin/sh", "-c", "echo $TOKEN"], env={"TOKEN": "from-env"})
    assert value(source) == "from-env"


# --- how it ends


@pytest.mark.parametrize(
    ("status", "code", "retryable", "needs_user"),
    [
        (1, "command_failed", False, True),
        (75, "try_later", True, False),
        (77, "command_failed", False, True),
        (78, "command_failed", False, False),
    ],
)
def test_an_exit_code_says_what_may_help(status: int, code: str, *, retryable: bool, needs_user: bool) -> None:
    failure = refused(CommandTokens(shell(f"echo first >&2; echo 'sign in' >&2; exit {status}")))
    assert (failure.code, failure.retryable, failure.needs_user) == (code, retryable, needs_user)
    assert str(failure) == f"the command (sh) failed with exit code {status}: sign in"


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        (f"echo {SECRET}; echo got {SECRET} >&2; exit 1", ""),
        (f"echo old {SECRET} >&2; exit 1", ""),
        ("echo refresh token 1//$(printf %060d 7) is over >&2; exit 1", ": refresh token 1//*** is over"),
        ("printf '\\033[31mred\\033[0m\\n' >&2; exit 1", r": \x1b[31mred\x1b[0m"),
        ("printf %0300d 7 | tr 0 ' ' >&2; exit 1", ": 7"),
        ("exit 1", ""),
    ],
)
def test_what_it_says_is_shown_unless_it_is_a_secret(script: str, shown: str) -> None:
    failure = refused(CommandTokens(shell(script)), stale=SECRET)
    assert str(failure) == "the command (sh) failed with exit code 1" + shown


def test_what_it_says_has_an_end() -> None:
    script = "import sys; print('first', 'x y ' * 100_000, file=sys.stderr); sys.exit(1)"
    assert len(str(refused(CommandTokens([sys.executable, "-c", script])))) < 400


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (":", "no_token"),
        ("echo", "no_token"),
        ("echo please sign in", "no_token"),
        ("echo '{'", "no_token"),
        (f"echo {SECRET} x", "no_token"),
        ("printf %070000d 7", "no_token"),
        ("kill -9 $$", "command_failed"),
    ],
)
def test_a_command_without_a_token_is_told_without_what_it_printed(script: str, code: str) -> None:
    assert refused(CommandTokens(shell(script))).code == code


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([SECRET], "the command cannot run: there is no such program"),
        (["/nonexistent/x"], "the command (/nonexistent/x) cannot run: there is no such program"),
        (["echo", "\0"], "the command (echo) cannot run: it holds a NUL"),
        (["/"], "the command (/) cannot run: Permission denied"),
    ],
)
def test_a_command_that_cannot_run_says_why(argv: list[str], named: str) -> None:
    failure = refused(CommandTokens(argv))
    assert (failure.code, str(failure)) == ("command_not_run", named)


def test_it_may_print_and_say_more_than_anybody_keeps() -> None:
    script = (
        "import sys; print('tok'); [print('x' * 9_999, file=f) for f in (sys.stdout, sys.stderr) for _ in range(99)]"
    )
    assert value(CommandTokens([sys.executable, "-c", script])) == "tok"


def test_it_has_no_terminal_and_nothing_on_stdin() -> None:
    """A passphrase that is asked for there would be waited for until the end."""
    script = "read line; echo x$line; (: < /dev/tty) 2> /dev/null && echo has-a-terminal; :"
    assert value(CommandTokens(shell(script))) == "x"


# --- time


def alive(process: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_end(process: int) -> None:
    deadline = time.monotonic() + 20
    while alive(process):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.005)


def read_number(path: Path) -> int:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return int(path.read_text())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see what runs")
def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    source = CommandTokens(shell("sleep 300 & echo $! > $0; wait", str(file)), timeout=0.3)
    failure = refused(source)
    assert (failure.code, failure.retryable, failure.needs_user) == ("command_timeout", True, False)
    wait_for_end(read_number(file))


def test_a_process_in_the_background_that_keeps_the_pipe_is_waited_for_no_longer(tmp_path: Path) -> None:
    failure = refused(CommandTokens(shell("echo tok; sleep 300 &"), timeout=0.2))
    assert failure.code == "command_timeout"


def test_without_time_it_does_not_even_start(tmp_path: Path) -> None:
    assert refused(CommandTokens(["touch", str(tmp_path / "made")], timeout=lambda: 0.0)).code == "command_timeout"
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_ends_the_command_and_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Any] = []
    start = commands._start

    def interrupted(*arguments: Any) -> Any:
        if started:
            raise KeyboardInterrupt
        started.append(start(*arguments))
        return started[0]

    monkeypatch.setattr(commands, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CommandTokens(shell("sleep 300")).token(stale=SECRET)
    started[0].join(20)
    assert not started[0].is_alive()  # the pipe is closed, so whoever had it is gone


def test_a_source_shows_nothing_of_its_command() -> None:
    source = CommandTokens(["echo", SECRET])
    source.token()
    assert repr(source) == "<CommandTokens>"
