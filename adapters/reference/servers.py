"""Starts and stops the reference servers: `serving` within an event loop, `running` for everybody else."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import UsageError
from sasl.value import field, value

from .certificates import Authority, issue, server_context, write_pair
from .conversation import DEFAULT_SETTINGS, Conversation, Settings
from .imap import ImapConversation
from .listening import Listeners, in_thread, loopback
from .pop import PopConversation
from .smtp import SmtpConversation
from .verifier import TOKEN_STATES, TokenState, Users, Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping

    from .checks import Checks
    from .connection import Connection

USERS: Final[Mapping[str, str]] = {"alice": "wonderland"}
"""Who can log in, unless the caller says otherwise."""

_KEPT_SESSIONS: Final = 1_000
_THREAD: Final = "saslkit-reference"


@final
@value
class Endpoint:
    """One server, on two ports.

    Attributes:
        protocol: "imap", "pop" or "smtp".
        host: the address that it listens at.
        port: where a connection begins in the clear and may go on under STARTTLS.
        tls_port: where TLS comes first.
        sessions: the last connections, the newest last.
    """

    protocol: str
    host: str
    port: int
    tls_port: int
    sessions: deque[Conversation] = field(hidden=True)


@final
@value
class Servers:
    """What is running.

    Attributes:
        imap, pop, smtp: the servers.
        ca_file: the certificate of the CA that signed theirs, PEM; gone when they stop.
        users: name to password; without those that were given by stored keys.
        tokens: a token of the first user's for each of "good", "expired" and "revoked".
        verifier: who checks; its `add_token` makes more tokens known.
    """

    imap: Endpoint
    pop: Endpoint
    smtp: Endpoint
    ca_file: Path
    users: Mapping[str, str] = field(hidden=True)
    tokens: Mapping[TokenState, str] = field(hidden=True)
    verifier: Verifier = field(hidden=True)
    _clients: Authority = field(hidden=True)

    def client_context(self) -> ssl.SSLContext:
        """Return a new TLS context for a client, which trusts these servers and nobody else."""
        return ssl.create_default_context(cafile=self.ca_file)

    def client_certificate(self, user: str, *, common_name: bool = False) -> tuple[Path, Path]:
        """Make a client certificate that names a user, whom the servers need not know; return its file and its key's.

        They are PEM, for `ssl.SSLContext.load_cert_chain`, and gone when the servers stop. The certificate names the
        user's mailbox, at localhost where the name has no "@"; with `common_name`, the user by its commonName alone,
        which only `Settings.common_name` lets in. Raises UsageError for a name that a certificate cannot hold.
        """
        return write_pair(self.ca_file.parent, *self._clients.client(user, common_name=common_name))


@contextlib.asynccontextmanager
async def serving(
    users: Users = USERS,
    tokens: Mapping[TokenState, str] | None = None,
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    checks: Callable[[Verifier], Checks] | None = None,
) -> AsyncIterator[Servers]:
    """Run an IMAP, a POP3 and a SMTP server in this event loop, at a loopback address, until the block ends.

    `users` maps names to passwords or to `ScramKeys`; `tokens` maps "good", "expired" and "revoked" to tokens of the
    first user, and what it leaves out is made up. `ports` are by name ("imap", "imaps", "pop", "pops", "smtp",
    "smtps"); a missing one, and 0, is one that is free. `checks` may put a verifier of the caller's before the
    servers' own.
    Raises UsageError for an address that is not of this machine alone, and for users or tokens that cannot be
    used; OSError if a port is taken.
    """
    address = loopback(host, "the reference servers listen")
    allowed = settings.policy.allow
    verifier = Verifier(users, anonymous="ANONYMOUS" in allowed, common_name=settings.common_name)
    known = known_tokens(users, tokens or {}, verifier)
    unknown = set(ports or {}) - {name + suffix for name in _CONVERSATIONS for suffix in ("", "s")}
    if unknown:
        raise UsageError(f"no such server: {', '.join(sorted(unknown))}")
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-")))
        issue().write(directory)
        clients = Authority("saslkit reference CA of clients")
        context = server_context(directory, clients=clients)
        listening = Listening(address, ports or {}, checks(verifier) if checks else verifier, settings, context)
        stack.push_async_callback(listening.stop)
        imap, pop, smtp = [await listening.endpoint(name) for name in _CONVERSATIONS]
        passwords = {name: password for name, password in users.items() if isinstance(password, str)}
        yield Servers(imap, pop, smtp, directory / "ca.pem", passwords, known, verifier, clients)


@contextlib.contextmanager
def running(
    users: Users = USERS,
    tokens: Mapping[TokenState, str] | None = None,
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    checks: Callable[[Verifier], Checks] | None = None,
) -> Iterator[Servers]:
    """Do what `serving` does, in a thread of its own: for tests, documentation and blocking clients."""
    with in_thread(
        serving(users, tokens, host=host, ports=ports, settings=settings, checks=checks), _THREAD
    ) as servers:
        yield servers


_CONVERSATIONS: Final[Mapping[str, type[Conversation]]] = {
    "imap": ImapConversation,
    "pop": PopConversation,
    "smtp": SmtpConversation,
}


@final
class Listening:
    """The listening sockets and everything that came of them; `kept` is how many sessions are remembered of each."""

    def __init__(
        self,
        host: str,
        ports: Mapping[str, int],
        verifier: Checks,
        settings: Settings,
        context: ssl.SSLContext,
        *,
        kept: int = _KEPT_SESSIONS,
    ) -> None:
        self._host = host
        self._ports = ports
        self._verifier = verifier
        self._settings = settings
        self._context = context
        self._kept = kept
        self._listeners = Listeners()

    async def endpoint(self, protocol: str) -> Endpoint:
        """Open the two ports of a server. Raises OSError if one cannot be had."""
        sessions: deque[Conversation] = deque(maxlen=self._kept)
        port = await self._open(protocol, sessions, implicit_tls=False)
        tls_port = await self._open(protocol, sessions, implicit_tls=True)
        return Endpoint(protocol, self._host, port, tls_port, sessions)

    async def _open(self, protocol: str, sessions: deque[Conversation], *, implicit_tls: bool) -> int:
        def hold(connection: Connection) -> Coroutine[Any, Any, None]:
            session = _CONVERSATIONS[protocol](connection, self._verifier, self._settings, self._context, port=port)
            sessions.append(session)
            return session.run(implicit_tls=implicit_tls)

        wanted = self._ports.get(protocol + "s" if implicit_tls else protocol, 0)
        port = await self._listeners.open(hold, self._host, wanted)
        return port

    async def stop(self) -> None:
        """Take no more connections and end those that there are."""
        await self._listeners.stop()


def known_tokens(users: Users, tokens: Mapping[TokenState, str], verifier: Verifier) -> Mapping[TokenState, str]:
    """Make the first user's tokens known; return them by their state."""
    if wrong := set(tokens) - set(TOKEN_STATES):
        raise UsageError(f"a token is one of {', '.join(TOKEN_STATES)}, not {', '.join(map(repr, sorted(wrong)))}")
    if not users:
        raise UsageError("the reference servers need a user")
    known: dict[TokenState, str] = {}
    for state in TOKEN_STATES:
        known[state] = tokens.get(state) or f"{state}-{secrets.token_urlsafe(24)}"
        verifier.add_token(known[state], next(iter(users)), state)
    if len(set(known.values())) < len(known):
        raise UsageError("a token cannot be good, expired and revoked at once")
    return known
