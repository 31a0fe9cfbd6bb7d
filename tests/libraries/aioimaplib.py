"""aioimaplib, as the tests of all libraries see it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aioimaplib

import sasl.adapters.aioimaplib

from ..support.libraries import TIMEOUT, Client, asynchronous, in_loop

if TYPE_CHECKING:
    from ssl import SSLContext


async def _connect(
    host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None
) -> aioimaplib.IMAP4:
    if tls is not None:
        imap = aioimaplib.IMAP4_SSL(host, port, ssl_context=tls, timeout=TIMEOUT)
    else:
        imap = aioimaplib.IMAP4(host, port, timeout=TIMEOUT)
    await imap.wait_hello_from_server()
    if starttls is not None:
        await _start_tls(imap, starttls)
    return imap


async def _start_tls(imap: aioimaplib.IMAP4, context: SSLContext) -> None:
    """Begin TLS as somebody may do by hand: aioimaplib knows the command, and has no method for it."""
    protocol = imap.protocol
    response = await protocol.execute(aioimaplib.Command("STARTTLS", protocol.new_tag(), loop=protocol.loop))
    assert response.result == "OK", response
    loop = asyncio.get_running_loop()
    protocol.transport = await loop.start_tls(protocol.transport, protocol, context, server_hostname=imap.host)
    await protocol.capability()


async def _noop(imap: aioimaplib.IMAP4) -> None:
    assert (await imap.noop()).result == "OK"


async def _close(imap: aioimaplib.IMAP4) -> None:
    imap.protocol.transport.abort()


async def _xoauth2(imap: aioimaplib.IMAP4, credentials: Any) -> object:
    imap.timeout = 1  # it waits in vain after an error challenge, which it does not answer
    return await imap.xoauth2(credentials.username, credentials.token.reveal())


CLIENT: Final = Client(
    name="aioimaplib",
    service="imap",
    distribution="aioimaplib",
    error=aioimaplib.Error,
    refused=aioimaplib.Error,
    lost=aioimaplib.Abort,
    own={"XOAUTH2": in_loop(_xoauth2)},
    **asynchronous(
        connect=_connect,
        authenticate=sasl.adapters.aioimaplib.authenticate,
        noop=_noop,
        close=_close,
    ),
)
