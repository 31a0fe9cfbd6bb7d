"""OAUTHBEARER (RFC 7628): a bearer token, the identity to act as, and the server that was meant.

    gs2-header ^A [host=HOST ^A] [port=PORT ^A] auth=Bearer TOKEN ^A ^A

A refusal is explained by a JSON challenge, which is answered by a single ^A (section 3.2.3).
"""

from __future__ import annotations

from sasl.errors import ProtocolError, UsageError
from sasl.gs2 import escape, parse
from sasl.prep import check_length, has_controls
from sasl.steps import EMPTY_CHALLENGE, CheckToken, Complete, ErrorAnswer, Rejected, Verified
from sasl.typed import TYPE_CHECKING

from ._bearer import KVSEP, explain, pairs, parse_auth, parse_error, token_of
from ._hosts import own_names

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

    from sasl.credentials import Bearer
    from sasl.secret import Secret
    from sasl.steps import ClientSteps, Options, ServerSteps

    from ._bearer import ErrorChallenge

_VCHAR: Final = bytes(range(0x21, 0x7F))
_LONGEST_HOST: Final = 255  # octets of a name or an address (RFC 1035 section 2.3.4)


def oauthbearer_client(credentials: Bearer, options: Options) -> ClientSteps:
    """Send the token; answer an error challenge by ^A. Host and port are those of the channel, where it has them.

    The authzid is always sent: Dovecot refuses a message without one, although section 3.1 makes it optional.
    """
    challenge = yield Complete(_initial_response(credentials, options))
    yield ErrorAnswer(KVSEP, parse_error(challenge, options.limits))


def oauthbearer_server(
    options: Options,
    *,
    hosts: Collection[str] = (),
    scope: str = "",
    openid_configuration: str = "",
    error_challenge: ErrorChallenge | None = None,
) -> ServerSteps:
    """Ask CheckToken, after host and port were compared with `hosts` and the channel's port.

    A server knows its names if `hosts` (one or several, in any case) or else the channel's host say so; section
    3.2 has it compare them then, or a token could be relayed. `scope` and `openid_configuration` go into the error
    challenge (section 3.2.2). `error_challenge` may add to it: it is given what was `Rejected`, and returns members of
    the challenge, or None for a no at once, which section 3.2.3 does not allow.
    """
    ours = own_names(hosts, options.channel)
    authzid, token, host, port = _parse((yield EMPTY_CHALLENGE))
    status = "invalid_token"
    try:
        if token is None:
            raise Rejected("the client asks which scope is wanted")
        if not _meant_here(host, port, ours, options.channel.port):
            status = "invalid_request"
            raise Rejected("the token was sent to reach another host or port")
        identity = yield CheckToken(authzid, token, host, port)
    except Rejected as rejected:
        about = {"status": status, "scope": scope, "openid-configuration": openid_configuration}
        yield from explain(rejected, {key: value for key, value in about.items() if value}, error_challenge)
        raise
    return Verified(identity, authzid)


def _initial_response(credentials: Bearer, options: Options) -> bytes:
    token = token_of(credentials)
    if not _is_one_credential(token):
        raise UsageError("a token that the auth value of OAUTHBEARER cannot carry: a comma in it, or only padding")
    if has_controls(credentials.username):
        raise UsageError("the user name of OAUTHBEARER holds no control character")
    parts = [b"n,a=%s," % escape(credentials.username)]
    host, port = options.channel.host, options.channel.port
    if host:
        octets = host.encode("ascii", "replace")
        if not host.isascii() or len(octets) > _LONGEST_HOST or octets.translate(None, _VCHAR):
            raise UsageError("the host of OAUTHBEARER is an ASCII name without spaces")
        parts.append(b"host=" + octets)
    if port is not None:
        if not 0 < port < 65536:
            raise UsageError("the port of OAUTHBEARER is between 1 and 65535")
        parts.append(b"port=%d" % port)
    parts.append(b"auth=Bearer " + token.encode("ascii"))
    return KVSEP.join(parts) + KVSEP + KVSEP


def _parse(message: bytes) -> tuple[str | None, Secret | None, str | None, int | None]:
    """Return authzid, token, host and port of an initial response. Raises ProtocolError for anything else."""
    header, rest = parse(message)
    if header.flag == "p" or not rest.startswith(KVSEP) or not rest.isascii():
        raise ProtocolError("not an OAUTHBEARER message (RFC 7628 section 3.1)")
    check_length(header.authzid or "")
    if header.authzid is not None and has_controls(header.authzid):
        raise ProtocolError("a control character in the authzid")
    found = pairs(rest[1:])
    host, port = found.get(b"host"), found.get(b"port")
    if host is not None and (not 0 < len(host) <= _LONGEST_HOST or host.translate(None, _VCHAR)):
        raise ProtocolError("not a host name")
    token = parse_auth(found.get(b"auth"))
    if token is not None and not _is_one_credential(token.reveal()):
        raise ProtocolError("more or less than one token in the auth value")
    return header.authzid, token, None if host is None else host.decode("ascii"), None if port is None else _port(port)


def _port(text: bytes) -> int:
    if len(text) > 5 or not text.isdigit() or text.startswith(b"0") or (port := int(text)) > 65_535:
        raise ProtocolError("not a port number")
    return port


def _meant_here(host: str | None, port: int | None, ours: Collection[str], our_port: int | None) -> bool:
    """Whether host and port, where the client sent them, are ours, where we know them (RFC 7628 section 3.2)."""
    if host is not None and ours and host.lower() not in ours:
        return False
    return port is None or our_port is None or port == our_port


def _is_one_credential(token: str) -> bool:
    """Whether the token cannot be read as a list, or as padding alone, by those who parse auth as HTTP does."""
    return "," not in token and bool(token.strip("="))
