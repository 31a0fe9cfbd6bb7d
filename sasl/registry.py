"""Which mechanisms there are: the built-in table, what was registered, and entry points of other packages.

Names are those of RFC 4422 section 3.1, compared in ASCII and without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module

from .channel import UNKNOWN_CHANNEL, Channel
from .client_exchange import ClientExchange
from .credentials import Anonymous, Bearer, Credentials, External, Password, is_credentials
from .errors import MechanismUnavailable, SASLError, UsageError, bare, is_interruption
from .limits import DEFAULT_LIMITS, Limits
from .server_exchange import ServerExchange
from .steps import CheckAnonymous, CheckCertificate, CheckPassword, CheckToken, Options, Question
from .typed import TYPE_CHECKING, cast, final
from .value import KW_ONLY, value

if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    from .steps import ClientSteps, ServerSteps

    _Ready: TypeAlias = "tuple[Mechanism, Callable[..., Any], Options]"

BUILT_IN: Final = "sasl.mechanisms"
"""The module whose ROWS are the built-in table, loaded at the first look-up."""
ENTRY_POINTS: Final = "sasl.mechanisms"
"""The entry-point group in which other packages name a row; looked at only for names that are not built in."""

Script: TypeAlias = Callable[..., "Any"] | str

_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_LONGEST: Final = 20
_NO_NAME: Final = "not a mechanism name (RFC 4422 section 3.1)"
_ASKED_FOR: Final[dict[type, tuple[type[Question], ...]]] = {
    Password: (CheckPassword,),
    Bearer: (CheckToken,),
    External: (CheckCertificate,),
    Anonymous: (CheckAnonymous,),
}


@final
@value
class Mechanism:
    """A row of the table: one mechanism, or login command, and what choosing it depends on.

    Attributes:
        name: as in RFC 4422 section 3.1, in upper case.
        client: the client script, a generator function of (credentials, options, **mechanism options), or
            "module:name" of one, imported when it is first used; None if there is no client side.
        server: the server script, of (options, **mechanism options), likewise.
        credentials: the type of credentials that the client takes.
        client_first: whether the client speaks first.
        plaintext: whether an eavesdropper could use what is sent: such a mechanism wants TLS.
        rank: the higher, the stronger; `choose` tries the strongest first.
        twin: the name of the same mechanism without channel binding, for a -PLUS row.
        off_by_default: whether it is used only where the policy allows it by name.
        asks: the questions that the server script asks; by default those that fit `credentials`.
        command: whether it is a command of one protocol that logs in without SASL (IMAP's LOGIN, POP's USER and APOP):
            no server lists it as a mechanism, and `choose` takes it only from `commands`.
        needs_tls: whether it says what TLS has proved, and so means nothing without it.
        family: what mechanisms have in common that fail together, for the same thing is kept on the server for all of
            them; after a refusal only one of another family may follow. By default the name: a family of its own.
        prompts: whether the server's challenges are prompts that clients need not read, as in LOGIN: one that is not
            base64 breaks no login.
        derives: whether the client derives keys from the password, which takes as long as the server wants it to: the
            drivers of asynchronous logins do that in a thread.

    Raises UsageError if the name is not one.
    """

    name: str
    client: Script | None
    server: Script | None
    credentials: type
    _: KW_ONLY
    client_first: bool
    plaintext: bool
    rank: int
    twin: str | None = None
    off_by_default: bool = False
    asks: tuple[type[Question], ...] | None = None
    command: bool = False
    needs_tls: bool = False
    family: str = ""
    prompts: bool = False
    derives: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", canonical(self.name))
        if not self.family:
            object.__setattr__(self, "family", self.name)
        if self.twin is not None:
            object.__setattr__(self, "twin", canonical(self.twin))

    @property
    def questions(self) -> tuple[type[Question], ...]:
        """The types of question that a verifier has to serve for the server side."""
        return _ASKED_FOR.get(self.credentials, ()) if self.asks is None else self.asks

    def script(self, side: str) -> Callable[..., Any]:
        """Return the generator function for "client" or "server", importing it at the first use.

        Raises MechanismUnavailable if the row has no such side or it cannot be imported.
        """
        script = self.client if side == "client" else self.server
        if script is None:
            raise MechanismUnavailable(f"{self.name} has no {side} side", mechanism=self.name)
        return _load(script, self.name) if isinstance(script, str) else script


@cache
def _load(path: str, mechanism: str) -> Callable[..., Any]:
    """Import "module:name"."""
    module, _, name = path.partition(":")
    try:
        script = getattr(import_module(module), name)
    except Exception as error:
        if is_interruption(error):
            raise
        failure = f"{type(error).__name__}: {error}"
    else:
        if callable(script):
            return cast("Callable[..., Any]", script)
        failure = "it is not a function"
    raise MechanismUnavailable(f"{path} of {mechanism} cannot be loaded: {failure}", mechanism=mechanism)


def canonical(name: str | bytes) -> str:
    """Return a mechanism name in upper case.

    Only ASCII letters fold: str.upper() would make "PLAIN" of a name with a dotless i. Raises UsageError
    if it is not a name (RFC 4422 section 3.1: 1 to 20 of A-Z, 0-9, "-" and "_"); one that begins with "__"
    is Python's, no mechanism's, and is refused as a matter of policy.
    """
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if isinstance(text, str) and len(text) <= _LONGEST:
        try:
            return _upper(text)
        except UsageError:
            pass
    del name, text  # what is no name may be anything, a password too
    raise UsageError(_NO_NAME)


@lru_cache(256)
def _upper(text: str) -> str:
    """Return a name in upper case. Raises UsageError, which is not remembered: what is no name may be anything."""
    upper = text.upper()
    if upper and text.isascii() and _CHARACTERS.issuperset(upper) and not upper.startswith("__"):
        return upper
    raise UsageError(_NO_NAME)


_registered: dict[str, Mechanism] = {}


def register(row: Mechanism, *, replace: bool = False) -> None:
    """Add a mechanism for this process.

    Raises UsageError if the name is taken, by a built-in mechanism or an earlier registration, unless `replace`.
    """
    if not isinstance(row, Mechanism):
        raise UsageError(f"a row is a Mechanism, not {type(row).__name__}")
    if not replace and (row.name in _table() or row.name in _registered):
        raise UsageError(f"{row.name} is there already; replace=True puts another in its place", mechanism=row.name)
    _registered[row.name] = row


def lookup(name: str | bytes) -> Mechanism:
    """Return the row of a mechanism.

    Raises UsageError if `name` is not a name, MechanismUnavailable if nobody provides it or its plug-in is broken.
    """
    row = loaded_row(name) if isinstance(name, str) else None  # spelt as it should be, which saves the rest
    if row is not None:
        return row
    try:
        name = canonical(name)
    except UsageError:
        name = ""
    if not name:
        raise UsageError(_NO_NAME)
    row = loaded_row(name)
    if row is not None:
        return row
    if name in _entry_points():
        return _load_entry_point(name)
    raise MechanismUnavailable(f"no mechanism {name} is known here", mechanism=name)


def loaded_row(name: str) -> Mechanism | None:
    """Return the row of a name in upper case that is built in or registered; None for others: it loads no plug-in."""
    return _registered.get(name) or _table().get(name)


def known_mechanisms() -> list[Mechanism]:
    """Return every row but the login commands, the strongest first; entry points that cannot be loaded are left out."""
    rows = _table() | _registered
    for name in _entry_points().keys() - rows.keys():
        try:
            rows[name] = _load_entry_point(name)
        except MechanismUnavailable:
            continue  # a broken package of somebody else
    return sorted((row for row in rows.values() if not row.command), key=lambda row: (-row.rank, row.name))


def client(
    name: str,
    credentials: Credentials,
    /,
    *,
    channel: Channel | None = None,
    limits: Limits = DEFAULT_LIMITS,
    **mechanism_options: Any,
) -> ClientExchange:
    """Return the client's side of an exchange.

    Raises MechanismUnavailable if there is no such mechanism; UsageError for credentials of another type,
    a token source that was not resolved, or an option that the mechanism does not know.
    """
    ready = _CLIENTS.get(name) if type(name) is str and name not in _registered else None
    if ready is None:
        found = _look_up(name, "client", _CLIENTS)
        if isinstance(found, SASLError):
            del name, credentials  # what is no name may be anything
            raise found
        ready = found
    row, script, options = ready
    kind = type(credentials)
    known = kind is row.credentials and kind in _ASKED_FOR
    if not known and (problem := _misfit(row, credentials)):
        del credentials  # it may be a bare password
        raise UsageError(f"{row.name} {problem}", mechanism=row.name)
    secret, is_token = credentials.secret, credentials.is_token
    if secret is None and is_token:
        raise UsageError("the token source was not asked: call resolve() first", mechanism=row.name)
    if channel is not None or limits is not DEFAULT_LIMITS:
        options = _options(row.name, channel, limits)
    try:
        steps: ClientSteps = (
            script(credentials, options, **mechanism_options) if mechanism_options else script(credentials, options)
        )
    except Exception as error:
        failure = _unusable(row.name, error, mechanism_options)
    else:
        return ClientExchange(row.name, steps, limits, secret, is_token, row.prompts, row.derives)
    raise failure


def server(
    name: str,
    /,
    *,
    channel: Channel | None = None,
    limits: Limits = DEFAULT_LIMITS,
    success_data: bool = False,
    **mechanism_options: Any,
) -> ServerExchange:
    """Return the server's side of an exchange.

    `success_data` says that the protocol can carry data with its yes (RFC 4422 section 3.6).
    Raises MechanismUnavailable if there is no such mechanism, UsageError for an option that it does not know.
    """
    ready = _SERVERS.get(name) if type(name) is str and name not in _registered else None
    if ready is None:
        found = _look_up(name, "server", _SERVERS)
        if isinstance(found, SASLError):
            del name
            raise found
        ready = found
    row, script, options = ready
    if channel is not None or limits is not DEFAULT_LIMITS:
        options = _options(row.name, channel, limits)
    try:
        steps: ServerSteps = script(options, **mechanism_options) if mechanism_options else script(options)
    except Exception as error:
        failure = _unusable(row.name, error, mechanism_options)
    else:
        return ServerExchange(row.name, steps, limits, success_data)
    raise failure


_CLIENTS: Final[dict[str, _Ready]] = {}
_SERVERS: Final[dict[str, _Ready]] = {}
"""The rows of built-in mechanisms that were used, each with its script and its options where nothing is known of the
connection: to look them up takes as long as the rest of a PLAIN login."""


def _look_up(name: str, side: str, kept: dict[str, _Ready]) -> _Ready | SASLError:
    """Return a row, one of its scripts, and its options where nothing is known of the connection; or the error."""
    try:
        row = lookup(name)
        ready = row, row.script(side), Options(row.name)
    except SASLError as error:
        return bare(error)
    if row is _table().get(row.name):
        kept[row.name] = ready
    return ready


def _misfit(row: Mechanism, credentials: object) -> str:
    """Say why a mechanism cannot use some credentials; nothing where it can."""
    kind = type(credentials).__name__
    if not isinstance(credentials, row.credentials):
        return f"takes {row.credentials.__name__} credentials, not {kind}"
    if not is_credentials(credentials):
        return f"cannot use {kind}: credentials have user, secret and is_token (sasl.Credentials)"
    return ""


def _options(name: str, channel: Channel | None, limits: Limits) -> Options:
    channel = UNKNOWN_CHANNEL if channel is None else channel
    if not isinstance(channel, Channel) or not isinstance(limits, Limits):
        raise UsageError("channel is a Channel, limits are Limits", mechanism=name)
    return Options(name, channel, limits)


def _unusable(name: str, error: Exception, mechanism_options: dict[str, Any]) -> SASLError:
    """Return the error for a script that could not be called.

    A generator function only binds its arguments then: a TypeError is about the options.
    """
    failure: SASLError
    if isinstance(error, SASLError):
        failure = bare(error)
    elif isinstance(error, TypeError):
        names = ", ".join(sorted(mechanism_options)) or "none given"
        mechanism_options.clear()  # a password may have gone astray here; the caller's frame has the same dict
        failure = UsageError(f"{name} does not take these options: {names}")
    else:
        failure = UsageError(f"the mechanism failed with {type(error).__name__}")
    failure.mechanism = name
    return failure


@cache
def _table() -> dict[str, Mechanism]:
    return {row.name: row for row in import_module(BUILT_IN).ROWS}


@cache
def _entry_points() -> dict[str, Any]:
    """The entry points of our group by name; none if the metadata of the installed packages cannot be read."""
    try:
        found = import_module("importlib.metadata").entry_points(group=ENTRY_POINTS)
    except Exception as error:
        if is_interruption(error):
            raise  # what is returned here is kept
        return {}
    return {point.name.upper(): point for point in found}


def _load_entry_point(name: str) -> Mechanism:
    """Load the row that an entry point names."""
    row = _plugged_in(_entry_points()[name], name)
    if isinstance(row, Mechanism):
        return row
    raise MechanismUnavailable(row, mechanism=name)


@cache
def _plugged_in(point: Any, name: str) -> Mechanism | str:
    """Return the row that an entry point names, or why it has none, which is found out once: modules are slow to fail.

    Whatever a module does while it is loaded, like ending the process, is a failure of that module alone.
    """
    try:
        row = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, Exception) and is_interruption(error):
            raise
        failure = f"cannot be loaded: {type(error).__name__}: {error}"
    else:
        if isinstance(row, Mechanism) and row.name == name:
            return row
        failure = "is not the row of that name"
    return f"the plug-in {point.value} for {name} {failure}"
