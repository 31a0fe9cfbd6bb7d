"""imaplib, as the tests of all libraries see it."""

from __future__ import annotations

import imaplib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sasl.adapters.imaplib

from ..support.libraries import TIMEOUT, Client, message

if TYPE_CHECKING:
    from ssl import SSLContext


def _connect(
    host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None
) -> imaplib.IMAP4:
    if tls is not None:
        return imaplib.IMAP4_SSL(host, port, ssl_context=tls, timeout=TIMEOUT)
    conn = imaplib.IMAP4(host, port, timeout=TIMEOUT)
    if starttls is not None:
        conn.starttls(starttls)
    return conn


def _noop(conn: imaplib.IMAP4) -> None:
    assert conn.noop()[0] == "OK"


def _close(conn: imaplib.IMAP4) -> None:
    if conn.sock.fileno() != -1:
        conn.shutdown()


def _debug(conn: imaplib.IMAP4) -> None:
    conn.debug = 5


def _own(mechanism: str, conn: imaplib.IMAP4, credentials: Any) -> object:
    return conn.authenticate(mechanism, lambda _: message(mechanism, credentials))


CLIENT: Final = Client(
    name="imaplib",
    service="imap",
    distribution="",
    connect=_connect,
    authenticate=sasl.adapters.imaplib.authenticate,
    noop=_noop,
    close=_close,
    error=imaplib.IMAP4.error,
    refused=imaplib.IMAP4.error,
    lost=imaplib.IMAP4.abort,
    own={name: partial(_own, name) for name in ("PLAIN", "XOAUTH2", "OAUTHBEARER")},
    debug=_debug,
)
