"""What the codes of the protocols say (RFC 4954, RFC 5248, RFC 5530, RFC 2221, RFC 2449, RFC 3206, RFC 5804)."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING

from .table import NO_CODE, Row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from sasl.errors import Kind

_WRONG: Final = (
    "Check the user name (often the whole mail address) and the password. With two-factor login most providers want "
    "an app password. Do not just repeat it: that locks accounts."
)
_WRONG_BEARER: Final = (
    "The server does not say why. Get a new token; check that it is for this server and for the user in the URL."
)
_BEFORE: Final = (
    "The server refused before it saw the credential, so it has not judged it: it does not take this mechanism, or "
    "not from this user. Try another --mechanism (IMAP-LOGIN or POP-USER for the plain command), and check the user "
    "name."
)
_LATER: Final = "The server cannot tell now: try later, with the same credential. It was not refused."
_BUSY: Final = (
    "Too many logins or connections in too short a time: close other sessions, wait some minutes, then use the same "
    "credential. It was not refused."
)
_IN_USE: Final = "The credential is good; the mailbox is in use. Close the other session, or wait, then try again."
_REPAIR: Final = (
    "The server has a fault that its admin has to look at; the credential was not refused. Report it, and try later."
)
_EXPIRED: Final = "The password has expired or has to be set anew: do so at the provider."
_EXPIRED_BEARER: Final = "The token has expired: get a new one. --token-command gets one at each login."
_DISABLED: Final = (
    "The account, or this way to log in, is switched off: ask the server's admin. Trying again does not help."
)
_LOGGED_IN: Final = "The server believes that somebody is logged in already: report it to its admin."
_TLS: Final = "The server wants TLS before a login: use imaps, pops or smtps, or leave out --no-starttls."
_POLICY: Final = (
    "The server's rules forbid this login, see what it says: another --mechanism or another kind of credential may be "
    "wanted."
)
_UNLIKED: Final = (
    "The server does not take what was sent, whatever the credential: try --no-initial-response, then another "
    "--mechanism."
)
_NO_MECHANISM: Final = (
    "The server does not have this mechanism after all: try another --mechanism (IMAP-LOGIN or POP-USER for the plain "
    "command)."
)
_SAID: Final = "The server says what to do, see above: do that first. The credential itself may be good."
_NOT_THIS_USER: Final = (
    "The credential is good, but may not act as the user asked for: check --authzid; for a token, the user in the URL."
)

_KINDS: Final[Mapping[Kind, str]] = {
    "credentials": _WRONG,
    "authorization": _NOT_THIS_USER,
    "expired": _EXPIRED,
    "disabled": _DISABLED,
    "unavailable": _LATER,
    "policy": _POLICY,
    "malformed": _UNLIKED,
    "unexpected_ir": _UNLIKED,
    "cancelled": _UNLIKED,
    "limit": _UNLIKED,
    "state": _LOGGED_IN,
    "unsupported": _NO_MECHANISM,
}
_BEARER: Final[Mapping[Kind, str]] = {"credentials": _WRONG_BEARER, "expired": _EXPIRED_BEARER}

CODES: Final = (
    # --- SMTP (RFC 4954 section 6, RFC 5248)
    Row(
        "smtp-credentials",
        "credentials",
        _WRONG,
        bearer_advice=_WRONG_BEARER,
        protocol="smtp",
        codes=("535",),
        vague=True,
    ),
    Row("smtp-later", "unavailable", _LATER, protocol="smtp", codes=("4xx",), decides=True),
    Row(
        "smtp-closing",
        "unavailable",
        "The server ends the connection and wants no login now: wait some minutes, then try again with the same "
        "credential. It was not refused.",
        protocol="smtp",
        codes=("421",),
        decides=True,
    ),
    Row(
        "smtp-password-transition",
        "expired",
        "The server has to store the password anew before this mechanism works: log in once with --mechanism PLAIN "
        "under TLS, or set the password anew at the provider.",
        protocol="smtp",
        codes=("432 4.7.12",),
        decides=True,
    ),
    Row("smtp-too-long", "limit", _UNLIKED, protocol="smtp", codes=("500", "555")),
    Row("smtp-malformed", "malformed", _UNLIKED, protocol="smtp", codes=("501",)),
    Row("smtp-no-mechanism", "unsupported", _NO_MECHANISM, protocol="smtp", codes=("502", "504")),
    Row("smtp-logged-in", "state", _LOGGED_IN, protocol="smtp", codes=("503",), decides=True),
    Row("smtp-wants-tls", "policy", _TLS, protocol="smtp", codes=("523", "538"), decides=True),
    Row("smtp-disabled", "disabled", _DISABLED, protocol="smtp", codes=("525",), decides=True),
    Row("smtp-wants-something-first", "policy", _POLICY, protocol="smtp", codes=("530",), decides=True),
    Row(
        "smtp-too-weak",
        "policy",
        "The server wants a stronger login than this one: another --mechanism, an app password, or a token.",
        protocol="smtp",
        codes=("534",),
        vague=True,
    ),
    Row("smtp-no-access", "disabled", _DISABLED, protocol="smtp", codes=("550",), phase="after"),
    Row("smtp-refused", "policy", _POLICY, protocol="smtp", codes=("5xx",), phase="after"),
    Row("smtp-no", "policy", _POLICY, protocol="smtp", phase="after"),
    Row(
        "smtp-way-closed-before",
        "policy",
        "The server does not let this user log in this way, and has not seen the credential: Microsoft's servers want "
        "a token (XOAUTH2), or their admin has switched the login off.",
        protocol="smtp",
        codes=("5.7.139",),
        phase="before",
    ),
    Row("smtp-before", "unsupported", _BEFORE, protocol="smtp", phase="before"),
    # --- IMAP (RFC 5530, RFC 9051 section 7.1, RFC 2221)
    Row(
        "imap-authenticationfailed",
        "credentials",
        _WRONG,
        bearer_advice=_WRONG_BEARER,
        protocol="imap",
        codes=("AUTHENTICATIONFAILED",),
        vague=True,
    ),
    Row(
        "imap-authorizationfailed",
        "authorization",
        _NOT_THIS_USER,
        protocol="imap",
        codes=("AUTHORIZATIONFAILED",),
        decides=True,
    ),
    Row(
        "imap-expired",
        "expired",
        _EXPIRED,
        bearer_advice=_EXPIRED_BEARER,
        protocol="imap",
        codes=("EXPIRED",),
        decides=True,
    ),
    Row("imap-contactadmin", "disabled", _DISABLED, protocol="imap", codes=("CONTACTADMIN",), decides=True),
    Row("imap-privacyrequired", "policy", _TLS, protocol="imap", codes=("PRIVACYREQUIRED",), decides=True),
    Row("imap-noperm", "policy", _POLICY, protocol="imap", codes=("NOPERM",), phase="after"),
    Row("imap-unavailable", "unavailable", _LATER, protocol="imap", codes=("UNAVAILABLE", "SYS/TEMP"), decides=True),
    Row("imap-serverbug", "unavailable", _REPAIR, protocol="imap", codes=("SERVERBUG", "CORRUPTION"), decides=True),
    Row("imap-inuse", "unavailable", _IN_USE, protocol="imap", codes=("INUSE", "IN-USE"), decides=True),
    Row("imap-limit", "unavailable", _BUSY, protocol="imap", codes=("LIMIT", "THROTTLED", "LOGIN-DELAY"), decides=True),
    Row(
        "imap-overquota",
        "unavailable",
        "The account has used up what it may for now (bandwidth, commands or space): wait, some hours where the server "
        "names none, then use the same credential. It was not refused.",
        protocol="imap",
        codes=("OVERQUOTA",),
        decides=True,
    ),
    Row(
        "imap-referral",
        "policy",
        "This server does not have the mailbox: it is at the host {host} ({argument}). Log in there.",
        protocol="imap",
        codes=("REFERRAL",),
        decides=True,
    ),
    Row(
        "imap-webalert",
        "policy",
        "The server wants the user to sign in with a web browser first: open {argument} and do what is said there. The "
        "credential itself may be good.",
        protocol="imap",
        codes=("WEBALERT",),
        decides=True,
    ),
    Row("imap-alert-before", "policy", _SAID, protocol="imap", codes=("ALERT",), phase="before"),
    Row(
        "imap-alert",
        "credentials",
        f"The server says what to do, see above: do that first. If it says nothing of the kind: {_WRONG[0].lower()}"
        f"{_WRONG[1:]}",
        bearer_advice="The server says what to do, see above: do that first. If it says nothing of the kind, get a new "
        "token; check that it is for this server and for the user in the URL.",
        protocol="imap",
        codes=("ALERT",),
        phase="after",
        vague=True,
    ),
    Row("imap-clientbug", "malformed", _UNLIKED, protocol="imap", codes=("CLIENTBUG",)),
    Row("imap-bad", "malformed", _UNLIKED, protocol="imap", codes=("BAD",)),
    Row("imap-no", "credentials", _WRONG, bearer_advice=_WRONG_BEARER, protocol="imap", phase="after", vague=True),
    Row("imap-before", "unsupported", _BEFORE, protocol="imap", phase="before"),
    # --- POP3 (RFC 2449 section 8, RFC 3206)
    Row("pop-auth", "credentials", _WRONG, bearer_advice=_WRONG_BEARER, protocol="pop", codes=("AUTH",), vague=True),
    Row("pop-sys-temp", "unavailable", _LATER, protocol="pop", codes=("SYS/TEMP", "UNAVAILABLE"), decides=True),
    # It asks for somebody to look after the account, as CONTACTADMIN does; before the credential, after the server.
    Row("pop-sys-perm", "disabled", _DISABLED, protocol="pop", codes=("SYS/PERM",), phase="after", decides=True),
    Row(
        "pop-sys-perm-before", "unavailable", _REPAIR, protocol="pop", codes=("SYS/PERM",), phase="before", decides=True
    ),
    Row("pop-in-use", "unavailable", _IN_USE, protocol="pop", codes=("IN-USE", "INUSE"), decides=True),
    Row("pop-login-delay", "unavailable", _BUSY, protocol="pop", codes=("LOGIN-DELAY", "LIMIT"), decides=True),
    Row("pop-no", "credentials", _WRONG, bearer_advice=_WRONG_BEARER, protocol="pop", phase="after", vague=True),
    Row("pop-before", "unsupported", _BEFORE, protocol="pop", phase="before"),
    # --- ManageSieve (RFC 5804 section 1.3)
    Row(
        "sieve-too-weak",
        "policy",
        "The server wants a stronger login than this one: another mechanism, or a token.",
        protocol="sieve",
        codes=("AUTH-TOO-WEAK",),
        decides=True,
    ),
    Row(
        "sieve-wants-tls",
        "policy",
        "The server wants TLS before a login: begin it by STARTTLS.",
        protocol="sieve",
        codes=("ENCRYPT-NEEDED",),
        decides=True,
    ),
    Row(
        "sieve-password-transition",
        "expired",
        "The server has to store the password anew before this mechanism works: log in once with PLAIN under TLS, or "
        "set the password anew at the provider.",
        protocol="sieve",
        codes=("TRANSITION-NEEDED",),
        decides=True,
    ),
    Row("sieve-later", "unavailable", _LATER, protocol="sieve", codes=("TRYLATER",), decides=True),
    Row(
        "sieve-referral",
        "policy",
        "This server does not have the scripts: they are at the host {host} ({argument}). Log in there.",
        protocol="sieve",
        codes=("REFERRAL",),
        decides=True,
    ),
    Row("sieve-no", "credentials", _WRONG, bearer_advice=_WRONG_BEARER, protocol="sieve", phase="after", vague=True),
    Row(
        "sieve-before",
        "unsupported",
        "The server refused before it saw the credential, so it has not judged it: it does not take this mechanism, or "
        "not from this user. Try another mechanism, and check the user name.",
        protocol="sieve",
        phase="before",
    ),
    # --- what an error challenge said (RFC 5802 section 7, RFC 7628 section 3.2.2), before the reply
    Row("scram-no-resources", "unavailable", _LATER, codes=("error=no-resources",)),
    Row(
        "scram-wrong-binding",
        "policy",
        "The login was bound to the TLS connection, and the server sees another one: a proxy or a virus scanner may "
        "end TLS in between, or the server does not know its own certificate. Ask its admin before you go round it "
        "by naming a --mechanism without -PLUS.",
        codes=(
            "error=channel-bindings-dont-match",
            "error=channel-binding-not-supported",
            "error=unsupported-channel-binding-type",
        ),
    ),
    Row(
        "scram-binding-hidden",
        "policy",
        "Somebody on the way took the mechanisms with channel binding out of the server's list. Do not trust the way "
        "to this server.",
        codes=("error=server-does-support-channel-binding",),
    ),
    Row(
        "token-scope",
        "credentials",
        "The token lacks a scope that this server wants, see above: ask for one that has it.",
        codes=("status=403", "status=insufficient_scope"),
    ),
    Row(
        "token-stale",
        "credentials",
        "The token is expired or revoked, or meant for another server or user: get a new one. --token-command gets one "
        "at each login.",
        codes=("status=400", "status=401", "status=invalid_token", "status=invalid_request"),
        vague=True,
    ),
    # --- the end of the connection without a word that means something
    Row(
        "closed-before",
        None,
        "The server hung up before it saw the credential. Too many connections or logins are a common reason: wait, "
        "then try again. Some do so on a mechanism or an initial response: try another --mechanism, or "
        "--no-initial-response.",
        codes=("<END>",),
        phase="before",
    ),
    Row(
        "closed-after",
        None,
        "The server hung up after the credential was sent, and did not say whether it takes it. Some refuse so: make "
        "sure that it is the app password or authorization code that the provider wants, not the account's password. "
        "Else too many connections or logins are a common reason: wait, then try again.",
        bearer_advice="The server hung up after the token was sent, and did not say whether it takes it. Some do so "
        "on an initial response: try --no-initial-response. Else too many connections or logins are a common reason: "
        "wait, then try again.",
        codes=("<END>",),
        phase="after",
    ),
    # --- kinds alone, where an error challenge named one and nothing else says more
    *(
        Row(f"told-{kind.replace('_', '-')}", kind, advice, bearer_advice=_BEARER.get(kind, ""), codes=NO_CODE)
        for kind, advice in _KINDS.items()
    ),
)
