"""IMAPClient, as the tests of all libraries see it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

import sasl.adapters.imapclient

from ..support.libraries import TIMEOUT, Client

if TYPE_CHECKING:
    from ssl import SSLContext


def _connect(host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None) -> IMAPClient:
    client = IMAPClient(host, port, ssl=tls is not None, ssl_context=tls, timeout=TIMEOUT)
    if starttls is not None:
        client.starttls(starttls)
    return client


def _close(client: IMAPClient) -> None:
    with suppress(OSError):
        client.shutdown()


def _plain(client: IMAPClient, credentials: Any) -> object:
    return client.plain_login(credentials.authcid, credentials.password.reveal())


def _xoauth2(client: IMAPClient, credentials: Any) -> object:
    return client.oauth2_login(credentials.username, credentials.token.reveal())


def _oauthbearer(client: IMAPClient, credentials: Any) -> object:
    return client.oauthbearer_login(credentials.username, credentials.token.reveal())


CLIENT: Final = Client(
    name="imapclient",
    service="imap",
    distribution="IMAPClient",
    connect=_connect,
    authenticate=sasl.adapters.imapclient.authenticate,
    noop=IMAPClient.noop,
    close=_close,
    error=IMAPClientError,
    refused=LoginError,
    lost=IMAPClientAbortError,
    own={"PLAIN": _plain, "XOAUTH2": _xoauth2, "OAUTHBEARER": _oauthbearer},
)
"""It has its debug output on at all times, in its logger."""
