"""What is kept of one account: the grant, the access token that came of it last, and what became of the last renewal.

It is one JSON document of at most 64 KB. Times are POSIX seconds. Members that this version does not know are kept.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, final

from sasl.credentials import AccessToken
from sasl.errors import TokenError
from sasl.secret import Secret
from sasl.value import KW_ONLY, field, value

from ..documents import parse_object
from .messages import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT: Final = 1
LARGEST: Final = 65_536
"""Octets of a record."""


@final
@value
class Pending:
    """The mark of a renewal that was sent, or is about to be.

    Attributes:
        id: whose it is, a random text.
        since: when it was set.
        until: when its request is over, whatever becomes of it.
    """

    id: str
    since: float
    until: float


@final
@value
class Refused:
    """Why nothing more is sent until somebody signs in again or changes what is sent.

    Attributes:
        code, text, hint, needs_user: those of the TokenError.
        at: when.
        grant: a digest of what was refused (`Record.grant`).
    """

    code: str
    text: str
    hint: str
    needs_user: bool
    at: float
    grant: str


@final
@value
class Record:
    """What is kept of one account.

    Attributes:
        key: the account's name in the store.
        user: the mailbox.
        token_endpoint: where tokens come from.
        client_id, client_secret, client_basic: the client; the secret is sent by HTTP Basic or in the form.
        provider: the name of its profile in `sasl.adapters.providers`, or None.
        issuer: the authorization server's identifier (RFC 8414 section 2), or None.
        revocation_endpoint: where the grant can be revoked (RFC 7009), or None.
        scope: what to ask for at a renewal; None for what was granted.
        refresh_token: None for client credentials.
        access_token, renewed_at, expires_at, granted_scope: what came last, when, until when it is good (None if the
            server did not say), and for what.
        granted_at: when somebody signed in.
        version: counts what was saved; set by the store.
        fence: counts the holders of the lock and the sign-ins; set by the store.
        pending, refused: see there.
        retry_at: when to ask again after `failures` failures that may pass.
        unknown: members of a later version.
    """

    key: str
    user: str
    token_endpoint: str
    client_id: str
    _: KW_ONLY
    client_secret: Secret | None = None
    client_basic: bool = False
    provider: str | None = None
    issuer: str | None = None
    revocation_endpoint: str | None = None
    scope: str | None = None
    refresh_token: Secret | None = None
    access_token: Secret | None = None
    renewed_at: float | None = None
    expires_at: float | None = None
    granted_scope: str | None = None
    granted_at: float = 0.0
    version: int = 0
    fence: int = 0
    pending: Pending | None = None
    refused: Refused | None = None
    retry_at: float | None = None
    failures: int = 0
    unknown: Mapping[str, Any] = field(default_factory=dict, hidden=True)

    def token(self) -> AccessToken | None:
        """Return the access token, however old it is, or None."""
        if self.access_token is None:
            return None
        ends = None if self.expires_at is None else datetime.fromtimestamp(self.expires_at, UTC)
        return AccessToken(self.access_token, ends, self.granted_scope or self.scope)

    def client(self) -> Client:
        """Return the client that the grant is for."""
        return Client(self.client_id, secret=self.client_secret, basic=self.client_basic)

    def grant(self) -> str:
        """Return a digest of what a renewal sends; where it is the same, so will be the answer."""
        from hashlib import sha256

        secrets = [None if each is None else each.reveal() for each in (self.client_secret, self.refresh_token)]
        sent = [self.token_endpoint, self.client_id, self.scope, *secrets]
        return sha256(json.dumps(sent).encode()).hexdigest()

    def encode(self) -> bytes:
        """Return the document. Raises TokenError (not_stored) if it is too large, or could not be read again."""
        members: dict[str, Any] = {"format": FORMAT, **self.unknown}
        for name, (read, write) in _MEMBERS.items():
            content = getattr(self, name)
            if content is None:
                continue
            members[name] = write(content)
            if read(members[name]) is _WRONG:
                del members, content
                raise TokenError(f"a record has no {name} that can be stored", code="not_stored")
        octets = json.dumps(members, separators=(",", ":")).encode()
        del members
        if len(octets) > LARGEST:
            del octets
            raise TokenError(f"a record has more than {LARGEST} octets", code="not_stored")
        return octets


def parse_record(octets: bytes) -> Record:
    """Return the record that a document holds. Raises TokenError (bad_record) for any other."""
    members = parse_object(octets, unique=True) if len(octets) <= LARGEST else None
    del octets  # no frame of the error shows what is stored
    if members is None or _count(members.pop("format", None)) != FORMAT:
        del members
        raise _bad_record("is none of this version")
    fields: dict[str, Any] = {}
    for name, (read, _) in _MEMBERS.items():
        content = read(members.pop(name)) if name in members else None
        if content is _WRONG or (content is None and name in _REQUIRED):
            del members, fields, content
            raise _bad_record(f"has no {name} that can be one")
        if content is not None:
            fields[name] = content
    return Record(**fields, unknown=members)


def _bad_record(what: str) -> TokenError:
    return TokenError(f"the stored record {what}", code="bad_record", hint="Sign in again.")


# --- members: how each is read and written

_WRONG: Final = object()
_FARTHEST: Final = 253_402_300_800.0  # the year 10000, beyond which no datetime is


def _text(content: object) -> object:
    return content if isinstance(content, str) and content else _WRONG


def _secret(content: object) -> object:
    return Secret(content) if isinstance(content, str) and content else _WRONG


def _flag(content: object) -> object:
    return content if isinstance(content, bool) else _WRONG


def _count(content: object) -> object:
    return content if type(content) is int and 0 <= content < 2**63 else _WRONG


def _time(content: object) -> object:
    if not isinstance(content, int | float) or isinstance(content, bool):
        return _WRONG
    return float(content) if 0 <= content < _FARTHEST else _WRONG  # NaN is neither


def _any_text(content: object) -> object:
    return content if isinstance(content, str) else _WRONG


def _object_of(kind: type, **readers: Callable[[object], object]) -> Callable[[object], object]:
    """Return what reads an object of JSON as a value of a kind."""

    def read(content: object) -> object:
        if not isinstance(content, dict) or content.keys() != readers.keys():
            return _WRONG
        fields = {name: reader(content[name]) for name, reader in readers.items()}
        return _WRONG if _WRONG in fields.values() else kind(**fields)

    return read


def _as_it_is(content: Any) -> Any:
    return content


def _revealed(content: Secret) -> str:
    return content.reveal()


def _members_of(content: Any) -> dict[str, Any]:
    return {name: getattr(content, name) for name in content.__match_args__}


_PENDING: Final = _object_of(Pending, id=_text, since=_time, until=_time)
_REFUSED: Final = _object_of(
    Refused, code=_text, text=_any_text, hint=_any_text, needs_user=_flag, at=_time, grant=_text
)
_MEMBERS: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "key": (_text, _as_it_is),
    "user": (_text, _as_it_is),
    "token_endpoint": (_text, _as_it_is),
    "client_id": (_text, _as_it_is),
    "client_secret": (_secret, _revealed),
    "client_basic": (_flag, _as_it_is),
    "provider": (_text, _as_it_is),
    "issuer": (_text, _as_it_is),
    "revocation_endpoint": (_text, _as_it_is),
    "scope": (_text, _as_it_is),
    "refresh_token": (_secret, _revealed),
    "access_token": (_secret, _revealed),
    "renewed_at": (_time, _as_it_is),
    "expires_at": (_time, _as_it_is),
    "granted_scope": (_text, _as_it_is),
    "granted_at": (_time, _as_it_is),
    "version": (_count, _as_it_is),
    "fence": (_count, _as_it_is),
    "pending": (_PENDING, _members_of),
    "refused": (_REFUSED, _members_of),
    "retry_at": (_time, _as_it_is),
    "failures": (_count, _as_it_is),
}
_REQUIRED: Final = frozenset({"key", "user", "token_endpoint", "client_id"})
