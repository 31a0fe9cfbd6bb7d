"""How the reference servers behave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.limits import DEFAULT_LIMITS, Limits
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Collection


@final
@value
class Settings:
    """How the servers behave.

    Attributes:
        deadline: seconds that a client has, before it is logged in, for one command with all that belongs to it:
            a whole login exchange, a TLS handshake.
        idle: the same once it is logged in; also, by the clock, how long it may say nothing. None: as the persona says,
            else half an hour.
        session: seconds that a session lasts, by the clock, that was not authenticated with a token: one that was lasts
            as long as that. None: as the persona says, else for any time.
        grace: seconds to wait for a client that does not take what it was sent, when the connection is closed.
        connections: how many may be open at once; who comes then is sent away.
        failures: refused logins after which the connection is closed.
        policy: what may be offered without TLS, and what is off unless it is named there: CRAM-MD5, DIGEST-MD5,
            ANONYMOUS.
        mechanisms: the only mechanisms to offer; None for all that the verifier can serve.
        common_name: whether the commonName of a client certificate may name the user, where no mailbox is named at all.
        hosts: the names that a client may have meant (OAUTHBEARER, DIGEST-MD5); empty for any.
        check_port: whether it must also have meant the port that it is connected to.
        limits: of the exchanges.
    """

    deadline: float = 60.0
    idle: float | None = None
    session: float | None = None
    grace: float = 1.0
    connections: int = 4_096
    failures: int = 10
    policy: Policy = DEFAULT_POLICY
    mechanisms: Collection[str] | None = None
    common_name: bool = False
    hosts: Collection[str] = ("localhost", "127.0.0.1", "::1")
    check_port: bool = True
    limits: Limits = DEFAULT_LIMITS


DEFAULT_SETTINGS: Final = Settings()
