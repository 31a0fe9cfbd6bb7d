"""What real libraries do wrong, and that the servers name it."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import smtplib
import time
from typing import TYPE_CHECKING

import aioimaplib
import aiosmtplib
import pytest

from sasl.adapters import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers


@pytest.fixture
def watched() -> Iterator[Servers]:
    with reference.running(tokens={"expired": "expired-token"}) as servers:
        yield servers


def found(servers: Servers, count: int = 1) -> list[str]:
    """The words of the verdicts, as soon as there are so many."""
    until = time.monotonic() + 5
    while len(servers.verdicts) < count and time.monotonic() < until:
        time.sleep(0.002)
    return [verdict.words for verdict in servers.verdicts]


def test_aiosmtplib_tries_weaker_mechanisms_after_a_refusal(watched: Servers) -> None:
    async def log_in() -> None:
        client = aiosmtplib.SMTP(
            hostname=watched.smtp.host,
            port=watched.smtp.tls_port,
            use_tls=True,
            tls_context=watched.client_context(),
        )
        async with client:
            with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                await client.login("alice", "looking-glass")

    asyncio.run(log_in())
    assert found(watched) == ["tried a weaker mechanism after a refusal"]
    assert [attempt.mechanism for attempt in watched.attempts] == ["PLAIN", "LOGIN"]


def test_aioimaplib_never_answers_the_error_challenge(watched: Servers) -> None:
    async def log_in() -> None:
        client = aioimaplib.IMAP4_SSL(
            host=watched.imap.host, port=watched.imap.tls_port, ssl_context=watched.client_context()
        )
        await client.wait_hello_from_server()
        client.timeout = 0.2  # not before: a handshake takes longer than that on a busy machine
        with contextlib.suppress(TimeoutError):
            await client.xoauth2("alice", "expired-token")
        client.protocol.transport.abort()
        for _ in range(3):  # the transport closes its socket in the loop's next turns
            await asyncio.sleep(0)

    asyncio.run(log_in())
    assert found(watched) == ["never answered the error challenge"]
    with pytest.raises(AssertionError, match="never answered the error challenge"):
        watched.assert_error_challenge_answered()


def test_imaplib_sends_the_token_again_if_its_user_does_not_know_better(watched: Servers) -> None:
    host, port, context = watched.imap.host, watched.imap.tls_port, watched.client_context()
    with imaplib.IMAP4_SSL(host, port, ssl_context=context) as client, pytest.raises(imaplib.IMAP4.error):
        client.authenticate("XOAUTH2", lambda _: b"user=alice\1auth=Bearer expired-token\1\1")
    assert found(watched) == ["sent the token again after the error challenge"]
    with pytest.raises(AssertionError, match="sent the token again after the error challenge"):
        watched.assert_token_sent_once()


def test_smtplib_logs_in_with_the_right_password_and_without_a_verdict(watched: Servers) -> None:
    with smtplib.SMTP_SSL(watched.smtp.host, watched.smtp.tls_port, context=watched.client_context()) as client:
        client.login("alice", "wonderland")
    assert found(watched, 0) == []


def test_smtplib_tries_weaker_mechanisms_after_a_refusal(watched: Servers) -> None:
    host, port, context = watched.smtp.host, watched.smtp.tls_port, watched.client_context()
    with smtplib.SMTP_SSL(host, port, context=context) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("alice", "looking-glass")
    assert found(watched) == ["tried a weaker mechanism after a refusal"]


def test_smtplib_sends_the_password_in_the_clear_if_it_is_let(watched: Servers) -> None:
    watched.smtp.offer("AUTH PLAIN")
    with smtplib.SMTP(watched.smtp.host, watched.smtp.port) as client, pytest.raises(smtplib.SMTPException):
        client.login("alice", "wonderland")
    assert "sent a credential in the clear" in found(watched)
    with pytest.raises(AssertionError, match="sent a credential in the clear"):
        watched.assert_no_cleartext_credential()
