"""Errors that are two things: ours, and a library's."""

from __future__ import annotations

from errno import EBADF, ENETDOWN, ENETRESET, ENOTCONN
from ssl import SSLEOFError, SSLZeroReturnError

from sasl.errors import ConnectionLost, SASLError
from sasl.typed import TYPE_CHECKING

from ..wire.text import end_of_connection

if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    Family: TypeAlias = "dict[type[SASLError], type[LibraryError]]"
    """A library's errors, by the errors of ours that they stand for."""


_NO_CONNECTION: Final = (EBADF, ENETDOWN, ENETRESET, ENOTCONN)
_TIMED_OUT_BEFORE: Final = ("cannot read from timed out object",)
"""What the file of a socket raises from its first time-out on."""


class LibraryError(SASLError):
    """What the bindings raise: an error of ours that is an error of the library as well.

    `args` are those that the library's own error would have, `str()` is a sentence. A subclass with a `family` joins
    it: class PolicyViolation(LibraryError, sasl.PolicyViolation, library.Error, family=FAMILY).
    """

    sentence = ""

    def __init_subclass__(cls, family: Family | None = None) -> None:
        if family is not None:
            family[_our_class(cls)] = cls

    def __init__(self, *args: Any, origin: SASLError | None = None) -> None:
        # Not the constructors of the bases: ours would hand its message to one that wants a code.
        vars(self).update(vars(origin or _our_class(type(self))()))
        self.args = args
        if origin is not None:
            self.sentence = str(origin)

    def __str__(self) -> str:
        return self.sentence or super().__str__()


def translate(error: SASLError, family: Family, args: tuple[Any, ...] | None = None) -> SASLError:
    """Return an error as the library's class, with `args` (its sentence by default) and without what led to it.

    UsageError and TokenError are about the caller, not about the server, and stay what they are.
    """
    cls = next((family[base] for base in type(error).__mro__ if base in family), None)
    if isinstance(error, LibraryError) or cls is None:
        return error
    return cls(*((str(error),) if args is None else args), origin=error)


def timeout_error() -> ConnectionLost:
    """Return the error for a server that takes too long."""
    return ConnectionLost("the server did not answer in time", kind="timeout")


def explain_socket_error(error: Exception) -> ConnectionLost | None:
    """Return what an error of a socket means; None if it is none."""
    if isinstance(error, TimeoutError):
        return timeout_error()
    return end_of_connection() if isinstance(error, EOFError | OSError) else None


def is_gone(error: BaseException) -> bool:
    """Whether an error, whatever the library, says that a connection is of no use any more: ours does, or the socket's.

    After a time-out nobody knows whose answer comes next. A connection that was refused never was one.
    """
    if isinstance(error, ConnectionRefusedError) or not isinstance(error, OSError):
        return isinstance(error, ConnectionLost)
    lost = isinstance(error, ConnectionLost | ConnectionError | TimeoutError | SSLEOFError | SSLZeroReturnError)
    return lost or error.errno in _NO_CONNECTION or error.args == _TIMED_OUT_BEFORE


def _our_class(cls: type[LibraryError]) -> type[SASLError]:
    """Return the class of sasl.errors that an error of a library stands for."""
    return next(base for base in cls.__mro__ if base.__module__ == SASLError.__module__)
