"""What a server's certificate says (RFC 5280 section 4.1): for whom it is, who issued it, from when and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from sasl.text import printable
from sasl.value import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LONGEST: Final = 200  # characters of one name
_MOST_NAMES: Final = 100
_SHOWN: Final = 5  # names in a sentence


@final
@value
class Certificate:
    """A certificate as it was shown. Whether anybody vouches for it is another question.

    Attributes:
        subject: whom it names, as in RFC 4514.
        issuer: who signed it, as in RFC 4514.
        names: the hosts and addresses that it is for.
        not_before, not_after: from when and until when it is good, in UTC, "2026-11-28 16:40:00".
        sha256: its fingerprint, in hex.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: str
    not_after: str
    sha256: str

    def as_json(self) -> Mapping[str, Any]:
        """Return what goes into a JSON object."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "names": list(self.names),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "sha256": self.sha256,
        }

    def list_names(self) -> str:
        """Return the first names, for a sentence."""
        more = len(self.names) - _SHOWN
        listed = ", ".join(self.names[:_SHOWN]) or "no host at all"
        return f"{listed} and {more} more" if more > 0 else listed


def read_certificate(der: bytes | None) -> Certificate | None:
    """Return what a DER certificate says; None if there is none, or if it cannot be read."""
    if not der:
        return None
    try:
        return _parse(der)
    except Exception:  # ValueError, InvalidVersion, DuplicateExtension, ...: anybody can write anything into it
        return None


def _parse(der: bytes) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    parsed = x509.load_der_x509_certificate(der)
    return Certificate(
        _clean(parsed.subject.rfc4514_string()),
        _clean(parsed.issuer.rfc4514_string()),
        tuple(name for name, _ in zip(_names(parsed), range(_MOST_NAMES), strict=False)),
        f"{parsed.not_valid_before_utc:%Y-%m-%d %H:%M:%S}",
        f"{parsed.not_valid_after_utc:%Y-%m-%d %H:%M:%S}",
        parsed.fingerprint(SHA256()).hex(),
    )


def _names(parsed: Any) -> Iterator[str]:
    """Give the hosts and addresses of the subjectAltName: Python looks nowhere else (RFC 9525 section 6.3)."""
    from cryptography import x509

    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in found:
        if isinstance(name, x509.DNSName | x509.IPAddress):
            yield _clean(str(name.value))


def _clean(text: str) -> str:
    return printable(text, limit=_LONGEST)
