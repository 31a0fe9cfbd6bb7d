"""Errors that are two things: ours, and a library's."""

from __future__ import annotations

from errno import EBADF, ENETDOWN, ENETRESET, ENOTCONN
from functools import wraps
from ssl import SSLEOFError, SSLZeroReturnError

from sasl.errors import ConnectionLost, MechanismUnavailable, PolicyViolation, ProtocolError, SASLError
from sasl.text import printable
from sasl.typed import TYPE_CHECKING

from ..wire.text import end_of_connection, one_line, text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeAlias

    Family: TypeAlias = "dict[type[SASLError], type[LibraryError]]"
    """A library's errors, by the errors of ours that they stand for."""


_NO_CONNECTION: Final = (EBADF, ENETDOWN, ENETRESET, ENOTCONN)
_TIMED_OUT_BEFORE: Final = ("cannot read from timed out object",)
"""What the file of a socket raises from its first time-out on."""
_LONGEST: Final = 4000
"""Characters of an error's text: a server may offer a hundred thousand names."""
_BENEATH: Final = frozenset({"sasl", "ssl", "socket"})
"""Packages whose frames may follow a library's, where the library has raised an error."""


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


def translate(
    error: SASLError,
    family: Family,
    args: tuple[Any, ...] | None = None,
    scrub: Callable[[str], str] = str,
    hint: str = "",
) -> SASLError:
    """Return an error as the library's class, with `args` (its sentence by default).

    `hint` is added to one that says that nobody can log in here.

    Every error of a binding leaves through here: no text in it shows the credential, which `scrub` takes out, or what
    a terminal would obey, whether the server has said it or the library says it back. UsageError and TokenError are
    about the caller, not about the server, and stay what they are.
    """
    if hint and type(error) in (MechanismUnavailable, PolicyViolation):
        error.args = (f"{error}{hint}",)
    if not isinstance(error, LibraryError):
        cls = next((family[base] for base in type(error).__mro__ if base in family), None)
        if cls is None:
            return error
        error = cls(*((str(error),) if args is None else args), origin=error)
    return tidy(error, scrub)


def tidy(error: SASLError, scrub: Callable[[str], str] = str) -> SASLError:
    """Return an error whose texts can be printed, and do not show what `scrub` takes out."""

    def clean(text: Any) -> Any:
        if isinstance(text, bytes):  # repr() escapes them
            said = text_of(text)
            return text if (shown := scrub(said)) == said else shown.encode("utf-8")
        return printable(scrub(text), limit=_LONGEST) if isinstance(text, str) else text

    error.args = tuple([clean(each) for each in error.args])
    for name in ("sentence", "server_text"):
        if name in vars(error):
            setattr(error, name, clean(getattr(error, name)))
    return error


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
    packages = {_package(base.__module__) for each in family.values() for base in each.__mro__} - {"builtins", "sasl"}
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
