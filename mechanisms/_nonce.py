"""A nonce, as SCRAM and DIGEST-MD5 want one: printable, without a comma, and never the same twice."""

from __future__ import annotations

import os

from sasl.base64 import encode
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_OCTETS: Final = 18  # random ones, 24 characters


def new_nonce() -> bytes:
    """Return a new nonce."""
    return encode(os.urandom(_OCTETS))
