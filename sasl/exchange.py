"""The exchange: the only state machine, client and server (RFC 4422 sections 3 and 5).

It runs a mechanism's script and keeps the rules that all mechanisms share, so that an author cannot
forget one: when a yes may come, how often and how much a peer may send, that nothing but a `SASLError`
leaves, and that no server says yes before a verifier accepted an identity and its authorization.
"""

from __future__ import annotations

import enum

from .errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    Cancelled,
    LimitExceeded,
    ProtocolError,
    SASLError,
    ServerNotProven,
    TemporaryFailure,
    UsageError,
    bare,
)
from .limits import DEFAULT_LIMITS, Limits
from .secret import scrubbed
from .steps import (
    KINDS,
    Accepted,
    Authorize,
    Challenge,
    Complete,
    ErrorAnswer,
    Failure,
    Harmless,
    Question,
    Record,
    Rejected,
    Success,
    Unavailable,
    Verified,
)
from .typed import TYPE_CHECKING, final
from .value import replace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final, NoReturn

    from .errors import Kind
    from .secret import Secret
    from .steps import ClientSteps, Event, ServerSteps


class State(enum.Enum):
    """Where an exchange stands."""

    NEW = "new"
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


_NEW, _OPEN, _DONE, _FAILED = State  # reading a member off its class takes ten times as long (Python 3.11)


class _Exchange:
    """What both sides have in common: a name, a state, and that they are neither pickled nor copied."""

    __slots__ = ("_limits", "_steps", "name", "state")

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.state = _NEW
        self._limits = limits
        self._steps = 0

    def _require(self, state: State, call: str) -> None:
        if self.state is not state:
            raise UsageError(f"{call} on an exchange that is {self.state.value}", mechanism=self.name)

    def _over_limit(self, message: bytes) -> str:
        """Count one message of the peer; return which limit it breaks, or an empty text."""
        if not isinstance(message, bytes):
            raise UsageError(f"a message is bytes, not {type(message).__name__}", mechanism=self.name)
        self._steps += 1
        if len(message) > self._limits.message:
            return f"a message of more than {self._limits.message} octets"
        if self._steps > self._limits.steps:
            return f"more than {self._limits.steps} messages"
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state.value}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an exchange is neither pickled nor copied")


def _close(script: Any) -> None:
    """End a script, so that its locals go. One that is no generator, or refuses to end, is past helping."""
    try:
        script.close()
    except Exception:
        pass


class _Turn(enum.Enum):
    """What the client's last message allows the server to say; the value tells why a yes is too early."""

    SERVER_FIRST = "the server said yes before the client sent anything"
    CONTINUES = "the server said yes before the exchange was complete"
    COMPLETE = ""
    EXPLAINED = "the server said yes after an error challenge"


_SERVER_FIRST, _CONTINUES, _COMPLETE, _EXPLAINED = _Turn


@final
class ClientExchange(_Exchange):
    """The client's side of one authentication. Made by `sasl.client`; serves once.

    Call `start`, then `respond` for each challenge, then `succeed` or `fail` for the server's verdict.
    All raise UsageError for a call in the wrong state.
    """

    __slots__ = (
        "_announced",
        "_deferred",
        "_detail",
        "_error",
        "_initial",
        "_reveals",
        "_script",
        "_secret",
        "_token",
        "_turn",
    )

    def __init__(
        self,
        name: str,
        script: ClientSteps,
        *,
        limits: Limits = DEFAULT_LIMITS,
        secret: Secret | None = None,
        token: bool = False,
    ) -> None:
        super().__init__(name, limits)
        self._script = script
        self._secret = secret
        self._token = token
        self._turn = _SERVER_FIRST
        self._initial: bytes | None = None  # until the first challenge
        self._deferred: bytes | None = None  # the same, once it is known that it was not sent
        self._detail: Mapping[str, str] = {}
        self._reveals = False  # whether one of the script's messages shows or proves the secret
        self._announced: Kind | None = None  # the kind of no that an error challenge told
        self._error: SASLError | None = None

    def start(self) -> bytes | None:
        """Return the initial response, or None if the server speaks first (RFC 4422 section 5).

        Raises UsageError if the credentials cannot be used with the mechanism.
        """
        self._require(_NEW, "start()")
        self.state = _OPEN
        initial = self._advance(None)
        if self._turn is not _SERVER_FIRST:
            self._initial = initial
        return self._initial

    def defer(self) -> None:
        """Say that the initial response was not sent: the next `respond` returns it.

        What that challenge holds is not looked at: servers send "Go ahead" there (RFC 4954 section 4).
        """
        self._require(_OPEN, "defer()")
        if self._initial is None:
            raise UsageError("defer() without an initial response to defer", mechanism=self.name)
        self._initial, self._deferred = None, self._initial

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a challenge.

        Raises ProtocolError if the server may not challenge here or the mechanism refuses the challenge,
        LimitExceeded if it is too large or one too many. Cancel the exchange on the wire then.
        """
        self._require(_OPEN, "respond()")
        self._count(challenge)
        self._initial = None
        if self._deferred is not None:
            response, self._deferred = self._deferred, None
            return response
        if self._turn is _EXPLAINED:
            raise self._failed(ProtocolError("the server went on after its error challenge was answered"))
        if self._turn is _COMPLETE and not challenge:
            raise self._failed(ProtocolError("an empty challenge after the credential was sent"))
        return self._advance(challenge)

    def succeed(self, data: bytes | None = None) -> None:
        """Take the server's yes, with the additional data that came with it, if any (RFC 4422 section 3.6).

        Raises ServerNotProven if the mechanism does not allow a yes here, ProtocolError for data that it
        does not expect. The connection is not authenticated then, whatever the server believes.
        """
        self._require(_OPEN, "succeed()")
        if self._deferred is not None:
            raise self._failed(ServerNotProven("the server said yes before the initial response was sent"))
        if data is not None:
            self._count(data)
            if self._turn is _COMPLETE:
                raise self._failed(ProtocolError("additional data with success, which the mechanism does not have"))
            if self._turn is _CONTINUES and self._advance(data):
                raise self._failed(ServerNotProven("the server said yes where the mechanism has more to send"))
        if self._turn is not _COMPLETE:
            raise self._failed(ServerNotProven(self._turn.value))
        self.state = _DONE
        self._end()

    def fail(self, text: str = "", *, kind: Kind = "credentials", response_code: str | None = None) -> SASLError:
        """Take the server's no and return the error to raise: AuthenticationFailed or TemporaryFailure.

        `text` is what the server said, a str, `kind` one of `sasl.KINDS`, `response_code` the protocol's code.
        If the exchange failed before, that error is returned: the server's last word is not the cause.
        """
        if self._error is not None:
            return self._error
        self._require(_OPEN, "fail()")
        if kind not in KINDS:
            raise UsageError(f"no such kind of failure: {kind!r}", mechanism=self.name)
        if not isinstance(text, str) or not isinstance(response_code, str | None):
            raise UsageError("what the server said, and its code, are text", mechanism=self.name)
        if kind == "credentials" and self._announced is not None:
            kind = self._announced
        family = _FAMILY.get(kind, AuthenticationFailed)
        text = self._scrubbed(text)
        error = family(text or _SILENT[family], server_text=text, response_code=response_code, kind=kind)
        if isinstance(error, AuthenticationFailed):
            error.token = self._token and self._deferred is None and self._turn is not _SERVER_FIRST
        return self._failed(error)

    def cancel(self) -> None:
        """Give up: `fail` then returns Cancelled. An exchange that has failed already keeps its error."""
        if self.state is _DONE:
            raise UsageError("cancel() on an exchange that is done", mechanism=self.name)
        if self.state is not _FAILED:
            self._failed(Cancelled("the exchange was cancelled"))

    @property
    def secret(self) -> Secret | None:
        """The credential, for whoever has to take it out of what a server says; None after the end."""
        return self._secret

    @property
    def revealed(self) -> bool:
        """Whether a message that shows or proves the secret has left; a response that is deferred has not."""
        return self._reveals and self._deferred is None

    @property
    def explained(self) -> bool:
        """Whether an error challenge was answered: a refusal then, even if the connection ends without a verdict."""
        return self._turn is _EXPLAINED

    def _count(self, message: bytes) -> None:
        if excess := self._over_limit(message):
            raise self._failed(LimitExceeded(excess))

    def _advance(self, message: bytes | None) -> bytes:
        """Run the script to its next step and return what it sends.

        What goes wrong in it leaves as a SASLError, without the script's frames: their locals hold credentials.
        """
        # Before the server has said anything, nothing can be its fault.
        family = ProtocolError if self._steps else UsageError
        try:
            return self._taken(self._script.send(message))  # type: ignore[arg-type]  # None starts it
        except StopIteration:
            error: SASLError = family("the mechanism has nothing to say to that")
        except ProtocolError as raised:
            error = bare(raised) if self._steps else family(str(raised))
        except SASLError as raised:
            error = bare(raised)
        except Exception as raised:
            error = family(f"the mechanism failed with {type(raised).__name__}")
        except BaseException:
            self._failed(Cancelled("the exchange was interrupted"))
            raise
        raise self._failed(error)

    def _taken(self, step: object) -> bytes:
        """Note what a step allows the server to say, and return its octets."""
        turn, data, reveals = _CONTINUES, step, True
        if isinstance(step, Complete):
            turn, data = _COMPLETE, step.data
        elif isinstance(step, Harmless):
            data, reveals = step.data, False
        elif isinstance(step, ErrorAnswer):
            turn, data, reveals = _EXPLAINED, step.data, False
            self._detail = step.detail
            self._announced = step.kind if step.kind in KINDS else None
        elif step is None and not self._steps:
            turn, data, reveals = _SERVER_FIRST, b"", False
        if not isinstance(data, bytes):
            raise ProtocolError(f"the mechanism sent {type(data).__name__} where octets belong")
        self._turn = turn
        self._reveals = self._reveals or reveals
        return data

    def _scrubbed(self, text: str) -> str:
        """Take the credential out of a text: a server may say back what it was sent."""
        return text if self._secret is None else scrubbed(text, self._secret)

    def _failed(self, error: SASLError) -> SASLError:
        error.mechanism = self.name
        if self._detail:
            error.detail = {key: self._scrubbed(value) for key, value in self._detail.items()}
        self.state = _FAILED
        self._error = error
        self._end()
        return error

    def _end(self) -> None:
        """Let go of everything that holds the credential."""
        _close(self._script)
        self._reveals = self.revealed  # what is deferred now never leaves
        self._initial = None
        self._deferred = None
        self._secret = None


_FAMILY: Final[Mapping[Kind, type[SASLError]]] = {
    "authorization": AuthorizationFailed,
    "unavailable": TemporaryFailure,
}
_SILENT: Final[Mapping[type[SASLError], str]] = {
    AuthenticationFailed: "the server refused the credential",
    AuthorizationFailed: "the server accepted the credential, but not the identity to act as",
    TemporaryFailure: "the server cannot authenticate now",
}


@final
class ServerExchange(_Exchange):
    """The server's side of one authentication. Made by `sasl.server`; serves once.

    `start`, `receive` and `answer` return the next event: a `Challenge` to send, a `Question` to answer,
    a `Success` or a `Failure`. What a peer sent never raises; UsageError is for a wrong call.
    """

    __slots__ = (
        "_accepted",
        "_initial",
        "_not_found",
        "_question",
        "_script",
        "_success",
        "_success_data",
        "_verdict",
        "_verified",
    )

    def __init__(
        self, name: str, script: ServerSteps, *, limits: Limits = DEFAULT_LIMITS, success_data: bool = False
    ) -> None:
        super().__init__(name, limits)
        self._script = script
        self._success_data = success_data
        self._initial: bytes | None = None  # until the first challenge, whose answer it is
        self._question: Question | None = None
        self._accepted: list[str] = []
        self._verdict: Failure | None = None  # a no that nothing undoes
        self._not_found: Failure | None = None  # the same, but told only at the end: the client must not notice
        self._verified: Verified | None = None
        self._success: Success | None = None  # waits for the answer to the last challenge

    def start(self, initial_response: bytes | None = None) -> Event:
        """Begin, with the client's initial response; None if it sent none, which differs from an empty one."""
        self._require(_NEW, "start()")
        excess = self._over_limit(initial_response) if initial_response is not None else ""
        self.state = _OPEN
        if excess:
            return self._failed(Failure("limit", excess))
        self._initial = initial_response
        return self._run(None, reading=False)

    def receive(self, response: bytes) -> Event:
        """Take the client's answer to the last challenge."""
        self._require(_OPEN, "receive()")
        if self._question is not None:
            raise UsageError("receive() while a question waits for its answer", mechanism=self.name)
        if excess := self._over_limit(response):
            return self._failed(Failure("limit", excess))
        if self._success is not None:
            if response:
                return self._failed(Failure("malformed", "the last challenge was answered by more than nothing"))
            return self._succeeded(self._success)
        return self._run(response, reading=True)

    def answer(self, value: object) -> Event:
        """Take the answer to the question that was returned last.

        NotImplemented stands for the default: Authorize accepts only the identity itself, all others are
        Unavailable. So is a value that is no answer to the question.
        """
        self._require(_OPEN, "answer()")
        question, self._question = self._question, None
        if question is None:
            raise UsageError("answer() without a question", mechanism=self.name)
        vouched = value is not NotImplemented and not isinstance(question, Authorize)
        if value is NotImplemented:
            value = question.default()
        elif not question.accepts(value):
            value = Unavailable(f"{type(question).__name__} was answered by {type(value).__name__}")
        if self._verified is not None:
            return self._authorized(self._verified, value)
        refusal = _refusal(value)
        if question.lookup and not isinstance(value, (Record, Unavailable)):
            # The script goes on with a decoy: until its end nobody may notice that there is no such user.
            self._not_found, value = self._not_found or refusal, None
        elif refusal is not None:
            self._verdict = self._verdict or refusal
        elif isinstance(value, (Accepted, Record)) and vouched:
            self._accepted.append(value.identity)
        return self._run(value, reading=False)

    def cancel(self) -> Failure:
        """End the exchange for the client, which cancelled; a verdict that was already a no keeps its kind."""
        if self.state not in (_NEW, _OPEN):
            raise UsageError(f"cancel() on an exchange that is {self.state.value}", mechanism=self.name)
        return self._failed(Failure("cancelled", "the client cancelled"))

    def _run(self, message: object, *, reading: bool) -> Event:
        """Run the script to its next event. `reading` says that it works on what the client sent."""
        try:
            while True:
                step = self._script.send(message)
                if isinstance(step, Question):
                    self._question = step
                    return step
                if not isinstance(step, Challenge) or not isinstance(step.data, bytes):
                    return self._failed(Failure("unavailable", f"the mechanism yielded {type(step).__name__}"))
                if step.refusal is not None:
                    self._verdict = self._verdict or _refusal(step.refusal)
                if self._initial is None:
                    return step
                if step.data and not step.initial:
                    return self._failed(Failure("unexpected_ir", "the mechanism takes no initial response"))
                message, self._initial, reading = self._initial, None, True
        except StopIteration as ended:
            return self._ended(ended.value)
        except Rejected as verdict:
            kind: Kind = verdict.kind if verdict.kind in KINDS else "credentials"
            failure = self._not_found or Failure(kind, verdict.reason, verdict.detail)
        except Unavailable as verdict:
            failure = Failure("unavailable", verdict.reason)
        except LimitExceeded as error:
            failure = Failure("limit", str(error))
        except SASLError as error:
            failure = Failure("malformed", str(error))
        except Exception as error:
            kind = "malformed" if reading else "unavailable"
            failure = Failure(kind, f"the mechanism failed with {type(error).__name__}")
        except BaseException:
            self._failed(Failure("unavailable", "the exchange was interrupted"))
            raise
        return self._failed(failure)

    def _ended(self, verified: object) -> Event:
        """The script says yes: believe it only where a verifier did, then ask for the authorization."""
        if refusal := self._verdict or self._not_found:
            return self._failed(refusal)
        if self._initial is not None:
            return self._failed(Failure("unexpected_ir", "the mechanism read no message"))
        if not isinstance(verified, Verified) or not (verified.data is None or isinstance(verified.data, bytes)):
            return self._failed(Failure("unavailable", "the mechanism ended without a verdict"))
        if verified.identity not in self._accepted:
            return self._failed(Failure("unavailable", "the mechanism names an identity that no verifier accepted"))
        self._verified = verified
        self._question = Authorize(verified.identity, verified.authzid)
        return self._question

    def _authorized(self, verified: Verified, verdict: object) -> Event:
        if not isinstance(verdict, Accepted):
            refusal = _refusal(verdict) or Failure("unavailable")
            return self._failed(replace(refusal, kind="authorization") if refusal.kind == "credentials" else refusal)
        if verified.data is None or self._success_data:
            return self._succeeded(Success(verdict.identity, verified.identity, verified.data))
        self._success = Success(verdict.identity, verified.identity)
        return Challenge(verified.data)

    def _succeeded(self, success: Success) -> Success:
        self.state = _DONE
        return success

    def _failed(self, failure: Failure) -> Failure:
        """End the exchange. Whatever ended it: a verdict that was a no before that is what is reported."""
        self.state = _FAILED
        self._question = None
        self._initial = None
        _close(self._script)
        return self._verdict or failure


def _refusal(answer: object) -> Failure | None:
    """What an answer that is a no does to the exchange; None if it is another answer."""
    if isinstance(answer, Rejected):
        return Failure(answer.kind, answer.reason, answer.detail)
    if isinstance(answer, Unavailable):
        return Failure("unavailable", answer.reason)
    return Failure("credentials", "not found") if answer is None else None
