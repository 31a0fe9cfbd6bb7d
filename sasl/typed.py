"""The names of `typing` that this library uses, without loading it at run time.

`typing` brings `re` with it: 6 ms, a third of what `import imaplib` takes, for names that stand in annotations, which
nobody reads at run time. Type checkers see the real ones. What needs the rest of `typing` at run time imports it.
"""

from __future__ import annotations

from abc import ABCMeta

TYPE_CHECKING = False  # type checkers take this name for True

if TYPE_CHECKING:
    from typing import (
        Generic,
        Protocol,
        TypeVar,
        cast,
        dataclass_transform,
        final,
        runtime_checkable,
    )
else:

    def cast(_kind, thing):
        """Tell type checkers what a thing is."""
        return thing

    def final(thing):
        """Mark what nobody may override or inherit from."""
        thing.__final__ = True
        return thing

    def dataclass_transform(**_told):
        """Tell type checkers that a decorator makes dataclasses."""
        return lambda decorator: decorator

    class _ProtocolType(ABCMeta):
        """Whatever has the members of a protocol is one, if the protocol was marked by `runtime_checkable`."""

        def __instancecheck__(cls, thing):
            if super().__instancecheck__(thing):
                return True
            members = cls.__dict__.get("__members__", ())
            return bool(members) and all(hasattr(thing, name) for name in members)

    class Protocol(metaclass=_ProtocolType):
        """What a value has to have, whatever its class."""

        __slots__ = ()

    class Generic:
        """A class whose types depend on others, which only type checkers see."""

        __slots__ = ()

        def __class_getitem__(cls, _kinds):
            return cls

    def TypeVar(name, **_told):  # noqa: N802 -- of `typing`
        """Name a type that is not known yet."""
        return name

    def runtime_checkable(protocol):
        """Let isinstance() look for the members of a protocol."""
        protocol.__members__ = tuple(name for name in protocol.__dict__ if not name.startswith("_"))
        return protocol


__all__ = [
    "TYPE_CHECKING",
    "Generic",
    "Protocol",
    "TypeVar",
    "cast",
    "dataclass_transform",
    "final",
    "runtime_checkable",
]
