"""The strict base64 of the wires: that of `sasl.base64`, under the name by which the wires know it."""

from __future__ import annotations

from sasl.base64 import decode, encode, size

__all__ = ["decode", "encode", "size"]
