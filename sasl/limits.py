"""How much a peer may cost: the limits of an exchange, all configurable."""

from __future__ import annotations

from .typed import TYPE_CHECKING, final
from .value import value

if TYPE_CHECKING:
    from typing import Final


@final
@value
class Limits:
    """Upper bounds that an exchange enforces.

    Attributes:
        message: octets of one challenge, response or success data, before base64.
        steps: messages that the peer may send in one exchange.
        error_json: octets of an error challenge that is still parsed; a larger one is answered all the same.
        error_json_depth: how deep its JSON may nest.
        min_iterations, max_iterations: SCRAM iteration counts (RFC 5802 section 9).
        prep_characters: input of SASLprep, in characters, before and after normalization.
    """

    message: int = 65_536
    steps: int = 16
    error_json: int = 8_192
    error_json_depth: int = 16
    min_iterations: int = 4_096
    max_iterations: int = 600_000
    prep_characters: int = 1_024


DEFAULT_LIMITS: Final = Limits()
