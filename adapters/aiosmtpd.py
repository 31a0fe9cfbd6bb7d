"""aiosmtpd as a server with all mechanisms that are known here (RFC 4954): `SMTP`, and `Controller` to run it.

    controller = Controller(handler, sasl=Settings(verifier, [sasl.CheckPassword]), tls_context=context)

The verifier takes the place of aiosmtpd's `authenticator`, and of a handler's `handle_AUTH` and `auth_*` methods.
"""

from __future__ import annotations

from asyncio import LimitOverrunError
from collections import defaultdict
from functools import partial
from inspect import signature

import aiosmtpd.controller
import aiosmtpd.smtp

from sasl.channel import LazyBindings
from sasl.errors import UsageError
from sasl.policy import DEFAULT_POLICY, offer
from sasl.registry import canonical
from sasl.settlement import settle_async
from sasl.steps import CheckCertificate, Question, Success
from sasl.typed import TYPE_CHECKING, final
from sasl.value import field, replace, value

from .binding import channel
from .channel_binding import bindings
from .wire.smtp import REPLIES, ServerWire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from ssl import SSLObject
    from typing import Any, Final

    from sasl.channel import Channel
    from sasl.policy import Policy
    from sasl.settlement import AsyncVerifier

    from .wire import Line

__all__ = ["SMTP", "Controller", "Settings"]

_LONGEST_LINE: Final = ServerWire([]).longest_line


@final
@value
class Settings:
    """How clients log in.

    Attributes:
        verifier: answers the questions of the mechanisms, at once or awaited (`sasl.settle_async`).
        answers: the types of question that it serves.
        hashes: those that it has the SCRAM keys of every user for; None for any (`sasl.offer`).
        policy: what may be offered on a connection.
        options: what mechanisms are told, by name, or by family: {"SCRAM": {"decoy": ...}}.
        certificate: the server's own, in DER: with it, a client that binds may bind to it (tls-server-end-point).
        failures: failed logins after which the connection is closed.
    """

    verifier: AsyncVerifier
    answers: Collection[type[Question]]
    hashes: Collection[str] | None = None
    policy: Policy = DEFAULT_POLICY
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hidden=True)  # a decoy has a secret
    certificate: bytes | None = None
    failures: int = 10


class SMTP(aiosmtpd.smtp.SMTP):
    """One connection of a client; `settings` are aiosmtpd's.

    Nothing is offered without TLS unless `auth_require_tls` is False, and then what the policy allows; never what
    `auth_exclude_mechanism` names.
    After a login `session.authenticated` is True and `session.auth_data` the `sasl.Success`, which has the `identity`;
    `session.login_data`, which is deprecated, stays None.
    Raises UsageError for an `authenticator` or an `auth_callback`, and for a handler whose `handle_EHLO` is the
    deprecated one with four arguments.
    """

    line_length_limit = _LONGEST_LINE  # asyncio's reader is made with it

    def __init__(
        self,
        handler: Any,
        *,
        sasl: Settings,
        auth_require_tls: bool = True,
        auth_exclude_mechanism: Iterable[str] | None = None,
        **settings: Any,
    ) -> None:
        if not settings.keys().isdisjoint(("authenticator", "auth_callback")):
            raise UsageError("the verifier takes the place of authenticator and auth_callback")
        super().__init__(_Handler(handler), auth_require_tls=auth_require_tls, **settings)
        self.event_handler = handler
        self.line_length_limit = aiosmtpd.smtp.SMTP.line_length_limit  # of the lines of a message
        # Here, as the class's own are those of all connections, and emptied when there is a new one.
        self.command_size_limits = defaultdict(lambda: aiosmtpd.smtp.SMTP.command_size_limit, AUTH=_LONGEST_LINE)
        self._sasl = sasl
        self._wants_tls = auth_require_tls
        self._excluded = frozenset(map(canonical, auth_exclude_mechanism or ()))
        self._failures = 0

    # A method and no property: aiosmtpd looks at all attributes before there is a connection.
    def mechanisms(self) -> list[str]:
        """Return the mechanisms to advertise now, the strongest first; EXTERNAL to those who showed a certificate."""
        if self._wants_tls and self._tls() is None:
            return []
        answers = set(self._sasl.answers)
        if self._client_certificate() is None:
            answers.discard(CheckCertificate)
        names = offer(self._channel(), self._sasl.policy, answers, self._sasl.hashes)
        return [name for name in names if name not in self._excluded]

    @aiosmtpd.smtp.syntax("AUTH <mechanism>")
    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802 -- aiosmtpd's name for it
        """Take AUTH, which needs the EHLO that offered it and is no part of a mail transaction (RFC 4954 section 4)."""
        session, envelope = self.session, self.envelope
        assert session is not None and envelope is not None  # noqa: S101, PT018 -- there is a client
        if await self.check_helo_needed("EHLO"):
            return
        if not session.extended_smtp:
            await self.push("503 5.5.1 EHLO first")
        elif envelope.mail_from is not None:
            await self.push("503 5.5.1 Not in a mail transaction")
        elif self._wants_tls and self._tls() is None:
            await self.push(REPLIES["policy"])
        else:
            await self._log_in(session, f"AUTH {arg or ''}".encode("utf-8", "surrogateescape"))

    # --- helpers

    async def _log_in(self, session: aiosmtpd.smtp.Session, command: bytes) -> None:
        """Run the login that a command line begins, and say what it comes to; it may be one too many."""
        options = dict(self._sasl.options)
        options["EXTERNAL"] = {**options.get("EXTERNAL", {}), "certificate": self._client_certificate()}
        again = bool(session.authenticated)
        wire = ServerWire(self.mechanisms(), channel=self._channel(), options=options, authenticated=again)
        try:
            said = await self._settle(wire, wire.receive(command))
            while wire.result is None:
                self._writer.write(said.octets)  # push() would log it
                await self._writer.drain()
                said = await self._settle(wire, wire.receive(await self._read_line()))
        finally:
            wire.lost()
        if isinstance(wire.result, Success):
            session.authenticated = True
            session.auth_data = wire.result  # type: ignore[assignment]  # which is typed as None
        else:
            self._failures += 1
        await self.push(said.shown)
        if self._failures >= self._sasl.failures:
            await self.push("421 4.7.0 Too many failed logins")
            self._writer.close()

    async def _settle(self, wire: ServerWire, said: Line | Question | None) -> Line:
        """Let the verifier answer what a wire asks; return the line that it has to say then."""
        if isinstance(said, Question):
            assert wire.exchange is not None  # noqa: S101 -- a question comes from one
            said = wire.answered(await settle_async(wire.exchange, said, self._sasl.verifier))
        assert said is not None and not isinstance(said, Question)  # noqa: S101, PT018 -- it is settled
        return said

    async def _read_line(self) -> bytes:
        """Return the client's next line; of one that is too long the end, which is too long as well.

        `challenge_auth` is no way to read one: it logs what is not base64, and leaves the rest of a long line to be
        taken for commands, which are logged.
        """
        begin = b""
        while True:
            try:
                return begin + await self._reader.readuntil(b"\n")
            except LimitOverrunError as error:
                begin = await self._reader.read(error.consumed)

    def _channel(self) -> Channel:
        """Return the connection, as mechanisms and policy see it."""
        assert self.session is not None  # noqa: S101 -- there is a client
        found = channel(self.transport, service="smtp")
        own = partial(bindings, self._tls(), server_side=True, certificate=self._sasl.certificate)
        return replace(
            found,
            loopback=found.loopback and self.session.proxy_data is None,  # else that is the proxy
            port=None,
            bindings=LazyBindings(own, default=found.default_binding) if found.tls else {},
        )

    def _tls(self) -> SSLObject | None:
        """Return what TLS tells of itself, whether it was there at once or came by STARTTLS; None without it."""
        assert self.transport is not None  # noqa: S101 -- there is a client
        tls: SSLObject | None = self.transport.get_extra_info("ssl_object")
        return tls

    def _client_certificate(self) -> bytes | None:
        """Return what the client has shown, DER."""
        tls = self._tls()
        return None if tls is None else tls.getpeercert(binary_form=True)


class Controller(aiosmtpd.controller.Controller):
    """aiosmtpd's, with `SMTP` from here. Its others are made so as well: by a `factory` that returns an `SMTP`."""

    def factory(self) -> SMTP:
        """Return what serves one connection."""
        return SMTP(self.handler, **self.SMTP_kwargs)


@final
class _Handler:
    """What aiosmtpd sees of a handler: all that it has, and a hook for EHLO, which alone can say what is offered."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._hook = getattr(handler, "handle_EHLO", None)
        if self._hook is not None and len(signature(self._hook).parameters) != 5:
            raise UsageError("handle_EHLO of a handler takes server, session, envelope, hostname and responses")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def __dir__(self) -> list[str]:
        return [*dir(self._handler), "handle_EHLO"]

    async def handle_EHLO(self, server: SMTP, session: Any, envelope: Any, name: str, lines: list[str]) -> Any:  # noqa: N802
        """Return the lines of the reply; a hook of the handler has the last word."""
        lines = [line for line in lines if not line.startswith("250-AUTH ")]
        if offered := server.mechanisms():
            lines.insert(-1, f"250-AUTH {' '.join(offered)}")
        if self._hook is not None:
            return await self._hook(server, session, envelope, name, lines)
        session.host_name = name
        return lines
