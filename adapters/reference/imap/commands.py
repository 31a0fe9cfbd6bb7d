"""The commands of the IMAP server: what each takes, when it may come, and what does it."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Final, final

from sasl.value import value

from ..mail.grammar import BadArguments, words
from .listing import list_mailboxes, list_subscriptions
from .mailboxes import (
    append,
    close,
    create,
    delete,
    enable,
    namespace,
    rename,
    select,
    status,
    subscribe,
    unselect,
    unsubscribe,
)
from .messages import check, copy, expunge, fetch, move, search, store
from .session import QUIET, No

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from ..mail.grammar import Word
    from .session import Responses, Session

MANY: Final = 20_000
"""Words that a command takes at most."""
WRONG_NUMBER: Final = "Too few arguments, or too many"


@final
class State(IntEnum):
    """What a command needs to have happened before."""

    ANY = 0
    AUTHENTICATED = 1
    SELECTED = 2


@final
@value
class Command:
    """What is known of a command.

    Attributes:
        state: what must have happened before it.
        least: how many arguments it takes at least.
        most: how many at most.
        run: does it, and returns the response code of the OK, or yields responses before; None for what the
            conversation does itself.
    """

    state: State
    least: int = 0
    most: int = 0
    run: Callable[[Session, list[Word]], Responses | str] | None = None


_IN: Final = State.AUTHENTICATED
_AT: Final = State.SELECTED

COMMANDS: Final[Mapping[str, Command]] = {
    "CAPABILITY": Command(State.ANY),
    "NOOP": Command(State.ANY),
    "LOGOUT": Command(State.ANY),
    "STARTTLS": Command(State.ANY),
    "ID": Command(State.ANY, 1, 1),
    "IDLE": Command(_IN),
    "ENABLE": Command(_IN, 1, MANY, enable),
    "NAMESPACE": Command(_IN, run=namespace),
    "SELECT": Command(_IN, 1, 2, select),
    "EXAMINE": Command(_IN, 1, 2, partial(select, read_only=True)),
    "LIST": Command(_IN, 2, 5, list_mailboxes),
    "LSUB": Command(_IN, 2, 2, list_subscriptions),
    "STATUS": Command(_IN, 2, 2, status),
    "CREATE": Command(_IN, 1, 1, create),
    "DELETE": Command(_IN, 1, 1, delete),
    "RENAME": Command(_IN, 2, 2, rename),
    "SUBSCRIBE": Command(_IN, 1, 1, subscribe),
    "UNSUBSCRIBE": Command(_IN, 1, 1, unsubscribe),
    "APPEND": Command(_IN, 2, 5, append),
    "CHECK": Command(_AT, run=check),
    "CLOSE": Command(_AT, run=close),
    "UNSELECT": Command(_AT, run=unselect),
    "EXPUNGE": Command(_AT, run=expunge),
    "UID EXPUNGE": Command(_AT, 1, 1, partial(expunge, uid=True)),
    "FETCH": Command(_AT, 2, 3, fetch),
    "UID FETCH": Command(_AT, 2, 3, partial(fetch, uid=True)),
    "STORE": Command(_AT, 3, MANY, store),
    "UID STORE": Command(_AT, 3, MANY, partial(store, uid=True)),
    "SEARCH": Command(_AT, 1, MANY, search),
    "UID SEARCH": Command(_AT, 1, MANY, partial(search, uid=True)),
    "COPY": Command(_AT, 2, 2, copy),
    "UID COPY": Command(_AT, 2, 2, partial(copy, uid=True)),
    "MOVE": Command(_AT, 2, 2, move),
    "UID MOVE": Command(_AT, 2, 2, partial(move, uid=True)),
}
"""By their names; "UID" belongs to the name."""


def arguments(verb: str, octets: bytes) -> list[Word]:
    """Return the arguments of a command. Raises BadArguments, also for too few or too many."""
    command = COMMANDS[verb]
    found = words(octets)
    if not command.least <= len(found) <= command.most:
        raise BadArguments(WRONG_NUMBER)
    return found


def responses(session: Session, verb: str, given: list[Word]) -> Generator[bytes, None, str]:
    """Do a command with its arguments: yield untagged responses, return what its tagged one says, without the tag."""
    uid = verb.startswith("UID ")
    try:
        run = COMMANDS[verb].run
        assert run is not None  # noqa: S101 -- those of the conversation do not come here
        done = run(session, given)
        code = done if isinstance(done, str) else (yield from done)
        result = f"OK {code} Done" if code else "OK Done"
    except BadArguments as error:
        result = f"BAD {error}"
    except No as error:
        result = f"NO {error}"
    yield from session.news(expunges=uid or verb not in QUIET, uid=uid)
    return result
