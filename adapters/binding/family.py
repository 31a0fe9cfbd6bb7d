"""Errors that are two things: ours, and a library's. `bind` makes all of them for a library.

    ERRORS = bind(library.Error, module=__name__, prefix="Library", refused=library.LoginError, lost=library.Closed)

A user catches what he has always caught, `library.LoginError`, or `sasl.AuthenticationFailed` whatever the library.
"""

from __future__ import annotations

import sys

from sasl import errors
from sasl.errors import MechanismUnavailable, PolicyViolation, SASLError, UsageError
from sasl.text import printable
from sasl.typed import TYPE_CHECKING, final

from ..wire.text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Self, TypeAlias

    from .dialogue import Dialogue

    Arguments: TypeAlias = "Callable[[SASLError, Dialogue], tuple[Any, ...] | None]"
    """What the library's own error would be made of; None for the sentence."""

_LONGEST: Final = 4000
"""Characters of an error's text: a server may offer a hundred thousand names."""
_BASES: Final[dict[type[SASLError], str]] = {
    errors.AuthenticationFailed: "refused",
    errors.AuthorizationFailed: "",
    errors.TemporaryFailure: "refused",
    errors.ConnectionLost: "lost",
    errors.ServerBusy: "",
    errors.MechanismUnavailable: "unavailable",
    errors.PolicyViolation: "base",
    errors.ProtocolError: "base",
    errors.ServerNotProven: "",
    errors.LimitExceeded: "",
    errors.Cancelled: "base",
}
"""All errors of a binding but UsageError and TokenError, which are about the caller, each behind what it derives from.

The word is which class of the library's it is, "" where it derives from others here, and so is what they are.
"""


class LibraryError(SASLError):
    """What the bindings raise: an error of ours that is an error of the library as well.

    It has the attributes of both: the library's own constructor is called with the `args` that the library would give
    it. `str()` is a sentence. A subclass with a `family` joins it:
    class PolicyViolation(LibraryError, sasl.PolicyViolation, library.Error, family=FAMILY).
    """

    sentence = ""

    def __init_subclass__(cls, family: Family | None = None) -> None:
        if family is not None:
            family[_our_class(cls)] = cls

    def __new__(cls, *args: Any, origin: SASLError | None = None) -> Self:  # noqa: ARG004
        """Make the error as the library would, which may have a way of its own."""
        return super().__new__(cls, *args)

    def __init__(self, *args: Any, origin: SASLError | None = None) -> None:
        # Not the constructors of our bases: they would hand their message to one that wants a code.
        self.args = args
        construct = next((vars(cls)["__init__"] for cls in type(self).__mro__ if _constructs(cls)), None)
        if construct is not None:
            construct(self, *args)
        vars(self).update(vars(origin or _our_class(type(self))()))  # ours last, whatever the library calls its own
        if origin is not None:
            self.sentence = str(origin)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args), vars(self)

    def __str__(self) -> str:
        return self.sentence or super().__str__()


@final
class Family(dict[type[SASLError], type[LibraryError]]):
    """A library's errors, by the errors of ours that they stand for.

    `args` returns what the library's own error would be made of, from the error of ours and the dialogue that led
    to it; None for the sentence.
    """

    def __init__(self, args: Arguments | None = None) -> None:
        super().__init__()
        self._args = args

    def translate(self, error: SASLError, dialogue: Dialogue | None = None) -> SASLError:
        """Return an error as the library's class.

        Every error of a binding leaves through here: no text in it shows the credential that was sent in the dialogue,
        or what a terminal would obey, whether the server has said it or the library says it back. UsageError and
        TokenError are about the caller, not about the server, and stay what they are.
        """
        if dialogue is not None and dialogue.hint and type(error) in (MechanismUnavailable, PolicyViolation):
            error.args = (f"{error}{dialogue.hint}",)
        scrub = str if dialogue is None else dialogue.scrub
        if not isinstance(error, LibraryError):
            cls = next((self[base] for base in type(error).__mro__ if base in self), None)
            if cls is None:
                return error
            given = None if dialogue is None or self._args is None else self._args(error, dialogue)
            args = (str(error),) if given is None else given
            error = cls(*[_clean(each, scrub) for each in args], origin=error)  # its attributes are made of them
        return tidy(error, scrub)


def bind(
    base: type[Exception],
    *,
    module: str,
    prefix: str,
    refused: type[Exception] | None = None,
    lost: type[Exception] | None = None,
    unavailable: type[Exception] | None = None,
    args: Arguments | None = None,
) -> Family:
    """Return the errors of a library whose base is `base`, one for each of ours.

    Those for a refusal and for a temporary failure derive from `refused`, those for a lost connection from `lost`, that
    for a server without a mechanism in common from `unavailable`; and all of them from `base`.
    `args` gives what the library's own error is made of: see `Family`. Its constructor takes the sentence else.

    The classes are called "<prefix>AuthenticationFailed" and so on. They are put into the module of that name, the
    caller's `__name__`, so that they can be imported from there, and pickled. Raises UsageError where one of these
    names is taken, and where a constructor of the library takes no sentence and there are no `args` for it.
    """
    family = Family(args)
    theirs = {"base": base, "refused": refused or base, "lost": lost or base, "unavailable": unavailable or base}
    names = vars(sys.modules[module])
    for ours, which in _BASES.items():
        name = f"{prefix}{ours.__name__}"
        if name in names:
            raise UsageError(f"{module} has a {name} already")
        bases: tuple[type, ...]
        if which:
            bases = (LibraryError, ours, *_with(base, theirs[which]))
        else:
            bases = (ours, *[family[each] for each in ours.__bases__])
        made = type(name, bases, {"__module__": module, "__doc__": ours.__doc__})
        if args is None:
            _try(made, theirs.get(which, base))
        names[name] = family[ours] = made
    return family


def _with(base: type[Exception], cls: type[Exception]) -> tuple[type[Exception], ...]:
    """Return a class of a library's, and its base where it is no subclass of that."""
    return (cls,) if issubclass(cls, base) else (cls, base)


def _try(made: type[LibraryError], theirs: type[Exception]) -> None:
    """Make an error from a sentence, as `Family.translate` will. Raises UsageError where the library wants more."""
    try:
        made("a sentence")
        return
    except TypeError as error:
        problem = str(error)
    raise UsageError(f"{theirs.__name__} is not made from a sentence, so its args have to be given: {problem}")


def tidy(error: SASLError, scrub: Callable[[str], str] = str) -> SASLError:
    """Return an error whose texts can be printed, and do not show what `scrub` takes out."""
    error.args = tuple([_clean(each, scrub) for each in error.args])
    for name in ("sentence", "server_text"):
        if name in vars(error):
            setattr(error, name, _clean(getattr(error, name), scrub))
    return error


def _clean(text: Any, scrub: Callable[[str], str]) -> Any:
    if isinstance(text, bytes):  # repr() escapes them
        said = text_of(text)
        return text if (shown := scrub(said)) == said else shown.encode("utf-8")
    return printable(scrub(text), limit=_LONGEST) if isinstance(text, str) else text


def _our_class(cls: type[LibraryError]) -> type[SASLError]:
    """Return the class of sasl.errors that an error of a library stands for."""
    return next(base for base in cls.__mro__ if base.__module__ == SASLError.__module__)


def _constructs(cls: type) -> bool:
    """Whether a class is the library's and has a constructor of its own."""
    return not issubclass(cls, SASLError) and "__init__" in vars(cls) and cls.__module__ != "builtins"


def _restore(cls: type[LibraryError], args: tuple[Any, ...]) -> LibraryError:
    """Return an error that was pickled or copied; its attributes follow."""
    error = cls.__new__(cls, *args)
    error.args = args
    return error
