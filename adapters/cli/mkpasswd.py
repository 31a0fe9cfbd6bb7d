"""`sasl mkpasswd`: what a server stores instead of a password, for SCRAM (RFC 5802) or Argon2id (RFC 9106)."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Final

from sasl.base64 import encode
from sasl.errors import MechanismUnavailable, SASLError, UsageError
from sasl.hashes import HASHES
from sasl.keys import ScramKeys
from sasl.limits import DEFAULT_LIMITS
from sasl.prep import is_prepared, prepare_or_keep, prepare_own
from sasl.secret import Secret

from . import exits
from .credentials import ask, decode_line
from .exits import Undecodable

if TYPE_CHECKING:
    import argparse

_EPILOG: Final = """\
examples:
  sasl mkpasswd
  sasl mkpasswd --scheme scram-sha-512 --format rfc5803 --iterations 100000
  pass show mail/alice | sasl mkpasswd --scheme argon2id --format dovecot

The password is typed twice on the terminal, without echo; without a terminal it is the first line of stdin.

Of a password that is not all ASCII there may be two forms: as it was typed, and as SASLprep (RFC 4013) prepares it.
Clients of SCRAM should prepare. Dovecot keeps passwords as they were typed, and so do the format dovecot, Argon2id, and
--no-prepare; the other formats are of the prepared form. Where the two differ, a warning says who is left out.

formats, and the schemes that their programs know:
  dovecot     scram-sha-1, scram-sha-256, argon2id    {SCRAM-SHA-256}4096,SALT,KEY,KEY  {ARGON2ID}$argon2id$...
  gsasl       scram-sha-1, scram-sha-256              the same, as gsasl --mkpasswd prints it
  postgresql  scram-sha-256                           SCRAM-SHA-256$4096:SALT$KEY:KEY
  mongodb     scram-sha-256                           a JSON object, a user's "credentials"
  rfc5803     every SCRAM                             as of PostgreSQL, for LDAP and others
  phc         argon2id                                $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH

Whoever reads what is printed can try out passwords: keep it where only the server reads it. More iterations make each
try dearer, and each login too: for the client with SCRAM, for the server where the password comes in the clear.

69 is argon2id where the installed cryptography is older than 44, or its OpenSSL older than 3.2; 65 a password that is
not UTF-8; 64 one that is empty, that holds a control character, that SASLprep refuses (but see --no-prepare), or that
was typed in two ways.
"""
_ARGON2ID: Final = "argon2id"
_SCRAM: Final = {mechanism.lower(): name for mechanism, name in HASHES.items()}
_SCHEMES: Final = (*_SCRAM, _ARGON2ID)
_FORMATS: Final = ("dovecot", "gsasl", "postgresql", "mongodb", "rfc5803", "phc")
_CHANGED: Final = "warning: SASLprep changes or refuses this password"
_LEFT_OUT: Final = {
    True: f"{_CHANGED}: clients that do not prepare it cannot log in by SCRAM with these keys",
    False: f"{_CHANGED}: clients that prepare it cannot log in by SCRAM with these keys, which are of what was typed",
}
"""What is said where the two forms of a password differ, if the keys are of the prepared one, and if not."""
_LONGEST: Final = 65_536  # octets of a line, as of a SASL message
_FEWEST: Final = DEFAULT_LIMITS.min_iterations
_MOST: Final = DEFAULT_LIMITS.max_iterations  # a client may refuse more
# RFC 9106 section 4, the second recommended option: for where 2 GiB for each login are too much
_MEMORY: Final = 65_536  # KiB
_PASSES: Final = 3
_LANES: Final = 4
_SALT: Final = 16  # octets
_HASH: Final = 32  # octets


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Print what a server stores instead of a password."
    parser.epilog = _EPILOG
    parser.add_argument(
        "--scheme",
        metavar="S",
        type=str.lower,
        choices=_SCHEMES,
        default="scram-sha-256",
        help=f"one of {', '.join(_SCHEMES)} (default: scram-sha-256)",
    )
    parser.add_argument(
        "--format",
        metavar="F",
        choices=_FORMATS,
        help=f"one of {', '.join(_FORMATS)} (default: dovecot, for argon2id phc)",
    )
    parser.add_argument(
        "--iterations",
        metavar="N",
        type=_iterations,
        help=f"of PBKDF2, for SCRAM: {_FEWEST} to {_MOST} (default: {_FEWEST})",
    )
    parser.add_argument(
        "--no-prepare",
        action="store_true",
        help="take the password as it was typed, whatever SASLprep makes of it (as the format dovecot does)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Ask for the password and print what is stored of it."""
    scheme = arguments.scheme
    form = arguments.format or ("phc" if scheme == _ARGON2ID else "dovecot")
    _check(scheme, form, arguments.iterations)
    iterations = _FEWEST if arguments.iterations is None else arguments.iterations
    password = Secret(_password())
    if scheme == _ARGON2ID:
        stored = _argon2id(password, form)
    else:
        stored = _scram(password, scheme, form, iterations, prepare=form != "dovecot" and not arguments.no_prepare)
    if arguments.json or form == "mongodb":
        import json

        print(json.dumps({"scheme": scheme, "format": form, "stored": stored} if arguments.json else stored))
        return exits.DONE
    print(stored)
    return exits.DONE


def _check(scheme: str, form: str, iterations: int | None) -> None:
    """Refuse what does not go together, before a password is asked for."""
    if scheme == _ARGON2ID and form not in ("dovecot", "phc"):
        raise UsageError(f"argon2id has the formats dovecot and phc, not {form}")
    if scheme == _ARGON2ID and iterations is not None:
        raise UsageError("--iterations is for SCRAM")
    if scheme != _ARGON2ID and form == "phc":
        raise UsageError("the format phc is for argon2id")
    if scheme != "scram-sha-256" and form in ("postgresql", "mongodb"):
        raise UsageError(f"the format {form} is for scram-sha-256")


def _scram(password: Secret, scheme: str, form: str, iterations: int, *, prepare: bool) -> Any:
    kept = prepare_or_keep(password)  # refuses what no client could send
    fails = kept == password and not is_prepared(password.reveal()) and not _prepares(password)
    if fails and prepare:
        raise UsageError("SASLprep (RFC 4013) refuses this password; --no-prepare takes it as it was typed")
    keys = ScramKeys.derive(password, _SCRAM[scheme], iterations=iterations, prepare=prepare)
    if fails or kept != password:
        print(f"sasl: {_LEFT_OUT[prepare]}", file=sys.stderr)
    return getattr(keys, form)()


def _prepares(password: Secret) -> bool:
    try:
        prepare_own(password, stored=True)
    except SASLError:
        return False  # its frames hold the password
    return True


def _argon2id(password: Secret, form: str) -> str:
    """Return the PHC string; Dovecot wants its scheme before it. Raises MechanismUnavailable where it cannot be had."""
    prepare_or_keep(password)  # refuses what no client could send
    salt = os.urandom(_SALT)
    argon2id = _argon2id_with(salt)
    if argon2id is None:
        raise MechanismUnavailable("argon2id needs cryptography 44 or later, with OpenSSL 3.2 or later")
    texts = [encode(part).decode("ascii").rstrip("=") for part in (salt, argon2id.derive(password.reveal().encode()))]
    phc = f"$argon2id$v=19$m={_MEMORY},t={_PASSES},p={_LANES}${'$'.join(texts)}"
    return f"{{ARGON2ID}}{phc}" if form == "dovecot" else phc


def _argon2id_with(salt: bytes) -> Any:
    """Return cryptography's Argon2id, or None where it has none."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    except ImportError:
        return None
    try:
        return Argon2id(salt=salt, length=_HASH, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY)
    except UnsupportedAlgorithm:
        return None


# --- the password


def _password() -> str:
    """Return what is typed twice on the terminal, or else the first line of stdin."""
    if sys.stdin is None:
        raise UsageError("no terminal, and no stdin with a password")
    if not sys.stdin.isatty():
        return _first_line()
    password = ask("Password: ")
    if Secret(password) != ask("The same again: "):
        raise UsageError("the two passwords differ")
    return password


def _first_line() -> str:
    line = sys.stdin.buffer.readline(_LONGEST + 1)
    if len(line) > _LONGEST:
        raise UsageError(f"the first line of stdin has more than {_LONGEST} octets")
    password = decode_line(line)
    if password is None:
        raise Undecodable("the first line of stdin is not UTF-8")
    if not password:
        raise UsageError("the first line of stdin is empty")
    return password


def _iterations(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 8 and _FEWEST <= int(text) <= _MOST:
        return int(text)
    raise ArgumentTypeError(f"iterations are a number from {_FEWEST} to {_MOST}")
