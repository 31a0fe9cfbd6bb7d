"""What the server remembers of one client that is logged in, and how a command is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..mail.grammar import BadArguments, atom, encode_mailbox_name, mailbox_name
from ..mail.store import NoSuchMailbox
from .view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator
    from datetime import datetime
    from typing import TypeAlias

    from ..mail.grammar import Word
    from ..mail.store import Account, Accounts, Mailbox

    Responses: TypeAlias = Generator[bytes, None, str]
    """Untagged responses without "* " and CRLF, and then the response code of the OK, "" for none.

    An empty response is not sent: others get a turn.
    """

CONDSTORE: Final = "CONDSTORE"
UTF8: Final = "UTF8=ACCEPT"
QUIET: Final = frozenset({"FETCH", "STORE", "SEARCH"})
"""The commands during which no message goes away (RFC 3501 section 7.4.1)."""


class No(Exception):
    """A command is not done; the text, with its response code, says why."""


@final
class Session:
    """A client that is logged in.

    Attributes:
        now: tells what time it is.
        enabled: the extensions that it enabled, of CONDSTORE and UTF8=ACCEPT.
        gmail: whether Gmail's extensions are served.
        whole_words: whether SEARCH finds whole words alone.
        largest: octets of the largest message that APPEND takes.
        tag: of the command that goes on.
    """

    def __init__(self, accounts: Accounts, user: str, now: Callable[[], datetime], *, largest: int) -> None:
        self.now = now
        self.enabled: set[str] = set()
        self.gmail = False
        self.whole_words = False
        self.largest = largest
        self.tag = ""
        self._accounts = accounts
        self._user = user
        self._view: View | None = None

    @property
    def account(self) -> Account:
        """The user's mailboxes."""
        return self._accounts.account(self._user)

    @property
    def selected(self) -> bool:
        """Whether a mailbox is selected."""
        return self._view is not None

    @property
    def view(self) -> View:
        """The selected mailbox."""
        assert self._view is not None  # noqa: S101 -- what needs one is refused before
        return self._view

    @property
    def utf8(self) -> bool:
        """Whether names of mailboxes are UTF-8 (RFC 6855)."""
        return UTF8 in self.enabled

    @property
    def condstore(self) -> bool:
        """Whether the client is told of modification sequences (RFC 7162 section 3.1)."""
        return CONDSTORE in self.enabled

    def select(self, mailbox: Mailbox, *, read_only: bool) -> View:
        """Select a mailbox."""
        self._view = View(mailbox, read_only=read_only)
        return self._view

    def leave(self) -> None:
        """Have no mailbox selected."""
        self._view = None

    def writable(self) -> View:
        """Return the selected mailbox. Raises No if nothing may be changed there."""
        if self.view.read_only:
            raise No("[READ-ONLY] The mailbox was opened to be read")
        return self.view

    def name(self, word: Word) -> str:
        """Return a mailbox's name as text. Raises BadArguments."""
        return mailbox_name(word, utf8=self.utf8)

    def encode(self, name: str) -> bytes:
        """Return a mailbox's name as it is sent."""
        return encode_mailbox_name(name, utf8=self.utf8)

    def mailbox(self, word: Word, *, code: str = "NONEXISTENT") -> Mailbox:
        """Return the mailbox of a name. Raises No with that code if there is none."""
        name = self.name(word)
        try:
            return self.account.mailbox(name)
        except NoSuchMailbox:
            pass
        raise No(f"[{code}] There is no such mailbox")

    def news(self, *, expunges: bool = True, uid: bool = False) -> Iterator[bytes]:
        """Yield what has to be told of the selected mailbox."""
        if self._view is not None:
            yield from self._view.news(expunges=expunges, uid=uid, modseq=self.condstore)


def names(word: Word, known: Collection[str]) -> list[str]:
    """Return the names in a list, in capitals. Raises BadArguments for one that is not known."""
    if not isinstance(word, list):
        raise BadArguments("A list in parentheses is missing")
    found = [atom(each) for each in word]
    if unknown := [name for name in found if name not in known]:
        raise BadArguments(f"{unknown[0][:40]} is not known here")
    return found
