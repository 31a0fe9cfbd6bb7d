"""`sasl serve`: one line when it is ready, logins by clients that know nothing else, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import imaplib
import json
import os
import pty
import re
import select
import signal
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.cli.serve as verb
from sasl.adapters.cli import main
from sasl.adapters.reference import Settings

from ...support.leaks import seen
from ...support.protocols import PROTOCOLS
from ...support.servers import becomes_true
from .conftest import script, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from .conftest import Result, Run

DEADLINE = 20.0
"""Seconds for whatever has to happen at once."""

MAIL = ("imap", "pop", "smtp", "lmtp")
LIBRARIES = ("imap", "pop", "smtp")
WRONG = "looking-glass"


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line that a process prints."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], DEADLINE)[0], "no line came"
    line = process.stdout.readline()
    assert line.endswith("}\n"), process.communicate(timeout=DEADLINE)
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM, code: int = 0) -> list[str]:
    """End a process that printed its line; it says nothing more. Return what it has said of its clients."""
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert out == ""
    lines = err.splitlines()
    assert [line for line in lines if not re.match(r"(imap|pop|smtp|lmtp) session [0-9]+: ", line)] == []
    assert process.returncode == code
    return lines


@contextlib.contextmanager
def serving(
    *arguments: str, number: int = signal.SIGTERM, code: int = 0, said: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Run it; what it has said of its clients is in `said` then, where nothing secret may be."""
    with start("serve", *arguments) as process:
        try:
            served = ready(process)
            yield served
            lines = ended(process, number, code)
        finally:
            process.kill()
    secrets = [*served["users"].values(), *served["tokens"].values(), WRONG]
    assert seen(lines, *(secret for secret in secrets if len(secret) > 6)) == []
    if said is not None:
        said += lines


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Any]]:
    with serving() as found:
        yield found


def trusting(served: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=served["ca"])


def ports(served: dict[str, Any]) -> list[int]:
    """All ports that are open."""
    found = [served[name][port] for name in MAIL if name in served for port in ("port", "tls_port")]
    urls = [served[name]["url"] for name in ("http", "control") if name in served]
    return found + [port for url in urls if (port := urllib.parse.urlsplit(url).port) is not None]


def refuses(port: int) -> bool:
    """Whether nobody listens at a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


# --- what it says


def test_without_options_all_servers_are_there(served: dict[str, Any]) -> None:
    assert list(served) == [*MAIL, "http", "control", "ca", "users", "tokens", "persona"]
    assert all(set(served[name]) == {"host", "port", "tls_port"} for name in MAIL)
    assert {served[name]["host"] for name in MAIL} == {"127.0.0.1"}
    assert served["http"]["url"].startswith("http://127.0.0.1:")
    assert len(set(ports(served))) == 10
    control = served["control"]
    assert control["page"] == f"{control['url']}/#{control['key']}"
    assert served["users"] == {"alice": "wonderland"}
    assert list(served["tokens"]) == ["good", "expired", "revoked"]
    assert len(set(served["tokens"].values())) == 3
    assert Path(served["ca"]).is_absolute()
    for secret in (Path(served["ca"]).with_name("server.key"), Path(served["http"]["credentials"])):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("names", [["imap"], ["pop", "smtp"], ["http"], ["control"]], ids="-".join)
def test_what_is_named_is_there_and_nothing_else(names: list[str]) -> None:
    with serving(*(word for name in names for word in (f"--{name}", "0"))) as served:
        assert list(served) == [*names, "ca", "users", "tokens", "persona"]
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
@pytest.mark.parametrize("protocol", LIBRARIES)
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
@pytest.mark.parametrize("protocol", LIBRARIES)
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


def test_each_attempt_is_a_line_without_its_secret() -> None:
    said: list[str] = []
    with serving("--imap", "0", "--smtp", "0", said=said) as served:
        for protocol in ("imap", "smtp"):
            with connected(served, protocol, "TLS") as conn, pytest.raises(sasl.AuthenticationFailed):
                PROTOCOLS[protocol].binding.authenticate(conn, sasl.Password("alice", WRONG), mechanism="PLAIN")
        with connected(served, "imap", "STARTTLS") as conn:
            conn.login("alice", "wonderland")
    assert said == [
        "imap session 1: PLAIN over TLS: credentials: unknown user or wrong password",
        "smtp session 2: PLAIN over TLS: credentials: unknown user or wrong password",
        "imap session 3: IMAP-LOGIN over TLS: accepted as alice",
    ]


def test_each_verdict_is_a_line() -> None:
    said: list[str] = []
    with (
        serving("--imap", "0", said=said) as served,
        pytest.raises(imaplib.IMAP4.error),
        imaplib.IMAP4("127.0.0.1", served["imap"]["port"]) as conn,
    ):
        conn.login("alice", "wonderland")
    assert any("without TLS" in line or "clear" in line for line in said), said


def test_what_is_no_protocol_is_not_shown() -> None:
    said: list[str] = []
    with serving("--imap", "0", said=said) as served:
        with socket.create_connection(("127.0.0.1", served["imap"]["tls_port"]), DEADLINE) as sock:
            sock.sendall(b"a LOGIN alice wonderland\r\n")
            with contextlib.suppress(ConnectionError):
                while sock.recv(1000):
                    pass
        with socket.create_connection(("127.0.0.1", served["imap"]["port"]), DEADLINE) as sock:
            sock.sendall(b"\0\xff\r\n" * 1000)
    assert all(line.isascii() and line.isprintable() for line in said)


# --- control


def asked(served: dict[str, Any], method: str, path: str, body: object = None) -> Any:
    """Ask the control endpoint; return the document of its answer."""
    control = served["control"]
    headers = {"Authorization": f"Bearer {control['key']}", "Content-Type": "application/json"}
    octets = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{control['url']}/api/v1{path}", octets, headers, method=method)
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.loads(answer.read() or b"null")


def test_control_says_what_the_line_says(served: dict[str, Any]) -> None:
    info = asked(served, "GET", "/info")
    assert {name: info[name] for name in MAIL} == {name: served[name] for name in MAIL}
    assert info["oauth"]["url"] == served["http"]["url"]
    assert info["ca"] == Path(served["ca"]).read_text()
    assert info["persona"] == served["persona"] == "rfc"


def test_a_persona_a_mechanism_and_a_fault_are_as_they_were_asked_for() -> None:
    fault = "imap:NOOP reply NO [THROTTLED] Later"
    with serving(
        "--persona", "gmail", "--mechanism", "xoauth2", "--fault", fault, "--imap", "0", "--control", "0"
    ) as served:
        assert served["persona"] == "gmail"
        with connected(served, "imap", "TLS") as conn:
            assert b"Gimap ready" in conn.welcome
            assert [name for name in conn.capabilities if name.startswith("AUTH=")] == ["AUTH=XOAUTH2"]
            PROTOCOLS["imap"].binding.authenticate(conn, sasl.Bearer("alice", served["tokens"]["good"]))
            assert [conn.noop()[0], conn.noop()[0]] == ["NO", "OK"]
        (standing,) = asked(served, "GET", "/faults")["faults"]
        assert (standing["text"], standing["hits"]) == (fault, 1)


def test_a_mechanism_that_is_off_by_default_is_on_for_who_names_it() -> None:
    with serving("--imap", "0", "--mechanism", "CRAM-MD5") as served, connected(served, "imap", "TLS") as conn:
        assert [name for name in conn.capabilities if name.startswith("AUTH=")] == ["AUTH=CRAM-MD5"]


@pytest.mark.once
def test_a_port_for_tls_is_chosen_too(unused_port: int) -> None:
    with serving("--imaps", "0", "--control", "0") as served:
        assert list(served)[:2] == ["imap", "control"]
        port = served["imap"]["tls_port"]
    with serving("--imaps", str(port)) as served:
        assert served["imap"]["tls_port"] == port
    with start("serve", "--imaps", str(unused_port)) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (69, "", f"sasl: --imaps {unused_port}: Address already in use\n")


# --- other machines


def addresses(port: int) -> set[str]:
    """The addresses that somebody listens at, by /proc."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    return {address for address, _, number in (each.partition(":") for each in local) if int(number, 16) == port}


@pytest.mark.once
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells who listens where in a file")
@pytest.mark.parametrize("remote", [(), ("--allow-remote",)], ids=" ".join)
def test_control_is_for_this_machine_alone_whoever_else_is_let_in(remote: tuple[str, ...]) -> None:
    here, everywhere = {"0100007F"}, {"00000000"}
    with serving("--imap", "0", "--http", "0", "--control", "0", *remote) as served:
        *others, control = ports(served)
        assert addresses(control) == here
        assert [addresses(port) for port in others] == [everywhere if remote else here] * 3


@pytest.mark.once
def test_other_machines_call_this_one_by_its_name(tmp_path: Path) -> None:
    for name in ("mail.test", "192.0.2.7"):
        with serving("--imap", "0", "--http", "0", "--allow-remote", name, "--tls-dir", str(tmp_path)) as served:
            assert served["imap"]["host"] == name
            assert served["http"]["url"].startswith(f"http://{name}:")
            port, token = served["imap"]["tls_port"], served["tokens"]["good"]
            with (
                socket.create_connection(("127.0.0.1", port), DEADLINE) as sock,
                trusting(served).wrap_socket(sock, server_hostname=name) as tls,
                tls.makefile("rb") as file,
            ):
                assert file.readline().startswith(b"* OK ")
                message = f"n,a=alice,\1host={name}\1port={port}\1auth=Bearer {token}\1\1"
                tls.sendall(b"a AUTHENTICATE OAUTHBEARER " + base64.b64encode(message.encode()) + b"\r\n")
                assert file.readline().startswith(b"a OK")


# --- what a person sees


@pytest.mark.once
def test_on_a_terminal_it_is_a_table() -> None:
    reading, writing = pty.openpty()
    try:
        with start("serve", "--persona", "gmail", stdout=writing, environment={"COLUMNS": "80"}) as process:
            shown = ""
            while shown.count("\n") < 12:
                assert select.select([reading], [], [], DEADLINE)[0], shown
                shown += os.read(reading, 65_536).decode()
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=DEADLINE)[1] == ""
    finally:
        os.close(reading)
        os.close(writing)
    names = [line.split()[0] for line in shown.splitlines()]
    assert names == [*MAIL, "oauth", "control", "ca", "persona", "user", "good", "expired", "revoked"]
    assert re.search(r"  control     http://127\.0\.0\.1:[0-9]+/#[\w-]{43}\r\n", shown)
    assert "{" not in shown


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
        ("--persona", "hotmail"),
        ("--persona", ""),
        ("--mechanism", "X-NONE"),
        ("--mechanism", ""),
        ("--fault", "juggle"),
        ("--fault", "imap:FETCH juggle"),
        ("--allow-remote", "no host"),
        ("--allow-remote", ""),
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


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_a_personas_file_that_cannot_be_used_is_78(content: str | None, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_text(content)
    complains(run("serve", "--persona", str(path)), 78, "sasl: --persona: ")


def test_without_h11_oauth_and_control_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    lines: list[dict[str, Any]] = []
    assert serve_here(lines.append) == 0
    assert not {"http", "control"} & set(lines[0])
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

    def pass_over(*_: object) -> None:
        """It is for a signal that comes when the verb has ended already, which would end the tests."""

    before = signal.signal(signal.SIGTERM, pass_over)
    try:
        with os.fdopen(writing, "w") as out, contextlib.redirect_stdout(out):
            thread = threading.Thread(target=work)
            thread.start()
            code = main(["serve", *arguments])
        thread.join(DEADLINE)
        assert signal.getsignal(signal.SIGTERM) is pass_over
    finally:
        signal.signal(signal.SIGTERM, before)
    return code


def test_the_process_has_its_handlers_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]

    def use(served: dict[str, Any]) -> None:
        with connected(served, "imap", "STARTTLS") as conn:
            assert conn.login("alice", "wonderland")[0] == "OK"

    assert serve_here(use) == 0
    assert serve_here(use, "--imap", "0", "--tls-dir", str(tmp_path)) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == before


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


def test_a_signal_wakes_who_waits_for_clients() -> None:
    """It comes to another thread, and so interrupts no call; as little does one that comes just before the call."""
    before = signal.getsignal(signal.SIGINT)
    ended: list[bool] = []

    def use(served: dict[str, Any]) -> None:
        with connected(served, "pop", "TLS") as conn:
            conn.quit()
        time.sleep(0.2)  # it has nothing to do any more
        signal.raise_signal(signal.SIGINT)
        ended.append(becomes_true(lambda: signal.getsignal(signal.SIGINT) is before, within=DEADLINE))

    assert serve_here(use, "--pop", "0") == 130
    assert ended == [True]


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
