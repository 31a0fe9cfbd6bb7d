"""The server's exchange: it asks a verifier, and says yes only to an identity that one accepted and authorized."""

from __future__ import annotations

from .errors import LimitExceeded, SASLError, UsageError, bare, is_interruption
from .exchange import DONE, FAILED, NEW, OPEN, Exchange, close
from .limits import DEFAULT_LIMITS, Limits
from .steps import (
    KINDS,
    Accepted,
    Authorize,
    Challenge,
    Failure,
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
    from .errors import Kind
    from .steps import Event, ServerSteps


@final
class ServerExchange(Exchange):
    """The server's side of one authentication. Made by `sasl.server`; serves once.

    `start`, `receive` and `answer` return the next event: a `Challenge` to send, a `Question` to answer,
    a `Success` or a `Failure`. What a peer sent never raises; UsageError is for a wrong call.

    Attributes:
        misfit: whether the last answer was none that its question may get.
    """

    __slots__ = (
        "_accepted",
        "_initial",
        "_not_found",
        "_question",
        "_response",
        "_script",
        "_success",
        "_success_data",
        "_verdict",
        "_verified",
        "misfit",
    )

    def __init__(
        self,
        name: str,
        script: ServerSteps,
        limits: Limits = DEFAULT_LIMITS,
        success_data: bool = False,  # noqa: FBT001, FBT002 -- a call by keywords takes half as long again
    ) -> None:
        self.name = name
        self.state = NEW
        self._limits = limits
        self._steps = 0
        self._script = script
        self._success_data = success_data
        self._initial: bytes | None = None  # until the first challenge, whose answer it is
        self._response: bytes | None = None  # on its way to the script
        self._question: Question | None = None
        self._accepted: tuple[tuple[str, str | None], ...] = ()  # identities, each with the name that proved it
        self._verdict: Failure | None = None  # a no that nothing undoes
        self._not_found: Failure | None = None  # the same, but told only at the end: the client must not notice
        self._verified: Verified | None = None
        self.misfit = False
        self._success: Success | None = None  # waits for the answer to the last challenge

    def start(self, initial_response: bytes | None = None) -> Event:
        """Begin, with the client's initial response; None if it sent none, which differs from an empty one."""
        if self.state is not NEW or not (initial_response is None or isinstance(initial_response, bytes)):
            error = self._wrong_call("start()", initial_response)
            del initial_response  # no frame of an error shows a message
            raise error
        excess = self._over_limit(initial_response) if initial_response is not None else ""
        self.state = OPEN
        if excess:
            return self._end_with(Failure("limit", excess))
        self._initial = initial_response
        del initial_response  # an interruption shows what the variables of a frame hold
        return self._run(None)

    def receive(self, response: bytes) -> Event:
        """Take the client's answer to the last challenge."""
        if self.state is not OPEN or self._question is not None or not isinstance(response, bytes):
            error = self._wrong_call("receive()", response)
            del response
            raise error
        if excess := self._over_limit(response):
            return self._end_with(Failure("limit", excess))
        if self._success is not None:
            if response:
                return self._end_with(Failure("malformed", "the last challenge was answered by more than nothing"))
            self.state = DONE
            return self._success
        self._response = response
        del response
        return self._run(None, "malformed")

    def answer(self, value: object) -> Event:
        """Take the answer to the question that was returned last.

        NotImplemented stands for the default: Authorize accepts only the identity itself, all others are
        Unavailable. So is a value that is no answer to the question; `misfit` tells.
        """
        question = self._question
        if question is None:
            if self.state is not OPEN:
                raise self._misuse("answer()")
            raise UsageError("answer() without a question", mechanism=self.name)
        vouched = value is not NotImplemented
        try:
            self.misfit = vouched and not question.accepts(value)
        except Exception:
            self.misfit = True  # what raises when it is looked at is no answer
        if not vouched:
            value = question.default()
        elif self.misfit:
            value = Unavailable(f"{type(question).__name__} was answered by {type(value).__name__}")
        self._question = None
        if self._verified is not None:
            return self._authorize(self._verified, value)
        if isinstance(value, Record if question.lookup else Accepted):
            if vouched and not isinstance(question, Authorize):
                self._accepted += (
                    (value.identity, getattr(question, "authcid", None) if question.proves_name else None),
                )
            return self._run(value if question.lookup else value.identity)
        if question.lookup and not isinstance(value, Unavailable):
            # The script goes on with a decoy: until its end nobody may notice that there is no such user.
            self._not_found = self._not_found or _refusal(value)
            return self._run(None)
        self._verdict = self._verdict or _refusal(value)
        # Copies, because raising leaves frames on an exception, and a verifier may keep one to answer it always.
        if isinstance(value, Rejected):
            return self._run(None, refusal=Rejected(value.reason, value.kind, value.detail))
        if isinstance(value, Unavailable):
            return self._run(None, refusal=Unavailable(value.reason))
        return self._run(value)

    def cancel(self) -> Failure:
        """End the exchange for the client, which cancelled; a verdict that was already a no keeps its kind."""
        if self.state not in (NEW, OPEN):
            raise self._misuse("cancel()")
        return self._end_with(Failure("cancelled", "the client cancelled"))

    def _run(
        self, message: object, blame: Kind = "unavailable", refusal: Rejected | Unavailable | None = None
    ) -> Event:
        """Run the script to its next event: with a message, or with a refusal, which is raised inside it.

        `blame` is what its own exceptions are: "malformed" where the client spoke.
        """
        if self._response is not None:
            message, self._response = self._response, None
        try:
            step = self._script.send(message) if refusal is None else self._script.throw(refusal)
            while type(step) is Challenge and isinstance(step.data, bytes):
                if step.refusal is not None:
                    self._verdict = self._verdict or _refusal(step.refusal)
                if self._initial is None:
                    return step
                if step.data and not step.initial:
                    return self._end_with(Failure("unexpected_ir", "the mechanism takes no initial response"))
                message, self._initial, blame = self._initial, None, "malformed"
                step = self._script.send(message)
            if not isinstance(step, Question):
                return self._end_with(Failure("unavailable", f"the mechanism yielded {type(step).__name__}"))
            self._question = step
            return step
        except StopIteration as ended:
            return self._conclude(ended.value)
        except BaseException as error:
            if failure := self._failure_for(error, blame):
                return self._end_with(failure)
            self._end_with(Failure("unavailable", "the exchange was interrupted"))
            interruption = bare(error)  # the script's frames hold what the client sent
            message = None
        raise interruption

    def _wrong_call(self, call: str, message: object) -> UsageError:
        """Return the error for a call that the state does not allow, or that brings no message."""
        if self._question is not None:
            return UsageError(f"{call} while a question waits for its answer", mechanism=self.name)
        if self.state is not (NEW if call == "start()" else OPEN):
            return self._misuse(call)
        return self._no_message(message)

    def _failure_for(self, error: BaseException, blame: Kind) -> Failure | None:
        """Return what an exception of the script does to the exchange; None for an interruption."""
        if isinstance(error, Rejected):
            kind: Kind = error.kind if error.kind in KINDS else "credentials"
            return self._not_found or Failure(kind, error.reason, error.detail)
        if isinstance(error, Unavailable):
            return Failure("unavailable", error.reason)
        if isinstance(error, SASLError):
            return Failure("limit" if isinstance(error, LimitExceeded) else "malformed", str(error))
        return None if is_interruption(error) else Failure(blame, f"the mechanism failed with {type(error).__name__}")

    def _conclude(self, verified: object) -> Event:
        """The script says yes: believe it only where a verifier did, then ask for the authorization."""
        if refusal := self._verdict or self._not_found:
            return self._end_with(refusal)
        if self._initial is not None:
            return self._end_with(Failure("unexpected_ir", "the mechanism read no message"))
        if not isinstance(verified, Verified) or not (verified.data is None or isinstance(verified.data, bytes)):
            return self._end_with(Failure("unavailable", "the mechanism ended without a verdict"))
        names: set[str | None] = set()
        for identity, name in self._accepted:
            if identity == verified.identity:
                names.add(name)
        if not names:
            return self._end_with(Failure("unavailable", "the mechanism names an identity that no verifier accepted"))
        self._verified = verified
        self._question = Authorize(verified.identity, verified.authzid, names.pop() if len(names) == 1 else None)
        return self._question

    def _authorize(self, verified: Verified, verdict: object) -> Event:
        if not isinstance(verdict, Accepted):
            refusal = _refusal(verdict) or Failure("unavailable")
            return self._end_with(replace(refusal, kind="authorization") if refusal.kind == "credentials" else refusal)
        if verified.data is None or self._success_data:
            self.state = DONE
            return Success(verdict.identity, verified.identity, verified.data)
        self._success = Success(verdict.identity, verified.identity)
        return Challenge(verified.data)

    def _end_with(self, failure: Failure) -> Failure:
        """End the exchange. Whatever ended it: a verdict that was a no before that is what is reported."""
        self.state = FAILED
        self._question = None
        self._initial = None
        close(self._script)
        return self._verdict or failure


def _refusal(answer: object) -> Failure | None:
    """What an answer that is a no does to the exchange; None if it is another answer."""
    if isinstance(answer, Rejected):
        return Failure(answer.kind, answer.reason, answer.detail)
    if isinstance(answer, Unavailable):
        return Failure("unavailable", answer.reason)
    return Failure("credentials", "not found") if answer is None else None
