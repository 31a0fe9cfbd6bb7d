"""What to do about a login that failed, as tables by the class of the error: the first row that fits is the advice.

The rows for providers stand before the general ones: they know what their own texts and codes leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from sasl.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
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

from .exits import NoSuchHost, kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GOOGLE: Final = ("gmail.com", "googlemail.com", "google.com")
MICROSOFT: Final = ("office365.com", "outlook.com", "office.com", "hotmail.com")
YAHOO: Final = ("yahoo.com", "aol.com")
APPLE: Final = ("me.com", "icloud.com")


@final
@value
class Row:
    """One piece of advice, and what it is for; what is left out fits everything.

    Attributes:
        advice: what to do.
        error: the class of the error, where it is narrower than the table's.
        kinds: the kinds of refusal.
        codes: beginnings of the response code.
        says: a word in what the server said.
        statuses: the status in the error challenge.
        errors: the error that SCRAM names (RFC 5802 section 7).
        hosts: the domains of a provider.
        token: whether a token was refused; False for a password.
        tls: whether TLS was in force.
        retryable: whether the source of a token says that it may have one later.
        begun: whether a mechanism was under way.
    """

    advice: str
    error: type[SASLError] = SASLError
    kinds: Collection[str | None] = ()
    codes: tuple[str, ...] = ()
    says: str = ""
    statuses: Collection[str | None] = ()
    errors: Collection[str | None] = ()
    hosts: tuple[str, ...] = ()
    token: bool | None = None
    tls: bool | None = None
    retryable: bool | None = None
    begun: bool | None = None

    def fits(self, error: SASLError, *, host: str, token: bool, tls: bool) -> bool:
        """Whether the advice is for this error."""
        return (
            isinstance(error, self.error)
            and (not self.kinds or kind(error) in self.kinds)
            and (not self.codes or (error.response_code or "").startswith(self.codes))
            and self.says in error.server_text
            and (not self.statuses or error.detail.get("status") in self.statuses)
            and (not self.errors or error.detail.get("error") in self.errors)
            and (not self.hosts or any(host == name or host.endswith("." + name) for name in self.hosts))
            and self.token in (None, token)
            and self.tls in (None, tls)
            and self.retryable in (None, getattr(error, "retryable", None))
            and self.begun in (None, error.mechanism is not None)
        )


def advice(error: SASLError, *, host: str = "", token: bool = False, tls: bool = False, authzid: bool = False) -> str:
    """Return what to do about an error; empty where the error says it all.

    `host` is the server's name, `token` says that the credential was a token, `tls` that TLS was in force, `authzid`
    that the user asked to act as another one.
    """
    host = host.lower()
    rows = [row for family, rows in ROWS.items() if isinstance(error, family) for row in rows]
    found = next((row.advice for row in rows if row.fits(error, host=host, token=token, tls=tls)), "")
    if authzid and isinstance(error, AuthenticationFailed) and error.kind == "credentials":
        return f"{found} {_OR_AUTHZID}"
    return found


_OR_AUTHZID: Final = (
    "Or the credential is good and may not act as the user of --authzid: this reply does not tell. Check that too, or "
    "leave it out."
)
_REFUSED: Final = ("credentials", "expired", "policy", "disabled")
_STALE: Final = ("400", "401", "invalid_token", "invalid_request")
_SCOPE: Final = ("403", "insufficient_scope")

_BINDING: Final = (
    "channel-bindings-dont-match",
    "channel-binding-not-supported",
    "unsupported-channel-binding-type",
)

_REFUSALS: Final = (
    # --- channel binding
    Row(
        "Somebody on the way took the mechanisms with channel binding out of the server's list. Do not trust the way "
        "to this server.",
        errors=("server-does-support-channel-binding",),
    ),
    Row(
        "The login was bound to the TLS connection, and the server sees another one: a proxy or a virus scanner may "
        "end TLS in between, or the server does not know its own certificate. Ask its admin before you go round it "
        "by naming a --mechanism without -PLUS.",
        errors=_BINDING,
    ),
    # --- Microsoft 365
    Row(
        "SMTP logins are switched off for this tenant or mailbox. Only its admin can allow them (Set-CASMailbox "
        "-SmtpClientAuthenticationDisabled $false). Trying again does not help.",
        codes=("535 5.7.139",),
        says="is disabled",
    ),
    Row(
        "The sign-in rules of this tenant (security defaults, conditional access) forbid it: ask its admin.",
        codes=("535 5.7.139",),
        says="criteria",
    ),
    Row(
        "Passwords are retired here: log in with a token (--token-command) of the scope "
        "https://outlook.office.com/SMTP.Send.",
        codes=("550 5.7.30",),
    ),
    Row(
        "Microsoft takes no password here: log in with a token (--token-command) of the scope "
        "https://outlook.office.com/IMAP.AccessAsUser.All, POP.AccessAsUser.All or SMTP.Send.",
        kinds=_REFUSED,
        hosts=MICROSOFT,
        token=False,
    ),
    Row(
        "Microsoft does not say why. Get a new token; its scope has to be https://outlook.office.com/"
        "IMAP.AccessAsUser.All, POP.AccessAsUser.All or SMTP.Send (not one of Graph), the user in the URL the mailbox "
        "to open (for a shared mailbox its address, with the token of a member), and the protocol allowed for the "
        "mailbox by its admin.",
        kinds=_REFUSED,
        hosts=MICROSOFT,
        token=True,
    ),
    # --- Google
    Row(
        "Gmail takes no account password: make an app password (it needs 2-Step Verification), or log in with a token "
        "(--token-command) of the scope https://mail.google.com/.",
        kinds=_REFUSED,
        hosts=GOOGLE,
        token=False,
    ),
    Row(
        "Gmail says the same of an expired token and of a wrong scope: get a new token, of the scope "
        "https://mail.google.com/ (no narrower one works), for the user in the URL.",
        kinds=_REFUSED,
        hosts=GOOGLE,
        token=True,
    ),
    # --- others who want a password of their own making
    Row(
        "Yahoo and AOL take no account password: make an app password in the account's security settings.",
        kinds=_REFUSED,
        hosts=YAHOO,
        token=False,
    ),
    Row(
        "iCloud takes app-specific passwords only: make one at account.apple.com. Where it is right, try "
        "--mechanism IMAP-LOGIN.",
        kinds=_REFUSED,
        hosts=APPLE,
        token=False,
    ),
    # --- a no to the credential
    Row(
        "The credential is good, but may not act as the user asked for: check --authzid; for a token, the user in the "
        "URL.",
        error=AuthorizationFailed,
    ),
    Row(
        "The token lacks a scope that this server wants, see above: ask for one that has it.",
        statuses=_SCOPE,
        token=True,
    ),
    Row(
        "The token has expired: get a new one. --token-command gets one at each login.", kinds=("expired",), token=True
    ),
    Row(
        "The token is expired or revoked, or meant for another server or user: get a new one. --token-command gets "
        "one at each login.",
        kinds=("credentials",),
        statuses=_STALE,
        token=True,
    ),
    Row(
        "The server does not say why. Get a new token; check that it is for this server and for the user in the URL.",
        kinds=("credentials",),
        token=True,
    ),
    Row("The password has expired or has to be set anew: do so at the provider.", kinds=("expired",), token=False),
    Row(
        "Check the user name (often the whole mail address) and the password. With two-factor login most providers "
        "want an app password. Do not just repeat it: that locks accounts.",
        kinds=("credentials",),
        token=False,
    ),
    Row(
        "The account, or this way to log in, is switched off: ask the server's admin. Trying again does not help.",
        kinds=("disabled",),
    ),
    Row(
        "The server wants TLS before a login: use imaps, pops or smtps, or leave out --no-starttls.",
        kinds=("policy",),
        tls=False,
    ),
    Row(
        "The server's rules forbid this login, see what it says: another --mechanism or another kind of credential "
        "may be wanted.",
        kinds=("policy",),
    ),
    Row(
        "The server does not take what was sent, whatever the credential: try --no-initial-response, then another "
        "--mechanism.",
        kinds=("malformed", "unexpected_ir", "limit", "cancelled"),
    ),
    Row("The server does not have this mechanism after all: try another --mechanism.", kinds=("unsupported",)),
    Row("The server believes that somebody is logged in already: report it to its admin."),
)
_DELAYS: Final = (
    Row("The credential is good; the mailbox is in use. Close the other session, or wait.", codes=("IN-USE", "INUSE")),
    Row(
        "Too many logins in too short a time: wait some minutes, then use the same credential.",
        codes=("LOGIN-DELAY", "LIMIT"),
    ),
    Row("The server cannot tell now: try later, with the same credential. It was not refused."),
)
_NO_TLS: Final = (
    Row(
        "There is no TLS at this port, or one that is too old: imap, pop and smtp begin without it and use STARTTLS. "
        "A server that wants a certificate of yours gets it by --client-cert.",
        kinds=("tls",),
    ),
)
_LOST: Final = (
    Row("Check how the host is spelled, and that this machine can look up names.", error=NoSuchHost),
    Row("Nothing listens there, or a firewall is in between: check host and port.", kinds=("unreachable",)),
    Row(
        "Check the port, and whether TLS begins at once there (imaps, pops, smtps) or not (imap, pop, smtp). A slow "
        "server wants a longer --timeout.",
        kinds=("timeout",),
    ),
    Row(
        "The server hung up, it refused no credential. Too many connections or logins are a common reason: wait, then "
        "try again. Some do so on an initial response: try --no-initial-response."
    ),
)
_FAULTS: Final = (
    Row(
        "Nothing was sent. Use the host name that the certificate is for; if your own CA signed it, name it by --ca. "
        "Nothing turns the check off.",
        kinds=("certificate",),
    ),
    Row(
        "Do not trust this server or the way to it: it said yes to what proves nothing, or could not prove that it "
        "knows the password.",
        error=ServerNotProven,
    ),
    Row("The server sent more than it may. Do not trust it.", error=LimitExceeded),
    Row(
        "The server does not keep to the protocol; --trace shows where. Try --no-initial-response, then another "
        "--mechanism."
    ),
)
_FORBIDDEN: Final = (
    Row(
        "The password was not sent, and no proof that can be tried against it. The server stores it in a way that is "
        "too easy to guess, or too slow to log in by: ask its admin to set it anew, with 4,096 to 600,000 iterations.",
        begun=True,
    ),
    Row(
        "Nothing was sent. Use imaps, pops or smtps. --allow-plaintext would show the credential to everybody on the "
        "way.",
        tls=False,
    ),
    Row("The server offers nothing that this credential fits. --trace says why, name by name."),
)
_NO_MECHANISM: Final = (
    Row(
        "The server offers nothing that this credential fits: a token needs XOAUTH2 or OAUTHBEARER there, a password "
        "SCRAM, PLAIN or a login command. Some offer them under TLS only. `sasl mechs` lists what is known here."
    ),
)
_NO_TOKEN: Final = (
    Row("Try later: the token command said so, or took longer than --timeout.", kinds=("try_later", "command_timeout")),
    Row("Look how the command is spelled; it runs without a shell.", kinds=("command_not_run",)),
    Row(
        "Run the command by itself and see what it says: mostly somebody has to sign in again with it.",
        kinds=("command_failed", "no_token"),
    ),
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

ROWS: Final[Mapping[type[SASLError], tuple[Row, ...]]] = {
    AuthenticationFailed: _REFUSALS,
    TemporaryFailure: _DELAYS,
    SASLError: _NO_TLS,
    ConnectionLost: _LOST,
    ProtocolError: _FAULTS,
    PolicyViolation: _FORBIDDEN,
    MechanismUnavailable: _NO_MECHANISM,
    TokenError: _NO_TOKEN,
    UsageError: (Row("See `sasl login --help`."),),
}
