"""An SMTP submission server that keeps what it is given (RFC 5321, RFC 6409, RFC 4954, RFC 3207)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

from ..wire.smtp import ServerWire
from .conversation import Conversation
from .mail_commands import MailCommands, Rules
from .shown import first_word

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .backend import Backend
    from .connection import Connection

_RULES: Final = Rules(hello="EHLO", older="HELO", login=True, delivers=False)


class MailConversation(Conversation):
    """What connections of clients that send mail share: the commands, by the rules of SMTP or of LMTP."""

    rules: ClassVar[Rules]
    farewells: ClassVar[Mapping[str, str]] = {
        "crowded": "421 4.3.2 Too many connections",
        "late": "421 4.4.2 Too slow",
        "failures": "421 4.7.0 Too many failed logins",
        "shutdown": "421 4.3.2 The server shuts down",
        "broken": "421 4.3.0 Something is wrong here",
        "expired": "421 4.7.0 Session expired",
        "revoked": "421 4.7.0 Session ended, the login was revoked",
        "disabled": "421 4.7.0 Session ended, the account is disabled",
        "limit": "421 4.7.0 Session ended, it lasted too long",
    }

    def __init__(self, connection: Connection, backend: Backend, *, port: int) -> None:
        super().__init__(connection, backend, port=port)
        self._commands = MailCommands(self, self.rules, self.meet)

    async def run(self, *, implicit_tls: bool) -> None:
        """Serve the client, and keep nothing of a message that it has not sent to its end."""
        try:
            await super().run(implicit_tls=implicit_tls)
        finally:
            self._commands.forget()

    def wire(self, offered: Collection[str]) -> ServerWire:
        """Return a new wire for one AUTH."""
        return ServerWire(offered, **self.wire_settings)

    def verb(self, line: bytes) -> str:
        """Return the name of the command that a line begins."""
        return first_word(line)

    async def command(self, line: bytes) -> None:
        """Take one command line and answer it."""
        await self._commands.obey(line)


@final
class SmtpConversation(MailConversation):
    """One connection of a submission client, who has to log in before there is a sender.

    Messages are kept in the outbox; recipients that are users here have them in their INBOX, too. Nothing leaves.
    """

    service = "smtp"
    rules = _RULES

    @property
    def authenticated_as(self) -> str | None:
        """What the client put into the AUTH parameter of its last MAIL command, or None."""
        return self._commands.authenticated_as

    def greeting(self) -> list[str]:
        """Return the greeting."""
        return self.manner.greeting()
