"""SCRAM (RFC 5802, RFC 7677): each side proves that it knows the password, or keys made of it, and neither sends it.

    C: HEADER n=USER,r=NONCE
    S: r=NONCE+MORE,s=SALT,i=ITERATIONS
    C: c=HEADER+BINDING,r=NONCE+MORE,p=PROOF
    S: v=SIGNATURE

One script for every hash, with and without channel binding (-PLUS): the name that it runs under tells. The grammar is
in `_scram_messages`, a server's keys are in `sasl.keys`, what a client
keeps of them in `_scram_keys`.
"""

from __future__ import annotations

import hmac

from sasl.base64 import encode
from sasl.errors import LimitExceeded, PolicyViolation, ProtocolError, ServerNotProven, UsageError
from sasl.gs2 import Gs2Header
from sasl.hashes import HASHES
from sasl.keys import ScramKeys, derive
from sasl.prep import prepare_query
from sasl.steps import (
    EMPTY_CHALLENGE,
    Challenge,
    Complete,
    ErrorAnswer,
    FindKeys,
    Harmless,
    Rejected,
    Unavailable,
    Verified,
)
from sasl.typed import TYPE_CHECKING

from . import _scram_messages as messages
from ._nonce import new_nonce
from ._password import prepare_login, utf8
from ._scram_decoy import DECOY, NOBODY, Decoy
from ._scram_keys import ClientKeys, KeyCache, Keys, digest, fingerprint, xor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final, TypeVar

    from sasl.credentials import Password
    from sasl.errors import Kind
    from sasl.steps import ClientSteps, Options, ServerSteps

    T = TypeVar("T")

__all__ = ["KEYS", "ClientKeys", "KeyCache", "Keys", "scram_client", "scram_server"]

KEYS: Final = KeyCache()
"""Where clients of this process keep their keys, unless they are told otherwise."""

_PLUS: Final = "-PLUS"
_LONGEST_FIRST: Final = 4_096  # octets, which are kept until the client's last message: 32 of nonce and two names

# RFC 5801 section 5, from the server's side: what is wrong with a flag. "Offered" is whether this server offers -PLUS.
_WRONG_FLAG: Final[Mapping[tuple[bool, bool, str], str]] = {
    # -PLUS, offered, flag
    (False, False, "n"): "",
    (False, False, "y"): "",
    (False, False, "p"): "channel-binding-not-supported",
    (False, True, "n"): "",
    (False, True, "y"): "server-does-support-channel-binding",  # somebody took -PLUS out of the list
    (False, True, "p"): "channel-binding-not-supported",
    (True, False, "n"): "channel-binding-not-supported",
    (True, False, "y"): "channel-binding-not-supported",
    (True, False, "p"): "channel-binding-not-supported",
    (True, True, "n"): "channel-bindings-dont-match",
    (True, True, "y"): "channel-bindings-dont-match",
    (True, True, "p"): "",
}
# What a server's error is about, where it is not the credential.
_KINDS: Final[Mapping[str, Kind]] = {
    "no-resources": "unavailable",
    "channel-bindings-dont-match": "policy",
    "server-does-support-channel-binding": "policy",
    "channel-binding-not-supported": "policy",
    "unsupported-channel-binding-type": "policy",
}


def scram_client(
    credentials: Password,
    options: Options,
    *,
    keys: Keys | None = KEYS,
    prepare: bool = True,
    nonce: bytes | None = None,
) -> ClientSteps:
    """Prove the password and check the server's proof (RFC 5802 section 5).

    A -PLUS name binds to the first of the channel's bindings. `keys` keeps what PBKDF2 made of the password, never the
    password, once the server has proved itself; it must not fail. None keeps nothing. `prepare=False` hashes the
    password as it is, for servers that store it so. `nonce` is for tests: printable ASCII without a comma.
    """
    hash_name = HASHES[options.mechanism.removesuffix(_PLUS)]
    header, binding = _header(credentials.authzid, options)
    username, password = prepare_login(credentials, options.limits.prep_characters, stored=True, prepare=prepare)
    utf8(password)  # or it is refused
    first = messages.client_first_bare(username, new_nonce() if nonce is None else nonce)

    challenge = yield Harmless(header + first)
    server = messages.parse_server_first(challenge)
    if isinstance(server, str):
        yield _refusal(server)
        return  # pragma: no cover -- no script goes on after an ErrorAnswer
    _check(server, first, options)
    login = hash_name, username, server.salt, server.iterations, fingerprint(password)
    known = None if keys is None else keys.get(login)
    kept = known or ClientKeys(*derive(password, hash_name, server.salt, server.iterations))
    final = messages.client_final_without_proof(binding, server.nonce)
    proof, expected = kept.sign(hash_name, b"%s,%s,%s" % (first, challenge, final))

    signature = messages.parse_server_final((yield b"%s,p=%s" % (final, encode(proof))))
    if isinstance(signature, str):
        yield _refusal(signature)
    elif not hmac.compare_digest(signature, expected):
        raise ServerNotProven("the server's signature is wrong: it does not know the password")
    if keys is not None and known is None:
        keys[login] = kept
    yield Complete(b"")


def scram_server(
    options: Options,
    *,
    decoy: tuple[bytes, int] | tuple[bytes, int, int] | tuple[bytes, Sequence[tuple[int, int]]] = DECOY,
    send_errors: bool = False,
    prepare: bool = True,
    nonce: bytes | None = None,
) -> ServerSteps:
    """Ask FindKeys for the user's `ScramKeys` and check the proof (RFC 5802 section 5).

    The channel's bindings say what a client may bind to, `Channel.default_binding` that -PLUS is offered. `decoy` is
    what unknown users are made of: a secret of 16 octets or more for their salts, their iterations, and, if it is not
    16, the octets of their salts; where users differ in these, in place of the two a list of (iterations, octets), of
    which each unknown user has one. Give the same ones to all workers, and what users have, as often as they have it,
    or the salt or the count tells who is known (by default a secret of this process, and 4,096). `send_errors` tells
    the client what is wrong ("e=", section 7) in a last challenge, which costs a turn; what is wrong with a channel
    binding is always told. `prepare=False` looks for the user name as it came. `nonce` is for tests.
    Raises UsageError for a decoy that is none.
    """
    whose = decoy if isinstance(decoy, Decoy) else Decoy.of(*decoy)
    steps = _verify(options, whose, new_nonce() if nonce is None else nonce, prepare=prepare)
    return _explain(steps) if send_errors else steps


def _verify(options: Options, decoy: Decoy, nonce: bytes, *, prepare: bool) -> ServerSteps:
    hash_name = HASHES[options.mechanism.removesuffix(_PLUS)]
    message = yield EMPTY_CHALLENGE
    if len(message) > _LONGEST_FIRST:
        raise LimitExceeded(f"a client-first-message of more than {_LONGEST_FIRST} octets")
    first = _understand(messages.parse_client_first, message)
    if wrong := _wrong_binding(first.header, options):
        yield from _refuse_channel(wrong)
    kind = first.header.binding
    bare, binding = first.bare, first.gs2 + (b"" if kind is None else options.channel.bindings[kind])
    authcid, authzid = first.username, first.header.authzid
    if prepare:
        authcid = _prepare_name(authcid, options)
        authzid = None if authzid is None else _prepare_name(authzid, options)
    salt, iterations = decoy.make(authcid, hash_name)  # for known users too: they take as long

    record = yield FindKeys(authcid, hash_name)
    keys = NOBODY[hash_name] if record is None else record.value
    if not isinstance(keys, ScramKeys) or keys.hash != hash_name:
        raise Unavailable(f"the record holds no ScramKeys for {hash_name}")
    if record is not None:
        salt, iterations = keys.salt, keys.iterations
    nonce = first.nonce + nonce
    challenge = messages.server_first(nonce, salt, iterations)
    del message, first, authcid, salt, decoy  # whoever computes a proof is waited for with little
    final = _understand(messages.parse_client_final, (yield Challenge(challenge)))
    if not hmac.compare_digest(final.nonce, nonce):
        raise Rejected("other-error")
    if not hmac.compare_digest(final.binding, binding):
        yield from _refuse_channel("channel-bindings-dont-match")
    signed = b"%s,%s,%s" % (bare, challenge, final.unproved)
    # A proof that begins with zeros may come without them: only one of its full length is right.
    client_key = xor(final.proof, hmac.digest(keys.stored_key, signed, hash_name))
    right = hmac.compare_digest(digest(hash_name, client_key), keys.stored_key)
    if not right or len(final.proof) != len(keys.stored_key) or record is None:
        raise Rejected("invalid-proof")
    signature = hmac.digest(keys.server_key, signed, hash_name)
    return Verified(record.identity, authzid, b"v=" + encode(signature))


# --- the client's helpers


def _header(authzid: str | None, options: Options) -> tuple[bytes, bytes]:
    """Return the GS2 header (RFC 5801 section 5), and what the last message says of it: the binding data behind it.

    "p" for a -PLUS name, "y" for a client that could and is not offered it, "n" for one that cannot.
    """
    bindings = options.channel.bindings
    if not options.mechanism.endswith(_PLUS):
        header = Gs2Header("y", None, authzid or None).encode() if bindings else _no_binding(authzid)
        return header, header
    for kind, data in bindings.items():
        header = Gs2Header("p", kind, authzid or None).encode()
        return header, header + data
    raise UsageError(f"{options.mechanism} needs channel-binding data, and the channel has none")


def _no_binding(authzid: str | None) -> bytes:
    return Gs2Header("n", None, authzid).encode() if authzid else b"n,,"


def _check(server: messages.ServerFirst, first: bytes, options: Options) -> None:
    """Refuse a nonce that does not extend ours, and a count that makes the password cheap or this login dear."""
    nonce = first.rpartition(b",r=")[2]  # which is kept in that message alone
    if not server.nonce.startswith(nonce) or len(server.nonce) == len(nonce):
        raise ProtocolError("the server's nonce does not extend ours (RFC 5802 section 5)")
    hash_name = HASHES[options.mechanism.removesuffix(_PLUS)]
    least, most = options.limits.min_iterations, options.limits.most_iterations(hash_name)
    if not least <= server.iterations <= most:
        raise PolicyViolation(f"the server wants {server.iterations} iterations, allowed are {least} to {most}")


def _refusal(error: str) -> ErrorAnswer:
    """Return what a server's error is answered by: nothing."""
    return ErrorAnswer(b"", {"error": error}, _KINDS.get(error))


# --- the server's helpers


def _understand(parse: Callable[[bytes], T], message: bytes) -> T:
    """Parse a message; a mandatory extension is refused as such, not as malformed (RFC 5802 section 5.1)."""
    try:
        return parse(message)
    except ProtocolError:
        if not messages.is_extended(message):
            raise
    raise Rejected("extensions-not-supported")


def _wrong_binding(header: Gs2Header, options: Options) -> str:
    """Return the error of what a client says of channel binding (RFC 5801 section 5); "" for none."""
    plus, channel = options.mechanism.endswith(_PLUS), options.channel
    offered = bool(channel.bindings) if plus else channel.default_binding is not None
    if wrong := _WRONG_FLAG[plus, offered, header.flag]:
        return wrong
    known = header.binding is None or header.binding in channel.bindings
    return "" if known else "unsupported-channel-binding-type"


def _prepare_name(name: str, options: Options) -> str:
    """Return the form of a name to compare. What cannot be prepared is refused."""
    prepared = prepare_query(name, limit=options.limits.prep_characters)
    if prepared is None:
        raise Rejected("invalid-username-encoding")
    return prepared


def _explain(steps: ServerSteps) -> ServerSteps:
    """Run a script; where it refuses, send the name of the error first, unless that was said already."""
    try:
        return (yield from steps)
    except Rejected as rejected:
        if rejected.kind == "policy":
            raise
        yield _error(rejected)
        raise


def _refuse_channel(error: str) -> ServerSteps:
    """Refuse a channel binding, and always say why: it is nothing about the password.

    What is wrong with it helps nobody who guesses, and a client that reads "wrong password" throws away a good one.
    """
    rejected = Rejected(error, _KINDS[error])
    yield _error(rejected)
    raise rejected


def _error(rejected: Rejected) -> Challenge:
    """Return the message that names an error (RFC 5802 section 7)."""
    error = rejected.reason if rejected.reason in messages.SERVER_ERRORS else "invalid-proof"
    return Challenge(b"e=" + error.encode("ascii"), refusal=rejected)
