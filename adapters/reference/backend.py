"""What all connections of a set of servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from .clock import Clock
from .faults import Faults
from .grants import TokenEndpoint
from .identity import Identity
from .journal import Journal
from .mail.store import Accounts
from .outbox import Outbox
from .personas import DEFAULT, Persona, load
from .verifier import Verifier

if TYPE_CHECKING:
    import ssl

    from .checks import Checks
    from .conversation import Conversation
    from .settings import Settings


@final
class Backend:
    """What all connections of a set of servers share. It is used in their event loop alone.

    Attributes:
        verifier: who checks credentials.
        settings: how the servers behave.
        context: their side of TLS.
        clock: what time it is, for tokens, sessions and mail.
        persona: how the servers behave towards whoever connects from now on.
        accounts: the users' mail.
        users: who the users are, to whom mail is delivered.
        outbox: what clients have sent.
        faults: what goes wrong on purpose.
        journal: what clients did.
        open: the conversations that go on.
        identity: the users and tokens, as far as they are ours.
    """

    def __init__(
        self,
        verifier: Checks,
        settings: Settings,
        context: ssl.SSLContext,
        *,
        clock: Clock | None = None,
        identity: Identity | None = None,
        persona: Persona | None = None,
    ) -> None:
        self.verifier = verifier
        self.settings = settings
        self.context = context
        self.clock = clock or Clock()
        self.persona = persona or load(DEFAULT)
        self.accounts = Accounts({folder.name: folder.use for folder in self.persona.folders if folder.selectable})
        self.outbox = Outbox()
        self.faults = Faults()
        self.journal = Journal(self.clock)
        self.open: set[Conversation] = set()
        self.identity = identity or Identity({}, Verifier({}), TokenEndpoint("", self.clock), verifier)
        self.users = self.identity.users

    def clear(self) -> None:
        """Begin anew but for the time, the users and their tokens: end all sessions, and forget mail and faults."""
        for conversation in tuple(self.open):
            conversation.end("shutdown")
            conversation.record.end()
        self.accounts.clear()
        self.outbox.clear()
        self.faults.clear()
        self.journal.clear()

    def review(self) -> None:
        """Look at all sessions anew, and end those whose time is over. To be called when the clock was moved."""
        for conversation in list(self.open):
            conversation.review()
