"""An IMAP server whose TLS is pyOpenSSL's, which can export keying material (RFC 9266) where ssl cannot."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import OpenSSL.SSL

import sasl
from sasl.adapters.channel_binding import bindings
from sasl.adapters.reference import Verifier
from sasl.adapters.wire import imap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Send = Callable[[bytes], object]
    Receive = Callable[[int], bytes]


@contextmanager
def running(tls_dir: Path, users: dict[str, str]) -> Iterator[tuple[int, list[sasl.Success | sasl.Failure]]]:
    """Serve one connection, with a folder of `sasl serve --tls-dir`; give the port, and what became of its logins."""
    results: list[sasl.Success | sasl.Failure] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with suppress(OSError, OpenSSL.SSL.Error), listener.accept()[0] as plain:
                plain.settimeout(None)  # pyOpenSSL knows no other
                _talk(plain, tls_dir, Verifier(users), results)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], results
        thread.join(20)


def _talk(plain: socket.socket, tls_dir: Path, verifier: Verifier, results: list[sasl.Success | sasl.Failure]) -> None:
    plain.sendall(b"* OK ready\r\n")
    for line in _lines(plain.recv):
        tag, command = line.split()[:2]
        if command == b"STARTTLS":
            plain.sendall(tag + b" OK go on\r\n")
            break
        plain.sendall(b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n" + tag + b" OK\r\n")
    context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
    context.use_certificate_chain_file(str(tls_dir / "server.pem"))
    context.use_privatekey_file(str(tls_dir / "server.key"))
    tls = OpenSSL.SSL.Connection(context, plain)
    tls.set_accept_state()
    tls.do_handshake()
    certificate = ssl.PEM_cert_to_DER_cert(_first_certificate((tls_dir / "server.pem").read_text()))
    found = bindings(tls, server_side=True, certificate=certificate)
    channel = sasl.Channel(tls=True, service="imap", bindings=found, tls_version=tls.get_protocol_version_name())
    _log_in(tls.sendall, tls.recv, channel, verifier, results)


def _log_in(
    send: Send, receive: Receive, channel: sasl.Channel, verifier: Verifier, results: list[sasl.Success | sasl.Failure]
) -> None:
    offered = sasl.offer(channel, sasl.Policy(), {sasl.FindKeys, sasl.CheckPassword})
    capabilities = ["IMAP4rev1", *(f"AUTH={name}" for name in offered)]
    wire = imap.ServerWire(offered, channel=channel)
    for line in _lines(receive):
        if wire.exchange is None and line.split()[1] != b"AUTHENTICATE":
            send(f"* CAPABILITY {' '.join(capabilities)}\r\n".encode() + line.split()[0] + b" OK\r\n")
            continue
        answer = wire.receive(line)
        while isinstance(answer, sasl.Question):
            assert wire.exchange is not None
            answer = wire.answered(sasl.settle(wire.exchange, answer, verifier))
        assert answer is not None
        send(answer.octets)
        if wire.result is not None:
            results.append(wire.result)
            wire = imap.ServerWire(offered, channel=channel)


def _lines(receive: Receive) -> Iterator[bytes]:
    """Read octet by octet: behind STARTTLS the next ones are TLS's."""
    line = b""
    while octet := receive(1):
        line += octet
        if octet == b"\n":
            yield line
            line = b""


def _first_certificate(pem: str) -> str:
    end = "-----END CERTIFICATE-----"
    return pem[pem.index("-----BEGIN CERTIFICATE-----") :].partition(end)[0] + end
