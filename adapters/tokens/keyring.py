"""An access token in the keyring of the operating system: Keychain, Credential Locker, Secret Service.

    token = sasl.adapters.tokens.keyring.KeyringTokens("mail-token", "me@example.com")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

Some other program keeps the entry. Its text is the token, or an object of JSON: {"access_token": ..., "expires_at":
...}. keyring comes with the extra of that name.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

from sasl.errors import TokenError, hide_frames

from ._anew import Anew
from ._extra import load
from ._text import parse_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.credentials import AccessToken

    from .kept import Need

_EXTRA: Final = "keyring"


@final
class KeyringTokens:
    """Gives the token of an entry in the keyring, which is asked at each call, or shortly before the token's end.

    `service` and `name` are those of the entry. `clock` returns the time in seconds since 1970.
    """

    __slots__ = ("_anew", "_name", "_service")

    def __init__(self, service: str, name: str, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._name = name
        self._anew = Anew(self._fetch, clock=clock)

    def __repr__(self) -> str:
        return f"KeyringTokens({self._service!r}, {self._name!r})"

    def held(self) -> AccessToken | None:
        """Return the token at hand if the keyring need not be asked, else None."""
        return self._anew.held()

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`, which a server has just refused.

        Raises TokenError: missing_extra; no_keyring where the system has none; locked, no_entry and stale_token, which
        need the user; store_unreachable, which is retryable; no_token if the entry is something else.
        """
        return self._anew.token(stale)

    def _fetch(self, _need: Need) -> AccessToken:
        keyring, errors = load("keyring", _EXTRA), load("keyring.errors", _EXTRA)
        found = None
        failure = TokenError(
            "the keyring has no such entry", code="no_entry", needs_user=True, hint="Sign in with whatever keeps it."
        )
        try:
            found = keyring.get_password(self._service, self._name)
        except errors.NoKeyringError:
            failure = TokenError("this system has no keyring", code="no_keyring", hint="Keep the token elsewhere.")
        except errors.KeyringLocked:
            failure = TokenError("the keyring is locked", code="locked", needs_user=True, hint="Unlock the keyring.")
        except Exception as error:  # a backend's own; its text may hold the entry
            said = f"the keyring failed with {type(error).__name__}"
            failure = TokenError(said, code="store_unreachable", retryable=True)
        if found is None:
            raise failure
        return parse_token(found.encode("utf-8", "replace"), "the entry of the keyring")
