"""Channel-binding data: by the vectors, and on real TLS connections of ssl and pyOpenSSL."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import OpenSSL.SSL
import pytest
import trustme
from cryptography.hazmat.primitives import hashes

import sasl
from sasl import spec
from sasl.adapters import channel_binding
from sasl.adapters.binding import channel as channel_of
from sasl.adapters.channel_binding import bindings, default_of, end_point, exporter, version_of, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class Identity:
    """A server's certificate, and who trusts it."""

    authority: trustme.CA
    leaf: trustme.LeafCert

    @property
    def certificate(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.leaf.cert_chain_pems[0].bytes().decode())

    def contexts(self, version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The client's and the server's side."""
        client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.configure_trust(client)
        self.leaf.configure_cert(server)
        client.minimum_version = client.maximum_version = version
        return client, server


@pytest.fixture(scope="module")
def identity() -> Identity:
    authority = trustme.CA()
    return Identity(authority, authority.issue_cert("127.0.0.1"))


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[ssl.SSLSocket, ssl.SSLSocket]]]:
    """connect(client context, server context, session) -> both ends of a connection on 127.0.0.1."""
    with contextlib.ExitStack() as stack:

        def connected(
            client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
        ) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
            with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
                sock = stack.enter_context(socket.create_connection(listening.getsockname(), timeout=10))
                accepted, _ = listening.accept()
                accepted.settimeout(10)
                task = pool.submit(server.wrap_socket, stack.enter_context(accepted), server_side=True)
                near = stack.enter_context(client.wrap_socket(sock, server_hostname="127.0.0.1", session=session))
                far = stack.enter_context(task.result())
            far.sendall(b"hello")  # under TLS 1.3 the session comes behind the handshake
            assert near.recv(5) == b"hello"
            return near, far

        yield connected


# --- tls-server-end-point


@pytest.mark.parametrize("vector", spec.vectors("channel-binding"), ids=str)
def test_the_end_point_is_the_hash_of_the_certificate_by_the_hash_of_its_signature(vector: spec.BindingVector) -> None:
    assert end_point(vector.certificate) == vector.binding
    assert (why_not(vector.certificate) == "") == (vector.binding is not None)


def test_an_end_point_that_is_undefined_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="sasl")
    (vector,) = (vector for vector in spec.vectors("channel-binding") if vector.binding is None)
    assert end_point(vector.certificate) is None
    assert "ed25519, has no hash of its own" in why_not(vector.certificate)
    assert caplog.messages == [f"no tls-server-end-point: {why_not(vector.certificate)}"]


@pytest.mark.parametrize("octets", [b"", b"no certificate", b"0\x82\xff\xff", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_end_point(octets: bytes) -> None:
    assert end_point(octets) is None
    assert "cannot be read" in why_not(octets)


def test_octets_behind_a_certificate_make_it_unreadable() -> None:
    vector = spec.vectors("channel-binding")[2]
    assert end_point(vector.certificate + b"\0") is None


# --- connections of ssl


def test_below_tls_1_3_both_ends_are_bound_to_the_same_handshake(identity: Identity, connect: Any) -> None:
    near, far = connect(*identity.contexts(TLS_1_2))
    client = bindings(near)
    server = bindings(far, server_side=True, certificate=identity.certificate)
    assert list(client) == ["tls-unique", "tls-server-end-point"]
    assert client == server
    assert len(client["tls-unique"]) == 12
    assert client["tls-server-end-point"] == end_point(identity.certificate)


def test_each_connection_below_tls_1_3_has_a_tls_unique_of_its_own(identity: Identity, connect: Any) -> None:
    contexts = identity.contexts(TLS_1_2)
    one, other = (bindings(connect(*contexts)[0])["tls-unique"] for _ in range(2))
    assert one != other


def test_under_tls_1_3_there_is_no_tls_unique_although_python_has_one(identity: Identity, connect: Any) -> None:
    near, far = connect(*identity.contexts(TLS_1_3))
    assert near.get_channel_binding("tls-unique") is not None
    assert list(bindings(near)) == ["tls-server-end-point"]
    assert bindings(far, server_side=True, certificate=identity.certificate) == bindings(near)


def test_after_a_resumption_there_is_no_tls_unique(identity: Identity, connect: Any) -> None:
    contexts = identity.contexts(TLS_1_2)
    first, _ = connect(*contexts)
    near, far = connect(*contexts, first.session)
    assert (near.session_reused, far.session_reused) == (True, True)
    assert list(bindings(near)) == ["tls-server-end-point"]
    assert list(bindings(far, server_side=True)) == []


def test_a_client_that_checks_no_certificate_is_bound_to_it_all_the_same(identity: Identity, connect: Any) -> None:
    client, server = identity.contexts(TLS_1_3)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    near, _ = connect(client, server)
    assert bindings(near) == {"tls-server-end-point": end_point(identity.certificate)}


def test_a_server_is_not_bound_to_the_certificate_of_its_client(
    identity: Identity, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sasl")
    client, server = identity.contexts(TLS_1_3)
    identity.authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    identity.authority.issue_cert("alice@example.org").configure_cert(client)
    _, far = connect(client, server)
    assert far.getpeercert(binary_form=True) is not None
    assert bindings(far, server_side=True) == {}
    assert caplog.messages == []


def test_before_the_handshake_and_after_the_end_there_is_nothing(identity: Identity, connect: Any) -> None:
    client, server = identity.contexts(TLS_1_3)
    begun = client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="127.0.0.1")
    assert bindings(begun) == {}
    near, _ = connect(client, server)
    near.close()
    assert bindings(near) == {}


def test_the_two_ends_of_an_ssl_object_are_bound_alike(identity: Identity) -> None:
    client, server = identity.contexts(TLS_1_2)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(back, there, server_hostname="127.0.0.1")
    far = server.wrap_bio(there, back, server_side=True)
    for end in (near, far, near, far, near):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert bindings(near) == bindings(far, server_side=True, certificate=identity.certificate)
    assert list(bindings(near)) == ["tls-unique", "tls-server-end-point"]


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_whoever_can_export_keying_material_gives_it(identity: Identity, connect: Any, version: Any) -> None:
    asked: list[Any] = []

    def export(label: str, length: int) -> bytes:
        asked.append((label, length))
        return b"e" * length

    near, _ = connect(*identity.contexts(version))
    found = bindings(near, exporter=export)
    assert next(iter(found.items())) == ("tls-exporter", b"e" * 32)
    assert asked == [("EXPORTER-Channel-Binding", 32)]
    assert list(found)[1:] == (["tls-unique"] if version is TLS_1_2 else []) + ["tls-server-end-point"]


@pytest.mark.parametrize(("version", "default"), [(TLS_1_2, "tls-unique"), (TLS_1_3, None)])
def test_version_and_default_type_are_told_without_a_look_at_the_certificate(
    identity: Identity, connect: Any, version: Any, default: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_binding, "end_point", pytest.fail)
    near, far = connect(*identity.contexts(version))
    for end in (near, far):
        assert version_of(end) == version.name.replace("_", ".")
        assert default_of(end) == default
    channel = channel_of(near, service="imap", host="mail.example")
    assert (channel.tls, channel.tls_version, channel.default_binding) == (True, version_of(near), default)
    for end in (near, far):
        end.close()
        assert (version_of(end), default_of(end)) == (None, None)


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_description_has_the_bindings_of_the_connection(identity: Identity, connect: Any, version: Any) -> None:
    near, _ = connect(*identity.contexts(version))
    assert dict(channel_of(near, service="imap").bindings) == bindings(near)


def test_after_a_resumption_there_is_no_default(identity: Identity, connect: Any) -> None:
    contexts = identity.contexts(TLS_1_2)
    first, _ = connect(*contexts)
    near, far = connect(*contexts, first.session)
    assert (default_of(near), default_of(far)) == (None, None)
    channel = channel_of(near, service="imap")
    assert (channel.tls_version, channel.default_binding) == ("TLSv1.2", None)
    assert list(channel.bindings) == ["tls-server-end-point"]


def test_a_tls_connection_that_is_closed_is_described_as_one_without_bindings(identity: Identity, connect: Any) -> None:
    near, _ = connect(*identity.contexts(TLS_1_2))
    near.close()
    channel = channel_of(near, service="imap", host="mail.example")
    assert (channel.tls, channel.tls_version, channel.default_binding) == (True, None, None)
    assert dict(channel.bindings) == {}


def test_tls_over_a_socket_in_the_file_system_is_tls(identity: Identity) -> None:
    client, server = identity.contexts(TLS_1_2)
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        task = pool.submit(server.wrap_socket, theirs, server_side=True)
        near = client.wrap_socket(ours, server_hostname="127.0.0.1")
        with near, task.result():
            channel = channel_of(near, service="smtp")
    assert (channel.tls, channel.loopback, channel.tls_version) == (True, True, "TLSv1.2")
    assert channel.default_binding == "tls-unique"


@pytest.mark.parametrize("ask", [bindings, version_of])
def test_what_is_no_tls_connection_is_the_callers_fault(ask: Any) -> None:
    with socket.socket() as plain, pytest.raises(sasl.UsageError, match=r"^socket is no TLS connection"):
        ask(plain)
    with pytest.raises(sasl.UsageError, match=r"^NoneType is no TLS connection"):
        ask(None)


# --- connections of pyOpenSSL


def shake_hands(identity: Identity, version: int) -> tuple[OpenSSL.SSL.Connection, OpenSSL.SSL.Connection]:
    """Both ends of a connection in memory."""
    server = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
    server.set_min_proto_version(version)
    server.set_max_proto_version(version)
    identity.leaf.configure_cert(server)
    near = OpenSSL.SSL.Connection(OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD), None)
    far = OpenSSL.SSL.Connection(server, None)
    near.set_connect_state()
    far.set_accept_state()
    for end, other in [(near, far), (far, near)] * 4:
        with contextlib.suppress(OpenSSL.SSL.WantReadError):
            end.do_handshake()
        with contextlib.suppress(OpenSSL.SSL.WantReadError):
            other.bio_write(end.bio_read(65_536))
    return near, far


def test_under_tls_1_3_pyopenssl_exports_the_same_at_both_ends(identity: Identity) -> None:
    near, far = shake_hands(identity, OpenSSL.SSL.TLS1_3_VERSION)
    client = bindings(near)
    assert list(client) == ["tls-exporter", "tls-server-end-point"]
    assert client == bindings(far, server_side=True, certificate=identity.certificate)
    assert version_of(near) == "TLSv1.3"
    channel = sasl.Channel(tls=True, bindings=client, tls_version=version_of(near))
    assert channel.default_binding == "tls-exporter"
    assert client["tls-exporter"] == exporter(near) == exporter(far)
    assert len(exporter(near)) == 32
    assert exporter(shake_hands(identity, OpenSSL.SSL.TLS1_3_VERSION)[0]) != exporter(near)


def test_below_tls_1_3_pyopenssl_exports_only_for_whoever_vouches_for_the_master_secret(identity: Identity) -> None:
    near, far = shake_hands(identity, OpenSSL.SSL.TLS1_2_VERSION)
    assert list(bindings(near)) == ["tls-server-end-point"]

    def export(label: str, length: int) -> bytes:
        return near.export_keying_material(label.encode(), length, b"")

    assert bindings(near, exporter=export)["tls-exporter"] == exporter(near) == exporter(far)


def test_the_context_of_the_exporter_is_empty_and_not_absent(identity: Identity) -> None:
    """Below TLS 1.3 that differs (RFC 5705 section 4)."""
    near, _ = shake_hands(identity, OpenSSL.SSL.TLS1_2_VERSION)
    assert exporter(near) == near.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    assert exporter(near) != near.export_keying_material(b"EXPORTER-Channel-Binding", 32)


def test_before_the_handshake_pyopenssl_exports_nothing(identity: Identity) -> None:
    near = OpenSSL.SSL.Connection(OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD), None)
    near.set_connect_state()
    assert bindings(near) == {}
    with pytest.raises(sasl.UsageError, match="handshake") as caught:
        exporter(near)
    assert caught.value.__context__ is None


def test_a_pyopenssl_server_has_no_certificate_but_the_one_that_it_names(identity: Identity) -> None:
    _, far = shake_hands(identity, OpenSSL.SSL.TLS1_3_VERSION)
    assert list(bindings(far, server_side=True)) == ["tls-exporter"]
    assert list(bindings(far)) == ["tls-exporter"]  # its peer showed none


def test_sha_1_and_md5_are_the_only_ones_that_are_replaced() -> None:
    replaced = {vector.name for vector in spec.vectors("channel-binding") if "->" in vector.name}
    assert replaced == {"rsa-md5->sha256", "rsa-sha1->sha256"}
    for vector in spec.vectors("channel-binding"):
        if vector.hash is not None and vector.binding is not None:
            assert len(vector.binding) == getattr(hashes, vector.hash.upper()).digest_size
