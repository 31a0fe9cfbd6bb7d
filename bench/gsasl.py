"""GNU SASL through ctypes, as a Python program would use it: the columns of a peer in C, where its library is there."""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Contenders = dict[str, Callable[[], object]]
    Stored = tuple[bytes, int, bytes, bytes]  # salt, iterations, StoredKey, ServerKey

# enum Gsasl_property and Gsasl_rc of gsasl.h, version 2
AUTHID, PASSWORD, SERVICE, HOSTNAME = 1, 3, 5, 6
SCRAM_ITER, SCRAM_SALT, SCRAM_SALTED_PASSWORD, SCRAM_SERVERKEY, SCRAM_STOREDKEY = 15, 16, 17, 23, 24
VALIDATE_SIMPLE = 500
OK, NEEDS_MORE, AUTHENTICATION_ERROR, NO_CALLBACK = 0, 1, 31, 51

_START = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p)]
_SIGNATURES = {
    "gsasl_init": [ctypes.POINTER(ctypes.c_void_p)],
    "gsasl_client_start": _START,
    "gsasl_server_start": _START,
    "gsasl_property_set": [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p],
    "gsasl_step": [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_size_t),
    ],
    "gsasl_finish": [ctypes.c_void_p],
    "gsasl_free": [ctypes.c_void_p],
    "gsasl_callback_set": [ctypes.c_void_p, ctypes.c_void_p],
    "gsasl_property_fast": [ctypes.c_void_p, ctypes.c_int],
}
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)


class Library:
    """The functions of libgsasl that a login needs."""

    def __init__(self, path: str) -> None:
        self._c = ctypes.CDLL(path)
        for name, types in _SIGNATURES.items():
            getattr(self._c, name).argtypes = types
        self._c.gsasl_property_fast.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p()
        if self._c.gsasl_init(self._context) != OK:
            raise SystemExit("gsasl_init failed")
        self._callback = _CALLBACK(self._answer)  # kept: C does not hold it
        self._c.gsasl_callback_set(self._context, self._callback)

    def _answer(self, _context: int, session: int, question: int) -> int:
        """Check the password that a PLAIN client sent, as a server does that knows tim, and nothing else."""
        if question != VALIDATE_SIMPLE:
            return NO_CALLBACK
        sent = [self._c.gsasl_property_fast(session, name) for name in (AUTHID, PASSWORD)]
        right = sent[0] == b"tim" and hmac.compare_digest(sent[1], b"tanstaaftanstaaf")
        return OK if right else AUTHENTICATION_ERROR

    def session(self, side: str, mechanism: bytes, properties: Mapping[int, bytes]) -> ctypes.c_void_p:
        """Begin the "client" or "server" side of an exchange."""
        session = ctypes.c_void_p()
        if getattr(self._c, f"gsasl_{side}_start")(self._context, mechanism, session) != OK:
            raise SystemExit(f"gsasl does not know {mechanism!r}")
        for name, value in properties.items():
            self._c.gsasl_property_set(session, name, value)
        return session

    def step(self, session: ctypes.c_void_p, message: bytes) -> tuple[int, bytes]:
        """Give the peer's message; return the verdict and what to send."""
        output, size = ctypes.c_void_p(), ctypes.c_size_t()
        verdict = self._c.gsasl_step(session, message, len(message), output, size)
        sent = ctypes.string_at(output, size.value) if output else b""
        self._c.gsasl_free(output)
        return verdict, sent

    def finish(self, session: ctypes.c_void_p) -> None:
        """Free a session."""
        self._c.gsasl_finish(session)


_PATH = ctypes.util.find_library("gsasl")
LIBRARY = Library(_PATH) if _PATH else None


def plain_client() -> Contenders:
    """Return a PLAIN client."""
    return _one_step("client", b"PLAIN", {AUTHID: b"tim", PASSWORD: b"tanstaaftanstaaf"}, b"")


def plain_server(message: bytes) -> Contenders:
    """Return a PLAIN server, whose callback checks the password."""
    return _one_step("server", b"PLAIN", {}, message)


def _one_step(side: str, mechanism: bytes, properties: Mapping[int, bytes], message: bytes) -> Contenders:
    if LIBRARY is None:
        return {}
    library = LIBRARY

    def login() -> bool:
        session = library.session(side, mechanism, properties)
        verdict, _ = library.step(session, message)
        library.finish(session)
        return verdict == OK

    return {"gsasl": login}


def cram_md5() -> Contenders:
    """Return a CRAM-MD5 client and server; the challenge is the library's own."""
    client = {AUTHID: b"tim", PASSWORD: b"tanstaaftanstaaf"}
    return _both(b"CRAM-MD5", client, {PASSWORD: b"tanstaaftanstaaf"}, first="server")


def scram(stored: Stored, salted: bytes) -> Contenders:
    """Return a SCRAM-SHA-256 client with the salted password kept, and a server with stored keys."""
    salt, iterations, stored_key, server_key = stored
    server = {
        SCRAM_ITER: b"%d" % iterations,
        SCRAM_SALT: base64.b64encode(salt),
        SCRAM_STOREDKEY: base64.b64encode(stored_key),
        SCRAM_SERVERKEY: base64.b64encode(server_key),
    }
    client = {AUTHID: b"tim", SCRAM_SALTED_PASSWORD: salted.hex().encode()}
    return _both(b"SCRAM-SHA-256", client, server, first="client")


def _both(mechanism: bytes, client: Mapping[int, bytes], server: Mapping[int, bytes], *, first: str) -> Contenders:
    if LIBRARY is None:
        return {}
    library = LIBRARY

    def login() -> bool:
        sides = [library.session("client", mechanism, client), library.session("server", mechanism, server)]
        speaker, message, verdicts = (0 if first == "client" else 1), b"", [NEEDS_MORE, NEEDS_MORE]
        while NEEDS_MORE in verdicts and all(verdict in (OK, NEEDS_MORE) for verdict in verdicts):
            verdicts[speaker], message = library.step(sides[speaker], message)
            speaker = 1 - speaker
        for session in sides:
            library.finish(session)
        return verdicts == [OK, OK]

    return {"gsasl": login}
