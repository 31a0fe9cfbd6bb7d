"""An LMTP server: it delivers into the mailboxes of the users here, and needs no login for that (RFC 2033)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.value import replace

from .mail_commands import Rules
from .smtp import MailConversation

if TYPE_CHECKING:
    from sasl.channel import Channel

_RULES: Final = Rules(hello="LHLO", older="", login=False, delivers=True)


@final
class LmtpConversation(MailConversation):
    """One connection of a client that delivers mail.

    A recipient is a user here, by the whole address or by what stands before its "@"; others are refused. After the
    message each recipient has a reply of its own. Each that took it is a message of its own in the outbox.
    """

    service = "lmtp"
    rules = _RULES

    @property
    def channel(self) -> Channel:
        """The connection as mechanisms see it: LMTP logs in as SMTP does, as smtplib's class and ours for it do."""
        return replace(super().channel, service="smtp")

    def greeting(self) -> list[str]:
        """Return the greeting."""
        return ["220 localhost LMTP saslkit reference server"]
