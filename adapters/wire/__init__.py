"""The command exchanges that carry SASL, sans-I/O, both ends: a folder per protocol.

Here are the names that all of them share: `Wire` is what each client's side is, `Line` what it wants sent, and
`LONGEST_LINE` how many octets of one line it takes from a server, which is what a reader must be able to hold:
asyncio's `StreamReader(limit=LONGEST_LINE)`. `Verdict` is what `refusal` of a protocol returns.
"""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import LONGEST_LINE
    from .line import Line
    from .protocol import Wire
    from .verdict import Verdict

__all__ = ["LONGEST_LINE", "Line", "Verdict", "Wire"]

_HOME = {"LONGEST_LINE": "client", "Line": "line", "Verdict": "verdict", "Wire": "protocol"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(__name__, _HOME[name], name)


def load_server(protocol: str, public: list[str], name: str) -> object:
    """Stand behind `__getattr__` of a protocol's folder: load the server's side when it is asked for.

    Clients do without it: see docs/decisions/0020-wires.md.
    """
    if name not in public:
        raise AttributeError(f"module {protocol!r} has no attribute {name!r}")
    return _load(protocol, "server", name)


def _load(package: str, module: str, name: str) -> object:
    """Return what a module of a package has, and let the package have it from now on."""
    from importlib import import_module

    found: object = getattr(import_module(f"{package}.{module}"), name)
    setattr(import_module(package), name, found)
    return found
