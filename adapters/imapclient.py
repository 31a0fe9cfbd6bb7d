"""IMAPClient: `authenticate` for its connections (RFC 9051 section 6.2).

It does what `sasl.adapters.imaplib` does, on the imaplib object that IMAPClient keeps. That one is private, and worth
it: by the public hook, sasl_login(), no initial response is sent, the code of a refusal is lost ([EXPIRED] and wrong
are one), and of a lost connection there is only a text, in the error for a refusal.

`authenticate` returns the server's text (bytes), as IMAPClient.login() does, and raises the classes below: LoginError
for a refusal, IMAPClientAbortError for a lost connection, IMAPClientError for anything else.
"""

from __future__ import annotations

import re
import ssl

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from sasl.errors import SASLError
from sasl.typed import TYPE_CHECKING
from sasl.value import replace

from . import imaplib
from .binding import Binding, bind, veil
from .binding.clock import socket_of
from .binding.given import veil_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from imaplib import IMAP4
    from typing import Any, Final

    from imapclient import IMAPClient

    from sasl.credentials import Credentials
    from sasl.policy import Policy

    from .binding import Dialogue, Offer

_LOST_AT_LOGIN: Final = re.compile(r"(?:command: \S+ => |socket error: ).*", re.DOTALL)
"""What imaplib says where a command gets no reply, in the LoginError that IMAPClient's own logins make of it."""


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of IMAPClient or of `authenticate` says that the session is gone: log in on a new one then.

    So it is after BYE (a token that has expired, too long a pause, a restart), at the end of the connection, after a
    time-out and where imaplib has lost track of the answers. It is False for a refusal, which a new connection gets
    as well, and for a mailbox that has become read-only.
    """
    if isinstance(error, LoginError) and not isinstance(error, SASLError):
        return _LOST_AT_LOGIN.fullmatch(str(error)) is not None
    return imaplib.is_session_lost(error)


def authenticate(
    conn: IMAPClient,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    options: Mapping[str, Any] = {},
) -> bytes:
    """Log in as `sasl.adapters.imaplib.authenticate` does; return the server's text, as IMAPClient.login() does.

    capabilities() and has_capability() tell what the server can do after the login. The debug output, which IMAPClient
    gives to the logger `imapclient.imaplib`, shows of a credential how long it is.
    """
    credentials, options = veil(credentials), veil_options(options)
    inner = conn._imap  # noqa: SLF001 -- see above
    _, [text] = _BINDING.authenticate(
        inner,
        credentials,
        mechanism=mechanism,
        initial_response=initial_response,
        policy=policy,
        timeout=timeout,
        options=options,
    )
    # Else those of before stay, if somebody has asked for them.
    conn._cached_capabilities = tuple(name.encode() for name in inner.capabilities)  # noqa: SLF001
    return text


# --- the description: what is other than in imaplib's


def _offer(conn: IMAP4, dialogue: Dialogue) -> Offer:
    """Return the server's offer. Under TLS no server names STARTTLS: that was said in the clear, and may be forged.

    Before 4.1, IMAPClient's starttls() leaves it at that, as imaplib does not know of the TLS.
    """
    if "STARTTLS" in conn.capabilities and isinstance(socket_of(conn.sock), ssl.SSLSocket):
        conn.capabilities = imaplib.ask_capabilities(conn)
    offer: Offer = imaplib.LIBRARY.offer(conn, dialogue)
    return offer


ERRORS: Final = bind(
    IMAPClientError,
    module=__name__,
    prefix="IMAPClient",
    refused=LoginError,
    lost=IMAPClientAbortError,
    args=imaplib.text_of_refusal,
)
_BINDING: Final = Binding(replace(imaplib.LIBRARY, errors=ERRORS, offer=_offer))
