"""`sasl serve`: one line when it is ready, logins by clients that know nothing else, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import select
import signal
import socket
import ssl
import stat
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.cli.serve as verb
from sasl.adapters.cli import main
from sasl.adapters.reference import Settings

from ...support.protocols import PROTOCOLS
from .conftest import script, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from .conftest import Result, Run

DEADLINE = 20.0
"""Seconds for whatever has to happen at once."""

MAIL = ("imap", "pop", "smtp")


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line that a process prints."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], DEADLINE)[0], "no line came"
    line = process.stdout.readline()
    assert line.endswith("}\n"), process.communicate(timeout=DEADLINE)
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM, code: int = 0) -> None:
    """End a process that printed its line; it says nothing more."""
    process.send_signal(number)
    assert process.communicate(timeout=DEADLINE) == ("", "")
    assert process.returncode == code


@contextlib.contextmanager
def serving(*arguments: str, number: int = signal.SIGTERM, code: int = 0) -> Iterator[dict[str, Any]]:
    with start("serve", *arguments) as process:
        try:
            yield ready(process)
            ended(process, number, code)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Any]]:
    with serving() as found:
        yield found


def trusting(served: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=served["ca"])


def ports(served: dict[str, Any]) -> list[int]:
    """All ports that are open."""
    found = [served[name][port] for name in MAIL if name in served for port in ("port", "tls_port")]
    return found + ([urllib.parse.urlsplit(served["http"]["url"]).port] if "http" in served else [])


def refuses(port: int) -> bool:
    """Whether nobody listens at a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


# --- what it says


def test_without_options_all_servers_are_there(served: dict[str, Any]) -> None:
    assert list(served) == ["imap", "pop", "smtp", "http", "ca", "users", "tokens"]
    assert all(set(served[name]) == {"host", "port", "tls_port"} for name in MAIL)
    assert {served[name]["host"] for name in MAIL} == {"127.0.0.1"}
    assert served["http"]["url"].startswith("http://127.0.0.1:")
    assert len(set(ports(served))) == 7
    assert served["users"] == {"alice": "wonderland"}
    assert list(served["tokens"]) == ["good", "expired", "revoked"]
    assert len(set(served["tokens"].values())) == 3
    assert Path(served["ca"]).is_absolute()
    for secret in (Path(served["ca"]).with_name("server.key"), Path(served["http"]["credentials"])):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("names", [["imap"], ["pop", "smtp"], ["http"]], ids="-".join)
def test_what_is_named_is_there_and_nothing_else(names: list[str]) -> None:
    with serving(*(word for name in names for word in (f"--{name}", "0"))) as served:
        assert list(served) == [*names, "ca", "users", "tokens"]
        assert not any(map(refuses, ports(served)))


def test_help_has_an_example_and_says_whose_the_credentials_are(run: Run) -> None:
    result = run("serve", "--help")
    assert result.code == 0
    assert "  sasl serve --imap 1143" in result.out
    assert "are for tests" in result.out
    assert max(map(len, result.out.splitlines())) <= 120


# --- logins


@contextlib.contextmanager
def connected(served: dict[str, Any], protocol: str, over: str) -> Iterator[Any]:
    server, context, implicit = served[protocol], trusting(served), over == "TLS"
    port, options = server["tls_port" if implicit else "port"], {"host": server["host"], "timeout": DEADLINE}
    with PROTOCOLS[protocol].connected(port, context, implicit=implicit, **options) as conn:
        yield conn


@pytest.mark.parametrize("over", ["TLS", "STARTTLS"])
@pytest.mark.parametrize("protocol", MAIL)
def test_the_standard_library_logs_in_with_what_was_printed(served: dict[str, Any], protocol: str, over: str) -> None:
    ((user, password),) = served["users"].items()
    with connected(served, protocol, over) as conn:
        if protocol == "pop":
            assert conn.user(user).startswith(b"+OK")
            assert conn.pass_(password).startswith(b"+OK")
        elif protocol == "imap":
            assert conn.login(user, password)[0] == "OK"
        else:
            assert conn.login(user, password)[0] == 235


@pytest.mark.parametrize(
    ("state", "kind"), [("good", None), ("expired", "expired"), ("revoked", "credentials"), ("other", "credentials")]
)
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("protocol", MAIL)
def test_a_token_is_what_its_name_says_and_may_have_8_kilobytes(
    served: dict[str, Any], protocol: str, mechanism: str, state: str, kind: str | None
) -> None:
    token = served["tokens"].get(state, "t" * 8_192)
    with connected(served, protocol, "TLS") as conn:
        credentials = sasl.Bearer("alice", token)
        if kind is None:
            PROTOCOLS[protocol].binding.authenticate(conn, credentials, mechanism=mechanism)
            return
        with pytest.raises(sasl.AuthenticationFailed) as refused:
            PROTOCOLS[protocol].binding.authenticate(conn, credentials, mechanism=mechanism)
    assert "scope" in refused.value.detail  # the error challenge was sent: the token arrived whole
    assert refused.value.kind == (kind if protocol == "imap" else "credentials")  # only IMAP has a code for it


def granted(served: dict[str, Any]) -> str:
    """A token of the token endpoint's."""
    file = json.loads(Path(served["http"]["credentials"]).read_text())
    assert file["type"] == "authorized_user"
    assert file["token_uri"] == served["http"]["url"]
    form = {name: file[name] for name in ("client_id", "client_secret", "refresh_token")}
    body = urllib.parse.urlencode({"grant_type": "refresh_token", **form}).encode()
    with urllib.request.urlopen(served["http"]["url"], body, timeout=DEADLINE) as answer:
        token = json.load(answer)["access_token"]
    assert isinstance(token, str)
    return token


def test_a_token_of_the_endpoint_logs_in(served: dict[str, Any]) -> None:
    token = granted(served)
    with connected(served, "smtp", "STARTTLS") as conn:
        PROTOCOLS["smtp"].binding.authenticate(conn, sasl.Bearer("alice", token))


def test_sasl_login_gets_its_token_by_the_file_that_was_printed(served: dict[str, Any]) -> None:
    url = f"pops://alice@localhost:{served['pop']['tls_port']}"
    result = script("login", url, "--ca", served["ca"], "--google", served["http"]["credentials"], "--json")
    assert result.code == 0, result
    assert result.report()["mechanism"] in ("XOAUTH2", "OAUTHBEARER")


def test_users_of_a_file_log_in(tmp_path: Path) -> None:
    users = {"j\u00f6rg": "k\u00f6nigin \u96ea", "bob@example.org": "builder"}
    path = tmp_path / "users.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(users, ensure_ascii=False).encode())
    with serving("--imap", "0", "--http", "0", "--users", str(path)) as served:
        assert served["users"] == users
        for user, password in users.items():
            with connected(served, "imap", "TLS") as conn:
                PROTOCOLS["imap"].binding.authenticate(conn, sasl.Password(user, password))
        for token in (served["tokens"]["good"], granted(served)):
            with connected(served, "imap", "TLS") as conn:
                PROTOCOLS["imap"].binding.authenticate(conn, sasl.Bearer("j\u00f6rg", token))


def test_nothing_that_a_client_does_is_seen(tmp_path: Path) -> None:
    """`serving` looks at stdout and stderr: the line, and nothing else."""
    with serving("--imap", "0", "--smtp", "0") as served:
        for protocol in ("imap", "smtp"):
            with connected(served, protocol, "TLS") as conn, pytest.raises(sasl.AuthenticationFailed):
                PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", "looking-glass"))
        with socket.create_connection(("127.0.0.1", served["imap"]["tls_port"]), DEADLINE) as sock:
            sock.sendall(b"a LOGIN alice wonderland\r\n")
            with contextlib.suppress(ConnectionError):
                while sock.recv(1000):
                    pass
        with socket.create_connection(("127.0.0.1", served["imap"]["port"]), DEADLINE) as sock:
            sock.sendall(b"\0\xff\r\n" * 1000)


# --- the end


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=lambda value: str(value)
)
def test_a_signal_ends_it_and_nothing_stays(number: int, code: int) -> None:
    with serving(number=number, code=code) as served:
        sock = socket.create_connection(("127.0.0.1", served["imap"]["port"]), DEADLINE)
        file = sock.makefile("rb")
        assert file.readline().startswith(b"* OK ")
    with sock, file:
        assert file.read() == b"* BYE The server shuts down\r\n"
    assert [port for port in ports(served) if not refuses(port)] == []
    assert not Path(served["ca"]).parent.exists()


def test_a_second_signal_does_not_interrupt_the_end() -> None:
    with start("serve", "--imap", "0") as process:
        folder = Path(ready(process)["ca"]).parent
        for _ in range(20):
            process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=DEADLINE) == ("", "")
    # A late one may come when all is done and the interpreter itself ends, which asks nobody then.
    assert process.returncode in (130, -signal.SIGINT)
    assert not folder.exists()


def test_killed_it_listens_no_more() -> None:
    with start("serve", process_group=0) as process:
        served = ready(process)
        process.kill()
        process.communicate(timeout=DEADLINE)
    assert [port for port in ports(served) if not refuses(port)] == []
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody else was there
    for path in Path(served["ca"]).parent.iterdir():  # the one thing that cannot be helped
        path.unlink()
    Path(served["ca"]).parent.rmdir()


def test_a_reader_that_has_gone_is_74_and_nothing_stays(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {"TMPDIR": str(tmp_path)}
    with os.fdopen(writing, "w") as closed, start("serve", stdout=closed, environment=environment) as process:
        assert process.communicate(timeout=DEADLINE)[1] == ""
    assert process.returncode == 74
    assert list(tmp_path.iterdir()) == []


def test_a_second_one_at_the_same_port_is_69_and_the_first_serves_on(served: dict[str, Any], tmp_path: Path) -> None:
    port = served["imap"]["port"]
    with start("serve", "--imap", str(port), environment={"TMPDIR": str(tmp_path)}) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (69, "", f"sasl: --imap {port}: Address already in use\n")
    assert list(tmp_path.iterdir()) == []
    assert not any(map(refuses, ports(served)))


# --- where the certificates are kept


def test_certificates_that_are_kept_are_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    seen = []
    for _ in range(2):
        with serving("--smtp", "0", "--tls-dir", str(folder)) as served:
            assert served["ca"] == str(folder / "ca.pem")
            seen.append((folder / "ca.pem").read_bytes())
            with connected(served, "smtp", "TLS") as conn:
                assert conn.login("alice", "wonderland")[0] == 235
    assert seen[0] == seen[1]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "server.key", "server.pem"]


@pytest.mark.parametrize("what", ["a file", "a key of somebody else"])
def test_a_folder_that_cannot_be_used_is_78(what: str, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "tls"
    if what == "a file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "server.key").write_text("mine")
    result = run("serve", "--tls-dir", str(folder))
    assert (result.code, result.out) == (78, "")
    assert result.err.startswith("sasl: --tls-dir: ")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


# --- what it does not take

USERS: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"alice:wonderland\n", 65),
    "half": (b'{"alice": "wonderland"', 65),
    "no UTF-8": (b'{"alice": "wonderland\xff"}', 65),
    "empty": (b"", 65),
    "deep": (b"[" * 100_000 + b'"wonderland"', 65),
    "a name twice": (b'{"alice": "wonderland", "alice": "wonderland"}', 65),
    "a number too long": (b'{"alice": ' + b"1" * 10_000 + b"}", 65),
    "a list": (b'[["alice", "wonderland"]]', 78),
    "a number": (b'{"alice": 1}', 78),
    "nested": (b'{"alice": {"password": "wonderland"}}', 78),
    "nobody": (b"{}", 78),
    "no name": (b'{"": "wonderland"}', 78),
    "no password": (b'{"alice": ""}', 78),
    "a control": (b'{"alice": "wonderland\\u0007"}', 78),
    "a lone surrogate": (b'{"alice": "wonderland\\ud800"}', 78),
    "too much": (b'{"alice": "' + b"wonderland" * 200_000 + b'"}', 78),
}


@pytest.mark.parametrize("content", USERS)
def test_a_bad_users_file_is_65_or_78_and_not_shown(content: str, tmp_path: Path, run: Run) -> None:
    octets, code = USERS[content]
    path = tmp_path / "users.json"
    path.write_bytes(octets)
    complains(run("serve", "--users", str(path)), code, "sasl: --users: ")


@pytest.mark.parametrize("missing", ["nothing", "."])
def test_a_users_file_that_cannot_be_read_is_78(missing: str, tmp_path: Path, run: Run) -> None:
    complains(run("serve", "--users", str(tmp_path / missing)), 78, "sasl: --users: ")


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--imap", port) for port in ("-1", "65536", "143a", "", "\u0661", "0" * 6, "imap")),
        ("--tls-dir", ""),
        ("--users", ""),
        ("--host", "0.0.0.0"),
        ("here",),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_64(arguments: tuple[str, ...], run: Run) -> None:
    complains(run("serve", *arguments), 64, "usage: sasl serve")


def complains(result: Result, code: int, begins: str) -> None:
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(begins)


@pytest.mark.parametrize("name", ["imap", "http"])
def test_a_port_that_is_taken_is_named(name: str, unused_port: int, run: Run) -> None:
    complains(run("serve", f"--{name}", str(unused_port)), 69, f"sasl: --{name} {unused_port}: Address already in use")


def test_a_port_without_a_reason_is_named_as_well(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    async def fails(*_arguments: object, **_settings: object) -> None:
        raise OSError("no reason")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_server", fails)
    complains(run("serve", "--http", "4080"), 69, "sasl: --http 4080: no reason\n")


def test_without_h11_the_token_endpoint_alone_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    lines: list[dict[str, Any]] = []
    assert serve_here(lines.append) == 0
    assert "http" not in lines[0]
    assert {"imap", "pop", "smtp"} <= set(lines[0])
    assert "pip install 'saslkit[serve]'" in capsys.readouterr().err
    result = run("serve", "--http", "0")
    assert result.code != 70
    assert "pip install 'saslkit[serve]'" in result.err


# --- in this process


def serve_here(use: Callable[[dict[str, Any]], None], *arguments: str) -> int:
    """Run the verb here; once it is ready, use it in another thread and end it by signals."""
    reading, writing = os.pipe()

    def work() -> None:
        with os.fdopen(reading) as lines:
            line = lines.readline()
        if line:
            try:
                use(json.loads(line))
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

    with os.fdopen(writing, "w") as out, contextlib.redirect_stdout(out):
        thread = threading.Thread(target=work)
        thread.start()
        code = main(["serve", *arguments])
    thread.join(DEADLINE)
    return code


def test_the_process_has_its_handlers_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def use(served: dict[str, Any]) -> None:
        with connected(served, "imap", "STARTTLS") as conn:
            assert conn.login("alice", "wonderland")[0] == "OK"

    assert serve_here(use) == 0
    assert serve_here(use, "--imap", "0", "--tls-dir", str(tmp_path)) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_half_open_exchange_meets_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb._SETTINGS.deadline == 30
    monkeypatch.setattr(verb, "_SETTINGS", Settings(deadline=0.2))

    def use(served: dict[str, Any]) -> None:
        with connected(served, "smtp", "TLS") as conn:
            assert conn.ehlo()[0] == 250
            assert conn.docmd("AUTH", "PLAIN")[0] == 334
            assert conn.getreply() == (421, b"4.4.2 Too slow")

    assert serve_here(use, "--smtp", "0") == 0


def test_the_first_signal_decides() -> None:
    def use(_: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGINT)

    assert serve_here(use, "--pop", "0") == 130


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def use(_: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    try:
        assert serve_here(use, "--pop", "0") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# --- behind a mapped port


@pytest.mark.parametrize("arguments", [(), ("--any-port",)])
def test_a_token_for_another_port_is_taken_on_request(arguments: tuple[str, ...]) -> None:
    with serving("--smtp", "0", *arguments) as served, connected(served, "smtp", "TLS") as conn:
        conn.ehlo()
        message = f"n,a=alice,\1host=localhost\1port=1\1auth=Bearer {served['tokens']['good']}\1\1"
        code, _ = conn.docmd("AUTH", f"OAUTHBEARER {base64.b64encode(message.encode()).decode()}")
        assert code == (235 if arguments else 334)
