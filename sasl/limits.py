"""How much a peer may cost: the limits of an exchange, all configurable."""

from __future__ import annotations

from .errors import UsageError
from .typed import TYPE_CHECKING, final
from .value import value

if TYPE_CHECKING:
    from typing import Final


_MOST = 600_000  # iterations


@final
@value
class Limits:
    """Upper bounds that an exchange enforces.

    Attributes:
        message: octets of one challenge, response or success data, before base64.
        steps: messages that the peer may send in one exchange.
        error_json: octets of an error challenge that is still parsed; a larger one is answered all the same.
        error_json_depth: how deep its JSON may nest.
        min_iterations, max_iterations: SCRAM iteration counts (RFC 5802 section 9). The default maximum holds a hash
            that takes longer to fewer, so that no server's count takes a second: see `most_iterations`.
        prep_characters: input of SASLprep, in characters, before and after normalization; what is printable ASCII needs
            none.

    Raises UsageError for a number that is none, or a maximum below its minimum.
    """

    message: int = 65_536
    steps: int = 16
    error_json: int = 8_192
    error_json_depth: int = 16
    min_iterations: int = 4_096
    max_iterations: int = _MOST
    prep_characters: int = 1_024

    def __post_init__(self) -> None:
        for name in self.__match_args__:
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise UsageError(f"the limit {name} is a number, not below 0")
        if self.max_iterations < self.min_iterations:
            raise UsageError("max_iterations is not below min_iterations")

    def most_iterations(self, hash_name: str) -> int:
        """Return the largest iteration count for a hash, named as hashlib names it.

        A maximum other than the default holds for all hashes.
        """
        return _CEILINGS.get(hash_name, _MOST) if self.max_iterations == _MOST else self.max_iterations


_CEILINGS: Final = {"sha384": 400_000, "sha512": 400_000, "sha3_512": 300_000}

DEFAULT_LIMITS: Final = Limits()
