"""What a session has on its connection, and has again on the next one: a mailbox, extensions (RFC 9051, RFC 5161)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

from sasl.errors import is_interruption

from .events import Mailbox, MailboxChanged, NotRestored

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..binding.drive import Steps
    from .ways import Ways


@final
class State:
    """What is restored on each connection after the first; `restore` is the caller's, for what is not known here.

    Attributes:
        mailbox: what the session has selected; None for nothing.
    """

    def __init__(self, restore: Callable[[Any], Any] | None, is_lost: Callable[[BaseException], bool]) -> None:
        self.mailbox: Mailbox | None = None
        self._hook = restore
        self._is_lost = is_lost
        self._extensions: tuple[str, ...] = ()
        self._mark: Any = None

    def forget_mailbox(self) -> None:
        """Forget it, before another one is selected."""
        self.mailbox = self._mark = None

    def selected(self, ways: Ways, conn: Any, mailbox: Mailbox | None) -> None:
        """Note what is selected now."""
        self.mailbox, self._mark = mailbox, ways.mark(conn)

    def enabled(self, names: tuple[str, ...]) -> None:
        """Note what is enabled besides."""
        self._extensions = tuple(dict.fromkeys((*self._extensions, *names)))

    def look(self, ways: Ways, conn: Any) -> None:
        """Forget the mailbox where a call has closed it, or selected one in its own way: nobody knows its name."""
        if self.mailbox is not None and ways.mark(conn) is not self._mark:
            self.forget_mailbox()

    def look_back(self, ways: Ways, conn: Any) -> None:
        """Do the same on a connection that has ended: there, what is not selected may have been until then."""
        if ways.mark(conn) is not None:
            self.look(ways, conn)

    def restore(self, ways: Ways, conn: Any) -> Steps[bool]:
        """Restore on a new connection; return whether there was anything to restore.

        Raises NotRestored where something is not as it was. What is so now is noted first; it is not where the
        connection is lost meanwhile, so that another one can be tried.
        """
        mailbox, extensions = self.mailbox, self._extensions
        problem: NotRestored | None = None
        if self._extensions:  # the server takes them before a mailbox is selected
            extensions, problem = yield from self._enable_again(ways, conn)
        if self.mailbox is not None:
            mailbox = yield from self._select_again(ways, conn, self.mailbox)
            problem = _difference(self.mailbox, mailbox) or problem
        if self._hook is not None:
            yield partial(ways.run, self._hook, conn)
        found = bool(self._extensions or self.mailbox is not None or self._hook is not None)
        self._extensions = extensions
        self.selected(ways, conn, mailbox)
        if problem is not None:
            raise problem
        return found

    def _enable_again(self, ways: Ways, conn: Any) -> Steps[tuple[tuple[str, ...], NotRestored | None]]:
        names = self._extensions
        try:
            said = yield partial(ways.run, lambda conn: ways.enable(conn, names), conn)
            enabled = ways.enabled(conn, said)
        except Exception as error:
            if self._is_lost(error) or is_interruption(error):
                raise
            enabled = ()
        missing = [name for name in names if name not in enabled]
        if not missing:
            return names, None
        said = f"the server does not enable on a new connection what it has enabled before: {' '.join(missing)}"
        return tuple([name for name in names if name in enabled]), NotRestored(said)

    def _select_again(self, ways: Ways, conn: Any, before: Mailbox) -> Steps[Mailbox | None]:
        select, result = ways.select, None
        assert select is not None  # noqa: S101 -- for mypy
        try:
            result = yield partial(ways.run, lambda conn: select(conn, before.name, before.readonly), conn)
        except Exception as error:
            if self._is_lost(error) or is_interruption(error):
                raise
            if ways.mark(conn) is not None:  # imaplib has selected it, and raises that it can only be read
                result = yield partial(select, conn, before.name, readonly=True)
        return None if result is None else mailbox_of(ways, conn, before.name, result)


def mailbox_of(ways: Ways, conn: Any, name: str, result: Any) -> Mailbox | None:
    """Return the mailbox of that name, from what a library's select has returned; None if the server has refused it."""
    found = ways.selected(conn, result)
    return None if found is None else Mailbox(name, *found)


def _difference(before: Mailbox, now: Mailbox | None) -> MailboxChanged | None:
    """Return the error for a mailbox that is not what it was; None if it is."""
    if now is None:
        return MailboxChanged("the mailbox cannot be selected again", before=before, now=None)
    if now.uidvalidity != before.uidvalidity:
        return MailboxChanged("the mailbox has another UIDVALIDITY: UIDs are void", before=before, now=now)
    if now.readonly and not before.readonly:
        return MailboxChanged("the mailbox can only be read now", before=before, now=now)
    return None
