"""What to do about a login that failed.

What a server's refusal means is a matter of `sasl.adapters.refusals`, whose rows have their own advice. What went wrong
on this side, or before the server said anything, stands here: tables by the class of the error, in which the first row
that fits is the advice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, final

from sasl.errors import (
    AuthenticationFailed,
    ConnectionLost,
    LimitExceeded,
    MechanismUnavailable,
    PolicyViolation,
    ProtocolError,
    SASLError,
    ServerNotProven,
    TemporaryFailure,
    TokenError,
    UsageError,
)
from sasl.value import value

from .. import refusals
from .exits import NoSecret, NoSuchHost, OtherProtocol, UnknownMechanism, Untrusted, kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@final
@value
class Facts:
    """What else is known of a login that failed.

    Attributes:
        protocol: "imap", "pop" or "smtp".
        host: the server's name.
        token: whether the credential is a token.
        account: that of `sasl token` whose token it is, or "".
        tls: whether TLS was in force.
        authzid: whether it was to act as another user.
        offered: the mechanisms that the server offered; None if that was not learnt.
        offers_tls: whether it offers STARTTLS, and no TLS was begun.
        revealed: whether something that shows or proves the credential had left.
        initial_response: whether one was sent with the command.
        odd_password: whether the password holds what people paste along with one: see `is_odd`.
        claims: what the token says of itself, in words.
        now: this machine's clock, in UTC.
    """

    protocol: str = "imap"
    host: str = ""
    token: bool = False
    account: str = ""
    tls: bool = False
    authzid: bool = False
    offered: tuple[str, ...] | None = None
    offers_tls: bool = False
    revealed: bool = False
    initial_response: bool = False
    odd_password: bool = False
    claims: str = ""
    now: str = ""


@final
@value
class Row:
    """One piece of advice, and what it is for; what is left out fits everything.

    Attributes:
        advice: what to do. What stands in braces is filled in, see `_fill`.
        error: the class of the error, where it is narrower than the table's.
        kinds: the kinds of error; for an untrusted certificate, why it is.
        text: how the error's sentence begins.
        begun: whether a mechanism was under way.
        retryable: whether the source of a token says that it may have one later.
        facts: attributes of `Facts`, and what they have to be.
    """

    advice: str
    error: type[SASLError] = SASLError
    kinds: Collection[str | None] = ()
    text: str = ""
    begun: bool | None = None
    retryable: bool | None = None
    facts: tuple[tuple[str, object], ...] = ()

    def fits(self, error: SASLError, facts: Facts) -> bool:
        """Whether the advice is for this error."""
        return (
            isinstance(error, self.error)
            and (not self.kinds or (error.why if isinstance(error, Untrusted) else kind(error)) in self.kinds)
            and str(error).startswith(self.text)
            and self.begun in (None, error.mechanism is not None)
            and self.retryable in (None, getattr(error, "retryable", None))
            and all(getattr(facts, name) == wanted for name, wanted in self.facts)
        )


def advice(error: SASLError, facts: Facts) -> str:
    """Return what to do about an error; empty where the error says it all."""
    if _is_the_servers(error):
        return _about_a_refusal(error, facts)
    if facts.account and isinstance(error, TokenError):
        from .token.account import help_for

        return help_for(error, facts.account)
    rows = [row for family, rows in ROWS.items() if isinstance(error, family) for row in rows]
    if _weak_names(error):
        rows.insert(0, _WEAK_ONLY)
    if _is_named(error):
        rows.insert(0, _NAMED)
    found = next((row.advice for row in rows if row.fits(error, facts)), "")
    if _NAMES_AN_OPTION.search(found) is None and facts.offers_tls and not isinstance(error, UsageError):
        found = f"{_BEGIN_TLS} {found}".rstrip()
    return _fill(found, error, facts)


def is_odd(password: str) -> bool:
    """Whether a password holds what people paste along with one without seeing it.

    That is any character beyond ASCII (no-break spaces, typographic quotes), a control, or a space at its ends.
    """
    return not password.isascii() or not password.isprintable() or password != password.strip()


_NAMES_AN_OPTION: Final = re.compile(r"--no-starttls|--allow-plaintext|STARTTLS")
_BEGIN_TLS: Final = "The server offers STARTTLS, and no TLS was begun: leave out --no-starttls."
_BELOW: Final = ("timeout", "tls", "certificate", "unreachable", "no_such_host")
"""Kinds of what happens to the connection below."""
_URL: Final = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)
_POINTS: Final = ("imap-webalert", "imap-referral")
"""Rows whose own advice is what the server says."""
_OR_AUTHZID: Final = (
    "Or the credential is good and may not act as the user of --authzid: this reply does not tell. Check that too, or "
    "leave it out."
)
_PASTED: Final = (
    "Was the password pasted? It holds a character beyond ASCII (a no-break space or a typographic quote looks like "
    "the plain one), or a space or a line end at one of its ends: type it by hand. Some servers want such a character "
    "in another charset than UTF-8."
)
_ODD: Final = (("odd_password", True),)
_SAYS: Final = "The server says what to do, see above: do that first."


# --- what a server refused


def _is_the_servers(error: SASLError) -> bool:
    """Whether an error is about what the server has said, or about its silence once a mechanism was under way."""
    if isinstance(error, TemporaryFailure | AuthenticationFailed):
        return True
    if isinstance(error, ConnectionLost) and error.kind is None and error.mechanism is not None:
        return True
    return error.refusal is not None and error.kind not in _BELOW


def _about_a_refusal(error: SASLError, facts: Facts) -> str:
    """Return the advice of the row of a refusal, and what this side knows besides."""
    row = _row_of(error, facts)
    said = refusals.advice(row.id, token=facts.token, host=facts.host, detail=error.detail)
    parts = [said]
    points = error.detail.get("alert") or error.detail.get("webalert") or _URL.search(error.server_text)
    if points and row.is_general and "says" not in said and row.id not in _POINTS:
        parts.insert(0, _SAYS)
    if facts.offers_tls and "TLS" not in said:
        parts.append(_BEGIN_TLS)
    if isinstance(error, AuthenticationFailed) and kind(error) in ("credentials", "expired", "authorization"):
        parts += _about_the_credential(error, facts)
    return " ".join(parts)


def _about_the_credential(error: SASLError, facts: Facts) -> list[str]:
    found = []
    if facts.claims:
        found.append(facts.claims)
    if facts.odd_password and kind(error) == "credentials":
        found.append(_PASTED)
    if facts.authzid and kind(error) == "credentials":
        found.append(_OR_AUTHZID)
    return found


def _row_of(error: SASLError, facts: Facts) -> refusals.Row:
    """Return the row of a refusal; of one that no wire has looked up, what its kind means."""
    if error.refusal is not None:
        return refusals.row(error.refusal)
    if isinstance(error, ConnectionLost) and not isinstance(error, TemporaryFailure):
        return refusals.row("closed-after" if facts.revealed else "closed-before")
    said: dict[str, Any] = {"text": error.server_text, "code": error.response_code}
    row = refusals.classify(facts.protocol, **said, phase="after", kind=error.kind)
    return row if row.id in refusals.rows() else refusals.row("told-malformed")


# --- what went wrong on this side, or before the server said anything


def _fill(text: str, error: SASLError, facts: Facts) -> str:
    """Put into a row's text what it leaves open."""
    certificate = error.certificate if isinstance(error, Untrusted) else None
    speaks = error.speaks if isinstance(error, OtherProtocol) else ""
    words = {
        "host": facts.host,
        "now": facts.now,
        "names": certificate.list_names() if certificate else "another host",
        "not_after": certificate.not_after if certificate else "an unknown time",
        "not_before": certificate.not_before if certificate else "an unknown time",
        "issuer": certificate.issuer if certificate else "somebody whom this machine does not know",
        "ports": _PORTS[facts.protocol],
        "instead": _INSTEAD.get(speaks.partition(" ")[0], ""),
        "known": "",
        "offered": ", ".join(facts.offered or ()) or "none",
        "weak": ", ".join(_weak_names(error)),
        "first": next(iter(_weak_names(error)), ""),
    }
    if "{known}" in text:
        words["known"] = _known_names()
    return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], text).rstrip()


def _is_named(error: SASLError) -> bool:
    """Whether what the server offers was left out because another mechanism was asked for by name."""
    reasons: Mapping[str, str] = error.passed_over if isinstance(error, MechanismUnavailable) else {}
    return any(reason.endswith(" was asked for") for reason in reasons.values())


def _weak_names(error: SASLError) -> list[str]:
    """Return the mechanisms that only have to be named, if it is for them alone that the policy refused."""
    reasons: Mapping[str, str] = error.passed_over if isinstance(error, PolicyViolation) else {}
    if any("in the clear" in reason or "pinned" in reason for reason in reasons.values()):
        return []
    return [name for name, reason in reasons.items() if reason.startswith("off unless")]


def _known_names() -> str:
    from sasl.registry import known_mechanisms

    return ", ".join(row.name for row in known_mechanisms() if row.client is not None)


_PORTS: Final[Mapping[str, str]] = {
    "imap": "IMAP is mostly at port 993 (imaps://) or 143 (imap://)",
    "pop": "POP3 is mostly at port 995 (pops://) or 110 (pop://)",
    "smtp": "SMTP takes logins mostly at port 465 (smtps://) or 587 (smtp://)",
}
_INSTEAD: Final[Mapping[str, str]] = {
    "IMAP": "For IMAP, write imaps:// or imap://.",
    "POP3": "For POP3, write pops:// or pop://.",
    "SMTP": "For SMTP, write smtps:// or smtp://.",
}

_NO_TLS: Final = (
    Row(
        "There is no TLS at this port, or one that is too old: imap, pop and smtp begin without it and use STARTTLS. "
        "A server that wants a certificate of yours gets it by --client-cert.",
        kinds=("tls",),
    ),
)
_LOST: Final = (
    Row("Check how the host is spelled, and that this machine can look up names.", error=NoSuchHost),
    Row("Nothing listens there, or a firewall is in between: check host and port. {ports}.", kinds=("unreachable",)),
    Row(
        "Check the port, and whether TLS begins at once there (imaps, pops, smtps) or not (imap, pop, smtp). A slow "
        "server wants a longer --timeout.",
        kinds=("timeout",),
        begun=False,
    ),
    Row(
        "Nobody knows whether the server refused it. Try again with a longer --timeout: a slow server, or a login that "
        "takes much computing.",
        kinds=("timeout",),
    ),
    Row(
        "The server hung up before the login, so it refused no credential. Too many connections are a common reason, "
        "or a port that is meant for others: wait, then try again. {ports}."
    ),
)
_FAULTS: Final = (
    Row(
        "Nothing was sent. The certificate expired at {not_after} (UTC), and this machine's clock says {now}. If the "
        "clock is right, the server's admin has to renew the certificate.",
        error=Untrusted,
        kinds=("expired",),
    ),
    Row(
        "Nothing was sent. The certificate is good from {not_before} (UTC) on, and this machine's clock says {now}: "
        "check the clock.",
        error=Untrusted,
        kinds=("early",),
    ),
    Row(
        "Nothing was sent. The certificate is for {names}, not for {host}: use a name that it is for.",
        error=Untrusted,
        kinds=("name",),
    ),
    Row(
        "Nothing was sent. The certificate is issued by {issuer}, for whom nobody vouches here: if that is a CA of "
        "yours, name its file by --ca. Nothing turns the check off.",
        error=Untrusted,
        kinds=("issuer",),
    ),
    Row(
        "Nothing was sent. Its admin has to look at the certificate; if a CA of your own signed it, name that by --ca. "
        "Nothing turns the check off.",
        kinds=("certificate", "other"),
    ),
    Row("Nothing was sent. Another service answers at this port: {ports}. {instead}", error=OtherProtocol),
    Row(
        "Do not trust this server or the way to it: it said yes to what proves nothing, or could not prove that it "
        "knows the password.",
        error=ServerNotProven,
    ),
    Row("The server sent more than it may. Do not trust it.", error=LimitExceeded),
    Row(
        "The server does not like the name that this machine gave with EHLO: give another one, a host name with a dot, "
        "by --ehlo-name. No credential was sent.",
        text="the server refused EHLO",
    ),
    Row(
        "The server does not keep to the protocol before the login already: check the port. {ports}. --trace shows "
        "what it says.",
        begun=False,
    ),
    Row(
        "The server does not keep to the protocol; --trace shows where. Try --no-initial-response, then another "
        "--mechanism.",
        facts=(("initial_response", True),),
    ),
    Row("The server does not keep to the protocol; --trace shows where. Try another --mechanism."),
)
_FORBIDDEN: Final = (
    Row(
        "The password was not sent, and no proof that can be tried against it. The server stores it in a way that is "
        "too easy to guess, or too slow to log in by: ask its admin to set it anew, within the bounds that are named.",
        begun=True,
    ),
    Row(
        "Nothing was sent. Use imaps, pops or smtps. --allow-plaintext would show the credential to everybody on the "
        "way.",
        facts=(("tls", False),),
    ),
    Row("The server offers nothing that the policy allows, for the reasons above."),
)
_WEAK_ONLY: Final = Row(
    "The server offers for this credential nothing but what is off by default here, as it can be broken: {weak}. Where "
    "you want it all the same, under TLS, name it: --mechanism {first}."
)
_NAMED: Final = Row(
    "The mechanism of --mechanism cannot be used here, for the reason above: leave it out, or name another. The server "
    "offers {offered}."
)
_NO_MECHANISM: Final = (
    Row("Known here are {known}; `sasl mechs` says more. Nothing was sent.", error=UnknownMechanism),
    Row(
        "This port takes no logins, or none before TLS: {ports}.",
        facts=(("protocol", "smtp"), ("offered", ())),
    ),
    Row(
        "The server offers nothing that a token fits: it needs XOAUTH2 or OAUTHBEARER there. Some offer them under TLS "
        "only.",
        facts=(("token", True),),
    ),
    Row(
        "The server offers nothing that this credential fits: a password needs SCRAM, PLAIN or a login command there, "
        "a token XOAUTH2 or OAUTHBEARER. Some offer them under TLS only. `sasl mechs` lists what is known here."
    ),
)
_NO_SECRET: Final = (
    Row("Try later: the command said so, or took longer than --timeout.", kinds=("try_later", "command_timeout")),
    Row(
        "Look how the command is spelled, and run it by itself. It runs without a shell: no pipes, variables or ~ in "
        "it.",
        kinds=("command_not_run",),
    ),
    Row(
        "Run the command by itself and see what it says: mostly somebody has to sign in again with it, or to unlock "
        "something.",
        kinds=("command_failed", "no_token"),
    ),
)
_NO_TOKEN: Final = (
    *_NO_SECRET,
    Row("Install it for the Python that runs this command.", kinds=("missing_extra",)),
    Row(
        "Sign in again and make a new file: the consent was withdrawn, has run out, or was used up elsewhere. For a "
        "service account: check that its key is still listed, and this machine's clock.",
        kinds=("invalid_grant", "not_refreshable"),
    ),
    Row(
        "The admin of the domain has to allow this service account to act for its users (domain-wide delegation), "
        "with the scope https://mail.google.com/.",
        kinds=("unauthorized_client",),
    ),
    Row("Try later: nothing was refused, the token endpoint cannot tell now.", retryable=True),
    Row(
        "What the file of --google names as its token_uri, or what is on the way there, is no token endpoint that can "
        "be trusted with what the file holds.",
        kinds=("bad_endpoint", "bad_response", "certificate"),
    ),
    Row(
        "The file of --google, or the client that it names, cannot be used: make a new one (`gcloud auth "
        "application-default login`, or a key of the service account)."
    ),
)
_NOT_TRIED: Final = (
    *_NO_SECRET,
    Row(
        "Export the variable, or name the one that holds it: the option takes the name of a variable, not the secret "
        "itself.",
        error=NoSecret,
        kinds=("variable_not_set",),
    ),
    Row("See `sasl login --help`. If it is about the password: " + _PASTED[0].lower() + _PASTED[1:], facts=_ODD),
    Row("See `sasl login --help`."),
)

ROWS: Final[Mapping[type[SASLError], tuple[Row, ...]]] = {
    SASLError: _NO_TLS,
    ConnectionLost: _LOST,
    ProtocolError: _FAULTS,
    PolicyViolation: _FORBIDDEN,
    MechanismUnavailable: _NO_MECHANISM,
    TokenError: _NO_TOKEN,
    UsageError: _NOT_TRIED,
}
