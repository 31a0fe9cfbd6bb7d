"""EXTERNAL (RFC 4422 appendix A): who the client is, TLS has shown already; it says whom it wants to act as."""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.steps import EMPTY_CHALLENGE, CheckCertificate, Complete, Verified
from sasl.typed import TYPE_CHECKING

from ._password import controls_in, prepare_one, text_of, utf8

if TYPE_CHECKING:
    from sasl.credentials import External
    from sasl.steps import ClientSteps, Options, ServerSteps


def external_client(credentials: External, _options: Options) -> ClientSteps:
    """Send the authzid as it was given, in UTF-8; an empty message for none, which is to act as oneself."""
    authzid = credentials.authzid or ""
    if controls_in(authzid):
        raise UsageError("the authzid of EXTERNAL holds no control character")
    yield Complete(utf8(authzid))


def external_server(options: Options, *, certificate: bytes | None = None, prepare: bool = True) -> ServerSteps:
    """Ask CheckCertificate whom the `certificate` of the TLS client names: DER, None if it showed none.

    The authzid is prepared by SASLprep, as PLAIN's is; `prepare=False` passes it as it came.
    """
    authzid = text_of((yield EMPTY_CHALLENGE))
    if authzid is None or controls_in(authzid):
        raise ProtocolError("an authzid is UTF-8 and holds no control character (RFC 4422 appendix A.1)")
    if prepare:
        authzid = prepare_one(authzid, options.limits.prep_characters)
    identity = yield CheckCertificate(certificate, authzid or None)
    return Verified(identity, authzid or None)
