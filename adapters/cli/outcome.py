"""What became of a login, and how it is told: as one JSON object, or in words, facts on stdout and errors on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, final

from sasl.text import printable

from . import exits
from .advice import advice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from sasl.errors import SASLError

    from .url import Target


@final
class Outcome:
    """What is known of a login so far.

    Attributes:
        target: where, or None if the URL could not be read.
        connected: whether the server was reached, under TLS where that is wanted.
        mechanism: what was chosen, or None.
        tls: version and cipher, or None without TLS.
        turns: how many lines the login took.
        initial_response: whether one went with the command.
        server_text: what the server said last.
        error: why there is no login, or None.
        token: whether the credential is a token.
        authzid: whether it is to act as another user.
        second_token: whether a second token was tried after the first was refused.
    """

    def __init__(self, *, error: SASLError | None = None) -> None:
        self.target: Target | None = None
        self.connected = False
        self.mechanism: str | None = None
        self.tls: Mapping[str, str] | None = None
        self.turns = 0
        self.initial_response = False
        self.server_text = ""
        self.error = error
        self.token = False
        self.authzid = False
        self.second_token = False

    @property
    def advice(self) -> str:
        """What to do about the error."""
        if self.error is None:
            return ""
        host, tls = self.target.host if self.target else "", self.tls is not None
        return advice(self.error, host=host, token=self.token, tls=tls, authzid=self.authzid)

    def as_json(self) -> str:
        """Return one JSON object; every key is always there."""
        import json

        error = self.error
        return json.dumps(
            {
                "ok": error is None,
                **{name: getattr(self.target, name, None) for name in ("protocol", "host", "port")},
                "mechanism": self.mechanism,
                "tls": self.tls,
                "turns": self.turns,
                "initial_response": self.initial_response,
                "server_text": printable(self.server_text),
                "error": None
                if error is None
                else {
                    "type": exits.public_name(error),
                    "kind": exits.kind(error),
                    "detail": _detail(error),
                    "advice": self.advice,
                },
            }
        )

    def print_facts(self) -> None:
        """Print what happened, as far as it got, to stdout."""
        if self.target:
            _row("server", f"{self.target.host} port {self.target.port} ({self.target.protocol})")
        if self.connected:
            _row("tls", f"{self.tls['version']} {self.tls['cipher']}" if self.tls else "none")
        if self.mechanism is not None:
            _row("mechanism", printable(self.mechanism))
            turns = f"{self.turns} turn" + "s" * (self.turns != 1)
            _row("took", f"{turns}, {'with' if self.initial_response else 'without'} an initial response")
        if self.second_token:
            _row("token", "the first was refused, this is about a second one")
        if self.server_text:
            _row("it said", printable(self.server_text))
        if self.error is None:
            _row("result", "logged in")

    def print_error(self) -> None:
        """Print why there is no login, and what to do about it, to stderr."""
        error = self.error
        if error is None:
            return
        print(f"sasl: {exits.verdict(error)}: {printable(str(error))}", file=sys.stderr)
        if error.response_code:
            _row("code", printable(error.response_code), file=sys.stderr)
        for key, value in error.detail.items():
            _row(printable(key), printable(value), file=sys.stderr)
        if self.advice:
            _row("what to do", self.advice, file=sys.stderr)


def _detail(error: SASLError) -> Mapping[str, str]:
    """What explains an error: the fields of the error challenge, the reasons name by name, or a message."""
    explained = error.detail or getattr(error, "passed_over", {})
    if not explained and str(error) != error.server_text:
        explained = {"message": str(error)}
    return {printable(key): printable(value) for key, value in explained.items()}


def _row(name: str, text: str, *, file: TextIO | None = None) -> None:
    print(f"  {name:<11} {text}", file=file)  # None is standard output as it is now
