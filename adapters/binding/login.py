"""The one sequence of a login, for all libraries: steps that a driver performs.

A step is a call that may have to wait: for a line, for a token. The drivers make it, and await what it returns where
the library is an asynchronous one.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from sasl.credentials import Password, is_credentials
from sasl.errors import AuthenticationFailed, MechanismUnavailable, PolicyViolation, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, against
from sasl.registry import Mechanism, lookup
from sasl.resolution import resolve, resolve_async
from sasl.typed import TYPE_CHECKING, Generic, TypeVar, final
from sasl.value import value

from .clock import Allowance, deadline_of, limit_time
from .connection import close
from .drive import guard, perform, perform_async
from .fallback import Course
from .given import type_of, veil, veil_options
from .memory import MEMORY, Attempt, wait_for, wait_for_async

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from ssl import SSLContext
    from typing import Any, Final, NoReturn, TypedDict, Unpack

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy

    from ..wire import Wire
    from .dialogue import Dialogue
    from .drive import Steps
    from .family import Family
    from .memory import Memory, Turn

C = TypeVar("C")
R = TypeVar("R")

if TYPE_CHECKING:

    class LoginOptions(TypedDict, total=False):
        """How to log in, as for `authenticate`; `watch` gets each choice and its wire before the command is sent."""

        mechanism: str | None
        initial_response: bool | None
        policy: Policy | None
        timeout: float | None
        options: Mapping[str, Any]
        watch: Callable[[Choice, Any], object] | None


@final
@value
class Offer:
    """What a server offers: how to choose from it, and how to make the wire for what was chosen.

    `capabilities` is what it says that it can do, one by one, as it said it.
    `choose(credentials, policy=, channel=, mechanism=, refused=)`, the last only after a refusal;
    `wire(choice, credentials, initial_response=, options=)`.
    """

    choose: Callable[..., Choice]
    wire: Callable[..., Any]
    capabilities: tuple[str, ...] = ()


def _open_nothing(*_given: Any, **_settings: Any) -> NoReturn:
    raise UsageError("connections of this library are opened by who uses it")


_FREE: Final[Callable[..., Any]] = lambda *_: None  # noqa: E731 -- what a library has nothing to do for


@final
@value
class Library(Generic[C, R]):
    """What is to be said about a library: `C` are its connections, `R` is what its logins return.

    `offer`, `finish` and `close` may wait, and so may what the dialogue is made of: in an asynchronous library they
    return what is to be awaited.

    Attributes:
        service: the protocol's service name (RFC 4422 section 4).
        errors: the errors that are ours and the library's: `bind` makes them.
        channel: describe the connection: `channel` does it for what a library has under it.
        dialogue: return how lines go out and come in.
        offer: return the `Offer` of the server; ask for it, if that was not done yet.
        finish: leave the connection as after the library's own login, and return what that returns.
        check: raise for a connection on which nobody can log in now.
        reserve: have the connection for the login alone: the library's own debug output is off then, and commands of
            other tasks wait, or nothing could keep them from being taken for a response.
        close: close the connection; never fail.
        open: connect to a host and a port, under TLS if there is a context: `open(host, port, tls=, timeout=)`. This
            and what follows is for who opens connections himself, as `sasl login` does.
        offers_tls: whether the server offers STARTTLS. Raises PolicyViolation where it is too late for that.
        start_tls: begin TLS by STARTTLS.
        explain: return what an error of the library's means where a connection is opened; None if it is none.
        leave: take leave, as the protocol wants it.
    """

    service: str
    errors: Family
    channel: Callable[[C], Channel]
    dialogue: Callable[[C], Dialogue]
    offer: Callable[[C, Dialogue], Any]
    finish: Callable[[C, Dialogue], Any]
    check: Callable[[C], object] = _FREE
    reserve: Callable[[C], AbstractContextManager[object]] = nullcontext
    close: Callable[[C], object] = close
    open: Callable[..., C] = _open_nothing
    offers_tls: Callable[[C], bool] = _FREE
    start_tls: Callable[[C, SSLContext], object] = _open_nothing
    explain: Callable[[Exception], SASLError | None] = _FREE
    leave: Callable[[C], object] = _FREE


@final
class Binding(Generic[C, R]):
    """What users of a synchronous library call to log in on its connections."""

    def __init__(self, library: Library[C, R]) -> None:
        self._library = library

    @property
    def library(self) -> Library[C, R]:
        """What was said about the library: a `Session` closes its connections by that."""
        return self._library

    def authenticate(
        self,
        conn: C,
        credentials: Credentials,
        *,
        mechanism: str | None = None,
        initial_response: bool | None = None,
        policy: Policy | None = None,
        timeout: float | None = None,
        options: Mapping[str, Any] = {},
    ) -> R:
        """Log in; return what the library's own login would, and leave the connection as that does.

        The mechanism is chosen from what the server offers as `sasl.choose` does, or it is `mechanism`; for a password
        that none of them takes, the protocol's login command stands in. `initial_response=False` never sends one with
        the command. Over TLS, and once, another mechanism follows a refusal of one before anything that shows or proves
        the password had left, unless `mechanism` or the policy wants the first (`Policy.fallback`).
        `timeout` is in seconds, for the whole login; without it, each read and write has the connection's
        own time-out, and the whole login ten times that. `options` are for the mechanism.
        Raises the library's errors, and UsageError (for an option that the mechanism does not know, too) and
        TokenError. The connection is usable after a refusal; where the exchange was cut or the server broke the
        protocol, it is closed. Each call sends the credential once, and again only where the server has it already and
        says that it does not know the mechanism; a second call on the same connection sends it again.
        """
        credentials = veil(credentials)
        options = veil_options(options) if options else {}
        return log_in(
            self._library,
            conn,
            credentials,
            mechanism=mechanism,
            initial_response=initial_response,
            policy=policy,
            timeout=timeout,
            options=options,
        )


@final
class AsyncBinding(Generic[C, R]):
    """What users of an asynchronous library await to log in on its connections."""

    def __init__(self, library: Library[C, R]) -> None:
        self._library = library

    @property
    def library(self) -> Library[C, R]:
        """What was said about the library: a `Session` closes its connections by that."""
        return self._library

    async def authenticate(
        self,
        conn: C,
        credentials: Credentials,
        *,
        mechanism: str | None = None,
        initial_response: bool | None = None,
        policy: Policy | None = None,
        timeout: float | None = None,
        options: Mapping[str, Any] = {},
    ) -> R:
        """Log in as `Binding.authenticate` does, and await what has to be: the library, and an asynchronous source.

        `timeout` is in seconds, for the whole login; without it there is what the library has for each command. A token
        source that is not asynchronous is asked in the event loop, which stands still until it answers: see
        `sasl.resolve_async`. Where the task is cancelled, nothing more is sent and the connection is closed.
        """
        credentials = veil(credentials)
        options = veil_options(options) if options else {}
        return await log_in_async(
            self._library,
            conn,
            credentials,
            mechanism=mechanism,
            initial_response=initial_response,
            policy=policy,
            timeout=timeout,
            options=options,
        )


def log_in(library: Library[C, R], conn: C, credentials: Credentials, **options: Unpack[LoginOptions]) -> R:
    """Log in on a connection of a synchronous library, as `Binding.authenticate` does."""
    if not is_credentials(credentials):
        raise _no_credentials(credentials := veil(credentials))
    return perform(login_steps(library, conn, credentials, **options))


async def log_in_async(library: Library[C, R], conn: C, credentials: Credentials, **options: Unpack[LoginOptions]) -> R:
    """Log in on a connection of an asynchronous library, as `AsyncBinding.authenticate` does."""
    if not is_credentials(credentials):
        raise _no_credentials(credentials := veil(credentials))
    timeout = options.get("timeout")
    deadline_of(timeout)
    allowance = Allowance(timeout, None)
    steps = login_steps(
        library,
        conn,
        credentials,
        **options,
        get_token=resolve_async,
        limit=lambda _conn, _timeout: nullcontext(allowance),
        wait=wait_for_async,
    )
    return await perform_async(steps, allowance.deadline)


def _no_credentials(given: object) -> UsageError:
    """Return the error for what stands in the place of credentials, which may be a bare password."""
    return UsageError(f"credentials are a Password, a Bearer, ..., not {type_of(given)}")


def login_steps(
    library: Library[C, R],
    conn: C,
    credentials: Credentials,
    *,
    mechanism: str | None = None,
    initial_response: bool | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    options: Mapping[str, Any] = {},
    watch: Callable[[Choice, Any], object] | None = None,
    get_token: Callable[[Any], Any] = resolve,
    limit: Callable[[Any, float | None], AbstractContextManager[Allowance]] = limit_time,
    wait: Callable[[Attempt, float], Any] = wait_for,
    memory: Memory = MEMORY,
) -> Steps[R]:
    """Return the steps of a login.

    `get_token` resolves credentials, `limit` is for the time that all may take, `wait` waits some seconds for the end
    of another login of the same account, of which `memory` knows. `log_in_async` gives those that are awaited.
    """
    options = veil_options(options) if options else {}
    if not isinstance(options, dict):
        raise UsageError(f"options are a mapping of names, as str, to what they are, not {type_of(options)}")
    dialogue, allowed = library.dialogue(conn), policy or DEFAULT_POLICY

    def steps() -> Steps[R]:
        channel = library.channel(conn)
        library.check(conn)
        with limit(conn, timeout) as allowance:
            offer = yield partial(library.offer, conn, dialogue)
            course = Course(offer.choose, credentials, allowed, channel, mechanism=mechanism, checked=channel.checked)
            course.begin()
            ready = yield partial(get_token, credentials)
            turn: Turn | None = None
            try:
                if course.account is not None:
                    entered = memory.enter(course.account)
                    if isinstance(entered, Attempt):
                        yield partial(wait, entered, allowance.spare())
                        course.learn(memory.recall(course.account))
                    elif isinstance(entered, frozenset):
                        course.learn(entered)
                    else:
                        turn = entered
                with library.reserve(conn):  # all the while: commands of other tasks may wait for its end
                    while True:
                        wire = offer.wire(course.choice, ready, initial_response=initial_response, options=options)
                        if watch is not None:
                            watch(course.choice, wire)
                        try:
                            yield from dialogue.hold(wire)
                            answer = yield from _finish(library, conn, dialogue)
                            course.succeed()
                            break
                        except AuthenticationFailed as error:
                            refusal = error
                        course.go_on(wire, refusal)
            finally:
                if turn is not None or course.lesson is not None:
                    memory.leave(course.account, turn, course.lesson)
            if allowed.pins is not None:
                _remember(allowed, course.choice, ready)
            return answer

    return guard(library.errors, dialogue, steps())


def auth(
    library: Library[C, R],
    conn: C,
    wire: Wire,
    policy: Policy,
    *,
    first: Callable[[], object] | None = None,
) -> R:
    """Run AUTH with a mechanism that a callback speaks, on a connection of a synchronous library.

    `first` is called before, in the connection's time: it says EHLO. Raises PolicyViolation where the policy has
    something against the mechanism, and all that `log_in` does.
    """
    dialogue = library.dialogue(conn)

    def steps() -> Steps[R]:
        library.check(conn)
        _check_allowed(wire.exchange.name, policy, library.channel(conn))
        with limit_time(conn, None):
            if first is not None:
                yield first
            with library.reserve(conn):
                yield from dialogue.hold(wire)
                answer = yield from _finish(library, conn, dialogue)
                return answer

    return perform(guard(library.errors, dialogue, steps()))


def _finish(library: Library[C, R], conn: C, dialogue: Dialogue) -> Steps[R]:
    """Finish a login. What fails then closes the connection: the server takes it for logged in, and the library not."""
    try:
        answer: R = yield partial(library.finish, conn, dialogue)
    except SASLError:
        yield from dialogue.end()
        raise
    return answer


def _remember(policy: Policy, choice: Choice, credentials: Credentials) -> None:
    """Pin the account to what it has just logged in with; a store of pins that fails does not undo the login."""
    try:
        policy.remember(choice, credentials)
    except UsageError as error:
        import logging

        logging.getLogger("sasl").warning("the mechanism is not remembered: %s", error)


def _check_allowed(name: str, policy: Policy, channel: Channel) -> None:
    """Refuse a mechanism that a callback speaks, where the policy has something against it.

    One that is not known here may send what is usable to an eavesdropper, and is as weak as one can be.
    """
    try:
        row = lookup(name)
    except MechanismUnavailable:
        row = Mechanism(name, None, None, Password, client_first=True, plaintext=True, rank=0)
    if reason := against(row, policy, channel):
        raise PolicyViolation(f"the policy does not allow {row.name}: {reason}")
