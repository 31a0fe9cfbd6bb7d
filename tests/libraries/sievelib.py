"""sievelib, as the tests of all libraries see it. It takes no context: whom it trusts is said in the environment."""

from __future__ import annotations

import os
import ssl
import tempfile
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sievelib import managesieve

import sasl.adapters.sievelib

from ..support.libraries import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


def _connect(
    host: str, port: int, *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None
) -> sasl.adapters.sievelib.Client:
    conn = sasl.adapters.sievelib.Client(host, port)
    with trusting(tls or starttls), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sievelib's, of a connection in the clear
        conn.open(ssl=tls is not None, starttls=starttls is not None)
    return conn


@contextmanager
def trusting(context: ssl.SSLContext | None) -> Iterator[None]:
    """Let contexts that are made in the block trust whom this one trusts: OpenSSL reads the file of that variable."""
    before = os.environ.get("SSL_CERT_FILE")
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        authorities = [] if context is None else context.get_ca_certs(binary_form=True)
        file.write("".join(map(ssl.DER_cert_to_PEM_cert, authorities)))
        file.flush()
        os.environ["SSL_CERT_FILE"] = file.name
        try:
            yield
        finally:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


def _noop(conn: managesieve.Client) -> None:
    assert conn.capability() is not None


def _close(conn: managesieve.Client) -> None:
    if conn.sock is not None:
        conn.sock.close()


def _debug(conn: Any) -> None:
    conn._Client__debug = True  # the constructor's argument


def _own(mechanism: str, conn: managesieve.Client, credentials: Any) -> None:
    """Log in by connect(): sievelib has no way to do it on a connection that is there, so another takes its place."""
    alone = managesieve.Client(conn.srvaddr, conn.srvport, debug=getattr(conn, "_Client__debug"))  # noqa: B009
    password = isinstance(credentials, sasl.Password)
    user, secret = (
        (credentials.authcid, credentials.password) if password else (credentials.username, credentials.token)
    )
    authorities = conn.sock.context if isinstance(conn.sock, ssl.SSLSocket) else None
    _close(conn)
    try:
        with trusting(authorities), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logged_in = alone.connect(user, secret.reveal(), ssl=authorities is not None, authmech=mechanism)
    finally:
        conn.sock = alone.sock
    if not logged_in:
        raise managesieve.Error(f"connect() returned False: {alone.errmsg!r}")


CLIENT: Final = Client(
    name="sievelib",
    service="sieve",
    distribution="sievelib",
    connect=_connect,
    authenticate=sasl.adapters.sievelib.authenticate,
    noop=_noop,
    close=_close,
    error=managesieve.Error,
    refused=managesieve.Error,
    lost=managesieve.Error,
    own={name: partial(_own, name) for name in ("PLAIN", "XOAUTH2", "OAUTHBEARER")},
    debug=_debug,
)
