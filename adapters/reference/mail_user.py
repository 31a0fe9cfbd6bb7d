"""One user of a set of servers, with all that a test wants of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from sasl.secret import Secret
from sasl.value import field, value

from .mail.store import INBOX

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from email.message import Message as AnyMessage

    from ..tokens.record import Record
    from .mail.store import Mailbox, Message
    from .servers import Servers


@final
@value
class MailUser:
    """One user of a set of servers.

    Attributes:
        name: what the user logs in as.
        password: the password.
    """

    name: str
    password: str = field(hidden=True)
    _servers: Servers = field(hidden=True)

    def token(self, lifetime: float | None = None) -> str:
        """Return a new access token, good for so many seconds of the servers' clock; None for as long as usual."""
        return self._servers.oauth.issue(self.name, lifetime)

    def grant(self) -> Record:
        """Return what a sign-in leaves behind, for a store of grants: `MemoryStore().put(user.grant())`.

        The account's name in the store is the user's. There is no access token in it: the first is to be asked for.
        """
        from ..tokens.record import Record

        info = self._servers.oauth.authorized_user(self.name)
        return Record(
            self.name,
            self.name,
            info["token_uri"],
            info["client_id"],
            client_secret=Secret(info["client_secret"]),
            refresh_token=Secret(info["refresh_token"]),
        )

    def deliver(
        self,
        message: bytes | str | AnyMessage,
        *,
        mailbox: str = INBOX,
        flags: Collection[str] = (),
        date: datetime | None = None,
    ) -> Message:
        """Do what `Servers.deliver` does, for this user."""
        return self._servers.deliver(self.name, message, mailbox=mailbox, flags=flags, date=date)

    def mailbox(self, name: str = INBOX) -> Mailbox:
        """Return a mailbox, to look into; UsageError if there is none of that name."""
        return self._servers.mailbox(self.name, name)
