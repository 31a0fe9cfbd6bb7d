"""aiosmtplib, as the tests of all libraries see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiosmtplib

import sasl.adapters.aiosmtplib

from ..support.libraries import TIMEOUT, Client, asynchronous, in_loop

if TYPE_CHECKING:
    from ssl import SSLContext


async def _connect(
    host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None
) -> aiosmtplib.SMTP:
    client = aiosmtplib.SMTP(
        hostname=host, port=port, use_tls=tls is not None, start_tls=False, tls_context=tls, timeout=TIMEOUT
    )
    await client.connect()
    if starttls is not None:
        await client.starttls(tls_context=starttls)
    return client


async def _noop(client: aiosmtplib.SMTP) -> None:
    assert (await client.noop()).code == 250


async def _close(client: aiosmtplib.SMTP) -> None:
    transport: Any = client.transport
    client.close()
    if transport is not None:
        transport.abort()  # close() waits for the server's goodbye, and the loop ends before


async def _plain(client: aiosmtplib.SMTP, credentials: Any) -> object:
    await client.ehlo()
    return await client.auth_plain(credentials.authcid, credentials.password.reveal())


async def _xoauth2(client: aiosmtplib.SMTP, credentials: Any) -> object:
    await client.ehlo()
    return await client.auth_xoauth2(credentials.username, credentials.token.reveal())


CLIENT: Final = Client(
    name="aiosmtplib",
    service="smtp",
    distribution="aiosmtplib",
    error=aiosmtplib.SMTPException,
    refused=aiosmtplib.SMTPAuthenticationError,
    lost=aiosmtplib.SMTPServerDisconnected,
    own={"PLAIN": in_loop(_plain), "XOAUTH2": in_loop(_xoauth2)},
    **asynchronous(
        connect=_connect,
        authenticate=sasl.adapters.aiosmtplib.authenticate,
        noop=_noop,
        close=_close,
    ),
)
