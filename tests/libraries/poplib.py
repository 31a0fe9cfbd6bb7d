"""poplib, as the tests of all libraries see it. It has no AUTH: alone it knows USER and PASS only."""

from __future__ import annotations

import poplib
from typing import TYPE_CHECKING, Final

import sasl.adapters.poplib

from ..support.libraries import TIMEOUT, Client

if TYPE_CHECKING:
    from ssl import SSLContext


def _connect(host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None) -> poplib.POP3:
    if tls is not None:
        return poplib.POP3_SSL(host, port, context=tls, timeout=TIMEOUT)
    conn = poplib.POP3(host, port, timeout=TIMEOUT)
    if starttls is not None:
        conn.stls(starttls)
    return conn


CLIENT: Final = Client(
    name="poplib",
    service="pop",
    distribution="",
    connect=_connect,
    authenticate=sasl.adapters.poplib.authenticate,
    noop=poplib.POP3.capa,  # NOOP is for who has logged in
    close=poplib.POP3.close,
    error=poplib.error_proto,
    refused=poplib.error_proto,
    lost=poplib.error_proto,
    debug=lambda conn: conn.set_debuglevel(2),
)
