"""aiosmtplib: `authenticate` for its clients, and a drop-in class with another login() (RFC 4954).

EHLO comes first, if it was not sent yet. Lines go out by the client's protocol, which returns the reply to each, while
commands of other tasks wait: one between two lines would be taken for a response. A login while one of theirs is
running is a UsageError. A reply that aiosmtplib cannot read closes the connection, since nobody knows where the next
one begins, and so does one to nothing.

`authenticate` returns SMTPResponse(235, text) and raises errors that are both ours and SMTPException: a refusal is
SMTPAuthenticationError with `code` and `message`, a lost connection is SMTPServerDisconnected, with the kind "timeout"
where the server did not answer in time. 503, "already authenticated", is an error here, as it is in aiosmtplib.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

import aiosmtplib

from sasl.credentials import Bearer
from sasl.errors import AuthenticationFailed, ConnectionLost, ProtocolError, SASLError, TemporaryFailure
from sasl.policy import DEFAULT_POLICY, Policy, choose
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING

from .binding import AsyncBinding, Dialogue, Library, Offer, bind, channel, credentials_of, end_of_connection
from .binding.errors import unasked_error
from .binding.event_loop import take_lock
from .binding.given import veil_password
from .binding.gone import is_gone_below
from .binding.tls import TLS_IS_OFFERED
from .wire.smtp import client_wire, farewell
from .wire.smtp.grammar import ends_session
from .wire.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from typing import Any, Final

    from aiosmtplib import SMTPResponse

    from sasl.credentials import Credentials, Token

    from .binding import Family
    from .wire import Line
    from .wire.smtp import ClientWire


def _arguments(error: SASLError, dialogue: Dialogue) -> tuple[int, str] | None:
    if not isinstance(error, AuthenticationFailed | TemporaryFailure):
        return None
    if dialogue.wire is None:  # to EHLO
        return int((error.response_code or "-1")[:3]), error.server_text
    return dialogue.wire.code or -1, _text(dialogue.wire.reply).replace("\n", " ")  # errors have one line


ERRORS: Final[Family] = bind(
    aiosmtplib.SMTPException,
    module=__name__,
    prefix="SMTP",
    refused=aiosmtplib.SMTPAuthenticationError,
    lost=aiosmtplib.SMTPServerDisconnected,
    unavailable=aiosmtplib.SMTPNotSupported,
    args=_arguments,
)


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of aiosmtplib or of `authenticate` says that the session is gone: log in on a new one then.

    So it is after 421, at the end of the connection, after a time-out, and where a sender or a recipient gets 530: the
    server has forgotten the login, as Microsoft does with a token that has expired. It is False for a refusal, which a
    new connection gets as well, and for a connection that could not be made. If it came in answer to DATA, the message
    may have been taken.
    """
    if isinstance(error, SASLError) or not isinstance(error, aiosmtplib.SMTPException):
        return is_gone_below(error)
    if isinstance(error, aiosmtplib.SMTPConnectError):
        return False
    if isinstance(error, aiosmtplib.SMTPServerDisconnected | aiosmtplib.SMTPTimeoutError):
        return True
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return error.code == 421
    replies = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    said = [each for each in replies if isinstance(each, aiosmtplib.SMTPResponseException)]
    return any(ends_session(each.code, each.message) for each in said)


class SMTP(aiosmtplib.SMTP):
    """aiosmtplib's SMTP with another login(), which connect() calls too where it has a user name and a password.

    The methods for one mechanism, auth_plain() and the like, go the same way: none of them sends a credential in the
    clear, unless the policy allows it. With an `oauth_token_generator`, connect() calls auth_xoauth2().

    Attributes:
        policy: what a login may do.
        mechanism: the one mechanism for login(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None

    async def login(
        self, username: str | bytes, password: Credentials | Token | bytes, timeout: object = None
    ) -> SMTPResponse:
        """Log in by SASL, as `authenticate` does: with another mechanism after a no to the first, where that is safe.

        `password` is the user's password (a str, bytes or a `sasl.Secret`), credentials, or a callable or token source
        for the user's bearer token. `timeout` is in seconds, for the whole login; without it, each command has the
        client's own.
        """
        password = veil_password(password)
        return await _log_in(self, credentials_of(_text(username), password), self.mechanism, timeout)

    async def auth_plain(
        self, username: str | bytes, password: Credentials | Token | bytes, *, timeout: object = None
    ) -> SMTPResponse:
        """Log in by PLAIN, else as login() does."""
        password = veil_password(password)
        return await _log_in(self, credentials_of(_text(username), password), "PLAIN", timeout)

    async def auth_login(
        self, username: str | bytes, password: Credentials | Token | bytes, *, timeout: object = None
    ) -> SMTPResponse:
        """Log in by LOGIN, else as login() does."""
        password = veil_password(password)
        return await _log_in(self, credentials_of(_text(username), password), "LOGIN", timeout)

    async def auth_crammd5(
        self, username: str | bytes, password: Credentials | Token | bytes, *, timeout: object = None
    ) -> SMTPResponse:
        """Log in by CRAM-MD5, else as login() does."""
        password = veil_password(password)
        return await _log_in(self, credentials_of(_text(username), password), "CRAM-MD5", timeout)

    async def auth_xoauth2(
        self, username: str | bytes, access_token: Credentials | Token | bytes, *, timeout: object = None
    ) -> SMTPResponse:
        """Log in by XOAUTH2: a str is the user's bearer token here; else as login() does."""
        access_token = veil_password(access_token)
        token = Bearer(_text(username), access_token) if isinstance(access_token, Secret) else access_token
        return await _log_in(self, credentials_of(_text(username), token), "XOAUTH2", timeout)


async def _log_in(client: SMTP, credentials: Credentials, mechanism: str | None, timeout: object) -> SMTPResponse:
    """Log in as a client is told to; a time-out that is no number is aiosmtplib's word for the client's own."""
    seconds = timeout if isinstance(timeout, int | float) else None
    return await authenticate(client, credentials, mechanism=mechanism, policy=client.policy, timeout=seconds)


def _at_hand(protocol: Any) -> bytes:
    """Return what a protocol has read ahead; there is no public way to see it.

    Before 5.1 it also keeps a reply that comes while there is no command.
    """
    early = getattr(protocol, "_response_waiter", None)
    if early is not None and early.done() and not early.cancelled() and early.exception() is None:
        reply: SMTPResponse = early.result()
        return b"%d %b" % (reply.code, reply.message.encode("utf-8", "surrogateescape"))
    return bytes(getattr(protocol, "_buffer", b""))


# --- the description


def _check(client: aiosmtplib.SMTP) -> None:
    if not client.is_connected:
        raise ConnectionLost("there is no connection: await connect() first")


def _dialogue(client: aiosmtplib.SMTP) -> Dialogue:
    replies: deque[SMTPResponse] = deque()

    async def send(octets: bytes) -> None:
        if (protocol := client.protocol) is None:
            raise end_of_connection()
        protocol.write(octets)
        replies.append(await _in_time(client, protocol.read_response))

    def receive(wire: ClientWire, reply: SMTPResponse) -> Line | None:
        return wire.replied(reply.code, reply.message.split("\n"))

    end = partial(_close, client, client.transport)
    return Dialogue(send, replies.popleft, end, receive=receive, unasked=partial(_unasked, client))


def _reserve(client: aiosmtplib.SMTP) -> AbstractContextManager[None]:
    """Let commands of other tasks wait, as aiosmtplib lets them wait for one another: by the lock of its protocol."""
    _check(client)  # again: a token was asked for meanwhile
    return take_lock(client.protocol._command_lock)  # type: ignore[union-attr,arg-type]  # noqa: SLF001


def _unasked(client: aiosmtplib.SMTP) -> SASLError | None:
    """Return the error for what has come behind the last reply: aiosmtplib keeps it, and takes it for the next one."""
    said = _at_hand(client.protocol)
    line = said.partition(b"\n")[0].rstrip()
    return (farewell(line) or unasked_error(line)) if said else None


async def _in_time(client: aiosmtplib.SMTP, call: Callable[..., Awaitable[SMTPResponse]]) -> SMTPResponse:
    """Call a method of a client's in the client's time. In Python 3.11 its own way of it may keep a cancellation."""
    async with asyncio.timeout(client.timeout):
        return await call(timeout=None)


def _close(client: aiosmtplib.SMTP, transport: Any) -> None:
    """Close at once: what waits to be sent never is. The client has let go of its transport where it closed itself."""
    if transport is not None:
        transport.abort()
    client.close()


async def _offer(client: aiosmtplib.SMTP, dialogue: Dialogue) -> Offer:
    if client.is_ehlo_or_helo_needed:
        await _greet(client)
    if client.supports_extension("starttls") and client.get_transport_info("sslcontext") is None:
        dialogue.hint = TLS_IS_OFFERED
    said = tuple(f"{name} {words}".rstrip().upper() for name, words in client.esmtp_extensions.items())
    return Offer(partial(choose, client.server_auth_methods), client_wire, said)


async def _greet(client: aiosmtplib.SMTP) -> None:
    """Send EHLO, and HELO where the server does not know it."""
    for greet in (client.ehlo, client.helo):
        try:
            await _in_time(client, greet)
            return
        except aiosmtplib.SMTPHeloError as error:
            code, said = error.code, one_line(error.message)
        if code == 421:
            raise end_of_connection(said, "421")
    raise ProtocolError(f"the server refused EHLO and HELO: {said}", server_text=said, response_code=str(code))


def _finish(_client: aiosmtplib.SMTP, dialogue: Dialogue) -> SMTPResponse:
    return aiosmtplib.SMTPResponse(dialogue.wire.code, _text(dialogue.wire.reply))


def _text(said: str | bytes) -> str:
    """Return a text as aiosmtplib would decode it."""
    return said if isinstance(said, str) else said.decode("utf-8", "surrogateescape")


LIBRARY: Final[Library[aiosmtplib.SMTP, SMTPResponse]] = Library(
    service="smtp",
    errors=ERRORS,
    channel=lambda client: channel(client.transport, service="smtp", host=client.hostname),
    dialogue=_dialogue,
    offer=_offer,
    finish=_finish,
    check=_check,
    reserve=_reserve,
)
authenticate: Final = AsyncBinding(LIBRARY).authenticate
