"""Starting and stopping: only for this machine, on the ports that are wanted, with nothing left behind."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters import reference

from ...support.leaks import seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

PROTOCOLS = ("imap", "pop", "smtp")
SHUTDOWN = {"imap": ["* BYE The server shuts down"], "pop": [], "smtp": ["421 4.3.2 The server shuts down"]}


def ports(servers: Servers) -> list[int]:
    return [port for name in PROTOCOLS for port in (getattr(servers, name).port, getattr(servers, name).tls_port)]


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.0.2.1", "10.0.0.1", "example.org", "127.0.0.1.example.org", "::ffff:127.0.0.1"]
)
def test_no_address_is_taken_that_others_could_reach(host: str) -> None:
    with pytest.raises(sasl.UsageError, match="listen at"), reference.running(host=host):
        pass


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_an_address_of_this_machine_is_taken(host: str, address: str) -> None:
    if address == "::1" and not has_ipv6():
        address = host = "127.0.0.1"
    with reference.running(host=host) as servers:
        assert {getattr(servers, name).host for name in PROTOCOLS} == {address}
        assert len(set(ports(servers))) == 6
        with socket.create_connection((address, servers.imap.port), timeout=10) as sock:
            assert sock.recv(4) == b"* OK"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_ports_may_be_chosen() -> None:
    names = [name + suffix for name in PROTOCOLS for suffix in ("", "s")]
    free = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    wanted = dict(zip(names, (sock.getsockname()[1] for sock in free), strict=True))
    for sock in free:
        sock.close()
    with reference.running(ports=wanted) as servers:
        assert ports(servers) == list(wanted.values())


def test_a_port_that_is_taken_is_an_os_error_and_nothing_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = {"smtps": taken.getsockname()[1]}
        with pytest.raises(OSError, match="address already in use"), reference.running(ports=wanted):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ports": {"imap": 0, "pop3": 0}}, "no such server: pop3"),
        ({"users": {}}, "need a user"),
        ({"users": {"alice": ""}}, "SASLprep leaves nothing"),
        ({"tokens": {"stale": "x"}}, "not 'stale'"),
        ({"tokens": {"good": "same", "expired": "same"}}, "at once"),
    ],
)
def test_what_cannot_be_served_is_the_callers_mistake(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(sasl.UsageError, match=message), reference.running(**settings):
        pass


def test_the_first_user_has_a_token_of_each_kind() -> None:
    with reference.running({"bob": "builder", "alice": "wonderland"}, {"expired": "of-yesterday"}) as servers:
        assert servers.users == {"bob": "builder", "alice": "wonderland"}
        assert list(servers.tokens) == ["good", "expired", "revoked"]
        assert servers.tokens["expired"] == "of-yesterday"
        answer = servers.verifier(sasl.CheckToken("bob", sasl.Secret(servers.tokens["good"]), None, None))
        assert answer == sasl.Accepted("bob")
        for secret in ("builder", "wonderland", *servers.tokens.values()):
            assert seen([repr(servers)], secret) == []


def test_tokens_that_are_made_up_differ_each_time() -> None:
    with reference.running() as one, reference.running() as other:
        assert len({*one.tokens.values(), *other.tokens.values()}) == 6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_reset_ends_sessions_and_forgets_what_was_but_not_who_may_log_in(
    protocol: str, connect: Callable[..., Any]
) -> None:
    with reference.running() as servers:
        raw = connect(servers, protocol, "clear")
        assert raw.line()
        servers.deliver("alice", "Subject: of the last test\n\n")
        servers.account("alice").create("Extra")
        servers.faults.add("*:NOOP drop")
        later = servers.clock.advance(hours=1)
        servers.reset()
        assert raw.rest() == SHUTDOWN[protocol]
        assert servers.mailbox("alice").messages == ()
        assert "Extra" not in servers.account("alice").mailboxes
        assert (servers.faults.standing, servers.attempts, servers.log.sessions) == ((), (), ())
        assert [len(getattr(servers, name).sessions) for name in PROTOCOLS] == [0, 0, 0]
        assert servers.clock.now() >= later
        assert connect(servers, protocol, "clear").line()
        answer = servers.verifier(sasl.CheckToken("alice", sasl.Secret(servers.tokens["good"]), None, None))
        assert answer == sasl.Accepted("alice")


def test_a_program_finds_those_servers_in_its_environment_that_there_are() -> None:
    with reference.running(services=["imap"]) as servers:
        assert sorted(servers.env()) == ["IMAPS_PORT", "IMAP_HOST", "IMAP_PORT", "SSL_CERT_FILE"]
    with reference.running() as servers:
        env = servers.env()
        assert ssl.create_default_context(cafile=env["SSL_CERT_FILE"]).get_ca_certs()
        for name, endpoint in (("IMAP", servers.imap), ("POP", servers.pop), ("SMTP", servers.smtp)):
            assert env[f"{name}_HOST"] == "127.0.0.1"
            assert (env[f"{name}_PORT"], env[f"{name}S_PORT"]) == (str(endpoint.port), str(endpoint.tls_port))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("over", ["clear", "TLS", "STARTTLS"])
def test_stopping_tells_who_is_there_and_closes_everything(
    protocol: str, over: str, connect: Callable[..., Any]
) -> None:
    threads = set(threading.enumerate())
    with reference.running() as servers:
        raw = connect(servers, protocol, over)
        if over != "STARTTLS":
            assert raw.line()
        raw.send(b"NOSUCH\r\n")
        assert raw.line()
        silent = socket.create_connection((servers.imap.host, servers.imap.tls_port), timeout=10)
        ca_file = servers.ca_file
        assert ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert raw.rest() == SHUTDOWN[protocol]
    silent.close()
    assert not ca_file.parent.exists()
    for port in ports(servers):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((servers.imap.host, port), timeout=10)
    assert set(threading.enumerate()) <= threads


def test_a_connection_that_comes_while_the_servers_stop_is_closed() -> None:
    async def go() -> None:
        async with reference.serving() as servers:
            loop = asyncio.get_running_loop()
            socks = [socket.socket() for _ in range(20)]
            for sock in socks:
                sock.setblocking(False)
                await loop.sock_connect(sock, (servers.pop.host, servers.pop.port))
        for sock in socks:
            async with asyncio.timeout(5):
                try:
                    while await loop.sock_recv(sock, 1000):
                        pass
                except ConnectionError:
                    pass
            sock.close()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(go())


def test_an_exception_in_the_block_stops_the_servers_and_leaves() -> None:
    with pytest.raises(ZeroDivisionError), reference.running() as servers:
        _ = 1 / 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((servers.imap.host, servers.imap.port), timeout=10)


def test_what_goes_wrong_while_stopping_leaves_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from sasl.adapters.reference import servers as module

    stop = module.Listening.stop

    async def broken(self: Any) -> None:
        await stop(self)
        raise OSError("no")

    monkeypatch.setattr(module.Listening, "stop", broken)
    with pytest.raises(OSError, match="no"), reference.running():
        pass


def test_servers_run_in_an_event_loop_of_the_callers() -> None:
    async def go() -> str:
        async with reference.serving() as servers:
            reader, writer = await asyncio.open_connection(
                servers.smtp.host, servers.smtp.tls_port, ssl=servers.client_context()
            )
            writer.write(b"QUIT\r\n")
            said = (await reader.read()).decode()
            writer.close()
            await writer.wait_closed()
            return said

    assert asyncio.run(go()) == "220 localhost ESMTP saslkit reference server\r\n221 2.0.0 Bye\r\n"


def test_importing_the_servers_does_not_load_cryptography() -> None:
    code = "import json, sys, sasl.adapters.reference; print(json.dumps([*sys.modules]))"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert loaded & {"cryptography", "google", "jwt", "pyasn1"} == set()
