"""GNU SASL (libgsasl) in this process, by ctypes: clients and servers of its own that take octets and give octets."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from ctypes.util import find_library
from typing import TypeAlias

from ..support.servers import CannotStart

_VERSION = b"2.2.0"  # the first that has tls-exporter


# Gsasl_property in gsasl.h, as far as the mechanisms that we have too ask for it.
_PROPERTIES = {
    "authid": 1,
    "authzid": 2,
    "password": 3,
    "anonymous_token": 4,
    "service": 5,
    "hostname": 6,
    "realm": 11,
    "scram_iter": 15,
    "scram_salt": 16,
    "cb_tls_unique": 18,
    "scram_serverkey": 23,
    "scram_storedkey": 24,
    "cb_tls_exporter": 25,
    "validate_simple": 500,
    "validate_external": 501,
    "validate_anonymous": 502,
}
_NAMES = {number: name for name, number in _PROPERTIES.items()}

Answer: TypeAlias = str | bool | None
Answers: TypeAlias = "Mapping[str, Answer | Callable[[Session], Answer]]"
"""What a side knows, by the name of the property: a text, a bool for a validation, or a function of the session."""

_OK, _NEEDS_MORE, _AUTHENTICATION_ERROR, _NO_CALLBACK = 0, 1, 31, 51
_HASHES = {"sha1": 2, "sha256": 3}
_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class GsaslError(Exception):
    """The library refused; `name` is that of its error, without "GSASL_"."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Session:
    """One side of one exchange.

    Attributes:
        done: whether the library said that the exchange is complete, on this side.
    """

    def __init__(self, library: Gsasl, side: str, mechanism: str, answers: Answers) -> None:
        self.done = False
        self._library = library
        self._answers = answers
        self._error: BaseException | None = None
        self._callback = _CALLBACK(self._called)  # has to live as long as the library may call it
        self._context, self._session = c_void_p(), c_void_p()
        library.check(library.c.gsasl_init(byref(self._context)))
        try:
            library.c.gsasl_callback_set(self._context, self._callback)
            start = getattr(library.c, f"gsasl_{side}_start")
            self._check(start(self._context, mechanism.encode("ascii"), byref(self._session)))
        except BaseException:
            self._session = c_void_p()  # the library has freed it
            self.close()
            raise

    def step(self, message: bytes | None) -> bytes | None:
        """Take a message of the other side, None for none; return what to send, None for nothing at all."""
        output, size = c_void_p(), c_size_t()
        code = self._library.c.gsasl_step(self._session, message, len(message or b""), byref(output), byref(size))
        try:
            self.done = self._check(code) == _OK
            return None if output.value is None else ctypes.string_at(output.value, size.value)
        finally:
            self._library.c.gsasl_free(output)

    def __getitem__(self, name: str) -> str | None:
        """What the session knows by now."""
        value: bytes | None = self._library.c.gsasl_property_fast(self._session, _PROPERTIES[name])
        return None if value is None else value.decode("utf-8")

    def close(self) -> None:
        self._library.c.gsasl_finish(self._session)
        self._library.c.gsasl_done(self._context)
        self._session, self._context = c_void_p(), c_void_p()

    def _check(self, code: int) -> int:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._library.check(code)

    def _called(self, _context: int | None, session: int, number: int) -> int:
        """Give the library what it asks for. Nothing may be raised through C: that waits for `_check`."""
        self._session.value = session  # some ask before gsasl_client_start has returned it
        try:
            return self._answered(number)
        except BaseException as error:
            self._error = error
            return _AUTHENTICATION_ERROR

    def _answered(self, number: int) -> int:
        answer = self._answers.get(_NAMES.get(number, ""))
        if callable(answer):
            answer = answer(self)
        if answer is None:
            return _NO_CALLBACK
        if isinstance(answer, bool):
            return _OK if answer else _AUTHENTICATION_ERROR
        return self._library.check(self._library.c.gsasl_property_set(self._session, number, answer.encode("utf-8")))


class Gsasl:
    """The library."""

    def __init__(self, c: ctypes.CDLL) -> None:
        self.c = c

    @contextmanager
    def client(self, mechanism: str, answers: Answers) -> Iterator[Session]:
        with self._session("client", mechanism, answers) as session:
            yield session

    @contextmanager
    def server(self, mechanism: str, answers: Answers) -> Iterator[Session]:
        with self._session("server", mechanism, answers) as session:
            yield session

    def mechanisms(self, side: str) -> list[str]:
        """What it has on a side, "client" or "server"."""
        context, names = c_void_p(), c_void_p()
        self.check(self.c.gsasl_init(byref(context)))
        try:
            self.check(getattr(self.c, f"gsasl_{side}_mechlist")(context, byref(names)))
            assert names.value is not None
            return ctypes.string_at(names.value).decode("ascii").split()
        finally:
            self.c.gsasl_free(names)
            self.c.gsasl_done(context)

    def scram_keys(self, hash_name: str, password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
        """StoredKey and ServerKey."""
        size = hashlib.new(hash_name).digest_size
        salted, client, server, stored = (ctypes.create_string_buffer(size) for _ in range(4))
        number, octets = _HASHES[hash_name], password.encode("utf-8")
        self.check(
            self.c.gsasl_scram_secrets_from_password(
                number, octets, iterations, salt, len(salt), salted, client, server, stored
            )
        )
        return stored.raw, server.raw

    def check(self, code: int) -> int:
        """Raise GsaslError for a code that is one of an error."""
        if code in (_OK, _NEEDS_MORE):
            return code
        name: bytes = self.c.gsasl_strerror_name(code)
        text: bytes = self.c.gsasl_strerror(code)
        raise GsaslError(name.decode("ascii").removeprefix("GSASL_"), text.decode("utf-8"))

    @contextmanager
    def _session(self, side: str, mechanism: str, answers: Answers) -> Iterator[Session]:
        session = Session(self, side, mechanism, answers)
        try:
            yield session
        finally:
            session.close()

    def __repr__(self) -> str:
        return "<libgsasl>"


@contextmanager
def running() -> Iterator[Gsasl]:
    """Load the library. It needs no end: each session frees what it took."""
    name = find_library("gsasl") or "libgsasl.so.18"
    try:
        c = ctypes.CDLL(name)
    except OSError as error:
        raise CannotStart(f"there is no GNU SASL on this machine (Debian: libgsasl18): {error}") from None
    for function, (result, arguments) in _FUNCTIONS.items():
        try:
            prototype = getattr(c, function)
        except AttributeError:
            raise CannotStart(f"{name} is too old: it has no {function}") from None
        prototype.restype, prototype.argtypes = result, arguments
    if c.gsasl_check_version(_VERSION) is None:
        raise CannotStart(f"these tests know GNU SASL from {_VERSION.decode('ascii')} on, {name} is older")
    yield Gsasl(c)


_OUT, _SIZE_OUT = POINTER(c_void_p), POINTER(c_size_t)
_FUNCTIONS: dict[str, tuple[object, list[object]]] = {
    "gsasl_check_version": (c_char_p, [c_char_p]),
    "gsasl_init": (c_int, [_OUT]),
    "gsasl_done": (None, [c_void_p]),
    "gsasl_callback_set": (None, [c_void_p, _CALLBACK]),
    "gsasl_client_mechlist": (c_int, [c_void_p, _OUT]),
    "gsasl_server_mechlist": (c_int, [c_void_p, _OUT]),
    "gsasl_client_start": (c_int, [c_void_p, c_char_p, _OUT]),
    "gsasl_server_start": (c_int, [c_void_p, c_char_p, _OUT]),
    "gsasl_step": (c_int, [c_void_p, c_char_p, c_size_t, _OUT, _SIZE_OUT]),
    "gsasl_finish": (None, [c_void_p]),
    "gsasl_property_set": (c_int, [c_void_p, c_int, c_char_p]),
    "gsasl_property_fast": (c_char_p, [c_void_p, c_int]),
    "gsasl_scram_secrets_from_password": (
        c_int,
        [c_int, c_char_p, c_uint, c_char_p, c_size_t, *[c_char_p] * 4],
    ),
    "gsasl_strerror": (c_char_p, [c_int]),
    "gsasl_strerror_name": (c_char_p, [c_int]),
    "gsasl_free": (None, [c_void_p]),
}
