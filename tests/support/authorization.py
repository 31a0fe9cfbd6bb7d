"""An authorization server without a network, for the steps of a renewal: what it grants, and what reuse does to it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import sasl
from sasl.adapters.tokens.messages import Answer
from sasl.adapters.tokens.refusals import refusal

if TYPE_CHECKING:
    from sasl.adapters.tokens.record import Record

Mode = Literal["strict", "grace", "keep", "never"]


class Authorization:
    """Grants by refresh tokens: each good once, or until its successor is used, or for ever; or never a new one.

    Attributes:
        failures: what the next requests raise, one each; None for one that is granted.
        sent: the refresh tokens that came.
        lifetime: seconds of an access token, or None where it does not say.
    """

    def __init__(self, mode: Mode = "strict", lifetime: float | None = 3_600) -> None:
        self.mode = mode
        self.lifetime = lifetime
        self.failures: list[Exception | None] = []
        self.sent: list[str] = []
        self.revoked = False
        self._numbers = itertools.count(1)
        self._good = ["refresh-0"]

    def send(self, record: Record) -> Answer:
        assert record.refresh_token is not None
        token = record.refresh_token.reveal()
        self.sent.append(token)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if self.revoked or token not in self._good:
            self.revoked = True
            raise refusal("invalid_grant", "Token has been revoked.")
        number = next(self._numbers)
        access = sasl.Secret(f"access-{number}")
        if self.mode == "never":
            return Answer(access, self.lifetime, None, None)
        new = f"refresh-{number}"
        kept = {"strict": [], "grace": [token], "keep": self._good}[self.mode]
        self._good = [*kept, new]
        return Answer(access, self.lifetime, sasl.Secret(new), "mail")

    def sign_in(self) -> str:
        """Grant anew; return the refresh token."""
        self.revoked = False
        self._good = [f"refresh-{next(self._numbers)}"]
        return self._good[0]
