"""What a server's refusal means and what to do about it: the one place where codes, texts and phases become a kind.

    row = refusals.classify("smtp", code="535 5.7.139", text="... basic authentication is disabled", phase="after")
    row.id, row.kind, row.advice

The general rows stand in `codes` and `texts`, what is a provider's own in `sasl.adapters.providers`. Nothing of it is
imported by a login that succeeds. See docs/decisions/0025-one-classification.md.
"""

from __future__ import annotations

from functools import cache

from sasl.typed import TYPE_CHECKING

from .. import providers
from .codes import CODES
from .greetings import GREETINGS, protocol_of
from .table import PHASES, Phase, Row, choose, row_of
from .texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from sasl.errors import Kind

__all__ = ["PHASES", "Phase", "Row", "advice", "classify", "protocol_of", "row", "rows"]


def classify(protocol: str, *, text: str = "", code: str | None = None, phase: Phase, kind: Kind | None = None) -> Row:
    """Return the row for what a server said; it never fails, and the most specific row wins.

    `protocol` is "imap", "pop", "smtp" or "sieve"; `code` what comes with the refusal: "535 5.7.139" in SMTP, the
    response code without brackets in the others, "BAD" for an IMAP reply of that kind without one. `phase` says how far
    the login was: at the greeting, before anything that shows or proves the credential had left, or after. `kind` is
    what an error challenge said already: then only rows of that kind are looked at. Texts of all providers are known at
    any host.
    """
    return choose(rows().values(), protocol, text=text, code=code, phase=phase, kind=kind)


def row(id: str) -> Row:  # noqa: A002 -- the attribute's name
    """Return the row of an id. Raises KeyError if there is none."""
    return rows()[id]


@cache
def rows() -> Mapping[str, Row]:
    """Return all rows by id, those of the providers among them."""
    of_providers = [
        row_of(each, provider=profile.name) for profile in providers.profiles() for each in profile.refusals
    ]
    return {each.id: each for each in (*CODES, *TEXTS, *GREETINGS, *of_providers)}


def advice(
    id: str,  # noqa: A002
    *,
    token: bool = False,
    host: str | None = None,
    detail: Mapping[str, str] | None = None,
) -> str:
    """Return what to do about the refusal of that row: sentences for a person.

    `token` says that the credential was a token, `host` is the server's name, `detail` the error's. Where the row knows
    no more than the reply's code, the provider of that host is asked, who may know what its own server leaves out.
    """
    found, detail = row(id), detail or {}
    text = (token and found.bearer_advice) or found.advice
    if found.vague and (profile := providers.profile(host)) is not None:
        own = profile.bearer_advice if token else profile.password_advice
        text = f"{_FIRST} {own}" if own and text.startswith(_FIRST) else own or text
    argument = next((detail[name] for name in ("referral", "webalert") if detail.get(name)), "")
    return text.replace("{host}", _host_in(argument) or host or "there").replace("{argument}", argument or "see above")


def _host_in(url: str) -> str:
    """Return the host that a URL names; "" if it names none."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


_FIRST: Final = "The server says what to do, see above: do that first."
