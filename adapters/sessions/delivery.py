"""A message on its way over SMTP (RFC 5321 section 3.3), which may be sent again until its last octets leave.

The library's own sendmail() does not tell whether the final dot has left when a connection is lost. So the message
goes out without it first, and the dot by itself.
"""

from __future__ import annotations

import copy
import re
import smtplib
from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import UsageError

from .events import DeliveryUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from email.message import Message

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_SHORTEST: Final = 200
"""Where a reply is cut in the middle of its code, smtplib takes what is left of that for one."""
_DOT: Final = re.compile(rb"(?<![^\n])\.")  # at the beginning of a line


@final
class Delivery:
    """One message for one sender and some recipients; `dot` tells whether the server may have all of it."""

    def __init__(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes | str | Message,
        mail_options: Sequence[str],
        rcpt_options: Sequence[str],
    ) -> None:
        if isinstance(recipients, str) or not recipients:
            raise UsageError("recipients are a list of addresses")
        self.dot = False
        self._sender = sender
        self._recipients = list(recipients)
        self._octets = octets_of(message)
        self._mail_options = list(mail_options)
        self._rcpt_options = list(rcpt_options)

    def may_repeat(self) -> bool:
        """Whether the message has certainly not been taken, wherever the session was lost."""
        return not self.dot

    def by(self, library: str | None) -> Callable[[Any], Any]:
        """Return what sends it on a connection of a library. Raises UsageError for one that sends no messages."""
        if library is None:
            raise UsageError("a message is sent here on connections of smtplib and aiosmtplib only")
        return self.by_smtplib if library == "smtplib" else self.by_aiosmtplib

    def by_smtplib(self, conn: smtplib.SMTP) -> dict[str, tuple[int, bytes]]:
        """Send it; return who was refused. Raises what sendmail() does, and DeliveryUnknown."""
        if isinstance(conn, smtplib.LMTP):
            raise UsageError("LMTP answers for each recipient: a message is sent by other means")
        conn.ehlo_or_helo_if_needed()
        code, said = conn.mail(self._sender, [*self._mail_options, *self._size(conn.has_extn("size"))])
        if code != 250:
            _reset(conn, code)
            raise smtplib.SMTPSenderRefused(code, said, self._sender)
        refused = {}
        for address in self._recipients:
            try:
                code, said = conn.rcpt(address, self._rcpt_options)
            except UnicodeError:  # nothing of it has left: what was accepted before is not the next message's
                _reset(conn, 0)
                raise
            if code not in (250, 251):
                refused[address] = (code, said)
            if code == 421:
                raise smtplib.SMTPRecipientsRefused(refused)
        if len(refused) == len(self._recipients):
            _reset(conn, code)
            raise smtplib.SMTPRecipientsRefused(refused)
        code, said = conn.docmd("DATA")
        if code != 354:
            _reset(conn, code)
            raise smtplib.SMTPDataError(code, said)
        _send_at_once(conn)
        conn.send(_DOT.sub(b"..", self._octets))
        code, said = self._finish(conn)
        if code < _SHORTEST:
            raise _unknown()
        if code != 250:
            _reset(conn, code)
            raise smtplib.SMTPDataError(code, said)
        return refused

    def _finish(self, conn: smtplib.SMTP) -> tuple[int, bytes]:
        self.dot = True
        try:
            conn.send(b".\r\n")
            return conn.getreply()
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            lost = error
        raise _unknown() from lost

    async def by_aiosmtplib(self, client: Any) -> dict[str, tuple[int, str]]:
        """Send it as `by_smtplib` does. aiosmtplib sends DATA, the message and the dot in one call."""
        import aiosmtplib

        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        options = [*self._mail_options, *self._size(client.supports_extension("size"))]
        await _or_reset(client, client.mail(self._sender, options=options))
        refused, errors = {}, []
        for address in self._recipients:
            try:
                await client.rcpt(address, options=self._rcpt_options)
            except UnicodeError:
                await _reset_async(client, 0)
                raise
            except aiosmtplib.SMTPRecipientRefused as error:
                refused[address] = (error.code, error.message)
                errors.append(error)
                if error.code == 421:
                    raise aiosmtplib.SMTPRecipientsRefused(errors) from None
        if len(refused) == len(self._recipients):
            await _reset_async(client, errors[-1].code)
            raise aiosmtplib.SMTPRecipientsRefused(errors)
        self.dot = True
        try:
            await _or_reset(client, client.data(self._octets))
            return refused
        except aiosmtplib.SMTPDataError:
            raise
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, OSError) as error:
            lost = error
        raise _unknown() from lost

    def _size(self, wanted: bool) -> list[str]:  # noqa: FBT001
        return [f"SIZE={len(self._octets)}"] if wanted else []


def octets_of(message: bytes | str | Message) -> bytes:
    """Return a message as it leaves, before dots are doubled: each line ends with CRLF, nobody reads who is in Bcc.

    Raises UsageError for a str that is not ASCII: nobody knows its encoding.
    """
    if isinstance(message, str):
        if not message.isascii():
            raise UsageError("a message that is a str is ASCII; encode it, or give an email.message.EmailMessage")
        message = message.encode()
    if not isinstance(message, bytes):
        message = copy.copy(message)
        del message["Bcc"]
        del message["Resent-Bcc"]
        message = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    octets = _LINE_END.sub(b"\r\n", message)
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def _unknown() -> DeliveryUnknown:
    return DeliveryUnknown("the session was lost after the message had left: nobody can tell whether it was taken")


def _send_at_once(conn: smtplib.SMTP) -> None:
    """Let the dot leave before the server has confirmed what went before it: that takes 40 ms."""
    if conn.sock is None:
        return
    with suppress(OSError):  # it is not TCP
        conn.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)


def _reset(conn: smtplib.SMTP, code: int) -> None:
    """Make the connection ready for another message, after a refusal that has not ended the session."""
    if code == 421:
        return
    try:
        conn.rset()
    except (smtplib.SMTPServerDisconnected, OSError):
        pass  # the next command will tell


async def _or_reset(client: Any, answer: Any) -> None:
    """Await an answer; make the client ready for another message where it is a refusal."""
    import aiosmtplib

    try:
        await answer
    except aiosmtplib.SMTPResponseException as error:
        await _reset_async(client, error.code)
        raise


async def _reset_async(client: Any, code: int) -> None:
    import aiosmtplib

    if code == 421 or not client.is_connected:
        return
    with suppress(aiosmtplib.SMTPException, OSError):  # the refusal is what is told
        await client.rset()
