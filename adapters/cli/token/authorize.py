"""`sasl token authorize`: let a person sign in, and keep what is granted."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit

from sasl.errors import TokenError, UsageError
from sasl.text import printable
from sasl.value import replace, value

from ...tokens.quick import folder_of
from .. import exits, screen
from .account import add_client, add_store, client_secret, store_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from ...tokens.device import DeviceCode
    from ...tokens.messages import Answer, Client
    from ...tokens.metadata import Metadata
    from ...tokens.store import Store

_EPILOG: Final = """\
PROVIDER is a name as gmail, microsoft365, outlook, yahoo, fastmail; an address, whose domain names the provider; or the
issuer of an authorization server, an https URL that is asked for its metadata (RFC 8414). What was found so is shown,
and nothing is opened before somebody agrees. No client id comes along: an issuer may give one to whoever asks (RFC
7591), which is kept; elsewhere how to get one is told.

examples:
  sasl token authorize me@gmail.com --client-id ID --client-secret-file secret.txt
  sasl token authorize microsoft365 --user me@example.com --client-id ID --device
  sasl token authorize https://auth.example.org --user me@example.org --client-id ID --paste

A browser opens, and comes back to this machine; --device shows a code to type elsewhere; with --paste the address at
which the browser ended is pasted. What is granted is kept under the account's name, in place of an older grant.
"""
_PROTOCOLS: Final = ("imap", "pop", "smtp")
_PUBLIC: Final = ("urn:ietf:params:oauth:scope:mail", "offline_access")
"""Scopes of draft-ietf-mailmaint-oauth-public-06, provisional: asked for where the server names them."""
_PATIENCE: Final = 300.0  # seconds for the person


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Sign in at a provider, and keep what it grants for `sasl token get` and `sasl login`."
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s PROVIDER [OPTION ...]"
    parser.add_argument("provider", metavar="PROVIDER", help="its name, your address there, or an issuer")
    parser.add_argument("--user", metavar="USER", help="the mailbox, where PROVIDER is no address")
    parser.add_argument("--account", metavar="NAME", help="what to call it here (default: the user)")
    add_client(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--device", action="store_true", help="sign in elsewhere, with a code to type")
    way.add_argument("--paste", action="store_true", help="sign in elsewhere, and paste the address it ends at")
    parser.add_argument(
        "--for",
        dest="protocols",
        metavar="P",
        type=_protocols,
        default=_PROTOCOLS,
        help="protocols, of imap,pop,smtp (default: all)",
    )
    parser.add_argument("--scope", metavar="S", help="ask for this instead")
    parser.add_argument("--tenant", metavar="T", help="of Microsoft's: the organization, by domain or id")
    parser.add_argument("--redirect-uri", metavar="URI", help="as it is registered, if not as the provider wants it")
    parser.add_argument("--redirect-port", metavar="N", type=_port, default=0, help="listen here (default: anywhere)")
    parser.add_argument("--yes", action="store_true", help="agree to what was found at an issuer")
    add_store(parser)


@final
@value
class _Place:
    """Where to sign in.

    Attributes:
        name: what it is called.
        metadata: the authorization server.
        scope: what to ask for.
        provider: the name of its profile, or None.
        parameters, redirect_uri: see `sasl.adapters.providers.oauth`.
        device: whether it may give device codes for mail.
        client: how to get a client id.
        found: whether it was found by asking somebody else, so that a person has to agree.
    """

    name: str
    metadata: Metadata
    scope: str
    provider: str | None = None
    parameters: Mapping[str, str] | None = None
    redirect_uri: str | None = None
    device: bool = True
    client: str = "Whoever runs the authorization server registers applications: ask there for a client id."
    found: bool = True


def run(arguments: argparse.Namespace) -> int:
    """Find the server, let a person sign in, and keep the grant."""
    from ...tokens.grant import grant_record, not_granted

    user = arguments.user or (arguments.provider if "@" in arguments.provider else None)
    if not user:
        raise UsageError("name the mailbox with --user")
    account = arguments.account or user
    store = store_of(arguments.store)
    _check(store, account)  # a grant that cannot be kept is not asked for
    place = _find(arguments)
    _check_client(arguments, place)
    if arguments.device and not place.device:
        raise UsageError(f"{place.name} gives no device codes for mail: leave out --device, or use --paste")
    _show(place, user)
    if place.found and not arguments.yes:
        _ask_person()
    client = _client(arguments, place)
    answer = _sign_in(arguments, place, client, user)
    if missing := not_granted(place.scope, answer):
        _say(f"not granted: {printable(' '.join(missing))}")
    store.put(grant_record(account, user, place.metadata, client, answer, provider=place.provider))
    shown = printable(account)
    _say(f"signed in, and kept as {shown}. To try it: sasl login {'' if place.provider else 'URL '}--account {shown}")
    return exits.DONE


def _check(store: Store, account: str) -> None:
    """Raise TokenError where nothing can be stored."""
    try:
        with store.locked(account, 0):
            pass
    except TokenError as error:
        if error.code != "locked":
            raise


# --- where


def _find(arguments: argparse.Namespace) -> _Place:
    """Return the place that is meant: known here, or found by asking the issuer or the domain."""
    from ...providers.oauth import names, provider

    word = arguments.provider
    known = None if "://" in word else provider(word, tenant=arguments.tenant)
    if known is not None:
        return _Place(
            known.name,
            known.metadata,
            arguments.scope or known.scope(arguments.protocols),
            known.id,
            known.parameters,
            arguments.redirect_uri or known.redirect_uri,
            known.device,
            known.client,
            found=False,
        )
    if arguments.tenant is not None:
        raise UsageError("--tenant is for Microsoft")
    if "://" not in word and "@" not in word:
        raise UsageError(f"no such provider is known: name one of {', '.join(names())}, an address or an issuer")
    place = _discover(word)
    place = replace(place, redirect_uri=arguments.redirect_uri)
    scope = arguments.scope or " ".join(each for each in _PUBLIC if each in place.metadata.scopes_supported)
    if not scope:
        raise UsageError("the server names no scope for mail: name it with --scope")
    return replace(place, scope=scope)


def _discover(word: str) -> _Place:
    from ...tokens.metadata import discover, issuer_of

    issuer = word if "://" in word else issuer_of(word)
    if issuer is None:
        raise UsageError("the domain names no issuer: name the provider, or the issuer itself, an https URL")
    return _Place(urlsplit(issuer).hostname or issuer, discover(issuer), "")


def _check_client(arguments: argparse.Namespace, place: _Place) -> None:
    """Raise TokenError (no_client), which says how to get a client id, where none is named and none can be had."""
    if arguments.client_id or place.metadata.registration_endpoint is not None:
        return
    hint = f"{place.client} Then name it with --client-id."
    raise TokenError(f"signing in at {printable(place.name)} needs a client id", code="no_client", hint=hint)


def _client(arguments: argparse.Namespace, place: _Place) -> Client:
    """Return the client that is named, or that is registered at the server, now or before."""
    from ...tokens.browser import LOOPBACK
    from ...tokens.messages import Client
    from ...tokens.registration import kept_client, registered_client

    if arguments.client_id:
        return Client(arguments.client_id, secret=client_secret(arguments))
    folder = folder_of(arguments.store)
    uri = place.redirect_uri or LOOPBACK
    client = kept_client(folder, place.metadata, place.scope, redirect_uri=uri)
    if client is not None:
        return client
    client = registered_client(folder, place.metadata, place.scope, redirect_uri=uri)
    _say(f"registered, and kept for the next time: client id {printable(client.client_id)}")
    return client


# --- what the person sees


def _show(place: _Place, user: str) -> None:
    metadata = place.metadata
    rows = {
        "sign in at": place.name,
        "issuer": metadata.issuer or "",
        "pages at": _host(metadata.authorization_endpoint),
        "tokens from": _host(metadata.token_endpoint),
        "mailbox": user,
        "asks for": place.scope,
    }
    for name, text in rows.items():
        if text:
            screen.print_row(name, printable(text), file=sys.stderr)


def _host(url: str | None) -> str:
    return "" if url is None else urlsplit(url).netloc


def _ask_person() -> None:
    """Raise UsageError unless somebody agrees."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("somebody has to agree to that: --yes, if you do")
    if _read_line("Is this where you want to sign in? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nobody signed in")


def _read_line(prompt: str) -> str:
    """Return a line that somebody types or pastes; "" at the end. Raises UsageError where there is no stdin."""
    if sys.stdin is None:
        raise UsageError("there is no stdin to read from")
    print(prompt, end="", file=sys.stderr, flush=True)
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    try:
        import readline  # noqa: F401 -- without it a terminal cuts lines after 4,095 octets
    except ImportError:
        pass
    try:
        return input()
    except EOFError:
        screen.end_line()
        return ""


def _say(text: str) -> None:
    screen.print_line(f"sasl: {text}", file=sys.stderr)


# --- how


def _sign_in(arguments: argparse.Namespace, place: _Place, client: Client, user: str) -> Answer:
    """Let the person sign in, the way that was asked for."""
    from ...tokens import browser, device, paste

    if arguments.device:
        return device.authorize(place.metadata, client, place.scope, show=_show_code)
    hint = user if "@" in user else None
    uri = place.redirect_uri
    if arguments.paste or (uri is not None and uri.startswith("https:")):  # where nothing here can listen
        return paste.authorize(
            place.metadata,
            client,
            place.scope,
            show=_show_url,
            read=_read_address,
            redirect_uri=uri,
            login_hint=hint,
            parameters=place.parameters,
        )
    return browser.authorize(
        place.metadata,
        client,
        place.scope,
        login_hint=hint,
        parameters=place.parameters,
        show=_show_url,
        redirect_uri=uri or browser.LOOPBACK,
        port=arguments.redirect_port,
        timeout=_PATIENCE,
    )


def _show_code(code: DeviceCode) -> None:
    _say(code.message or f"open {code.verification_uri} and type the code {code.user_code}")


def _show_url(url: str) -> None:
    screen.print_line(f"sasl: open this in a browser:\n{url}", file=sys.stderr)


def _read_address(problem: str) -> str:
    if problem:
        _say(problem)
    return _read_line("The address that the browser ended at: ")


def _protocols(text: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(text.lower().split(",")))
    if not set(wanted) <= set(_PROTOCOLS):
        raise ArgumentTypeError("protocols are of imap,pop,smtp")
    return wanted


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536:
        return int(text)
    raise ArgumentTypeError("a port is a number from 1 to 65535")
