"""The server's side of AUTH and STARTTLS (RFC 4954, RFC 3207)."""

from __future__ import annotations

import re

from sasl.typed import TYPE_CHECKING, final

from ..line import has_breaks, without_end
from ..server import TORN, Server
from ..starttls import StartTlsServer
from .grammar import LONGEST_RESPONSE, REPLIES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar

    from sasl.steps import Question

    from ..line import Line


@final
class ServerWire(Server):
    """The server's side of one AUTH; takes responses of 12,288 octets (RFC 4954 section 4)."""

    response_limit = LONGEST_RESPONSE
    prompt = b"334 "
    replies = REPLIES

    def _begin(self, line: bytes) -> Line | Question | None:
        text = without_end(line)
        if has_breaks(text):
            return self.answered(TORN)
        name, _, arguments = text.partition(b" ")
        return self.answered(self._authenticate(text, arguments if name.upper() == b"AUTH" else b""))


@final
class StartTlsServerWire(StartTlsServer):
    """The server's side of STARTTLS (RFC 3207); after it the client has said nothing yet, not even EHLO."""

    grammar = re.compile(rb"STARTTLS(?: [ \t]*)?", re.IGNORECASE)
    replies: ClassVar[Mapping[str, str]] = {
        "yes": "220 2.0.0 Begin TLS",
        "malformed": "501 5.5.4 STARTTLS takes no argument",
        "authenticated": "503 5.5.1 Too late for TLS",
        "tls": "503 5.5.1 Too late for TLS",
        "injected": "421 4.7.0 Octets in the clear behind STARTTLS",
    }
