"""`sasl token get` where the stored token is good: the token and a line end, with json, os and time alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sasl import __main__
from sasl.adapters.tokens import quick
from sasl.adapters.tokens.stores.names import name_of

from ...support.leaks import seen
from .conftest import SCRIPT, script

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT, TOKEN = "Me@example.org", "ya29.a0-AfB_by~x/y+z=="
OURS = {
    "sasl",
    "sasl.__main__",
    "sasl.adapters",
    "sasl.adapters.tokens",
    "sasl.adapters.tokens.quick",
    "sasl.adapters.tokens.stores",
    "sasl.adapters.tokens.stores.names",
    "__future__",  # each of them begins with it; it imports nothing
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tokens"
    folder.mkdir(mode=0o700)
    return folder


def document(**changes: Any) -> dict[str, Any]:
    members = {
        "format": 1,
        "key": ACCOUNT,
        "user": "me@example.org",
        "token_endpoint": "https://login.example.org/token",
        "client_id": "client",
        "refresh_token": "r3fr3sh",
        "access_token": TOKEN,
        "expires_at": time.time() + 3600,
    }
    return {**members, **changes}


def keep(folder: Path, content: object = None, mode: int = 0o600) -> Path:
    """Write what the store of files would; text and octets as they are."""
    path = folder / name_of(ACCOUNT)
    path.touch(mode)
    path.chmod(mode)
    if not isinstance(content, bytes):
        content = json.dumps(document() if content is None else content).encode()
    path.write_bytes(content)
    return path


def modules(code: str) -> set[str]:
    """What a process has loaded at its end."""
    code += "; import sys; print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


def test_a_good_token_is_printed_with_json_os_and_time_alone(folder: Path) -> None:
    keep(folder)
    arguments = ["sasl", "token", "get", ACCOUNT, "--store", str(folder)]
    code = f"import sys; sys.argv = {arguments!r}; from sasl.__main__ import main; assert main() == 0"
    assert modules(code) - modules("import json, os, time") <= OURS


def test_the_token_and_a_line_end_are_all_that_is_printed(folder: Path) -> None:
    keep(folder)
    result = script("token", "get", ACCOUNT, "--store", str(folder), secret="r3fr3sh")
    assert (result.code, result.out, result.err) == (0, TOKEN + "\n", "")


@pytest.mark.parametrize("name", ["SASLKIT_TOKENS", "XDG_STATE_HOME", "HOME"])
@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="folders have other names there")
def test_the_folder_is_that_of_the_variable_or_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    for variable in ("SASLKIT_TOKENS", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    below = {"SASLKIT_TOKENS": "", "XDG_STATE_HOME": "saslkit/tokens", "HOME": ".local/state/saslkit/tokens"}[name]
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    keep(folder)
    assert quick.print_stored([ACCOUNT]) == 0
    assert capfd.readouterr().out == TOKEN + "\n"


def test_an_account_with_a_long_name_has_its_token_printed_too(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    account = "\u00fc" * 300
    path = folder / name_of(account)
    path.touch(0o600)
    path.write_text(json.dumps(document(key=account)))
    assert quick.print_stored([account, "--store", str(folder)]) == 0
    assert capfd.readouterr().out == TOKEN + "\n"


ODD: dict[str, object] = {
    "not JSON": b"{",
    "not UTF-8": b'{"format": 1, "key": "\xff"}',
    "no object": b"[]",
    "too deep": b"[" * 50_000,
    "too large": document(more="x" * 65_536),
    "another format": document(format=2),
    "a key that is another": document(key="You@example.org"),
    "sealed": {"format": 1, "key": ACCOUNT, "sealed": "AAAA"},
    "no token": document(access_token=None),
    "an empty token": document(access_token=""),
    "two lines": document(access_token="a\nb"),
    "a space": document(access_token="a b"),
    "no ASCII": document(access_token="t\u00f6ken"),
    "no text": document(access_token=5),
    "over": document(expires_at=time.time() - 1),
    "soon over": document(expires_at=time.time() + quick.LEEWAY - 1),
    "no end": document(expires_at=None),
    "an end that is no number": document(expires_at="2999-01-01"),
    "an end that is a flag": document(expires_at=True),
    "an end that is not a number": document(expires_at=float("nan")),
    "no end at all": document(expires_at=float("inf")),
    "renewed while the clock was ahead": document(renewed_at=time.time() + 7_200, expires_at=time.time() + 10_800),
    "granted while the clock was ahead": document(granted_at=time.time() + 7_200, expires_at=time.time() + 10_800),
    "renewed at no time": document(renewed_at="today"),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_what_is_not_as_it_should_be_is_left_to_the_slow_way(
    folder: Path, capfd: pytest.CaptureFixture[str], content: object
) -> None:
    keep(folder, content)
    assert quick.print_stored([ACCOUNT, "--store", str(folder)]) is None
    assert capfd.readouterr() == ("", "")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o640),
        lambda path: path.chmod(0o604),
        lambda path: path.chmod(0o620),
        lambda path: path.unlink(),
        link,
        pipe,
        folder_instead,
    ],
    ids=["group reads", "others read", "group writes", "gone", "a link", "a pipe", "a folder"],
)
def test_a_file_that_is_not_this_users_alone_is_left_to_the_slow_way(
    folder: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Path], object]
) -> None:
    change(keep(folder))
    assert quick.print_stored([ACCOUNT, "--store", str(folder)]) is None
    assert capfd.readouterr() == ("", "")


def test_a_file_of_somebody_else_is_left_to_the_slow_way(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert quick.print_stored([ACCOUNT, "--store", str(folder)]) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [""],
        ["--help"],
        ["{account}", "more"],
        ["{account}", "--renew"],
        ["{account}", "--store"],
        ["{account}", "--store", ""],
        ["--", "{account}"],
        ["no-such@example.org"],
        ["with\0nul"],
    ],
    ids=ascii,
)
def test_other_arguments_are_left_to_the_slow_way(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    keep(folder)
    monkeypatch.setenv("SASLKIT_TOKENS", str(folder))
    assert quick.print_stored([word.format(account=ACCOUNT) for word in arguments]) is None
    assert capfd.readouterr() == ("", "")


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        run = subprocess.run([SCRIPT, *arguments], stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # so Linux tells the end
            while octets := terminal.read(1024):
                shown += octets
    return run.returncode, (shown + run.stderr).decode()


def test_a_terminal_gets_the_token_by_force_alone(folder: Path) -> None:
    keep(folder)
    code, shown = on_a_terminal("token", "get", ACCOUNT, "--store", str(folder))
    assert (code, "--force" in shown) == (64, True)
    assert seen([shown], TOKEN) == []
    assert on_a_terminal("token", "get", ACCOUNT, "--store", str(folder), "--force") == (0, TOKEN + "\r\n")


def test_a_reader_that_has_gone_is_74_without_a_word(folder: Path) -> None:
    keep(folder)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        result = script("token", "get", ACCOUNT, "--store", str(folder), stdout=closed)
    assert (result.code, result.err) == (74, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_74(folder: Path) -> None:
    keep(folder)
    with Path("/dev/full").open("w") as full:
        result = script("token", "get", ACCOUNT, "--store", str(folder), stdout=full)
    assert (result.code, result.err) == (74, "sasl: I/O error: No space left on device\n")


def test_a_process_whose_stdout_is_closed_ends_with_74(folder: Path) -> None:
    keep(folder)
    command = f"{SCRIPT} token get {ACCOUNT} --store {folder} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], timeout=20).returncode == 74


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 77)])
def test_the_script_goes_the_slow_way_where_the_quick_one_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, kept: bool, code: int
) -> None:
    if kept:
        keep(folder)
    monkeypatch.setattr(sys, "argv", ["sasl", "token", "get", ACCOUNT, "--store", str(folder)])
    assert __main__.main() == code
    shown = capfd.readouterr()
    assert (shown.out, "sasl token authorize" in shown.err) == ((TOKEN + "\n", False) if kept else ("", True))
