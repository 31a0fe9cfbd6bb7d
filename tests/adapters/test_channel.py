"""`channel` describes real connections of each library: TLS, its version, the peer, the bindings, the certificate."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import OpenSSL.SSL
import pytest
import trustme

import sasl
from sasl.adapters.binding import channel
from sasl.adapters.channel_binding import bindings, checks_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSIONS = ["TLSv1.2", "TLSv1.3"]
GREETING = b"hello"


class Server:
    """Greets whoever connects, under TLS if there is a context, and waits for his end.

    Attributes:
        port: where.
        authority: who issued its certificate, in PEM.
        trusting: a client's context that trusts it.
    """

    def __init__(self, version: str | None) -> None:
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        self._context = None
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)
        if version is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
            wanted = ssl.TLSVersion[version.replace(".", "_")]
            self._context.minimum_version = self._context.maximum_version = wanted
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                sock.settimeout(10)
                with contextlib.suppress(OSError), sock, self._under_tls(sock) as conn:
                    conn.sendall(GREETING)
                    while conn.recv(1):
                        pass

    def _under_tls(self, sock: socket.socket) -> socket.socket:
        return sock if self._context is None else self._context.wrap_socket(sock, server_side=True)

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str | None, Server]]:
    running = {version: Server(version) for version in (None, *VERSIONS)}
    yield running
    for server in running.values():
        server.stop()


def describe(connection: Any) -> sasl.Channel:
    """Describe it, and look at the bindings while it is there."""
    found = channel(connection, service="imap", host="mail.example")
    len(found.bindings)
    return found


# --- each library's connection to a server, with a context for TLS or None


def by_socket(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        if context is None:
            return describe(sock)
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as tls:
            return describe(tls)


def by_ssl_object(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    assert context is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    assert describe(tls) == sasl.Channel(service="imap", host="mail.example")  # before its handshake
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65_536))
        sock.sendall(outgoing.read())
        return describe(tls)


async def _open(server: Server, context: ssl.SSLContext | None, of: Callable[[asyncio.StreamWriter], Any]) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        assert await reader.readexactly(len(GREETING)) == GREETING
        return describe(of(writer))
    finally:
        writer.close()
        await writer.wait_closed()


def by_asyncio(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    return asyncio.run(_open(server, context, lambda writer: writer))


def by_transport(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    return asyncio.run(_open(server, context, lambda writer: writer.transport))


def library(name: str) -> Any:
    """A library that a contributor need not have."""
    return pytest.importorskip(name, reason=f"{name.partition('.')[0]} is not installed")


def by_uvloop(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    uvloop = library("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_open(server, context, lambda writer: writer.transport))


def by_trio(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    trio = library("trio")

    async def main() -> sasl.Channel:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            if context is None:
                return describe(stream)
            tls = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
            assert not describe(tls).tls  # before its handshake nobody knows
            await tls.do_handshake()
            return describe(tls)

    found: sasl.Channel = trio.run(main)
    return found


def _open_by_anyio(server: Server, context: ssl.SSLContext | None, backend: str) -> sasl.Channel:
    anyio = library("anyio")

    async def main() -> sasl.Channel:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            if context is None:
                return describe(stream)
            wrap = library("anyio.streams.tls").TLSStream.wrap
            return describe(await wrap(stream, hostname="127.0.0.1", ssl_context=context, standard_compatible=False))

    found: sasl.Channel = anyio.run(main, backend=backend)
    return found


def by_anyio_on_asyncio(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    return _open_by_anyio(server, context, "asyncio")


def by_anyio_on_trio(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    library("trio")
    return _open_by_anyio(server, context, "trio")


class Subclass(OpenSSL.SSL.Connection):
    """A connection of pyOpenSSL's as some libraries have it."""


def _open_by_pyopenssl(server: Server, context: ssl.SSLContext | None, kind: Any) -> sasl.Channel:
    made = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_CLIENT_METHOD)
    assert context is not None
    if context.verify_mode is ssl.CERT_REQUIRED:
        made.set_verify(OpenSSL.SSL.VERIFY_PEER, lambda *_: True)
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.settimeout(None)
        tls = kind(made, sock)
        tls.set_connect_state()
        assert not describe(tls).tls
        tls.do_handshake()
        return describe(tls)


def by_pyopenssl(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    return _open_by_pyopenssl(server, context, OpenSSL.SSL.Connection)


def by_pyopenssl_in_a_subclass(server: Server, context: ssl.SSLContext | None) -> sasl.Channel:
    return _open_by_pyopenssl(server, context, Subclass)


PYOPENSSL = (by_pyopenssl, by_pyopenssl_in_a_subclass)


WITH_TLS = [
    by_socket,
    by_ssl_object,
    by_asyncio,
    by_transport,
    by_uvloop,
    by_trio,
    by_anyio_on_asyncio,
    by_anyio_on_trio,
    *PYOPENSSL,
]
IN_THE_CLEAR = [each for each in WITH_TLS if each not in (by_ssl_object, *PYOPENSSL)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("connect", WITH_TLS)
def test_a_connection_under_tls(connect: Any, version: str, servers: Any) -> None:
    server = servers[version]
    found = connect(server, server.trusting)
    assert (found.tls, found.tls_version, found.checked) == (True, version, True)
    assert (found.service, found.host) == ("imap", "mail.example")
    is_object = connect is by_ssl_object  # which knows no address
    assert (found.loopback, found.port) == ((False, None) if is_object else (True, server.port))
    if connect in PYOPENSSL:
        expected = {"TLSv1.2": (None, ["tls-server-end-point"]), "TLSv1.3": ("tls-exporter", ["tls-exporter"])}
    else:
        expected = {"TLSv1.2": ("tls-unique", ["tls-unique"]), "TLSv1.3": (None, ["tls-server-end-point"])}
    default, first = expected[version]
    assert found.default_binding == default
    assert [*found.bindings][:1] == first
    assert "tls-server-end-point" in found.bindings


@pytest.mark.parametrize("connect", WITH_TLS)
def test_a_certificate_that_nobody_checks(connect: Any, servers: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = connect(servers["TLSv1.3"], context)
    assert (found.tls, found.checked) == (True, False)


@pytest.mark.parametrize("connect", IN_THE_CLEAR)
def test_a_connection_in_the_clear(connect: Any, servers: Any) -> None:
    server = servers[None]
    found = connect(server, None)
    assert found == sasl.Channel(loopback=True, service="imap", host="mail.example", port=server.port)


GEVENT = """
import sasl.adapters.imaplib  # before the classes are replaced
from sasl.adapters.binding import channel
import sys
port, authority, where = sys.argv[1:]
if where == "everywhere":
    from gevent import monkey
    monkey.patch_all()
    import socket, ssl
else:
    from gevent import socket, ssl
context = ssl.create_default_context(cafile=authority)
sock = socket.create_connection(("127.0.0.1", int(port)), 10)
with sock, context.wrap_socket(sock, server_hostname="127.0.0.1") as tls:
    found = channel(tls, service="imap")
    print(found.tls, found.tls_version, found.loopback, found.port == int(port), found.checked, *found.bindings)
"""


@pytest.mark.parametrize("where", ["everywhere", "here"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_socket_of_gevent_is_one_under_tls(where: str, version: str, servers: Any, tmp_path: Path) -> None:
    library("gevent")
    (tmp_path / "ca.pem").write_bytes(servers[version].authority)
    done = run(GEVENT, str(servers[version].port), "ca.pem", where, folder=tmp_path)
    kinds = ["tls-unique"] if version == "TLSv1.2" else []
    expected = ["True", version, "True", "True", "True", *kinds, "tls-server-end-point"]
    assert done.stdout.split() == expected, done.stderr


LOADED = """
import socket, sys
from sasl.adapters.binding import channel
near, far = socket.socketpair()
with near, far:
    for connection in (None, near, object()):
        channel(connection, service="imap")
print(*sorted({"OpenSSL", "anyio", "asyncio", "cryptography", "gevent", "trio", "uvloop"} & {*sys.modules}))
"""


def test_describing_a_connection_loads_no_library(tmp_path: Path) -> None:
    done = run(LOADED, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("\n", "")


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


class Versioned:
    """A connection of no library that is known here, which says something of a version."""

    def version(self) -> str:
        return "TLSv1.2"


class Attributed:
    """Another one, with a name of anyio's."""

    extra_attributes = 7


@pytest.mark.parametrize("connection", [Versioned(), Attributed(), object(), 7, "tls"])
def test_what_nobody_knows_is_in_the_clear(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sasl.Channel(service="imap", host="h", port=1)
    assert channel(connection, service="imap", host="h", port=1) == expected
    monkeypatch.delitem(sys.modules, "anyio", raising=False)
    assert channel(connection, service="imap", host="h", port=1) == expected


def test_after_unwrap_a_socket_is_in_the_clear() -> None:
    """Python returns the same SSLSocket then, which sends without TLS."""
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    near, far = socket.socketpair()
    with near, far, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(server.wrap_socket, far, server_side=True)
        with client.wrap_socket(near, server_hostname="127.0.0.1") as tls, accepted.result() as other:
            assert describe(tls).checked
            ended = pool.submit(other.unwrap)
            bare = tls.unwrap()
            ended.result()
            assert isinstance(bare, ssl.SSLSocket)
            found = describe(bare)
            bare.sendall(b"in the clear")
            assert socket.socket.recv(other, 99) == b"in the clear"
    assert (found.tls, found.checked, found.tls_version) == (False, False, None)


def test_a_connection_of_pyopenssl_says_itself_whether_it_checks() -> None:
    """It may override its context."""
    context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_CLIENT_METHOD)
    context.set_verify(OpenSSL.SSL.VERIFY_PEER)
    tls = OpenSSL.SSL.Connection(context, None)
    assert checks_certificate(tls)
    tls.set_verify(OpenSSL.SSL.VERIFY_NONE)
    assert not checks_certificate(tls)


def test_the_bindings_are_those_of_the_connection(servers: Any) -> None:
    server = servers["TLSv1.2"]
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as sock,
        server.trusting.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        assert dict(channel(tls, service="imap").bindings) == bindings(tls)


def test_a_pipe_of_asyncio_leads_nowhere_that_is_known() -> None:
    async def main() -> sasl.Channel:
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        assert process.stdin is not None
        try:
            return channel(process.stdin, service="imap")
        finally:
            process.stdin.close()
            await process.wait()

    assert asyncio.run(main()) == sasl.Channel(service="imap")


def test_a_channel_tells_by_pickle_and_equality_whether_the_certificate_was_checked() -> None:
    checked = sasl.Channel(tls=True, checked=True)
    assert checked != sasl.Channel(tls=True)
    assert pickle.loads(pickle.dumps(checked)) == copy.copy(checked) == checked
    with pytest.raises(sasl.UsageError, match="the checked of a channel"):
        sasl.Channel(checked=1)  # type: ignore[arg-type]
