"""Where grants are kept. What a store needs beyond the standard library is imported when it is used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .file import FileStore
    from .keyring import KeyringStore
    from .sealed import Sealed

__all__ = ["FileStore", "KeyringStore", "Sealed"]

_MODULES = {"FileStore": "file", "KeyringStore": "keyring", "Sealed": "sealed"}


def __getattr__(name: str) -> object:
    # Loaded when it is first used: `sasl token get` reads a file with nothing of this but its name.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return found
