"""smtplib, as the tests of all libraries see it."""

from __future__ import annotations

import smtplib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sasl.adapters.smtplib

from ..support.libraries import TIMEOUT, Client, message

if TYPE_CHECKING:
    from ssl import SSLContext

MYSELF: Final = "client.example"
"""smtplib would ask the name service."""


def _connect(
    host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None
) -> smtplib.SMTP:
    if tls is not None:
        return smtplib.SMTP_SSL(host, port, MYSELF, context=tls, timeout=TIMEOUT)
    conn = smtplib.SMTP(host, port, MYSELF, timeout=TIMEOUT)
    if starttls is not None:
        conn.starttls(context=starttls)
    return conn


def _noop(conn: smtplib.SMTP) -> None:
    assert conn.noop()[0] == 250


def _own(mechanism: str, conn: smtplib.SMTP, credentials: Any) -> object:
    conn.ehlo_or_helo_if_needed()
    return conn.auth(mechanism, lambda challenge=None: message(mechanism, credentials).decode())


CLIENT: Final = Client(
    name="smtplib",
    service="smtp",
    distribution="",
    connect=_connect,
    authenticate=sasl.adapters.smtplib.authenticate,
    noop=_noop,
    close=smtplib.SMTP.close,
    error=smtplib.SMTPException,
    refused=smtplib.SMTPAuthenticationError,
    lost=smtplib.SMTPServerDisconnected,
    own={name: partial(_own, name) for name in ("PLAIN", "XOAUTH2", "OAUTHBEARER")},
    debug=lambda conn: conn.set_debuglevel(2),
)
