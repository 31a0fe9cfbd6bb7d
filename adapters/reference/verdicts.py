"""What a client did that it should not have done, in words.

A `Judge` follows one session and finds it out of what the client sends. It keeps no line and no credential: of a token
only a digest that is worth nothing elsewhere, so that the same token is known again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl import base64
from sasl.credentials import Bearer
from sasl.errors import SASLError, UsageError
from sasl.registry import canonical, loaded_row
from sasl.value import value

from ..wire.line import without_end

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from sasl.registry import Mechanism

VERDICTS: Final[Mapping[str, str]] = {
    "token-after-challenge": "sent the token again after the error challenge",
    "challenge-unanswered": "never answered the error challenge",
    "challenge-cancelled": "answered the error challenge by * instead of an empty line",
    "refused-token": "sent the refused token again",
    "weaker-mechanism": "tried a weaker mechanism after a refusal",
    "star-after-refusal": "sent * after the refusal",
    "cleartext-credential": "sent a credential in the clear",
    "mechanism-not-offered": "used a mechanism that was not offered",
    "initial-response": "sent an initial response that was not offered",
    "before-greeting": "spoke before the greeting",
    "before-handshake": "spoke in the clear where TLS comes first",
    "across-starttls": "sent more behind STARTTLS, in the clear",
    "after-bye": "went on after BYE",
}
"""The names of the verdicts, and what they say."""

_REFUSED: Final = frozenset({"credentials", "expired", "disabled", "authorization"})
"""The outcomes of an attempt that are about the credential, so that the same one will be refused again."""

_TOKEN: Final = re.compile(rb"auth=Bearer ([^\x01]+)\x01")
_AUTH: Final = frozenset({"AUTH", "AUTHENTICATE"})
_GOODBYES: Final = frozenset({"LOGOUT", "QUIT"})
_COMMANDS: Final = {"LOGIN": "IMAP-LOGIN", "PASS": "POP-USER", "APOP": "APOP"}


@final
@value
class Verdict:
    """Something that a client should not have done.

    Attributes:
        name: one of `VERDICTS`.
        words: what it says there.
        session: the number of the session.
        service: "imap", "pop", "smtp" or "lmtp".
        when: POSIX seconds.
    """

    name: str
    words: str
    session: int
    service: str
    when: float

    def __str__(self) -> str:
        return f"{self.service} session {self.session}: {self.words}"


@final
class Login:
    """One login, as far as it has come."""

    def __init__(self, row: Mechanism | None, name: str) -> None:
        self.row = row
        self.name = name
        self.messages = 0
        self.initial = False
        self.challenge = ""  # "unanswered" once there was an error challenge, then how it was answered
        self.credential = ""  # the digest of a token

    @property
    def takes_tokens(self) -> bool:
        """Whether what it sends is a token."""
        return self.row is not None and self.row.credentials is Bearer

    def shows(self, text: bytes) -> bool:
        """Whether a message that is sent now can be used by whoever sees it."""
        if text in (b"", b"=", b"*") or self.row is None or not self.row.plaintext:
            return False
        if self.name == "IMAP-LOGIN":
            return not text.endswith(b"}")  # else the last literal is still to come
        return self.messages > 1 if self.name == "LOGIN" else True  # which sends the user name first


@final
class Judge:
    """Follows one session.

    `find` is called with the name of each verdict, `digest` makes one of a token, `refused` are the digests of the
    tokens that some server has refused. `login` is the login that goes on, or None.
    """

    def __init__(
        self, service: str, find: Callable[[str], None], digest: Callable[[bytes], str], refused: Collection[str]
    ) -> None:
        self._service = service
        self._find = find
        self._digest = digest
        self._refused = refused
        self._told: frozenset[str] = frozenset()
        self.login: Login | None = None
        self._bye = False
        self._after_refusal = False
        self._rank = 0  # of the strongest mechanism that was refused

    # --- what the server says

    def advertise(self, names: Iterable[str]) -> None:
        """Take what was told as capabilities."""
        self._told = frozenset(word for name in names for word in _words(name))

    def say(self, lines: Iterable[str]) -> None:
        """Take lines of the server's."""
        self._bye = self._bye or any(line.startswith("* BYE") for line in lines)

    def challenge(self, payload: bytes) -> None:
        """Take a challenge. One that has something to say to a token is an error (RFC 7628 section 3.2.2)."""
        if self.login is not None and self.login.takes_tokens and payload:
            self.login.challenge = self.login.challenge or "unanswered"

    def secure(self) -> None:
        """Take it that TLS has begun: what was told in the clear is forgotten (RFC 3501 section 6.2.1)."""
        self._told = frozenset()

    # --- what the client says

    def speak_early(self, name: str) -> None:
        """Take it that the client has spoken before it may."""
        self._find(name)

    def command(self, verb: str, line: bytes, *, tls: bool) -> None:
        """Take a command line."""
        text = without_end(line)
        if self._bye and verb not in _GOODBYES:
            self._find("after-bye")
        if self._after_refusal and text == b"*":
            self._find("star-after-refusal")
        self._after_refusal = False
        words = text.split(b" ", 3)[1 if self._service == "imap" else 0 :]
        self.login = login = _login(verb, words, self._service)
        if login is None:
            return
        if login.row is not None and login.row.rank < self._rank:
            self._find("weaker-mechanism")
        sent = words[2:] if verb in _AUTH else words[2 if verb == "LOGIN" else 1 :]
        if sent and sent[0]:
            login.initial = verb in _AUTH
            self._take(login, sent[-1], tls=tls)

    def respond(self, line: bytes, *, tls: bool) -> None:
        """Take a further line of a login."""
        login, text = self.login, without_end(line)
        if login is None:
            return
        before, challenged = login.credential, login.challenge == "unanswered"
        if challenged:
            login.challenge = "cancelled" if text == b"*" else "answered"
        self._take(login, text, tls=tls)
        if challenged and before and _token(text):
            login.challenge = "resent"
            self._find("token-after-challenge")
        elif login.challenge == "cancelled" and challenged:
            self._find("challenge-cancelled")

    def conclude(self, outcome: str, offered: Collection[str]) -> Login:
        """Take what a login has come to; return what is known of it."""
        login, self.login = self.login or Login(None, ""), None
        if login.challenge == "unanswered" and outcome == "unfinished":
            self._find("challenge-unanswered")
        told = {word.removeprefix("AUTH=") for word in self._told if word.startswith("AUTH=")}
        if login.row is not None and not self._is_offered(login.row, told if self._told else offered):
            self._find("mechanism-not-offered")
        if login.initial and self._service == "imap" and "SASL-IR" not in self._told:
            self._find("initial-response")
        if outcome in _REFUSED:
            self._after_refusal = True
            self._rank = max(self._rank, login.row.rank if login.row is not None else 0)
        return login

    # --- helpers

    def _is_offered(self, row: Mechanism, names: Collection[str]) -> bool:
        if row.name == "IMAP-LOGIN":
            return "LOGINDISABLED" not in self._told
        return row.command or row.name in names

    def _is_refused(self, credential: str) -> bool:
        return credential in self._refused or f"{self._service} {credential}" in self._refused

    def _take(self, login: Login, text: bytes, *, tls: bool) -> None:
        """Take a message of a login."""
        login.messages += 1
        if not tls and login.shows(text):
            self._find("cleartext-credential")
        if login.takes_tokens and (token := _token(text)):
            before, login.credential = login.credential, self._digest(token)
            if before != login.credential and self._is_refused(login.credential):  # else it has been told
                self._find("refused-token")


def _login(verb: str, words: list[bytes], service: str) -> Login | None:
    """Return the login that a command begins, None if it begins none."""
    if verb in _AUTH:
        name = _canonical(words[1]) if len(words) > 1 else ""
        return Login(loaded_row(name) if name else None, name)
    if verb in _COMMANDS and (verb == "LOGIN") == (service == "imap"):
        return Login(loaded_row(_COMMANDS[verb]), _COMMANDS[verb])
    return None


def _canonical(word: bytes) -> str:
    try:
        return canonical(word)
    except UsageError:
        return ""


def _token(text: bytes) -> bytes:
    """Return the token of a message in base64 (RFC 7628 section 3.1, and XOAUTH2), b"" if it has none."""
    try:
        match = _TOKEN.search(base64.decode(text))
    except SASLError:
        return b""
    return match[1] if match else b""


def _words(name: str) -> list[str]:
    """Return a capability in capitals, the mechanisms of a line of POP or SMTP as IMAP tells of them."""
    first, *more = name.upper().split(" ")
    return [first, *(f"AUTH={word}" for word in more)] if first in ("AUTH", "SASL") else [first]
