"""The client's exchange: when a yes may come, what a server may send, and what of it is told."""

from __future__ import annotations

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
    is_interruption,
)
from .exchange import DONE, FAILED, NEW, OPEN, Exchange, close
from .limits import DEFAULT_LIMITS, Limits
from .secret import scrubbed, scrubbed_code
from .steps import KINDS, Complete, ErrorAnswer, Harmless
from .typed import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from .errors import Kind
    from .secret import Secret
    from .steps import ClientStep, ClientSteps


@final
class ClientExchange(Exchange):
    """The client's side of one authentication. Made by `sasl.client`; serves once.

    Call `start`, then `respond` for each challenge, then `succeed` or `fail` for the server's verdict.
    All raise UsageError for a call in the wrong state.

    Attributes:
        derives: whether `respond` may derive keys, which takes as long as the server wants it to: half a second, say.
    """

    __slots__ = (
        "_deferred",
        "_error",
        "_explanation",
        "_initial",
        "_last",
        "_prompts",
        "_reveals",
        "_script",
        "_secret",
        "_token",
        "derives",
    )

    def __init__(  # noqa: PLR0917 -- of `sasl.client`
        self,
        name: str,
        script: ClientSteps,
        limits: Limits = DEFAULT_LIMITS,
        secret: Secret | None = None,
        token: bool = False,  # noqa: FBT001, FBT002 -- a call by keywords takes half as long again
        prompts: bool = False,  # noqa: FBT001, FBT002
        derives: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        self.name = name
        self.state = NEW
        self._limits = limits
        self._steps = 0
        self._script = script
        self._secret = secret
        self._token = token
        self._prompts = prompts
        self.derives = derives
        self._last: type = _NOTHING  # which kind of step came last: it tells what the server may say
        self._initial: bytes | None = None  # until the first challenge
        self._deferred: bytes | None = None  # the same, once it is known that it was not sent
        self._explanation: ErrorAnswer | None = None
        self._reveals = False  # whether one of the script's messages shows or proves the secret
        self._error: SASLError | None = None

    def start(self) -> bytes | None:
        """Return the initial response, or None if the server speaks first (RFC 4422 section 5).

        Raises UsageError if the credentials cannot be used with the mechanism.
        """
        if self.state is not NEW:
            raise self._misuse("start()")
        self.state = OPEN
        initial = self._advance(None)
        if self._last is not _NOTHING:
            self._initial = initial
        return self._initial

    def defer(self) -> None:
        """Say that the initial response was not sent: the next `respond` returns it.

        What that challenge holds is not looked at: servers send "Go ahead" there (RFC 4954 section 4).
        """
        if self.state is not OPEN:
            raise self._misuse("defer()")
        if self._initial is None:
            raise UsageError("defer() without an initial response to defer", mechanism=self.name)
        self._initial, self._deferred = None, self._initial

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a challenge.

        Raises ProtocolError if the server may not challenge here or the mechanism refuses the challenge,
        LimitExceeded if it is too large or one too many. Cancel the exchange on the wire then.
        """
        if self.state is not OPEN:
            raise self._misuse("respond()")
        if excess := self._over_limit(challenge):
            raise self._end_with(LimitExceeded(excess))
        self._initial = None
        if self._deferred is not None:
            response, self._deferred = self._deferred, None
            return response
        if self._last is ErrorAnswer:
            raise self._end_with(ProtocolError("the server went on after its error challenge was answered"))
        if self._last is Complete and not challenge:
            raise self._end_with(ProtocolError("an empty challenge after the credential was sent"))
        return self._advance(challenge)

    def succeed(self, data: bytes | None = None) -> None:
        """Take the server's yes, with the additional data that came with it, if any (RFC 4422 section 3.6).

        Raises ServerNotProven if the mechanism does not allow a yes here, ProtocolError for data that it
        does not expect. The connection is not authenticated then, whatever the server believes.
        """
        if self.state is not OPEN:
            raise self._misuse("succeed()")
        if self._deferred is not None:
            raise self._end_with(ServerNotProven("the server said yes before the initial response was sent"))
        if data is not None:
            if excess := self._over_limit(data):
                raise self._end_with(LimitExceeded(excess))
            if self._last is Complete:
                raise self._end_with(ProtocolError("additional data with success, which the mechanism does not have"))
            if self._last not in _TOO_EARLY and self._advance(data):
                raise self._end_with(ServerNotProven("the server said yes where the mechanism has more to send"))
        if self._last is not Complete:
            why = _TOO_EARLY.get(self._last, "the server said yes before the exchange was complete")
            raise self._end_with(ServerNotProven(why))
        self.state = DONE
        self._let_go()

    def fail(self, text: str = "", *, kind: Kind = "credentials", response_code: str | None = None) -> SASLError:
        """Take the server's no and return the error to raise: AuthenticationFailed or TemporaryFailure.

        `text` is what the server said, a str, `kind` one of `sasl.KINDS`, `response_code` the protocol's code.
        If the exchange failed before, that error is returned: the server's last word is not the cause.
        """
        if self._error is not None:
            return self._error
        if self.state is not OPEN:
            raise self._misuse("fail()")
        if kind not in KINDS:
            raise UsageError(f"no such kind of failure: {kind!r}", mechanism=self.name)
        if not isinstance(text, str) or not (response_code is None or isinstance(response_code, str)):
            raise UsageError("what the server said, and its code, are text", mechanism=self.name)
        announced = self._explanation and self._explanation.kind
        if kind == "credentials" and announced in KINDS:
            kind = announced
        family = _FAMILY.get(kind, AuthenticationFailed)
        text = self._scrub(text)
        if response_code is not None and self._secret is not None:
            response_code = scrubbed_code(response_code, self._secret)
        error = family(text or _SILENT[family], server_text=text, response_code=response_code, kind=kind)
        if isinstance(error, AuthenticationFailed):
            error.token = self._token and self._deferred is None and self._last is not _NOTHING
        return self._end_with(error)

    def cancel(self) -> None:
        """Give up: `fail` then returns Cancelled. An exchange that has failed already keeps its error."""
        if self.state is DONE:
            raise self._misuse("cancel()")
        if self.state is not FAILED:
            self._end_with(Cancelled("the exchange was cancelled"))

    @property
    def complete(self) -> bool:
        """Whether a yes is allowed now: `succeed()` without data would take it.

        For protocols without a message for the verdict (Kafka, D-Bus): who goes on then has logged in.
        """
        return self.state is OPEN and self._last is Complete and self._deferred is None

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
        return self._last is ErrorAnswer

    @property
    def explanation(self) -> ErrorAnswer | None:
        """The answer to the error challenge, with what that one says and announces; None if there was none."""
        return self._explanation

    @property
    def prompts(self) -> bool:
        """Whether the challenges are prompts that nobody has to read: those that are not base64 break no login."""
        return self._prompts

    def _advance(self, message: bytes | None) -> bytes:
        """Run the script to its next step and return what it sends.

        What goes wrong in it leaves as a SASLError, without the script's frames: their locals hold credentials. So does
        an interruption, as what it is.
        """
        try:
            return self._note(self._script.send(message))  # type: ignore[arg-type]  # None starts it
        except BaseException as raised:
            error = self._error_for(raised)
            failure: BaseException = bare(raised) if error is None else error
            self._end_with(error or Cancelled("the exchange was interrupted"))
        raise failure

    def _error_for(self, raised: BaseException) -> SASLError | None:
        """Return the error for what a script raised, None for an interruption, which is nobody's error.

        Before the server has said anything, nothing can be its fault.
        """
        family = ProtocolError if self._steps else UsageError
        if isinstance(raised, StopIteration):
            return family("the mechanism has nothing to say to that")
        if not isinstance(raised, SASLError):
            return None if is_interruption(raised) else family(f"the mechanism failed with {type(raised).__name__}")
        if isinstance(raised, ProtocolError) and not self._steps:
            return family(str(raised))
        return bare(raised)

    def _note(self, step: ClientStep) -> bytes:
        """Note which kind of step it is, and return its octets: in a frame of its own, since they hold credentials."""
        data = step.data if isinstance(step, _MESSAGES) else step
        if step is None and not self._steps:
            data = b""  # the server speaks first
        if not isinstance(data, bytes):
            raise ProtocolError(f"the mechanism sent {type(data).__name__} where octets belong")
        self._last = kind = type(step)
        if kind not in _HARMLESS:
            self._reveals = True
        elif isinstance(step, ErrorAnswer):
            self._explanation = step
        return data

    def _scrub(self, text: str) -> str:
        """Take the credential out of a text: a server may say back what it was sent."""
        return text if self._secret is None else scrubbed(text, self._secret)

    def _end_with(self, error: SASLError) -> SASLError:
        error.mechanism = self.name
        if self._explanation is not None:
            error.detail = {key: self._scrub(value) for key, value in self._explanation.detail.items()}
        self.state = FAILED
        self._error = error
        self._let_go()
        return error

    def _let_go(self) -> None:
        """Let go of everything that holds the credential."""
        close(self._script)
        if self._deferred is not None:
            self._reveals = False  # what is deferred now never leaves
            self._deferred = None
        self._initial = None
        self._secret = None


_MESSAGES: Final = (Complete, Harmless, ErrorAnswer)
_NOTHING: Final = type(None)
_HARMLESS: Final = frozenset({_NOTHING, Harmless, ErrorAnswer})
"""Steps that neither show nor prove the secret."""
_TOO_EARLY: Final[Mapping[type, str]] = {
    _NOTHING: "the server said yes before the client sent anything",
    ErrorAnswer: "the server said yes after an error challenge",
}
"""Why a yes is too early behind steps that no data with success can follow; there is none behind `Complete`."""
_FAMILY: Final[Mapping[Kind, type[SASLError]]] = {
    "authorization": AuthorizationFailed,
    "unavailable": TemporaryFailure,
}
_SILENT: Final[Mapping[type[SASLError], str]] = {
    AuthenticationFailed: "the server refused the credential",
    AuthorizationFailed: "the server accepted the credential, but not the identity to act as",
    TemporaryFailure: "the server cannot authenticate now",
}
