"""Where records are kept, and which file is whose: nothing is imported, for `sasl token get` reads a file before that.

One file for each key. Its name has what every file system tells apart, in capitals and small letters alike.
"""

from __future__ import annotations

import os
import sys

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789@._-+")
_SUFFIX = ".json"
_LONGEST = 200  # octets; file systems take 255, and names of locks are longer
_DEVICES = frozenset(("con prn aux nul " + " ".join([f"com{n} lpt{n}" for n in range(10)])).split())  # of Windows
_DIGEST = "sha256="  # no name that spells its key has a "="


def name_of(key: str) -> str:
    """Return the name of the file of a key, of at most 200 octets of ASCII.

    Small letters, digits and @._-+ stand for themselves, every other octet of the UTF-8 is %XX, and so is a dot at the
    beginning, for unfinished files begin with one, and the first letter of what Windows takes for a device, whatever
    follows a dot behind it. What gets longer is named by its SHA-256.
    """
    octets = key.encode("utf-8", "surrogatepass")
    spelt = "".join([chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets])
    if spelt.startswith(".") or spelt.partition(".")[0] in _DEVICES:
        spelt = f"%{ord(spelt[0]):02X}{spelt[1:]}"
    if len(spelt) + len(_SUFFIX) <= _LONGEST:
        return spelt + _SUFFIX
    import hashlib

    return _DIGEST + hashlib.sha256(octets).hexdigest() + _SUFFIX


def key_of(name: str) -> str | None:
    """Return the key whose file has a name; None if it is no such name, or one that does not spell its key."""
    if not name.endswith(_SUFFIX) or not name.isascii():
        return None
    octets, rest = bytearray(), name[: -len(_SUFFIX)]
    while rest:
        if rest[0] != "%":
            octets += rest[0].encode("ascii")
            rest = rest[1:]
            continue
        try:
            octets += bytes.fromhex(rest[1:3])
        except ValueError:
            return None
        rest = rest[3:]
    try:
        key = octets.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return key if name_of(key) == name else None


def is_digest(name: str) -> bool:
    """Whether a name is that of a file whose key is too long to be spelt: only its content tells the key."""
    return name.startswith(_DIGEST) and name.endswith(_SUFFIX)


def state_folder() -> str:
    """Return the folder for what programs of this user keep with saslkit: it need not be there.

    Raises KeyError on Windows if it names no place for that.
    """
    if sys.platform == "win32":
        return os.path.join(os.environ["LOCALAPPDATA"], "saslkit")  # noqa: PTH118 -- pathlib takes longer than all of it
    home = os.path.expanduser("~")  # noqa: PTH111
    if sys.platform == "darwin":
        return home + "/Library/Application Support/saslkit"
    named = os.environ.get("XDG_STATE_HOME", "")
    # A path that is not absolute is to be ignored (XDG Base Directory Specification).
    return (named if named.startswith("/") else home + "/.local/state") + "/saslkit"
