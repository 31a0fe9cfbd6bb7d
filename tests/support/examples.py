"""The programs in examples/: how tests load one, and what of it counts as code."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "examples"


@cache
def example(name: str) -> Any:
    """Load examples/NAME.py as a module, once."""
    spec = importlib.util.spec_from_file_location(f"saslkit_example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _outdated():
        spec.loader.exec_module(module)
    return module


def library(name: str) -> Any:
    """Import a library that an example is for."""
    with _outdated():
        return importlib.import_module(name)


@contextmanager
def _outdated() -> Iterator[None]:
    """Let a library ask others for names of old, as ldap3 does when it is loaded: it is not ours to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
