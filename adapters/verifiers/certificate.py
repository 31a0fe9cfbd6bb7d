"""Whom a TLS client certificate names, for EXTERNAL (RFC 4422 appendix A; RFC 5280 section 4.2.1.6, RFC 8398).

Whether the certificate can be trusted is TLS's to say: a name in it is worth what its CA is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from sasl.errors import SASLError, UsageError
from sasl.prep import saslprep
from sasl.steps import Accepted, CheckCertificate, Rejected

if TYPE_CHECKING:
    from cryptography import x509

    from sasl.steps import Question

SMTP_UTF8_MAILBOX: Final = "1.3.6.1.5.5.7.8.9"  # RFC 8398 section 3
UPN: Final = "1.3.6.1.4.1.311.20.2.3"  # Microsoft's user principal name

_LOWER: Final = {code: chr(code).lower() for code in range(ord("A"), ord("Z") + 1)}


def identities(certificate: bytes, *, common_name: bool = False) -> list[str]:
    """Return the mailboxes that a DER certificate names, each once: the user who shows it is one of them.

    First those of rfc822Name, then SmtpUTF8Mailbox, then Microsoft's UPN. With `common_name`, and if there is none of
    these, not even one that is left out, the subject's commonName, whatever it is. The domain is in lower case
    (ASCII), the rest as it stands. Left out is a name that SASLprep refuses or makes another (its local part and its
    domain are looked at one by one), that is empty or cannot be read; a mailbox without a local part or a domain, for
    a shorter name is another user's; and an SmtpUTF8Mailbox with an ASCII local part (RFC 8398 section 3).
    Raises UsageError if the certificate, or its subjectAltName as a whole, cannot be read.
    """
    found = _found(certificate)
    del certificate
    if found is None:
        raise UsageError("not a certificate in DER, or one whose names cannot be read")
    names = found.usable(common_name=common_name)
    return list(dict.fromkeys(fold_domain(name) for name in names if name and _is_prepared(name)))


def check(question: Question, *, common_name: bool = False) -> Any:
    """Answer CheckCertificate by the certificate's own names; NotImplemented for any other question.

    Of several names it is the one that the client wants to be, its domain in any case, else the first. Each user has
    one name, that of `identities`. A verifier, or a part of one, for servers whose users are named as in their
    certificates.
    """
    if not isinstance(question, CheckCertificate):
        return NotImplemented
    if question.certificate is None:
        return Rejected("no client certificate")
    try:
        names = identities(question.certificate, common_name=common_name)
    except UsageError as error:
        return Rejected(str(error))
    if not names:
        return Rejected(why_nobody(question.certificate, common_name=common_name))
    wanted = fold_domain(question.authzid or "")
    return Accepted(wanted if wanted in names else names[0])


def why_nobody(certificate: bytes, *, common_name: bool = False) -> str:
    """Say what a DER certificate holds in which `identities` finds no name: for the log of who wonders why."""
    found = _found(certificate)
    if found is None:
        return "the client certificate cannot be read"
    told = {
        "a mailbox that is not usable": found.mailboxes or found.international,
        "a principal name (UPN) that is no mailbox": found.principal,
        "an address in the subject (emailAddress), which does not count": found.addresses,
        "a commonName that is not usable"
        if common_name and not found.alternative
        else "a commonName, which does not count" + (" beside a mailbox" if common_name else ""): found.common,
    }
    held = "; ".join(what for what, names in told.items() if names) or "no mailbox, no principal name, no commonName"
    return f"the client certificate names nobody: it has {held}"


def fold_domain(name: str) -> str:
    """Return a mailbox with its domain in lower case; what is none, as it is.

    In ASCII only: str.lower() makes one name of two that DNS tells apart.
    """
    local, at, domain = name.rpartition("@")
    return local + at + domain.translate(_LOWER) if at else name


@final
class _Names(NamedTuple):
    """What a certificate holds that may be a name, as it stands."""

    mailboxes: list[str]
    international: list[str]
    principal: list[str]
    common: list[str]
    addresses: list[str]

    @property
    def alternative(self) -> bool:
        """Whether there is a mailbox of any kind, be it usable or not."""
        return bool(self.mailboxes or self.international or self.principal)

    def usable(self, *, common_name: bool) -> list[str]:
        """Return the mailboxes; where there is none of any kind, and it is asked for, the commonName."""
        if not self.alternative:
            return self.common if common_name else []
        # A CA that may name some mailboxes only is held to that in rfc822Name: no ASCII ones in the other form.
        international = [name for name in self.international if not name.rpartition("@")[0].isascii()]
        return [name for name in self.mailboxes + international + self.principal if _is_mailbox(name)]


def _found(certificate: bytes) -> _Names | None:
    """Return the names as they stand; None if the certificate cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_der_x509_certificate(certificate)
        alternative = _alternative_names(parsed)
        mailboxes = alternative.get_values_for_type(x509.RFC822Name)
        others = alternative.get_values_for_type(x509.OtherName)
        common, addresses = (
            [name.value for name in parsed.subject.get_attributes_for_oid(kind) if isinstance(name.value, str)]
            for kind in (NameOID.COMMON_NAME, NameOID.EMAIL_ADDRESS)
        )
    except Exception:  # ValueError, InvalidVersion, DuplicateExtension, ...
        return None
    international, principal = (
        [_text(other.value) for other in others if other.type_id.dotted_string == kind]
        for kind in (SMTP_UTF8_MAILBOX, UPN)
    )
    return _Names(mailboxes, international, principal, common, addresses)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _text(value: bytes) -> str:
    """Return the UTF8String that an otherName holds; empty if it holds something else, or more."""
    from pyasn1.codec.der.decoder import decode
    from pyasn1.codec.der.encoder import encode
    from pyasn1.error import PyAsn1Error
    from pyasn1.type.char import UTF8String

    try:
        text, _ = decode(value, asn1Spec=UTF8String())
        return str(text) if encode(text) == value else ""  # it decodes BER, too
    except (PyAsn1Error, UnicodeError):
        return ""


def _is_mailbox(name: str) -> bool:
    local, _, domain = name.rpartition("@")
    return bool(local and domain)


def _is_prepared(name: str) -> bool:
    """Whether whoever prepares the name, as servers do to compare names, has it as it stands.

    Part by part, or a local part that is written from right to left would need such a domain.
    """
    local, _, domain = name.rpartition("@")
    try:
        return (saslprep(local), saslprep(domain)) == (local, domain)
    except SASLError:
        return False
