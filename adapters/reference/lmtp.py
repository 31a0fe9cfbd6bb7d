"""An LMTP server: it delivers into the mailboxes of the users here, and needs no login for that (RFC 2033)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

from sasl.value import replace

from ..wire.smtp import ServerWire
from .conversation import Conversation
from .mail_commands import MailCommands, Rules
from .shown import first_word
from .smtp import FAREWELLS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sasl.channel import Channel

    from .backend import Backend
    from .connection import Connection

_RULES: Final = Rules(hello="LHLO", older="", login=False, delivers=True)


@final
class LmtpConversation(Conversation):
    """One connection of a client that delivers mail.

    A recipient is a user here, by the whole address or by what stands before its "@"; others are refused. After the
    message each recipient has a reply of its own. Each that took it is a message of its own in the outbox.
    """

    service = "lmtp"
    farewells: ClassVar[Mapping[str, str]] = FAREWELLS

    def __init__(self, connection: Connection, backend: Backend, *, port: int) -> None:
        super().__init__(connection, backend, port=port)
        self._commands = MailCommands(self, _RULES, self.meet)

    async def run(self, *, implicit_tls: bool) -> None:
        """Serve the client, and keep nothing of a message that it has not sent to its end."""
        try:
            await super().run(implicit_tls=implicit_tls)
        finally:
            self._commands.forget()

    @property
    def channel(self) -> Channel:
        """The connection as mechanisms see it: LMTP logs in as SMTP does, as smtplib's class and ours for it do."""
        return replace(super().channel, service="smtp")

    def greeting(self) -> list[str]:
        """Return the greeting."""
        return ["220 localhost LMTP saslkit reference server"]

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH."""
        return ServerWire(offered, **self.wire_settings)

    def verb(self, line: bytes) -> str:
        """Return the name of the command that a line begins."""
        return first_word(line)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        await self._commands.obey(line)
