"""A mechanism that a caller's function speaks, as the libraries have it: SMTP.auth, POP3.auth, IMAP4.authenticate."""

from __future__ import annotations

from sasl.client_exchange import ClientExchange
from sasl.credentials import Bearer
from sasl.errors import Cancelled, MechanismUnavailable, ProtocolError, SASLError
from sasl.registry import client, lookup
from sasl.steps import Complete, ErrorAnswer
from sasl.typed import TYPE_CHECKING, final

from .login import auth

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeAlias, TypeVar

    from sasl.policy import Policy
    from sasl.registry import Mechanism
    from sasl.steps import ClientSteps

    from .login import Library

    Respond: TypeAlias = Callable[[bytes], bytes | str | None]
    C = TypeVar("C")
    R = TypeVar("R")

_MOST_RESPONSES: Final = 5
"""How many responses a callback may give in one exchange: as many as smtplib asks for."""
_MOST_CREDENTIALS: Final = 2
"""The same in a mechanism that sends the credential as it is: LOGIN has so many."""


@final
class Callback:
    """A caller's function that gives the responses of an exchange.

    Attributes:
        failure: what it has raised: that leaves as it is.
    """

    def __init__(self, respond: Callable[..., bytes | str | None]) -> None:
        self.failure: Exception | None = None
        self._respond = respond

    def __call__(self, *challenge: bytes) -> bytes | str | None:
        """Return the response to a challenge, or the initial one. Raises Cancelled where the function has failed."""
        try:
            return self._respond(*challenge)
        except Exception as error:
            self.failure = error
        raise Cancelled("the callback has failed")


def callback_script(mechanism: str, respond: Respond | None, initial: bytes | str | None) -> ClientSteps:
    """Return a client script that asks a callback; the server may say yes after any of its responses.

    An error challenge is answered as the mechanism wants it, if it is one for tokens: callbacks give the token again.
    So they do the password, however often they are asked: a server gets no more responses than a mechanism may have.
    """
    row = _row(mechanism)
    most = _MOST_CREDENTIALS if row is not None and row.plaintext else _MOST_RESPONSES
    challenge = yield None if initial is None else Complete(_octets(initial))
    answered = int(initial is not None)
    while True:
        if answered and (answer := _error_answer(mechanism, challenge)) is not None:
            yield answer
        if answered >= most:
            raise ProtocolError("the server asks for more than the mechanism has to say")
        response = None if respond is None else respond(challenge)
        if response is None:
            raise Cancelled("there is no answer to the server's challenge")
        challenge = yield Complete(_octets(response))
        answered += 1


def speak(
    library: Library[C, R],
    conn: C,
    mechanism: str,
    script: ClientSteps,
    callback: Callback | None,
    *,
    policy: Policy,
    wire: Callable[[ClientExchange], Any],
    first: Callable[[], object] | None = None,
) -> R:
    """Run a mechanism that a callback speaks, on a connection of a synchronous library, as `auth` does.

    What the callback raises leaves as it is, after the exchange was cancelled, and the connection is closed.
    """
    exchange = ClientExchange(mechanism, script, prompts=mechanism == "LOGIN")
    failure: Exception | None
    try:
        return auth(library, conn, wire(exchange), policy, first=first)
    except SASLError:
        failure = None if callback is None else callback.failure
        if failure is None:
            raise
    library.close(conn)
    raise failure.with_traceback(None)


def is_client_first(mechanism: str) -> bool:
    """Whether the client begins, in a mechanism that is known here."""
    row = _row(mechanism)
    return row is not None and row.client_first


def _error_answer(mechanism: str, challenge: bytes) -> ErrorAnswer | None:
    """Return what a mechanism for tokens answers to an error challenge; None for any other mechanism."""
    row = _row(mechanism)
    if row is None or row.credentials is not Bearer:
        return None
    own = client(mechanism, Bearer("nobody", "none"))
    own.start()
    own.respond(challenge)
    return own.explanation


def _row(mechanism: str) -> Mechanism | None:
    try:
        return lookup(mechanism)
    except MechanismUnavailable:
        return None


def _octets(response: bytes | str) -> bytes:
    return response.encode() if isinstance(response, str) else response
