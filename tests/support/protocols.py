"""IMAP, POP3 and SMTP behind one face: how each says it, the library that speaks it, our binding and our wires of it.

A line of IMAP has "{tag}" for the tag of the client's last command.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import poplib
import smtplib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
import sasl.adapters.wire.imap
import sasl.adapters.wire.pop
import sasl.adapters.wire.smtp
from sasl.value import replace

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from types import ModuleType

Turn = tuple[bytes | None, Any]


def b64(data: bytes | str) -> bytes:
    return base64.b64encode(data.encode() if isinstance(data, str) else data)


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        library: the standard library's module, whose classes for a connection are called `plain` and `plain`_SSL.
        own: what our description of it says otherwise in tests.
        prefix: of the names of the binding's errors.
        prompt: what a challenge begins with.
        returned: what a login returns that ended in `yes`.
        refused: the library's error for a login that was refused; `error` for anything, `lost` for a lost connection.
    """

    name: str
    library: ModuleType
    binding: ModuleType
    wire: ModuleType
    plain: str
    prefix: str
    greeting: bytes
    auth: bytes
    prompt: bytes
    yes: bytes
    no: bytes
    temporary: bytes
    cancelled: bytes
    bye: bytes
    noop: Turn
    returned: object
    refused: type[Exception]
    error: type[Exception]
    lost: type[Exception]
    own: Mapping[str, str] = field(default_factory=dict)

    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ()) -> list[Turn]:
        """The turn in which the server says what it can do."""
        raise NotImplementedError

    def challenge(self, data: bytes) -> bytes:
        return self.prompt + b64(data) + b"\r\n"

    def command(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """The command line, with the initial response if there is one."""
        argument = b"" if initial is None else b" " + (b64(initial) or b"=")
        return self.auth + mechanism.encode() + argument

    def described(self, module: ModuleType | None = None, plain: Any = None) -> Any:
        """Our description of the library, for connections of the library's own classes, of `module`'s or of `plain`."""
        module = module or self.library
        classes = (plain or getattr(module, self.plain), getattr(module, f"{self.plain}_SSL"))
        return replace(self.binding.LIBRARY, open=partial(self.binding.LIBRARY.open, classes=classes, **self.own))

    def connect(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        module: ModuleType | None = None,
        *,
        host: str = "127.0.0.1",
        timeout: float | None = None,
    ) -> Any:
        """A connection of the library's, or of `module`'s; over TLS if there is a context."""
        return self.described(module).open(host, port, tls=context, timeout=timeout)

    @contextlib.contextmanager
    def connected(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        module: ModuleType | None = None,
        *,
        implicit: bool = True,
        **options: Any,
    ) -> Iterator[Any]:
        """The same until the end of the block, perhaps with TLS by STARTTLS; then closed without a farewell."""
        conn = self.connect(port, context if implicit else None, module, **options)
        try:
            if context is not None and not implicit:
                self.start_tls(conn, context)
            yield conn
        finally:
            self.close(conn)

    def over(self, sock: Any, module: ModuleType | None = None) -> Any:
        """A connection of the library's, or of `module`'s, over a socket that it is given."""

        class Given(getattr(module or self.library, self.plain)):  # type: ignore[misc]
            def _create_socket(self, _timeout: float | None) -> Any:  # imaplib and poplib
                return sock

            def _get_socket(self, _host: str, _port: int, _timeout: float | None) -> Any:  # smtplib
                return sock

        return self.described(plain=Given).open("mail.example", 0)

    def start_tls(self, conn: Any, context: ssl.SSLContext) -> None:
        """Let the library begin TLS."""
        self.binding.LIBRARY.start_tls(conn, context)

    def close(self, conn: Any) -> None:
        """Close the connection at once, also one that the server has closed."""
        self.binding.LIBRARY.close(conn)

    def is_closed(self, conn: Any) -> bool:
        """Whether library and binding know that the connection is closed."""
        return conn.sock is None

    def is_logged_in(self, conn: Any) -> bool:
        """What the library believes; poplib and smtplib keep no such state."""
        return False

    def error_named(self, name: str) -> type[sasl.SASLError]:
        """The binding's class for an error of ours."""
        error: type[sasl.SASLError] = getattr(self.binding, self.prefix + name)
        return error


class _Imap(Protocol):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("SASL-IR",)) -> list[Turn]:
        listed = " ".join(["IMAP4rev1", *extra, *(f"AUTH={name}" for name in mechanisms)])
        return [(b"{tag} CAPABILITY", f"* CAPABILITY {listed}\r\n".encode() + b"{tag} OK done\r\n")]

    def is_closed(self, conn: Any) -> bool:
        return bool(conn.state == "LOGOUT" and conn.sock.fileno() == -1)

    def is_logged_in(self, conn: Any) -> bool:
        return bool(conn.state == "AUTH")


class _Pop(Protocol):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("USER",)) -> list[Turn]:
        lines = ["+OK these", *extra, *(["SASL " + " ".join(mechanisms)] if mechanisms else []), ".", ""]
        return [(b"CAPA", "\r\n".join(lines).encode())]


class _Smtp(Protocol):
    def offer(self, *mechanisms: str, extra: tuple[str, ...] = ("SIZE 1000",)) -> list[Turn]:
        lines = ["250-mx.example", *(f"250-{line}" for line in extra)]
        if mechanisms:
            lines.append("250-AUTH " + " ".join(mechanisms))
        return [(b"ehlo client.example", "\r\n".join([*lines, "250 HELP", ""]).encode())]


# what each protocol has: IMAP, POP3, SMTP
_FIELDS: Final[dict[str, tuple[Any, Any, Any]]] = {
    "name": ("imap", "pop", "smtp"),
    "library": (imaplib, poplib, smtplib),
    "binding": (sasl.adapters.imaplib, sasl.adapters.poplib, sasl.adapters.smtplib),
    "wire": (sasl.adapters.wire.imap, sasl.adapters.wire.pop, sasl.adapters.wire.smtp),
    "plain": ("IMAP4", "POP3", "SMTP"),
    "prefix": ("IMAP", "POP", "SMTP"),
    "greeting": (b"* OK ready\r\n", b"+OK ready\r\n", b"220 mx.example ESMTP\r\n"),
    "auth": (b"{tag} AUTHENTICATE ", b"AUTH ", b"AUTH "),
    "prompt": (b"+ ", b"+ ", b"334 "),
    "yes": (b"{tag} OK [CAPABILITY IMAP4rev1 AFTER] Logged in\r\n", b"+OK Logged in.\r\n", b"235 2.7.0 Accepted\r\n"),
    "no": (
        b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n",
        b"-ERR [AUTH] Invalid credentials\r\n",
        b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 See https://help.example\r\n",
    ),
    "temporary": (
        b"{tag} NO [UNAVAILABLE] Try later\r\n",
        b"-ERR [SYS/TEMP] Try later\r\n",
        b"454 4.7.0 Try later\r\n",
    ),
    "cancelled": (b"{tag} BAD Cancelled\r\n", b"-ERR Cancelled\r\n", b"501 5.7.0 Cancelled\r\n"),
    "bye": (b"* BYE Session expired, please login again.\r\n", b"", b"421 4.7.0 Closing\r\n"),
    "noop": ((b"{tag} NOOP", b"{tag} OK nothing\r\n"), (b"NOOP", b"+OK\r\n"), (b"noop", b"250 ok\r\n")),
    "returned": (("OK", [b"[CAPABILITY IMAP4rev1 AFTER] Logged in"]), b"+OK Logged in.", (235, b"2.7.0 Accepted")),
    "refused": (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPAuthenticationError),
    "error": (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPException),
    "lost": (imaplib.IMAP4.abort, poplib.error_proto, smtplib.SMTPServerDisconnected),
    "own": ({}, {}, {"local_hostname": "client.example"}),
}

_COLUMNS: Final = zip((_Imap, _Pop, _Smtp), *_FIELDS.values(), strict=True)

PROTOCOLS: Final[dict[str, Protocol]] = {
    values[0]: kind(**dict(zip(_FIELDS, values, strict=True))) for kind, *values in _COLUMNS
}
