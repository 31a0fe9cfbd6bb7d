"""What a mechanism may yield, what a server asks, and what it may be answered.

A mechanism is a pair of generator functions. A client script yields what it sends and gets the server's
next message; a server script yields challenges and questions and gets responses and what the answers mean
(see `ask`), and ends by returning `Verified`. See docs/decisions/0002-mechanisms-are-scripts.md.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from .channel import UNKNOWN_CHANNEL, Channel
from .limits import DEFAULT_LIMITS, Limits
from .secret import Secret, octets
from .typed import TYPE_CHECKING, final
from .value import field, value

if TYPE_CHECKING:
    from typing import Any, ClassVar, Final, TypeAlias

    from .errors import Kind

KINDS: Final[tuple[Kind, ...]] = (
    "credentials",
    "authorization",
    "expired",
    "disabled",
    "unavailable",
    "malformed",
    "unexpected_ir",
    "cancelled",
    "limit",
    "state",
    "unsupported",
    "policy",
)
"""Why an exchange failed. One set from a verifier's verdict to the reply on the wire."""


@final
@value
class Options:
    """What a script is told besides its credentials.

    Attributes:
        mechanism: the name it runs under, which matters to scripts that serve several rows.
        channel: the connection below.
        limits: the bounds to keep.
    """

    mechanism: str
    channel: Channel = UNKNOWN_CHANNEL
    limits: Limits = DEFAULT_LIMITS


# --- what a client script yields: octets (more must come), None (server-first), or one of these


@final
@value
class Harmless:
    """A message that neither shows nor proves the secret, like a user name; more must come.

    Whoever hears it can do no more than before: after a no to it, another mechanism may be tried.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"Harmless({octets(self.data)})"


@final
@value
class Complete:
    """The client's last message: after it, and only then, may the server say yes."""

    data: bytes

    def __repr__(self) -> str:
        return f"Complete({octets(self.data)})"


@final
@value
class ErrorAnswer:
    """What an error challenge is owed; only a no may follow.

    Attributes:
        data: the answer.
        detail: the challenge, parsed.
        kind: what kind of no it announces (one of `KINDS`), where the challenge says more than the protocol's reply
            to a refused credential; None where that reply decides.
    """

    data: bytes
    detail: Mapping[str, str] = field(default_factory=dict)
    kind: Kind | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", {str(key): str(value) for key, value in self.detail.items()})

    def __repr__(self) -> str:
        return f"ErrorAnswer({octets(self.data)}, detail={self.detail!r})"


ClientStep: TypeAlias = bytes | Harmless | Complete | ErrorAnswer | None
ClientSteps: TypeAlias = Generator[ClientStep, bytes, None]


# --- what a server script yields besides questions, and what it returns


@final
@value
class Challenge:
    """A message to the client.

    A script whose first challenge is empty takes an initial response in its place; one that begins with
    another challenge refuses it, unless `initial` says that the response may come unasked (LOGIN).
    One that explains a `refusal` (RFC 7628 section 3.2.2) is the beginning of the end: nothing undoes it.
    """

    data: bytes
    initial: bool = False
    refusal: Rejected | None = None

    def __repr__(self) -> str:
        return f"Challenge({octets(self.data)})"


@final
@value
class Verified:
    """How a server script ends well: who it is, and what it still wants.

    Attributes:
        identity: what a check or a lookup accepted.
        authzid: whom the client wants to act as; None or "" for itself.
        data: additional data with success (RFC 4422 section 3.6), or None.
    """

    identity: str
    authzid: str | None = None
    data: bytes | None = None

    def __repr__(self) -> str:
        return f"Verified(identity={self.identity!r}, authzid={self.authzid!r}, data={octets(self.data)})"


EMPTY_CHALLENGE: Final = Challenge(b"")
"""What a script begins with that takes an initial response: the same one for every exchange."""


# --- answers


@final
@value
class Accepted:
    """Yes, and this is who it is."""

    identity: str


@final
@value
class Record:
    """What a lookup found: who it is, and the stored keys or the secret to verify with."""

    identity: str
    value: Any

    def __repr__(self) -> str:
        return f"Record(identity={self.identity!r}, value=<{type(self.value).__name__}>)"


@final
class Rejected(Exception):
    """No. An answer, and what `ask` raises for it inside a script.

    Attributes:
        reason: for the server's log; never sent.
        kind: one of "credentials", "authorization", "expired", "disabled", "policy".
        detail: for an error challenge: status, scope, schemes, openid-configuration.
    """

    def __init__(self, reason: str = "", kind: Kind = "credentials", detail: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind: Kind = kind
        self.detail = detail

    def __repr__(self) -> str:
        return f"Rejected({self.reason!r}, kind={self.kind!r}, detail={self.detail!r})"


@final
class Unavailable(Exception):
    """Cannot tell now. An answer, and what `ask` raises for it inside a script."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __repr__(self) -> str:
        return f"Unavailable({self.reason!r})"


Answer: TypeAlias = Accepted | Record | Rejected | Unavailable | None


# --- questions


class Question:
    """What a server exchange wants to know from whoever drives it."""

    __slots__ = ()
    lookup: ClassVar[bool] = False
    """Whether it is answered by a `Record` or None rather than by `Accepted`."""
    proves_name: ClassVar[bool] = False
    """Whether its yes, or what is made of its record, proves the name in `authcid` itself: see `Authorize`."""

    def accepts(self, answer: object) -> bool:
        """Whether `answer` is one that this question may get. It is of exactly its type: a stand-in may be anything.

        Never raises.
        """
        kind = type(answer)
        if kind is (Record if self.lookup else Accepted):
            identity: object = answer.identity  # type: ignore[attr-defined]  # its type was looked at
            return isinstance(identity, str) and identity != ""
        if kind is Rejected:
            return answer.kind in KINDS  # type: ignore[attr-defined]
        return self.lookup if answer is None else kind is Unavailable

    def default(self) -> Answer:
        """What NotImplemented stands for."""
        return Unavailable(f"nobody answers {type(self).__name__}")


@final
@value
class CheckPassword(Question):
    """Is this the user's password? `password` is a `Secret`, which compares with a str in constant time."""

    proves_name: ClassVar[bool] = True
    authcid: str
    password: Secret


@final
@value
class CheckToken(Question):
    """Is this token good, and for this mailbox? `username` is None where the client named none.

    `host` and `port` are what the client says it meant to reach (RFC 7628 section 3.1), or None.
    """

    username: str | None
    token: Secret
    host: str | None
    port: int | None


@final
@value
class CheckCertificate(Question):
    """Whom does the client certificate of the TLS layer name? `certificate` is DER, or None if unknown here."""

    certificate: bytes | None
    authzid: str | None

    def __repr__(self) -> str:
        return f"CheckCertificate({octets(self.certificate)}, authzid={self.authzid!r})"


@final
@value
class CheckAnonymous(Question):
    """May an anonymous client in? `trace` is what it left for the log (RFC 4505), unverified."""

    trace: str


@final
@value
class Authorize(Question):
    """May `identity` act as `authzid`? The engine asks; a script cannot forget it.

    `authcid` is the name that the client proved: the one that a password or a key was checked or looked up for. None
    for tokens, certificates and anonymous clients, whose identity comes from elsewhere.
    """

    identity: str
    authzid: str | None
    authcid: str | None = None

    def default(self) -> Answer:
        """Only the identity itself, whether the client names it so, as it proved it, or not at all.

        A token and a certificate prove no name that was typed: there, the identity may come in another case (ASCII).
        """
        if self.authzid in (None, "", self.identity, self.authcid) or self._is_other_case():
            return Accepted(self.identity)
        names = [self.identity] if self.authcid is None else dict.fromkeys((self.authcid, self.identity))
        who = " alias ".join(map(repr, names))
        return Rejected(f"{who} may not act as {self.authzid!r} here", kind="authorization")

    def _is_other_case(self) -> bool:
        if self.authcid is not None or self.authzid is None:
            return False
        one, two = (name.encode("utf-8", "surrogatepass").lower() for name in (self.authzid, self.identity))
        return one == two


@final
@value
class FindKeys(Question):
    """The stored SCRAM keys of a user for a hash ("sha256").

    None is the answer for whoever must not be told from a wrong password. `Rejected` names its kind to everybody who
    asks for that user, with any password: "disabled" is better said to `Authorize`, after the proof.
    """

    lookup: ClassVar[bool] = True
    proves_name: ClassVar[bool] = True
    authcid: str
    hash: str


@final
@value
class FindSecret(Question):
    """The plain password of a user, for the mechanisms that need it (CRAM-MD5, DIGEST-MD5, APOP)."""

    lookup: ClassVar[bool] = True
    proves_name: ClassVar[bool] = True
    authcid: str
    mechanism: str
    realm: str | None


ServerSteps: TypeAlias = Generator[Challenge | Question, "Any", Verified]


def ask(question: Question) -> Generator[Question, Any, Any]:
    """Ask whoever drives the exchange: `identity = yield from ask(CheckPassword(...))`.

    Returns the identity of a check, or the `Record` of a lookup (None if nothing was found: go on with a
    decoy, the engine forbids success). Raises Rejected and Unavailable; a script may catch Rejected to
    send an error challenge, and raises it again. To yield the question itself does the same.
    """
    return (yield question)


# --- what a server exchange answers to its driver


@final
@value
class Success:
    """The exchange is over, with a yes.

    Attributes:
        identity: whom the client acts as from now on.
        authcid: who it proved to be.
        data: additional data to send with the yes, or None.
    """

    identity: str
    authcid: str
    data: bytes | None = None

    def __repr__(self) -> str:
        return f"Success(identity={self.identity!r}, authcid={self.authcid!r}, data={octets(self.data)})"


@final
@value
class Failure:
    """The exchange is over, with a no. `reason` is for the log; what the client is told follows from `kind`."""

    kind: Kind
    reason: str = ""
    detail: Mapping[str, str] | None = None


Settled: TypeAlias = Challenge | Success | Failure
"""What a server exchange comes to once its questions are answered: something to send, or the end."""
Event: TypeAlias = Question | Settled
