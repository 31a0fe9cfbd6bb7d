"""The envelope that SMTP and LMTP carry a message in: the paths of MAIL and RCPT, and their parameters.

RFC 5321 section 4.1.2, RFC 1870 (SIZE), RFC 6152 (BODY), RFC 3030 (BINARYMIME), RFC 3461 (RET, ENVID, NOTIFY, ORCPT),
RFC 4954 section 5 (AUTH), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl.errors import ProtocolError
from sasl.value import value

from ..wire.smtp import mail_auth

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH: Final = re.compile(
    r"""(FROM|TO):\ ?<((?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^<>"\x00-\x20\x7f])*)>(?:\ (.+))?""",
    re.IGNORECASE | re.VERBOSE,
)
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_NOTICE: Final = r"(?:SUCCESS|FAILURE|DELAY)"

_MAIL: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "SIZE": (re.compile(r"=[0-9]{1,20}"), "SIZE is a number of up to 20 digits, and stands there once"),
    "BODY": (
        re.compile(r"=(?:7BIT|8BITMIME|BINARYMIME)", re.IGNORECASE),
        "BODY is 7BIT, 8BITMIME or BINARYMIME, and stands there once",
    ),
    "AUTH": (re.compile(r"=.+"), "The AUTH parameter is an address in xtext, or <>"),
    "SMTPUTF8": (re.compile(r""), "SMTPUTF8 takes no value, and stands there once"),
    "RET": (re.compile(r"=(?:FULL|HDRS)", re.IGNORECASE), "RET is FULL or HDRS, and stands there once"),
    "ENVID": (
        re.compile(rf"={_XTEXT}{{1,100}}"),
        "ENVID is xtext of up to 100 characters, and stands there once",
    ),
}
_RCPT: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "NOTIFY": (
        re.compile(rf"=(?:NEVER|{_NOTICE}(?:,{_NOTICE}){{0,2}})", re.IGNORECASE),
        "NOTIFY is NEVER or a list of SUCCESS, FAILURE and DELAY, and stands there once",
    ),
    "ORCPT": (
        # An address of type utf-8 is beyond xtext (RFC 6533 section 3).
        re.compile(rf"=(?:utf-8;[^\x00-\x20\x7f]{{1,500}}|[A-Z0-9-]{{1,40}};{_XTEXT}{{1,500}})", re.IGNORECASE),
        "ORCPT is a type and an address in xtext, and stands there once",
    ),
}


class Refused(Exception):
    """An envelope that is not taken; the text is the reply."""


@final
@value
class Path:
    """An address of the envelope.

    Attributes:
        address: what stands between the angle brackets.
        options: the parameters behind it, as they were sent, by their names in capitals; "" for one without a value.
    """

    address: str
    options: Mapping[str, str]


def parse_sender(argument: bytes) -> Path:
    """Return the path of MAIL. Raises Refused."""
    address, parameters = _parse(argument, "FROM", "501 5.1.7 MAIL FROM:<address>")
    options = _options(parameters, _MAIL, "MAIL")
    try:
        mail_auth(parameters)
    except ProtocolError:
        raise Refused(f"501 5.5.4 {_MAIL['AUTH'][1]}") from None
    _check_charset(address, utf8="SMTPUTF8" in options)
    return Path(address, options)


def parse_recipient(argument: bytes, *, utf8: bool) -> Path:
    """Return the path of RCPT; `utf8` says whether MAIL had SMTPUTF8. Raises Refused."""
    refusal = "501 5.1.3 RCPT TO:<address>"
    address, parameters = _parse(argument, "TO", refusal)
    if not address:
        raise Refused(refusal)
    options = _options(parameters, _RCPT, "RCPT")
    _check_charset(address, utf8=utf8)
    return Path(address, options)


def _parse(argument: bytes, word: str, refusal: str) -> tuple[str, str]:
    """Return the address and the text of the parameters, "" for none."""
    try:
        match = _PATH.fullmatch(argument.decode("utf-8"))
    except UnicodeDecodeError:
        match = None
    if match is None or match[1].upper() != word:
        raise Refused(refusal)
    return match[2], match[3] or ""


def _options(parameters: str, known: Mapping[str, tuple[re.Pattern[str], str]], command: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    words = [(word.partition("=")[0].upper(), word) for word in parameters.split()]
    if any(name not in known for name, _ in words):
        *names, last = known
        raise Refused(f"555 5.5.4 {', '.join(names)} and {last} are all that {command} takes")
    for name, word in words:
        pattern, rule = known[name]
        if name in options or not pattern.fullmatch(word[len(name) :]):
            raise Refused(f"501 5.5.4 {rule}")
        options[name] = word[len(name) + 1 :]
    return options


def _check_charset(address: str, *, utf8: bool) -> None:
    if not utf8 and not address.isascii():
        raise Refused("553 5.6.7 This address needs SMTPUTF8")
