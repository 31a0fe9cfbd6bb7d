"""What other programs keep of a grant: google-auth and gcloud, mutt_oauth2.py, oama, email-oauth2-proxy.

Each reader takes the text of a file, decrypted, and returns the grants that are in it. Formats are those of the
programs' sources as of November 2026. A text that is not what it should be is a TokenError (bad_file), which shows
nothing of it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, final

from sasl.base64 import encode
from sasl.errors import SASLError, TokenError, bare
from sasl.secret import Secret
from sasl.value import KW_ONLY, value

from ...documents import parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Password = Callable[[str], str]

GOOGLE: Final = "google"
MUTT: Final = "mutt"
OAMA: Final = "oama"
PROXY: Final = "email-oauth2-proxy"

LARGEST: Final = 1_048_576  # octets of a file: that of the proxy is all of its configuration
_LONGEST: Final = 16_384  # characters of a member
_PROVIDERS: Final = {
    "google": ("gmail", "https://oauth2.googleapis.com/token"),
    "microsoft": ("microsoft365", "https://login.microsoftonline.com/common/oauth2/v2.0/token"),
}
"""The profiles of the two providers that mutt_oauth2.py and oama know by name, and where both programs renew."""


@final
@value
class Grant:
    """What a file holds of one account; None for what it does not say.

    Attributes:
        refresh_token: by which tokens are renewed.
        user: the mailbox.
        provider: the name of a profile in `sasl.adapters.providers`.
        token_endpoint: the URL.
        client_id, client_secret: the client that the grant was given to.
        scope: what was granted.
        access_token, expires_at: the last one, and its end in POSIX seconds; both or neither.
    """

    refresh_token: Secret
    _: KW_ONLY
    user: str | None = None
    provider: str | None = None
    token_endpoint: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    scope: str | None = None
    access_token: Secret | None = None
    expires_at: float | None = None


def recognise(octets: bytes) -> str:
    """Return the format of a file. Raises TokenError (bad_file) if it is none that is known here."""
    document = parse_object(octets)
    if document is None:
        if re.search(rb"(?m)^\[[^\]\r\n]*@[^\]\r\n]*\]", octets) and b"refresh_token" in octets:
            return PROXY
        raise bad_file("is of no format known here", hint=_DECRYPT)
    names = document.keys()
    if "registration" in names:
        return MUTT
    if {"service", "exp_date"} <= names:
        return OAMA
    if document.get("type", "authorized_user") == "authorized_user" and {"client_id", "refresh_token"} <= names:
        return GOOGLE
    raise bad_file("is of no format known here", hint="Name its --format.")


def read_google(octets: bytes) -> Grant:
    """Return the grant in an authorized user's file, as gcloud or `to_json()` of google-auth writes it."""
    document = _object(octets)
    if document.get("type", "authorized_user") != "authorized_user":
        raise bad_file('is not of the type "authorized_user"')
    scopes = document.get("scopes")
    if scopes is not None and not (isinstance(scopes, list) and all(isinstance(each, str) for each in scopes)):
        raise bad_file("has scopes that are no list of texts")
    token = _secret(document, "token")
    ends = _time(document, "expiry", "%Y-%m-%dT%H:%M:%S") if token is not None else None
    return Grant(
        _refresh_token(document),
        user=_text(document, "account"),
        provider="gmail",
        token_endpoint=_text(document, "token_uri") or _PROVIDERS["google"][1],
        client_id=_text(document, "client_id"),
        client_secret=_secret(document, "client_secret"),
        scope=" ".join(scopes) if scopes else None,
        access_token=token if ends is not None else None,
        expires_at=ends,
    )


def read_mutt(octets: bytes) -> Grant:
    """Return the grant in a token file of mutt_oauth2.py, decrypted.

    It tells no zone for the end of its access token, so that is not taken: a new one is got at once.
    """
    document = _object(octets)
    provider, endpoint = _PROVIDERS.get(_text(document, "registration") or "", (None, None))
    return Grant(
        _refresh_token(document),
        user=_text(document, "email"),
        provider=provider,
        token_endpoint=endpoint,
        client_id=_text(document, "client_id"),
        client_secret=_secret(document, "client_secret"),
    )


def read_oama(octets: bytes) -> Grant:
    """Return the grant in a record of oama, decrypted. Its client stands in oama's configuration."""
    document = _object(octets)
    token = _secret(document, "access_token")
    ends = _time(document, "exp_date", "%Y-%m-%d %H:%M UTC") if token is not None else None
    provider, endpoint = _PROVIDERS.get(_text(document, "service") or "", (None, None))
    return Grant(
        _refresh_token(document),
        user=_text(document, "email"),
        provider=provider,
        token_endpoint=endpoint,
        scope=_text(document, "scope"),
        access_token=token if ends is not None else None,
        expires_at=ends,
    )


def proxy_accounts(octets: bytes) -> list[str]:
    """Return the accounts in a configuration of email-oauth2-proxy that have a refresh token."""
    sections = _sections(octets)
    return [name for name in sections if "@" in name and sections[name].get("refresh_token")]


def read_proxy(octets: bytes, account: str, password: str) -> Grant:
    """Return the grant of one account in a configuration of email-oauth2-proxy.

    `password` is what mail programs give the proxy: tokens are encrypted with it. Raises TokenError: bad_password if
    it is another one.
    """
    section = _sections(octets).get(account, {})
    decrypt = _decrypter(section, Secret(password))
    del password
    secret = section.get("client_secret")
    hidden = section.get("client_secret_encrypted")
    if not secret and hidden:
        secret = decrypt(hidden).reveal()
    token, ends = section.get("access_token"), section.get("access_token_expiry", "")
    known = token is not None and re.fullmatch(r"[0-9]{1,11}", ends) is not None
    if not section.get("refresh_token"):
        raise bad_file("holds no refresh token of that account", hint="Sign in: sasl token authorize.")
    return Grant(
        decrypt(section["refresh_token"]),
        user=account,
        token_endpoint=section.get("token_url"),
        client_id=section.get("client_id"),
        client_secret=Secret(secret) if secret else None,
        scope=section.get("oauth2_scope"),
        access_token=decrypt(token or "") if known else None,
        expires_at=float(ends) if known else None,
    )


READERS: Final[Mapping[str, Callable[[bytes], Grant]]] = {GOOGLE: read_google, MUTT: read_mutt, OAMA: read_oama}
FORMATS: Final[Sequence[str]] = (*READERS, PROXY)

_DECRYPT: Final = "If it is encrypted: gpg --decrypt FILE | sasl token import -"


def bad_file(what: str, *, hint: str = "") -> TokenError:
    """What to raise for a file that is not what it should be."""
    return TokenError(f"the file {what}", code="bad_file", hint=hint)


# --- objects of JSON


def _object(octets: bytes) -> dict[str, Any]:
    document = parse_object(octets, unique=True)
    if document is None:
        raise bad_file("holds no object of JSON", hint=_DECRYPT)
    return document


def _text(document: Mapping[str, Any], name: str) -> str | None:
    """Return a member; None where it is not there, or empty, as some programs have it."""
    content = document.get(name)
    if content is None or content == "":
        return None
    if isinstance(content, str) and len(content) <= _LONGEST and content.isprintable():
        return content
    del document, content
    raise bad_file(f"has no {name} that can be one")


def _secret(document: Mapping[str, Any], name: str) -> Secret | None:
    content = _text(document, name)
    return None if content is None else Secret(content)


def _refresh_token(document: Mapping[str, Any]) -> Secret:
    token = _secret(document, "refresh_token")
    del document
    if token is None:
        raise bad_file("holds no refresh token", hint="Sign in: sasl token authorize.")
    return token


def _time(document: Mapping[str, Any], name: str, form: str) -> float | None:
    """Return a time in UTC as POSIX seconds; None where it is not there, or written in another way."""
    text = _text(document, name) or ""
    if form.endswith("S"):
        text = re.sub(r"(\.[0-9]{1,9})?Z?\Z", "", text)
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


# --- email-oauth2-proxy

_FEWEST: Final = 100_000  # iterations where none are named: of versions before 2023-10-17
_MOST: Final = 10_000_000


def _sections(octets: bytes) -> dict[str, dict[str, str]]:
    """Return the sections of a configuration, by name."""
    from configparser import ConfigParser, Error

    parser = ConfigParser()
    try:
        parser.read_string(octets.decode("utf-8"))
        return {name: dict(parser.items(name)) for name in parser.sections()}
    except (Error, UnicodeError):
        pass  # its text may show a line
    del parser, octets
    raise bad_file("is no configuration of email-oauth2-proxy")


def _decrypter(section: Mapping[str, str], password: Secret) -> Callable[[str], Secret]:
    """Return what decrypts a value of a section: Fernet, its key by PBKDF2 of SHA-256."""
    from base64 import b64decode
    from hashlib import pbkdf2_hmac

    from cryptography.fernet import Fernet

    iterations = section.get("token_iterations", str(_FEWEST))
    try:
        salt = b64decode(section.get("token_salt", "").encode("ascii"), validate=True)
    except ValueError:
        salt = b""
    if not salt or not re.fullmatch(r"[0-9]{1,8}", iterations) or not 0 < int(iterations) <= _MOST:
        del section
        raise bad_file("has no token_salt or token_iterations that can be one")
    key = pbkdf2_hmac("sha256", password.reveal().encode("utf-8"), salt, int(iterations), 32)
    fernet = Fernet(encode(key).translate(bytes.maketrans(b"+/", b"-_")))
    del key

    def decrypt(content: str) -> Secret:
        try:
            return Secret(fernet.decrypt(content.encode("utf-8")).decode("utf-8"))
        except Exception:  # its frames hold the key
            pass
        raise bare(_wrong_password())

    return decrypt


def _wrong_password() -> SASLError:
    hint = "It is the password that mail programs give the proxy, which need not be that of the mailbox."
    return TokenError("the tokens in the file are encrypted with another password", code="bad_password", hint=hint)
