"""The one sequence of a login, for all libraries: steps that a driver performs.

A step is a call that may have to wait: for a line, for a token. The driver for synchronous libraries makes it
(`perform`); one for asynchronous libraries makes it and awaits what it returns.
"""

from __future__ import annotations

from functools import partial

from sasl.credentials import Password, is_credentials
from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    MechanismUnavailable,
    PolicyViolation,
    SASLError,
    UsageError,
)
from sasl.policy import DEFAULT_POLICY, against
from sasl.registry import Mechanism, lookup
from sasl.resolution import resolve, resolve_async
from sasl.typed import TYPE_CHECKING, Generic, TypeVar, final
from sasl.value import value

from .channel import checks_certificate
from .clock import Flood, limit_time
from .errors import explain_foreign, translate
from .fallback import Course
from .given import type_of, veil, veil_options
from .memory import MEMORY, Attempt, wait_for, wait_for_async

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from ssl import SSLContext
    from typing import Any, TypeAlias, TypedDict, Unpack

    from sasl.channel import Channel
    from sasl.credentials import Credentials
    from sasl.policy import Choice, Policy

    from .clock import Allowance
    from .dialogue import Dialogue, Wire
    from .errors import Family
    from .memory import Memory, Turn

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")

if TYPE_CHECKING:
    Steps: TypeAlias = Generator[Callable[[], Any], Any, T]
    """Calls that may have to wait. What each returns, or raises, goes back in; in the end the result is returned."""

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


@final
@value
class Library(Generic[C, R]):
    """What is to be said about a library: `C` are its connections, `R` is what its logins return.

    `offer`, `finish` and `close` may wait, and so may what the dialogue is made of: in an asynchronous library they
    return what is to be awaited.

    Attributes:
        service: the protocol's service name (RFC 4422 section 4).
        errors: the errors that are ours and the library's.
        open: connect to a host and a port, under TLS if there is a context: `open(host, port, tls=, timeout=)`.
        offers_tls: whether the server offers STARTTLS. Raises PolicyViolation where it is too late for that.
        start_tls: begin TLS by STARTTLS.
        channel: describe the connection.
        dialogue: return how lines go out and come in.
        check: raise for a connection on which nobody can log in now.
        offer: return the `Offer` of the server; ask for it, if that was not done yet.
        finish: leave the connection as after the library's own login, and return what that returns.
        arguments: return the `args` that the library's error would have; None for the sentence.
        explain: return what an error of the library's means where a connection is opened; None if it is none.
        leave: take leave, as the protocol wants it.
        close: close the connection; never fail.
        mute: turn the library's own debug output off for the exchange.
    """

    service: str
    errors: Family
    open: Callable[..., C]
    offers_tls: Callable[[C], bool]
    start_tls: Callable[[C, SSLContext], object]
    channel: Callable[[C], Channel]
    dialogue: Callable[[C], Dialogue]
    check: Callable[[C], None]
    offer: Callable[[C, Dialogue], Any]
    finish: Callable[[C, Dialogue], R]
    arguments: Callable[[Dialogue, SASLError], tuple[Any, ...] | None]
    explain: Callable[[Exception], SASLError | None]
    leave: Callable[[C], object]
    close: Callable[[C], object]
    mute: Callable[[C], AbstractContextManager[object]]


@final
class Binding(Generic[C, R]):
    """What users of a synchronous library call to log in on its connections."""

    def __init__(self, library: Library[C, R]) -> None:
        self._library = library

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


def log_in(library: Library[C, R], conn: C, credentials: Credentials, **options: Unpack[LoginOptions]) -> R:
    """Log in on a connection of a synchronous library, as `Binding.authenticate` does."""
    if not is_credentials(credentials):
        kind = type_of(credentials)
        del credentials  # it may be a bare password
        raise UsageError(f"credentials are a Password, a Bearer, ..., not {kind}")
    return perform(login_steps(library, conn, credentials, **options))


async def log_in_async(library: Library[C, R], conn: C, credentials: Credentials, **options: Any) -> R:
    """Log in on a connection of a library of asyncio's, as `log_in` does; `options` are those of `login_steps`."""
    options = {"get_token": resolve_async, "wait": wait_for_async, **options}
    return await perform_async(login_steps(library, conn, credentials, **options))


def perform(steps: Steps[T]) -> T:
    """Make the calls of a synchronous library, and return the result.

    A driver that awaits what the calls return does as this one: whatever interrupts it, a cancellation too, is thrown
    into the steps, which close the connection and end in the error to raise.
    """
    returned: list[Any] = [None]  # emptied each time: an error that leaves shows what the variables of a frame hold
    raised: list[BaseException] = []
    while True:
        try:
            while True:
                call = steps.throw(raised.pop()) if raised else steps.send(returned.pop())
                returned.append(call())
        except BaseException as error:
            if getattr(steps, "gi_frame", None) is None:  # the steps are over, and this is how they end
                if isinstance(error, StopIteration):
                    result: T = error.value
                    return result
                raise
            returned.clear()
            raised.append(error)  # of a call, or an interruption between two of them


async def perform_async(steps: Steps[T]) -> T:
    """Make the calls of an asynchronous library, await what can be awaited of what they return, as `perform` does."""
    returned: list[Any] = [None]
    raised: list[BaseException] = []
    while True:
        try:
            while True:
                call = steps.throw(raised.pop()) if raised else steps.send(returned.pop())
                result = call()
                returned.append(await result if hasattr(result, "__await__") else result)
                del result
        except BaseException as error:
            if getattr(steps, "gi_frame", None) is None:
                if isinstance(error, StopIteration):
                    end: T = error.value
                    return end
                raise
            returned.clear()
            raised.append(error)


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
            course = Course(
                offer.choose, credentials, allowed, channel, mechanism=mechanism, checked=checks_certificate(conn)
            )
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
                while True:
                    wire = offer.wire(course.choice, ready, initial_response=initial_response, options=options)
                    if watch is not None:
                        watch(course.choice, wire)
                    try:
                        with library.mute(conn):
                            yield from dialogue.hold(wire)
                            answer: R = yield partial(library.finish, conn, dialogue)
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

    return guard(library, dialogue, steps())


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
            with library.mute(conn):
                yield from dialogue.hold(wire)
                answer: R = yield partial(library.finish, conn, dialogue)
                return answer

    return perform(guard(library, dialogue, steps()))


def guard(library: Library[C, Any], dialogue: Dialogue, steps: Steps[T]) -> Steps[T]:
    """Return the steps so that what goes wrong in them leaves as the library's error.

    Whatever is no SASLError has cut the dialogue somewhere, so the connection is closed. Nothing leaves with the
    frames below this one: those of the library hold what was sent.
    """
    failure: BaseException
    cut = True
    try:
        return (yield from steps)
    except SASLError as error:
        failure, cut = error, isinstance(error, ConnectionLost | Flood)
    except Exception as error:
        failure = explain_foreign(error, library.errors) or error
    except BaseException as error:
        failure = error
    steps.close()  # an interruption here did not reach them
    if cut:
        yield dialogue.close
    if isinstance(failure, SASLError):
        args = library.arguments(dialogue, failure)
        failure = translate(failure, library.errors, args, dialogue.scrub, dialogue.hint)
    raise failure.with_traceback(None)


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
