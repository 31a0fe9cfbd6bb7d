"""Strict base64 (RFC 4648 section 4), as RFC 4954, RFC 5034, RFC 5802 and RFC 9051 want it: canonical, no space."""

from __future__ import annotations

import binascii

from .errors import LimitExceeded, ProtocolError


def encode(data: bytes) -> bytes:
    """Return the base64 text of `data`, without a line end."""
    return binascii.b2a_base64(data, newline=False)


def decode(text: bytes, *, limit: int | None = None) -> bytes:
    """Return the octets that a base64 text stands for.

    Raises LimitExceeded, before decoding, for a text of more than `limit` octets; ProtocolError for one that
    is not exactly what `encode` gives. strict_mode alone takes padding bits that are not zero.
    """
    if limit is not None and len(text) > limit:
        raise LimitExceeded(f"more than {limit} octets of base64")
    data = None
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        pass
    # Only the last group of one that ends in padding can have bits left over.
    if data is None or (text.endswith(b"=") and encode(data) != text):
        raise ProtocolError("not base64 (RFC 4648 section 4)")
    return data


def size(octets: int) -> int:
    """Return how long the base64 text of so many octets is."""
    return (octets + 2) // 3 * 4
