"""XOAUTH2 (Google's page "OAuth 2.0 Mechanism"; Microsoft's is the same): a mailbox and a bearer token.

    user=NAME ^A auth=Bearer TOKEN ^A ^A

A refusal is explained by a JSON challenge, which is answered by an empty message; Microsoft says no at once.
"""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.prep import check_length, has_controls
from sasl.steps import EMPTY_CHALLENGE, CheckToken, Complete, ErrorAnswer, Rejected, Verified
from sasl.typed import TYPE_CHECKING

from ._bearer import explain, pairs, parse_auth, parse_error, token_of

if TYPE_CHECKING:
    from sasl.credentials import Bearer
    from sasl.secret import Secret
    from sasl.steps import ClientSteps, Options, ServerSteps

    from ._bearer import ErrorChallenge


def xoauth2_client(credentials: Bearer, options: Options) -> ClientSteps:
    """Send the mailbox and the token; answer an error challenge by nothing."""
    token = token_of(credentials)
    if not _is_user(credentials.username):
        raise UsageError("the user name of XOAUTH2 is not empty and holds no space or control character")
    challenge = yield Complete(f"user={credentials.username}\x01auth=Bearer {token}\x01\x01".encode())
    yield ErrorAnswer(b"", parse_error(challenge, options.limits))


def xoauth2_server(_options: Options, *, scope: str = "", error_challenge: ErrorChallenge | None = None) -> ServerSteps:
    """Ask CheckToken; explain a refusal, naming the `scope` that a token needs.

    `error_challenge` may say otherwise: it is given what was `Rejected`, and returns members of the error challenge, or
    None for a no at once, as Microsoft's servers give it.
    """
    user, token = _parse((yield EMPTY_CHALLENGE))
    try:
        if token is None:
            raise Rejected("the client asks which scope is wanted")
        identity = yield CheckToken(user, token, None, None)
    except Rejected as rejected:
        about = {"status": "401", "schemes": "bearer", **({"scope": scope} if scope else {})}
        yield from explain(rejected, about, error_challenge)
        raise
    return Verified(identity, user)


def _parse(message: bytes) -> tuple[str, Secret | None]:
    found = pairs(message)
    user = None
    try:
        user = found.get(b"user", b"").decode("utf-8")
    except UnicodeDecodeError:
        pass
    check_length(user or "")
    if not user or not _is_user(user):
        raise ProtocolError("no user in an XOAUTH2 message, or not one")
    return user, parse_auth(found.get(b"auth"))


def _is_user(name: str) -> bool:
    return bool(name) and " " not in name and not has_controls(name)
