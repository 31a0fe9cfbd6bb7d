"""The CA and the server's certificate: good for the strictest client, for this machine only, and for one run."""

from __future__ import annotations

import os
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from sasl.adapters import reference
from sasl.adapters.reference import certificates
from sasl.adapters.reference.certificates import Authority, issue, keep, server_context, write_pair
from sasl.adapters.verifiers.certificate import identities
from sasl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sasl.adapters.reference import Servers


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_strictest_client_takes_the_certificate(name: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
    issue().write(tmp_path)
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.maximum_version = version
    assert handshake(context, server_context(tmp_path), name) == version.name.replace("v1_", "v1.")


@pytest.mark.parametrize("name", ["example.org", "127.0.0.2", "localhost.example.org"])
def test_the_certificate_is_for_this_machine_only(name: str, tmp_path: Path) -> None:
    issue().write(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ssl.create_default_context(cafile=tmp_path / "ca.pem"), server_context(tmp_path), name)


def test_one_ca_does_not_vouch_for_another_run(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    issue().write(tmp_path)
    issue().write(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(
            ssl.create_default_context(cafile=tmp_path / "other" / "ca.pem"), server_context(tmp_path), "localhost"
        )


def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    issue().write(tmp_path)
    assert server_context(tmp_path).minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_key_is_for_its_owner_and_in_no_repr(tmp_path: Path) -> None:
    issued = issue()
    issued.write(tmp_path)
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(issued)
    assert repr(issued) == "Certificates(for localhost, 127.0.0.1, ::1)"


def test_the_certificates_are_short_lived() -> None:
    issued = issue()
    now = datetime.now(UTC)
    for pem in (issued.authority, issued.chain):
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc < now
        assert certificate.not_valid_after_utc - now < timedelta(days=31)


def test_the_client_trusts_this_ca_and_no_other(servers: Servers) -> None:
    context = servers.client_context()
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_a_process_makes_its_certificates_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    day, made = [1], []
    begin = Authority.__init__
    monkeypatch.setattr(certificates, "_today", lambda: day[0])
    monkeypatch.setattr(Authority, "__init__", lambda self, name: (made.append(name), begin(self, name))[-1])
    certificates._of_day.cache_clear()
    for _ in range(3):
        with reference.running() as servers:
            first = servers.ca_file.read_bytes()
    assert made == ["saslkit reference CA", "saslkit reference CA of clients"]
    day[0] = 2
    with reference.running() as servers:
        assert servers.ca_file.read_bytes() != first
    assert len(made) == 4
    certificates._of_day.cache_clear()


def test_the_key_of_running_servers_is_their_owners_alone() -> None:
    with reference.running() as servers:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in servers.ca_file.parent.iterdir()}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(servers.ca_file.parent.stat().st_mode) == 0o700


# --- certificates of users


@pytest.mark.parametrize(
    ("user", "names"),
    [
        ("alice", ["alice@localhost"]),
        ("bob@Example.org", ["bob@example.org"]),
        ("us\u00e9r", ["us\u00e9r@localhost"]),
        ("us\u00e9r@example.org", ["us\u00e9r@example.org"]),
    ],
)
def test_a_certificate_names_the_mailbox_of_its_user(user: str, names: list[str]) -> None:
    certificate, _ = Authority("CA").client(user)
    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    assert identities(der) == identities(der, common_name=True) == names


def test_a_certificate_may_name_its_user_by_the_common_name_alone() -> None:
    certificate, _ = Authority("CA").client("us\u00e9r", common_name=True)
    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    assert (identities(der), identities(der, common_name=True)) == ([], ["us\u00e9r"])


@pytest.mark.parametrize(
    ("user", "common_name"),
    [
        *[(user, True) for user in ("", "x" * 65, "\ud800")],
        *[(user, False) for user in ("", "@", "alice@", "\ud800", "\u00e4\ud800", "alice@\u00e4.example")],
    ],
)
def test_a_name_that_no_certificate_can_hold_is_the_callers_mistake(user: str, common_name: bool) -> None:
    with pytest.raises(UsageError, match="no certificate can name"):
        Authority("CA").client(user, common_name=common_name)


def test_only_certificates_of_the_ca_for_users_are_taken(tmp_path: Path) -> None:
    clients, others = Authority("CA of clients"), Authority("another one")
    issue().write(tmp_path)
    server = server_context(tmp_path, clients=clients)
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # under 1.3 the client hears of it later
    assert handshake(client, server, "localhost") == "TLSv1.2"
    client.load_cert_chain(*write_pair(tmp_path, *clients.client("alice")))
    assert handshake(client, server, "localhost") == "TLSv1.2"
    client.load_cert_chain(*write_pair(tmp_path, *others.client("alice")))
    with pytest.raises(ssl.SSLError):
        handshake(client, server, "localhost")


def test_a_pair_of_files_is_for_the_owner_and_each_time_another(servers: Servers) -> None:
    pairs = [servers.client_certificate("alice") for _ in range(2)]
    assert len({path for pair in pairs for path in pair}) == 4
    assert [stat.S_IMODE(key.stat().st_mode) for _, key in pairs] == [0o600] * 2
    assert {path.parent for pair in pairs for path in pair} == {servers.ca_file.parent}


def test_an_authority_shows_no_key() -> None:
    assert repr(Authority("CA")) == "Authority(***)"


def test_a_server_knows_its_own_certificate(tmp_path: Path) -> None:
    issued = issue()
    issued.write(tmp_path)
    assert server_context(tmp_path).certificate == ssl.PEM_cert_to_DER_cert(issued.chain.decode())


# --- certificates that are kept

FILES = ("ca.pem", "server.pem", "server.key")


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_kept_is_used_again_and_is_for_the_owner(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    keep(directory)
    first = contents(directory)
    keep(directory)
    assert contents(directory) == first
    assert set(first) == set(FILES)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "server.key").stat().st_mode) == 0o600
    assert handshake(ssl.create_default_context(cafile=directory / "ca.pem"), server_context(directory), "localhost")


def swap_the_certificate(directory: Path) -> None:
    (directory / "server.pem").write_bytes(issue().chain)


def swap_the_key(directory: Path) -> None:
    (directory / "server.key").write_bytes(issue().key)


def empty_the_certificate(directory: Path) -> None:
    (directory / "server.pem").write_bytes(b"")


def lose_the_key(directory: Path) -> None:
    (directory / "server.key").unlink()


def lock_the_key(directory: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key((directory / "server.key").read_bytes(), None)
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    (directory / "server.key").write_bytes(octets)


def show_the_key(directory: Path) -> None:
    (directory / "server.key").chmod(0o644)


def link_the_key(directory: Path) -> None:
    (directory / "server.key").rename(directory.parent / "elsewhere")
    (directory / "server.key").symlink_to(directory.parent / "elsewhere")
    (directory / "server.pem").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        swap_the_certificate,
        swap_the_key,
        empty_the_certificate,
        lose_the_key,
        lock_the_key,
        show_the_key,
        link_the_key,
    ],
)
def test_what_is_not_good_any_more_is_made_anew(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    keep(directory)
    before = contents(directory)
    spoil(directory)
    keep(directory)
    after = contents(directory)
    assert set(after) == set(FILES)
    assert [name for name in FILES if after[name] == before[name]] == []
    assert stat.S_IMODE((directory / "server.key").lstat().st_mode) == 0o600
    assert handshake(ssl.create_default_context(cafile=directory / "ca.pem"), server_context(directory), "localhost")
    elsewhere = tmp_path / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == before["server.key"]


def test_what_is_about_to_expire_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(certificates, "_LEAST", timedelta(days=31))
    keep(tmp_path)
    assert contents(tmp_path) != before


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("octets", [b"", b"mine", "another CA"], ids=["empty", "text", "certificate"])
def test_files_of_somebody_else_are_left_alone(name: str, octets: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(issue().chain if isinstance(octets, str) else octets)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="not from here"):
        keep(tmp_path)
    assert contents(tmp_path) == before


def test_a_file_that_cannot_be_written_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        keep(tmp_path)
    assert contents(tmp_path) == {}


def test_many_at_once_keep_the_same(tmp_path: Path) -> None:
    seen: list[dict[str, bytes]] = []

    def work() -> None:
        keep(tmp_path)
        seen.append(contents(tmp_path))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(found == seen[0] for found in seen)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    """Do a handshake in memory; return the version."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = {ours, theirs}
    while waiting:
        for side in (ours, theirs):
            try:
                side.do_handshake()
                waiting.discard(side)
            except ssl.SSLWantReadError:
                pass
    return ours.version()
