"""The command exchanges that carry SASL, sans-I/O, both ends: a folder per protocol."""

from __future__ import annotations


def load_server(protocol: str, public: list[str], name: str) -> object:
    """Stand behind `__getattr__` of a protocol's folder: load the server's side when it is asked for.

    Clients do without it: see docs/decisions/0020-wires.md.
    """
    if name not in public:
        raise AttributeError(f"module {protocol!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"{protocol}.server"), name)
    setattr(import_module(protocol), name, found)  # the next time nobody asks here
    return found
