"""What the reference servers do for clients that other servers take: whose keys are kept, realms, ports, lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import reference
from sasl.adapters.reference import Settings, certificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from sasl.adapters.reference import Servers

BINDINGS = {"imap": sasl.adapters.imaplib, "pop": sasl.adapters.poplib, "smtp": sasl.adapters.smtplib}


@pytest.mark.parametrize("hash_name", ["sha256", "sha1"])
@pytest.mark.parametrize("protocol", BINDINGS)
def test_a_user_of_stored_keys_logs_in_without_naming_a_mechanism(
    client: Callable[..., Any], protocol: str, hash_name: str
) -> None:
    users = {"alice": sasl.ScramKeys.derive("wonderland", hash_name), "bob": "looking-glass"}
    with reference.running(users) as servers:
        for name, password in (("alice", "wonderland"), ("bob", "looking-glass")):
            server = getattr(servers, protocol)
            with client(server, "TLS", servers.client_context()) as conn:
                BINDINGS[protocol].authenticate(conn, sasl.Password(name, password))
                conn.noop()  # its answer comes after the attempt was recorded
            (attempt,) = server.sessions[-1].attempts
            assert (attempt.outcome, attempt.identity) == ("accepted", name)
            assert attempt.mechanism.startswith("SCRAM-SHA-256" if hash_name == "sha256" else "SCRAM-SHA-1")


@pytest.mark.parametrize("password", ["p\U0001f511word", "\xbdpint", "x" * 1_500])
def test_a_password_is_taken_as_it_is_typed(client: Callable[..., Any], password: str) -> None:
    with reference.running({"alice": password}) as servers:
        for mechanism in ("PLAIN", "LOGIN"):
            with client(servers.smtp, "TLS", servers.client_context()) as conn:
                sasl.adapters.smtplib.authenticate(conn, sasl.Password("alice", password), mechanism=mechanism)


def test_a_bare_auth_lists_the_mechanisms_and_counts_as_nothing(
    connect: Callable[..., Any], servers: Servers, context: ssl.SSLContext
) -> None:
    raw = connect(servers, "pop", "TLS", context)
    raw.line()
    for spelling in (b"AUTH\r\n", b"auth \r\n") * 6:
        raw.send(spelling)
        lines = list(iter(raw.line, "."))
        assert lines[0] == "+OK"
        assert {"SCRAM-SHA-256", "PLAIN"} < set(lines)
    assert list(servers.pop.sessions[-1].attempts) == []
    raw.play("C: AUTH PLAIN {good}\nS: +OK Authenticated")


def test_list_with_an_empty_pattern_tells_the_delimiter(
    connect: Callable[..., Any], servers: Servers, context: ssl.SSLContext
) -> None:
    raw = connect(servers, "imap", "TLS", context)
    raw.line()
    raw.play(
        """C: a AUTHENTICATE PLAIN {good}
        S: a OK ...
        C: b LIST "" ""
        S: * LIST (\\Noselect) "/" ""
        S: b OK Done
        C: c LIST "" I%
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: c OK Done"""
    )


@pytest.mark.parametrize("uri", ["imap/localhost", "imap/"])
def test_digest_md5_of_a_client_that_makes_the_uri_of_the_realm_is_taken(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """curl's digest-uri is "imap/REALM"."""
    from sasl.mechanisms import digest_md5

    monkeypatch.setattr(digest_md5, "_uri", lambda _options: uri.encode())
    settings = Settings(policy=sasl.Policy(allow={"DIGEST-MD5"}))
    with reference.running(settings=settings) as servers:
        import base64

        raw = connect(servers, "imap", "TLS")
        raw.line()
        raw.send(b"a AUTHENTICATE DIGEST-MD5\r\n")
        exchange = sasl.client("DIGEST-MD5", sasl.Password("alice", "wonderland"))
        exchange.start()
        challenge = base64.b64decode(raw.line().removeprefix("+ "))
        assert b'realm="localhost"' in challenge
        raw.send(base64.b64encode(exchange.respond(challenge) or b"") + b"\r\n")
        raw.send(base64.b64encode(exchange.respond(base64.b64decode(raw.line().removeprefix("+ "))) or b"") + b"\r\n")
        assert raw.line().startswith("a OK ")


def test_the_realm_is_the_first_of_the_hosts(connect: Callable[..., Any]) -> None:
    import base64

    named = {"mail.example": b"mail.example", ("a.example", "b.example"): b"a.example", (): b""}
    for hosts, realm in named.items():
        settings = Settings(policy=sasl.Policy(allow={"DIGEST-MD5"}), hosts=hosts)
        with reference.running(settings=settings) as servers:
            raw = connect(servers, "imap", "TLS")
            raw.line()
            raw.send(b"a AUTHENTICATE DIGEST-MD5\r\n")
            assert b'realm="%s"' % realm in base64.b64decode(raw.line().removeprefix("+ "))


def test_a_plug_in_that_is_not_offered_is_no_name_to_note(
    connect: Callable[..., Any], servers: Servers, context: ssl.SSLContext
) -> None:
    raw = connect(servers, "smtp", "TLS", context)
    raw.line()
    raw.send(b"EHLO x\r\n")
    while raw.line()[3] == "-":
        pass
    raw.play("C: AUTH X-NOBODY\nS: 504 ...\nC: AUTH IMAP-LOGIN\nS: 504 ...\nC: NOOP\nS: 250 ...")
    assert [attempt.mechanism for attempt in servers.smtp.sessions[-1].attempts] == ["", "IMAP-LOGIN"]


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
@pytest.mark.parametrize("what", ["owner", "owner of the key", "mode"])
def test_a_key_that_another_user_could_have_put_there_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = tmp_path / "tls"
    certificates.keep(folder)
    if what == "mode":
        folder.chmod(0o777)
    elif what == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    else:
        lstat = Path.lstat

        def of_another(path: Path) -> os.stat_result:
            found = list(lstat(path))
            found[4] += path.name == "server.key"
            return os.stat_result(found)

        monkeypatch.setattr(Path, "lstat", of_another)
    with pytest.raises(sasl.UsageError, match="another user's"):
        certificates.keep(folder)
    monkeypatch.undo()
    folder.chmod(0o700)
    certificates.keep(folder)


def test_where_there_are_no_owners_none_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid")
    certificates.keep(tmp_path / "tls")
