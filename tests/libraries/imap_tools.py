"""imap_tools, as the tests of all libraries see it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import imap_tools
from imap_tools import BaseMailBox, ImapToolsError, MailboxLoginError

import sasl
import sasl.adapters.imap_tools

from ..support.libraries import TIMEOUT, Client

if TYPE_CHECKING:
    from ssl import SSLContext


_START_TLS: Final = getattr(imap_tools, "MailBoxStartTls", None) or imap_tools.MailBoxTls  # its name before 1.11


def _connect(host: str, port: int, *, tls: SSLContext | None = None, starttls: SSLContext | None = None) -> BaseMailBox:
    if tls is not None:
        return imap_tools.MailBox(host, port, TIMEOUT, ssl_context=tls)
    if starttls is not None:
        return _START_TLS(host, port, TIMEOUT, starttls)
    return imap_tools.MailBoxUnencrypted(host, port, TIMEOUT)


def _noop(mailbox: BaseMailBox) -> None:
    assert mailbox.client.noop()[0] == "OK"


def _close(mailbox: BaseMailBox) -> None:
    with suppress(OSError):
        mailbox.client.shutdown()


def _debug(mailbox: BaseMailBox) -> None:
    mailbox.client.debug = 5


def _plain(mailbox: BaseMailBox, credentials: Any) -> object:
    return mailbox.login_utf8(credentials.authcid, credentials.password.reveal(), initial_folder=None)


def _xoauth2(mailbox: BaseMailBox, credentials: Any) -> object:
    return mailbox.xoauth2(credentials.username, credentials.token.reveal(), initial_folder=None)


CLIENT: Final = Client(
    name="imap_tools",
    service="imap",
    distribution="imap-tools",
    connect=_connect,
    authenticate=partial(sasl.adapters.imap_tools.authenticate, initial_folder=None),
    noop=_noop,
    close=_close,
    error=ImapToolsError,
    refused=MailboxLoginError,
    lost=sasl.adapters.imap_tools.ERRORS[sasl.ConnectionLost],
    own={"PLAIN": _plain, "XOAUTH2": _xoauth2},
    debug=_debug,
)
