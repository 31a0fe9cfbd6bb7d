"""What became of a login, and how it is told: as one JSON object, or in words, facts on stdout and errors on stderr."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, final

from sasl.credentials import Bearer, Password
from sasl.errors import MechanismUnavailable, PolicyViolation
from sasl.secret import Secret, scrubbed
from sasl.text import printable

from . import exits, screen
from .advice import Facts, advice, is_odd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sasl.credentials import Credentials
    from sasl.errors import SASLError

    from .look import Look
    from .url import Target


@final
class Outcome:
    """What is known of a login so far.

    Attributes:
        target: where, or None if the URL could not be read.
        look: what the server has shown before the login, or None if it was not reached.
        mechanism: what was chosen, or None.
        fallback: the mechanism whose refusal was gone on from, or None.
        turns: how many lines the login took.
        initial_response: whether one went with the command.
        revealed: whether something that shows or proves the credential had left.
        server_text: what the server said last.
        error: why there is no login, or None.
        token: whether the credential is a token.
        account: that of `sasl token` whose token it is, or None.
        authzid: whether it is to act as another user.
        second_token: whether a second token was tried after the first was refused.
        milliseconds: how long it took, without typing.
    """

    def __init__(self, *, error: SASLError | None = None) -> None:
        self.target: Target | None = None
        self.look: Look | None = None
        self.mechanism: str | None = None
        self.fallback: str | None = None
        self.turns = 0
        self.initial_response = False
        self.revealed = False
        self.server_text = ""
        self.error = error
        self.token = False
        self.account: str | None = None
        self.authzid = False
        self.second_token = False
        self.milliseconds = 0
        self._secret: Secret | None = None
        self._odd_password = False
        self._claims = ""

    @property
    def exit(self) -> int:
        """The exit code."""
        return exits.DONE if self.error is None else exits.code(self.error)

    @property
    def advice(self) -> str:
        """What to do about the error."""
        if self.error is None:
            return ""
        target, look = self.target, self.look
        facts = Facts(
            protocol=target.protocol if target else "imap",
            host=target.host if target else "",
            token=self.token,
            account=self.account or "",
            tls=look is not None and look.tls is not None,
            authzid=self.authzid,
            offered=look.offered if look else None,
            offers_tls=look is not None and look.offers_tls,
            revealed=self.revealed,
            initial_response=self.initial_response,
            odd_password=self._odd_password,
            claims=self._claims,
            now=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        )
        return advice(self.error, facts)

    def note(self, credentials: Credentials) -> None:
        """Keep what may explain a refusal of credentials, and the secret: what is told never holds it."""
        secret = getattr(credentials, "password", None) or getattr(credentials, "token", None)
        self._secret = secret if isinstance(secret, Secret) else None
        if isinstance(credentials, Password):
            self._odd_password = is_odd(credentials.password.reveal())
        if isinstance(credentials, Bearer) and isinstance(credentials.token, Secret):
            from .claims import advise, read_claims

            self._claims = advise(read_claims(credentials.token.reveal(), time.time()), credentials.username)

    def as_json(self) -> str:
        """Return one JSON object; every key is always there."""
        import json

        error, target, look = self.error, self.target, self.look
        certificate = look.certificate if look else getattr(error, "certificate", None)
        return json.dumps(
            {
                "ok": error is None,
                **{name: getattr(target, name, None) for name in ("protocol", "host", "port", "user")},
                "mechanism": self.mechanism,
                "fallback": self.fallback,
                "offered": list(look.offered) if look else None,
                "tls": look.tls if look else None,
                "certificate": certificate.as_json() if certificate else None,
                "turns": self.turns,
                "initial_response": self.initial_response,
                "milliseconds": self.milliseconds,
                "server_text": self._clean(self._said()),
                "response_code": self._clean(error.response_code or "") or None if error else None,
                "new_token_may_help": bool(getattr(error, "new_token_may_help", False)),
                "error": None
                if error is None
                else {
                    "type": exits.public_name(error),
                    "kind": exits.kind(error),
                    "detail": self._detail(error),
                    "advice": self.advice,
                },
                "exit": self.exit,
            }
        )

    def print_facts(self) -> None:
        """Print what happened, as far as it got, to stdout."""
        for name, text in self._facts():
            screen.print_row(name, text, file=sys.stdout)
        if self.error is None:
            screen.print_row("result", "logged in", file=sys.stdout, colour=screen.GREEN)

    def print_error(self) -> None:
        """Print why there is no login, and what to do about it, to stderr."""
        error = self.error
        if error is None:
            return
        headline = f"sasl: {exits.verdict(error)}: "
        screen.print_headline(headline, self._clean(_sentence(error)), file=sys.stderr)
        for name, text in self._explanations(error):
            screen.print_row(name, text, file=sys.stderr)
        if self.advice:
            screen.print_row("what to do", self.advice, file=sys.stderr, colour=screen.BOLD)

    def _facts(self) -> Iterator[tuple[str, str]]:
        look = self.look
        if self.target:
            yield "server", f"{self.target.host} port {self.target.port} ({self.target.protocol})"
        if look:
            yield "tls", f"{look.tls['version']} {look.tls['cipher']}" if look.tls else "none"
        if self.mechanism is not None:
            instead = f", after {printable(self.fallback)} was refused" if self.fallback else ""
            yield "mechanism", printable(self.mechanism) + instead
            turns = f"{self.turns} turn" + "s" * (self.turns != 1)
            first = "with" if self.initial_response else "without"
            yield "took", f"{turns}, {first} an initial response, {self.milliseconds} ms"
        if self.second_token:
            yield "token", "the first was refused, this is about a second one"
        said = self._said()
        if said and (self.error is None or said not in str(self.error)):
            yield "it said", self._clean(said)

    def _explanations(self, error: SASLError) -> Iterator[tuple[str, str]]:
        if error.response_code:
            yield "code", self._clean(error.response_code)
        for key, text in error.detail.items():
            if text not in str(error):
                yield self._clean(key), self._clean(text)
        for reason, names in _reasons(error).items():
            yield "passed over", f"{', '.join(map(printable, names))}: {printable(reason)}"

    def _detail(self, error: SASLError) -> Mapping[str, str]:
        """What explains an error: the fields of the error challenge, the reasons name by name, or a message."""
        explained: Mapping[Any, Any] = error.detail or getattr(error, "passed_over", {})
        if not explained and str(error) != error.server_text:
            explained = {"message": str(error)}
        return {self._clean(str(key)): self._clean(str(text)) for key, text in explained.items()}

    def _clean(self, text: str) -> str:
        """Return a text that others wrote as it may be shown: without controls, and without the secret."""
        return printable(text if self._secret is None else scrubbed(text, self._secret))

    def _said(self) -> str:
        """Return what the server said last; where it broke the grammar, only the error knows."""
        return (self.error.server_text if self.error else "") or self.server_text


def _sentence(error: SASLError) -> str:
    """Return what an error says, without the list of names that follows in a table of its own."""
    listed = isinstance(error, MechanismUnavailable | PolicyViolation) and _reasons(error)
    return str(error).partition(" (")[0] if listed else str(error)


def _reasons(error: SASLError) -> Mapping[str, list[str]]:
    """Return the names that were passed over, by the reason, where that is why there was no login."""
    names: Mapping[str, str] = getattr(error, "passed_over", {})
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in names.items():
        if not reason.endswith(" was asked for"):  # which explains nothing
            reasons[reason].append(name)
    return reasons
