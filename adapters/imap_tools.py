"""imap_tools: `authenticate` for its mailboxes, and drop-in classes whose logins are safe (RFC 9051 section 6.2).

It does what `sasl.adapters.imaplib` does, on the mailbox's `client`, which is public. imap_tools' own login() sends
LOGIN past whatever class its client has, in the clear too; its xoauth2() sends the token again where the server asks
for nothing but the end of the exchange.

`authenticate` returns the mailbox, for a `with` block, and raises the classes below, which are imaplib's errors and
imap_tools' own: MailboxLoginError for a refusal, ImapToolsError for anything else.
"""

from __future__ import annotations

from contextlib import ExitStack

import imap_tools
from imap_tools import ImapToolsError, MailboxLoginError

from sasl.credentials import Bearer
from sasl.errors import AuthenticationFailed, SASLError, TemporaryFailure
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING, TypeVar
from sasl.value import replace

from . import imaplib
from .binding import Binding, bind, credentials_of, veil
from .binding.given import veil_options, veil_password

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final, Self

    from imap_tools import MailBoxStartTls as _StartTls

    from sasl.credentials import Credentials, Token

    from .binding import Dialogue
else:
    _StartTls = getattr(imap_tools, "MailBoxStartTls", None) or imap_tools.MailBoxTls  # its name before 1.11

M = TypeVar("M", bound="imap_tools.BaseMailBox")

is_session_lost: Final = imaplib.is_session_lost
"""Whether an error says that the session is gone: log in on a new connection then. imap_tools raises imaplib's."""


def authenticate(
    conn: M,
    credentials: Credentials,
    *,
    initial_folder: str | None = "INBOX",
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    options: Mapping[str, Any] = {},
) -> M:
    """Log in as `sasl.adapters.imaplib.authenticate` does, select a folder unless it is None, and return the mailbox.

    `timeout` is for the login alone. Where there is no such folder, MailboxFolderSelectError is raised.
    """
    credentials, options = veil(credentials), veil_options(options)
    result = _BINDING.authenticate(
        conn.client,
        credentials,
        mechanism=mechanism,
        initial_response=initial_response,
        policy=policy,
        timeout=timeout,
        options=options,
    )
    if initial_folder is not None:
        conn.folder.set(initial_folder)
    conn.login_result = result  # type: ignore[assignment]  # None, says imap_tools
    return conn


class BaseMailBox(imap_tools.BaseMailBox):
    """imap_tools' BaseMailBox with other logins.

    Attributes:
        policy: what they may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    def login(self, username: str, password: Credentials | Token | bytes, initial_folder: str | None = "INBOX") -> Self:
        """Log in by SASL, or by LOGIN where the server has no mechanism for a password; as `authenticate` does.

        `password` is the user's password (a str or a `sasl.Secret`), credentials, or a callable or token source for
        the user's bearer token.
        """
        password = veil_password(password)
        return self._log_in(credentials_of(username, password), initial_folder, self.mechanism)

    login_utf8 = login  # every mechanism sends UTF-8

    def xoauth2(
        self, username: str, access_token: Credentials | Token | bytes, initial_folder: str | None = "INBOX"
    ) -> Self:
        """Log in by XOAUTH2, with a token, or a callable or token source for one; as `authenticate` does."""
        access_token = veil_password(access_token)
        if isinstance(access_token, Secret):
            access_token = Bearer(username, access_token)
        return self._log_in(credentials_of(username, access_token), initial_folder, "XOAUTH2")

    def _log_in(self, credentials: Credentials, initial_folder: str | None, mechanism: str | None) -> Self:
        return authenticate(self, credentials, initial_folder=initial_folder, mechanism=mechanism, policy=self.policy)


# What the constructors take is in attributes that are private, but made for _get_mailbox_client().


class MailBox(BaseMailBox, imap_tools.MailBox):
    """imap_tools' MailBox over TLS from the first octet; without a context, the server's certificate is checked."""

    def _get_mailbox_client(self) -> imaplib.IMAP4_SSL:
        return imaplib.IMAP4_SSL(
            self._host,
            self._port,
            ssl_context=self._ssl_context,
            timeout=self._timeout,
            keyfile=self._keyfile,
            certfile=self._certfile,
        )


class MailBoxUnencrypted(BaseMailBox, imap_tools.MailBoxUnencrypted):
    """imap_tools' MailBox in the clear: its logins want a `policy` for that."""

    def _get_mailbox_client(self) -> imaplib.IMAP4:
        return imaplib.IMAP4(self._host, self._port, self._timeout)


class MailBoxStartTls(BaseMailBox, _StartTls):
    """imap_tools' MailBox with STARTTLS; without a context, the server's certificate is checked.

    It has this name in every release, also where imap_tools calls its own MailBoxTls.
    """

    def _get_mailbox_client(self) -> imaplib.IMAP4:
        with ExitStack() as stack:
            client = imaplib.IMAP4(self._host, self._port, self._timeout)
            stack.callback(imaplib.LIBRARY.close, client)
            client.starttls(self._ssl_context)
            stack.pop_all()
        return client


# --- the description: what is other than in imaplib's


class _Error(ImapToolsError, imaplib.IMAP4.error):
    """imap_tools lets imaplib's errors pass: who catches these has to catch ours."""


class _Refused(MailboxLoginError, imaplib.IMAP4.error):
    """The same of a refusal."""


class _Lost(ImapToolsError, imaplib.IMAP4.abort):
    """The same of a lost connection."""


def _command_result(error: SASLError, dialogue: Dialogue) -> tuple[Any, ...] | None:
    """Return what MailboxLoginError is made of: the server's reply, and the status that was expected."""
    if not isinstance(error, AuthenticationFailed | TemporaryFailure):
        return None
    status, *text = dialogue.refused.split(" ", 2)[1:] or ["NO", dialogue.scrub(error.server_text)]
    return (status, [each.encode() for each in text] or [b""]), "OK"


ERRORS: Final = bind(_Error, module=__name__, prefix="Mailbox", refused=_Refused, lost=_Lost, args=_command_result)
_BINDING: Final = Binding(replace(imaplib.LIBRARY, errors=ERRORS))
