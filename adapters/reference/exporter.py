"""tls-exporter for the server's side of a connection (RFC 9266), by the standard library alone.

Python's ssl exports no keying material, but it can write a key log, and under TLS 1.3 the log holds the secret that the
material is made from. A log tells connections apart only by what ssl hides, so each handshake has a context of its own.
The log is a pipe: its secrets are never in a file, and they are gone once it is closed.
That is for servers that tests talk to, where nobody minds: whoever holds these secrets could read the connection.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import weakref
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Export = Callable[[str, int], bytes]

_log: Final = logging.getLogger("sasl")

_FOLDER: Final = "/dev/fd"
_WANTED: Final = "EXPORTER_SECRET"
_WHOLE: Final = 65_536  # octets; a handshake writes about a thousand
_IDLE: Final = 8  # contexts that are kept for the next handshakes
_HASHES: Final = ("sha256", "sha384")  # of the cipher suites of TLS 1.3 (RFC 8446 appendix B.4)


@final
class Exporters:
    """What exports the keying material of the connections of one context, which must be a server's.

    `make` returns a context for a single handshake: with the same certificate, and the same trust in clients.
    """

    def __init__(self, context: ssl.SSLContext, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self._idle: list[ssl.SSLContext] = []  # to make one takes as long as a handshake
        self._logs: weakref.WeakKeyDictionary[ssl.SSLObject, _KeyLog] = weakref.WeakKeyDictionary()
        context.sni_callback = self._begin  # is called for clients that name no server, too

    def take(self, tls: ssl.SSLObject) -> Export | None:
        """Return what exports a connection's keying material for an empty context; None if that cannot be had.

        Only the first call after the handshake may return something; before TLS 1.3 none does. Why it cannot be had
        under TLS 1.3 goes to the log.
        """
        log = self._logs.pop(tls, None)
        if log is None:
            return None
        try:
            secrets = log.close()
        except Exception as error:
            _log_why(type(error).__name__)
            return None
        if len(self._idle) < _IDLE:
            self._idle.append(log.context)
        cipher = tls.cipher()
        if cipher is None or cipher[1] != "TLSv1.3":
            return None
        hash_name = cipher[0].rpartition("_")[2].lower()
        if len(secrets) != 1 or hash_name not in _HASHES:
            _log_why(f"{len(secrets)} secrets of {cipher[0]}")
            return None
        return _exporter(secrets[0], hash_name)

    def _begin(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Let a handshake go on under a context of its own, with a key log; under the one it has if there is none."""
        try:
            log = _KeyLog(self._idle.pop() if self._idle else self._make())
            tls.context = log.context
        except Exception as error:  # no more descriptors, no /dev/fd (Windows), the certificate's files are gone
            _log_why(type(error).__name__)
        else:
            self._logs[tls] = log


@final
class _KeyLog:
    """The key log of one handshake; whoever drops it closes it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._reader, writer = os.pipe()
        self._close = weakref.finalize(self, os.close, self._reader)
        os.set_blocking(self._reader, False)
        try:
            context.keylog_filename = f"{_FOLDER}/{writer}"
        finally:
            os.close(writer)

    def close(self) -> list[bytes]:
        """End the log and return the exporter secrets that are in it."""
        self.context.keylog_filename = None  # type: ignore[assignment]  # which typeshed does not know
        try:
            lines = os.read(self._reader, _WHOLE).decode("ascii").splitlines()
        finally:
            self._close()
        words = [line.split() for line in lines]
        return [bytes.fromhex(word[2]) for word in words if len(word) == 3 and word[0] == _WANTED]


def _log_why(why: str) -> None:
    _log.debug("no tls-exporter at the server: %s", why)


def _exporter(secret: bytes, hash_name: str) -> Export:
    """Return what makes keying material of an exporter secret (RFC 8446 section 7.5)."""

    def export(label: str, length: int) -> bytes:
        nothing = hashlib.new(hash_name, b"").digest()
        derived = _expand_label(secret, label, nothing, len(nothing), hash_name)
        return _expand_label(derived, "exporter", nothing, length, hash_name)

    return export


def _expand_label(secret: bytes, label: str, context: bytes, length: int, hash_name: str) -> bytes:
    """Return HKDF-Expand-Label (RFC 8446 section 7.1)."""
    name = b"tls13 " + label.encode("ascii")
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + bytes([len(context)]) + context
    made = block = b""
    for number in range(1, 256):  # HKDF-Expand (RFC 5869 section 2.3)
        if len(made) >= length:
            break
        block = hmac.digest(secret, block + info + bytes([number]), hash_name)
        made += block
    return made[:length]
