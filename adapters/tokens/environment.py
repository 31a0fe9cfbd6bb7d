"""An access token in a variable of the environment, as container platforms and CI systems hand it over.

    token = sasl.adapters.tokens.environment.EnvironmentTokens("MAIL_TOKEN")
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

Nobody outside of a process can change its environment. So a token that is over stays over, unless the process itself
sets the variable anew.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, final

from sasl.errors import TokenError, UsageError, hide_frames

from ._text import is_over, parse_token

if TYPE_CHECKING:
    from sasl.credentials import AccessToken

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@final
class EnvironmentTokens:
    """Gives the token that a variable holds when somebody asks.

    `name` is that of the variable. Raises UsageError if it is not one: letters, digits and "_", no digit first.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            del self, name  # it may be the token itself
            raise UsageError("this is no name of a variable")
        self._name = name

    def __repr__(self) -> str:
        return f"EnvironmentTokens({self._name!r})"

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return the token that the variable holds.

        Raises TokenError: variable_not_set; no_token if it holds something else; stale_token, which needs the user, if
        it holds the token in `stale`, which a server has just refused, or one that says itself that it is over.
        """
        called = f"the variable {self._name}"
        octets = os.fsencode(os.environ.get(self._name, ""))
        if not octets:
            raise TokenError(f"{called} is not set, or is empty", code="variable_not_set", hint=f"Set {self._name}.")
        token = parse_token(octets, called)
        if (stale is not None and token.value == stale) or is_over(token, time.time()):
            raise TokenError(
                f"{called} holds a token that is over",
                code="stale_token",
                needs_user=True,
                hint=f"Set {self._name} to a new token.",
            )
        return token
