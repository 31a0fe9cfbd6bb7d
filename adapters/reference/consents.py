"""What the reference authority has given out: consents with their refresh tokens, and access tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .verifier import TokenState


@final
class Consent:
    """What a user has granted to a client: the refresh token that is good, and those that were."""

    def __init__(self, user: str, client_id: str, scope: str, current: bytes) -> None:
        self.user = user
        self.client_id = client_id
        self.scope = scope
        self.current = current
        self.before: bytes | None = None
        self.former: set[bytes] = set()
        self.revoked = False
        self.renews = True

    @property
    def is_good(self) -> bool:
        """Whether its refresh token gets access tokens."""
        return self.renews and not self.revoked

    def rotate(self, used: bytes, current: bytes) -> None:
        """Let another refresh token be the good one, after that one was used."""
        self.former.add(self.current)
        self.before, self.current = used, current

    def knows(self, hashed: bytes) -> bool:
        """Whether a refresh token is of it, or was."""
        return hashed == self.current or hashed in self.former


@final
class Access:
    """An access token that was given out."""

    def __init__(self, user: str, client_id: str, scope: str, issued_at: float, expires_at: float) -> None:
        self.user = user
        self.client_id = client_id
        self.scope = scope
        self.issued_at = issued_at
        self.expires_at = expires_at
        self.consent: Consent | None = None
        self.revoked = False

    def state(self, now: float) -> TokenState:
        """Return what has become of it."""
        if self.revoked or (self.consent is not None and self.consent.revoked):
            return "revoked"
        return "good" if now < self.expires_at else "expired"
