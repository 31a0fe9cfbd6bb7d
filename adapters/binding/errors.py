"""What errors mean that are not ours: a socket's, a library's."""

from __future__ import annotations

from functools import wraps

from sasl.errors import ConnectionLost, ProtocolError, SASLError
from sasl.typed import TYPE_CHECKING

from ..wire.text import end_of_connection, one_line, text_of
from .family import tidy

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from .family import Family

_BENEATH: Final = frozenset({"sasl", "ssl", "socket", "asyncio"})
"""Packages whose frames may follow a library's, where the library has raised an error."""


def tidied(explain: Callable[[Exception], SASLError | None]) -> Callable[[Exception], SASLError | None]:
    """Decorate a function that explains a library's errors, so that what it returns can be printed."""

    @wraps(explain)
    def explain_tidily(error: Exception) -> SASLError | None:
        found = explain(error)
        return None if found is None else tidy(found)

    return explain_tidily


def is_parsers(error: BaseException, family: Family) -> bool:
    """Whether an error comes out of the library of a family itself, and not out of code that it calls or that calls it.

    So what a parser raises for what a server has sent is told from what a method raises that somebody has overridden.
    """
    theirs = {base for each in family.values() for base in each.__mro__ if not issubclass(base, SASLError)}
    packages = {_package(base.__module__) for base in theirs} - {"builtins", "sasl"}  # a binding may mix a base
    frames = _packages(error)
    first = next((at for at, name in enumerate(frames) if name in packages), None)
    return first is not None and packages | _BENEATH >= set(frames[first:])


def is_raised_in(package: str, error: BaseException) -> bool:
    """Whether an error was raised by the code of a package, or by what that calls and which is not in Python."""
    return _packages(error)[-1:] == [package]


def explain_foreign(error: Exception, family: Family) -> SASLError | None:
    """Return what an error that is not ours means: the socket's, or the library's parser's; None for anybody else's."""
    found = explain_socket_error(error)
    if found is None and is_parsers(error, family):
        return ProtocolError(f"what the server sends cannot be read ({type(error).__name__})")
    return found


def _packages(error: BaseException) -> list[str]:
    """Return the names of the packages that an error came through, the one that raised it last."""
    found, each = [], error.__traceback__
    while each is not None:
        found.append(_package(str(each.tb_frame.f_globals.get("__name__"))))
        each = each.tb_next
    return found


def _package(module: str) -> str:
    return module.partition(".")[0]


def timeout_error() -> ConnectionLost:
    """Return the error for a server that takes too long."""
    return ConnectionLost("the server did not answer in time", kind="timeout")


def unasked_error(line: bytes) -> ProtocolError:
    """Return the error for a server that speaks before it is asked, which would be taken for the reply."""
    return ProtocolError("the server speaks before it is asked", server_text=one_line(text_of(line)))


def explain_socket_error(error: Exception) -> ConnectionLost | None:
    """Return what an error of a socket means; None if it is none."""
    if isinstance(error, TimeoutError):
        return timeout_error()
    return end_of_connection() if isinstance(error, EOFError | OSError) else None
