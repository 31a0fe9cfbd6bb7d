"""Accounts in a folder, with grants of the reference token endpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sasl.adapters.tokens.record import Record
from sasl.adapters.tokens.stores.file import FileStore

from ...support.grants import grant_of

if TYPE_CHECKING:
    from pathlib import Path

    from sasl.adapters.reference.token_endpoint import TokenEndpoint

ACCOUNT = "me@example.org"


def grant(endpoint: TokenEndpoint, **changes: Any) -> Record:
    """A sign-in of alice's that got no access token yet."""
    return grant_of(endpoint, ACCOUNT, **{"granted_at": time.time(), **changes})


def keep(folder: Path, record: Record) -> FileStore:
    """Put a record into the store that `sasl token --store` uses."""
    store = FileStore(folder)
    store.put(record)
    return store
