"""Starts and stops the reference servers: `serving` within an event loop, `running` for everybody else."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from sasl.errors import UsageError
from sasl.prep import prepare_own
from sasl.value import field, replace, value

from .backend import Backend
from .certificates import issue, keep, of_the_day, server_context, write_pair
from .clock import Clock
from .endpoint import Endpoint
from .grants import TokenEndpoint
from .identity import Identity
from .imap import ImapConversation
from .journal import Log
from .listening import Listeners, LoopCalls, in_thread_of, listening_address, name_port
from .lmtp import LmtpConversation
from .mail.store import INBOX, NoSuchMailbox, octets_of
from .personas import DEFAULT, Persona, load
from .pop import PopConversation
from .settings import DEFAULT_SETTINGS, Settings
from .smtp import SmtpConversation
from .token_endpoint import serving_authority
from .verifier import SCOPE, TOKEN_STATES, TokenState, Users, Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
    from datetime import datetime
    from email.message import Message as AnyMessage
    from os import PathLike

    from sasl.keys import ScramKeys

    from .certificates import Authority
    from .checks import Checks
    from .connection import Connection
    from .conversation import Conversation
    from .faults import Faults
    from .journal import Attempt
    from .mail.store import Account, Mailbox, Message
    from .outbox import Sent
    from .verdicts import Verdict

_Result = TypeVar("_Result")

USERS: Final[Mapping[str, str]] = {"alice": "wonderland"}
"""Who can log in, unless the caller says otherwise."""

SERVICES: Final = ("imap", "pop", "smtp", "lmtp")
"""The mail servers, by the names of their protocols."""

_KEPT_SESSIONS: Final = 1_000


@final
@value
class Servers:
    """What is running.

    Attributes:
        imap, pop, smtp, lmtp: the servers.
        ca_file: the certificate of the CA that signed theirs, PEM; gone when they stop. All servers of a process
            show the same certificate, another one each day.
        users: name to password, as it is now; without those that were given by stored keys.
        tokens: a token of the first user's for each of "good", "expired" and "revoked"; the good one is good until it
            is revoked.
        oauth: the authority, whose tokens are good here; it issues and revokes them, and has HTTP if that was wanted.
        verifier: who checks; its `add_token` makes more tokens known.
        clock: what time it is here.
    """

    imap: Endpoint
    pop: Endpoint
    smtp: Endpoint
    lmtp: Endpoint
    ca_file: Path
    users: Mapping[str, str] = field(hidden=True)
    tokens: Mapping[TokenState, str] = field(hidden=True)
    oauth: TokenEndpoint = field(hidden=True)
    verifier: Verifier = field(hidden=True)
    clock: Clock
    _backend: Backend = field(hidden=True)
    _call: LoopCalls = field(hidden=True)
    _clients: Authority = field(hidden=True)

    def deliver(
        self,
        user: str,
        message: bytes | str | AnyMessage,
        *,
        mailbox: str = INBOX,
        flags: Collection[str] = (),
        date: datetime | None = None,
    ) -> Message:
        """Put a message into a user's mailbox, where clients that wait for one hear of it; return it.

        `date` is when it came, None for now. Lines get CRLF at their ends. Raises UsageError for what is no message, no
        flag or no date with a zone, and for a mailbox that there is not; `sasl.adapters.reference.mail.store.Full` if
        there is no room.
        """
        octets = octets_of(message)
        when = self.clock.now() if date is None else date
        return self._call(lambda: self._mailbox(user, mailbox).add(octets, flags, when))

    def mailbox(self, user: str, name: str = INBOX) -> Mailbox:
        """Return a user's mailbox, to look into; UsageError if there is no such user, or no mailbox of that name."""
        return self._call(lambda: self._mailbox(user, name))

    def account(self, user: str) -> Account:
        """Return the mailboxes of a user, to look into."""
        return self._call(lambda: self._backend.accounts.account(self._user(user)))

    def reset(self) -> None:
        """Begin anew: no mail, no faults, no sessions, nothing known of earlier ones.

        What stays is the time, which does not go back, and who may log in: users, tokens, consents. Where each test has
        servers of its own, nobody needs this. Sessions that go on are told that the server shuts down.
        """
        self._call(self._reset)

    def _reset(self) -> None:
        self._backend.clear()
        for endpoint in self._endpoints:
            endpoint.sessions.clear()

    @property
    def _endpoints(self) -> tuple[Endpoint, ...]:
        return self.imap, self.pop, self.smtp, self.lmtp

    def env(self) -> dict[str, str]:
        """Return where the servers are, as programs that are tested find it in their environment.

        IMAP_HOST, IMAP_PORT (in the clear at first, STARTTLS) and IMAPS_PORT (TLS at once), the same for POP, SMTP and
        LMTP, as far as they are served; SSL_CERT_FILE, whose certificates Python and OpenSSL trust; OAUTH_TOKEN_URL,
        if the authority has HTTP.
        """
        found = {"SSL_CERT_FILE": str(self.ca_file)}
        for endpoint in (endpoint for endpoint in self._endpoints if endpoint.port):
            name = endpoint.protocol.upper()
            ports = {f"{name}_PORT": str(endpoint.port), f"{name}S_PORT": str(endpoint.tls_port)}
            found |= {f"{name}_HOST": endpoint.host, **ports}
        return {**found, "OAUTH_TOKEN_URL": self.oauth.url} if self.oauth.url else found

    def add_user(self, name: str, password: str | ScramKeys) -> None:
        """Let another user in from now on. Raises UsageError for one that there is, and for what cannot be used."""
        self._change(lambda identity: identity.add(name, password))

    def remove_user(self, name: str) -> None:
        """Forget a user, with all mail; sessions have ended when this returns. Raises UsageError for a stranger."""
        known = self._call(lambda: self._backend.identity.users.known(name))
        self._change(lambda identity: identity.remove(known))
        self._call(lambda: self._backend.accounts.remove(known))

    def set_password(self, name: str, password: str | ScramKeys, *, sign_out: bool | None = None) -> None:
        """Give a user another password. With `sign_out`, sessions end, and no token that the user has is good any more.

        Without it nothing ends; None is for what the persona says that ends. Raises UsageError for a stranger, and for
        a password that cannot be used.
        """
        ends = self._backend.persona.password_ends if sign_out is None else ("sessions" if sign_out else "")
        self._change(lambda identity: identity.set_password(name, password, ends=ends))

    def disable(self, name: str) -> None:
        """Let a user in no more: sessions end, logins are refused, no token is given. UsageError for a stranger."""
        self._change(lambda identity: identity.users.disable(name))

    def enable(self, name: str) -> None:
        """Let a user in again. Raises UsageError for a stranger."""
        self._change(lambda identity: identity.users.enable(name))

    def _change(self, change: Callable[[Identity], object]) -> None:
        """Change who may log in; sessions that may go on no more have ended when this returns."""

        def run() -> None:
            change(self._backend.identity)
            self._backend.review()

        self._call(run)

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Run a function in the servers' event loop, where what they hold may be changed; return what it returns."""
        return self._call(function)

    def _mailbox(self, user: str, name: str) -> Mailbox:
        if not isinstance(user, str) or not isinstance(name, str):
            raise UsageError("a user and a mailbox are named by str")
        try:
            return self._backend.accounts.account(self._user(user)).mailbox(name)
        except NoSuchMailbox:
            pass
        raise UsageError(f"{user} has no mailbox {name!r}")

    def _user(self, name: str) -> str:
        """Return a user's name as a login gives it; UsageError for nobody's, where no verifier of the caller's is."""
        identity = self._backend.identity
        found = identity.users.find_user(name)
        if found is None and identity.checks is identity.users:
            raise UsageError(f"no such user: {name!r}")
        return found or name

    @property
    def faults(self) -> Faults:
        """What goes wrong on purpose."""
        return self._backend.faults

    @property
    def log(self) -> Log:
        """What clients did."""
        return Log(self._backend.journal, self._call)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last login attempts at all servers, the newest last."""
        return self.log.attempts

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What clients did that they should not have done, the newest last."""
        return self.log.verdicts

    def assert_token_sent_once(self) -> None:
        """Raise AssertionError if a client sent a token again that was refused, or none sent any."""
        self.log.assert_token_sent_once()

    def assert_no_cleartext_credential(self) -> None:
        """Raise AssertionError if a client sent a password or token without TLS."""
        self.log.assert_no_cleartext_credential()

    def assert_error_challenge_answered(self) -> None:
        """Raise AssertionError if a client did not answer an error challenge as it should, or none got one."""
        self.log.assert_error_challenge_answered()

    # --- for control by HTTP, and whoever else looks on

    @property
    def persona(self) -> Persona:
        """Whom the servers play for those who connect now."""
        return self._backend.persona

    def play(self, persona: str | PathLike[str]) -> None:
        """Play another persona, for those who connect from now on; mailboxes stay. UsageError for one that is none."""
        played = load(persona)

        def change() -> None:
            self._backend.persona = played

        self._call(change)

    def watch(self, told: Callable[[object], object]) -> Callable[[], None]:
        """Have a function called in the servers' event loop for whatever happens; return what ends that.

        It gets what the journal has of it (`Session`, `Command`, `Attempt`, `Verdict`), a message that was sent
        (`Sent`), or the clock when that was moved.
        """
        backend = self._backend
        ends = [
            backend.journal.watch(told),
            backend.outbox.watch(told),
            self.clock.watch(lambda: self._call(lambda: told(self.clock))),
        ]

        def end() -> None:
            for each in ends:
                each()

        return end

    def end_session(self, number: int, why: str = "revoked") -> bool:
        """End the session of that number as if for this reason, "expired" and so on; return whether it went on."""
        return self._call(lambda: self._end_session(number, why))

    def _end_session(self, number: int, why: str) -> bool:
        for conversation in self._backend.open:
            if conversation.record.number == number:
                conversation.end(why)
                return True
        return False

    def sent(self) -> Mapping[int, Sent]:
        """Return what clients have sent by SMTP and LMTP, by numbers that stay."""
        return self._call(self._backend.outbox.numbered)

    def forget_sent(self) -> None:
        """Forget what clients have sent."""
        self._call(self._backend.outbox.clear)

    # --- for clients

    def client_context(self) -> ssl.SSLContext:
        """Return a new TLS context for a client, which trusts the servers of this process and nobody else."""
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
    clock: Clock | None = None,
    oauth: bool = False,
    persona: str | PathLike[str] = DEFAULT,
    services: Collection[str] = SERVICES,
    tls_directory: Path | None = None,
    remote: str = "",
) -> AsyncIterator[Servers]:
    """Run an IMAP, a POP3, a SMTP and a LMTP server in this event loop, at a loopback address, until the block ends.

    `users` maps names to passwords or to `ScramKeys`; `tokens` maps "good", "expired" and "revoked" to tokens of the
    first user, and what it leaves out is made up. `ports` are by name ("imap", "imaps", "pop", "pops", "smtp",
    "smtps", "lmtp", "lmtps", "http"); a missing one, and 0, is one that is free. `checks` may put a verifier of the
    caller's before the servers' own. `clock` is what time it is there; tests move it. `oauth` is whether the authority
    has HTTP. `persona` is how they behave, by its name or the path of its file (`sasl.adapters.reference.personas`).
    `services` are those of `SERVICES` that listen. `tls_directory` is where the CA and the certificate are kept, for
    another run. `remote` lets other machines in, which call this one by that name; "" lets none in.
    Raises UsageError for an address that is not of this machine alone, for users or tokens that cannot be used, and for
    a directory that cannot; `listening.PortTaken`, an OSError, if a port is taken; TokenError (missing_extra) for an
    authority with HTTP, but without h11.
    """
    address = listening_address(host, "the reference servers listen", remote=remote)
    if remote:
        settings = replace(settings, hosts=(*settings.hosts, remote))
    allowed = settings.policy.allow
    verifier = Verifier(users, anonymous="ANONYMOUS" in allowed, common_name=settings.common_name)
    time = clock or Clock()
    authority = TokenEndpoint("", time)
    known = known_tokens(users, tokens or {}, verifier)
    unknown = set(ports or {}) - {name + suffix for name in SERVICES for suffix in ("", "s")} - {"http"}
    unknown |= set(services) - set(SERVICES)
    if unknown:
        raise UsageError(f"no such server: {', '.join(sorted(unknown))}")
    async with contextlib.AsyncExitStack() as stack:
        directory = _keep_certificates(stack, tls_directory, remote)
        clients = of_the_day()[1]
        context = server_context(directory, clients=clients)
        identity = Identity(users, verifier, authority, checks(verifier) if checks else verifier)
        for state, token in known.items():
            authority.adopt(token, prepare_own(next(iter(users)), stored=True), state, scope=SCOPE)
        backend = Backend(identity.checks, settings, context, clock=time, identity=identity, persona=load(persona))
        authority.rules = backend.faults
        calls = LoopCalls()
        stack.callback(calls.close)
        for watch in (time.watch, identity.watch):
            stack.callback(watch(lambda: calls(backend.review)))
        listening = Listening(address, ports or {}, backend, calls=calls, name=remote)
        stack.push_async_callback(listening.stop)
        imap, pop, smtp, lmtp = [await listening.endpoint(name, listens=name in services) for name in SERVICES]
        if oauth:
            port = (ports or {}).get("http", 0)
            with name_port("http", port):
                await stack.enter_async_context(serving_authority(authority, host=host, port=port, remote=remote))
        yield Servers(
            imap,
            pop,
            smtp,
            lmtp,
            directory / "ca.pem",
            identity.passwords,
            known,
            authority,
            verifier,
            time,
            backend,
            calls,
            clients,
        )


def _keep_certificates(stack: contextlib.AsyncExitStack, directory: Path | None, name: str) -> Path:
    """Return where the CA and the certificate are: in a directory that stays, or in one that goes with the stack."""
    if directory is not None:
        keep(directory, name)
        return directory
    temporary = Path(stack.enter_context(TemporaryDirectory(prefix="saslkit-")))
    if name:
        issue(name).write(temporary)
    else:
        of_the_day()[0].write_for_now(temporary)
    return temporary


running = in_thread_of(serving, "saslkit-reference")


_CONVERSATIONS: Final[Mapping[str, type[Conversation]]] = {
    "imap": ImapConversation,
    "pop": PopConversation,
    "smtp": SmtpConversation,
    "lmtp": LmtpConversation,
}


@final
class Listening:
    """The listening sockets and everything that came of them; `kept` is how many sessions are remembered of each."""

    def __init__(
        self,
        host: str,
        ports: Mapping[str, int],
        backend: Backend,
        *,
        kept: int = _KEPT_SESSIONS,
        calls: LoopCalls | None = None,
        name: str = "",
    ) -> None:
        self._host = host
        self._ports = ports
        self._backend = backend
        self._kept = kept
        self._name = name or host
        self._calls = calls or LoopCalls()
        self._listeners = Listeners()

    async def endpoint(self, protocol: str, *, listens: bool = True) -> Endpoint:
        """Open the two ports of a server, if it is to listen. Raises PortTaken if one cannot be had."""
        sessions: deque[Conversation] = deque(maxlen=self._kept)
        port = tls_port = 0
        if listens:
            port = await self._open(protocol, sessions, implicit_tls=False)
            tls_port = await self._open(protocol, sessions, implicit_tls=True)
        return Endpoint(protocol, self._name, port, tls_port, sessions, self._backend, self._calls)

    async def _open(self, protocol: str, sessions: deque[Conversation], *, implicit_tls: bool) -> int:
        def hold(connection: Connection) -> Coroutine[Any, Any, None]:
            session = _CONVERSATIONS[protocol](connection, self._backend, port=port)
            sessions.append(session)
            return session.run(implicit_tls=implicit_tls)

        name = protocol + "s" if implicit_tls else protocol
        wanted = self._ports.get(name, 0)
        with name_port(name, wanted):
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
