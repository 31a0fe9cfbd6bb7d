"""Packages that only some sources and stores need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sasl.errors import TokenError


def load(module: str, extra: str) -> Any:
    """Import a module of an extra of this package. Raises TokenError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        pass
    package = module.partition(".")[0]
    raise TokenError(f"this needs {package}: pip install 'saslkit[{extra}]'", code="missing_extra")
