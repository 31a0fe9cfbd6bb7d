"""A client id from a server that gives one to whoever asks (RFC 7591): once per server and installation, and kept.

    client = registered_client(folder, discover("https://id.example.com"), scope)

What mail programs ask for is that of draft-ietf-mailmaint-oauth-public-06, provisional: a public native client.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sasl import __version__
from sasl.errors import TokenError, bare, hide_frames
from sasl.secret import Secret

from ..documents import parse_object, replace_file
from .browser import LOOPBACK
from .http import Request, seconds_of
from .messages import Client, bad_response
from .stores.locks import hold, make_folder
from .stores.names import name_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from .metadata import Metadata

SOFTWARE: Final = "d6d0a1a3-2f0e-4c0e-9a5f-5c1d8d1f2b77"
"""The software_id (RFC 7591 section 2) of this library, the same for all its versions."""

_LARGEST: Final = 65_536  # octets
_LONGEST: Final = 1_024  # characters of a client id, or of a secret
_METHODS: Final = ("client_secret_basic", "client_secret_post")
_KEPT: Final = ("client_id", "client_secret", "client_secret_expires_at", "token_endpoint_auth_method")
_PATIENCE: Final = 2.0  # requests that somebody else's registration may take


@hide_frames
def registered_client(
    folder: str | os.PathLike[str],
    metadata: Metadata,
    scope: str,
    *,
    redirect_uri: str = LOOPBACK,
    request: Callable[..., Any] | None = None,
) -> Client:
    """Return the client of this installation at a server: the one that was kept, or one that is registered now.

    Of threads and processes that ask at once one registers, and the others take what it has kept. `folder` is that of
    the tokens; the file is its owner's alone.
    Raises TokenError: as `register` does; locked, retryable, where another process takes too long; not_stored.
    """
    path = _path(folder, metadata)
    if path is None or metadata.registration_endpoint is None:
        return register(metadata, scope, redirect_uri=redirect_uri, request=request)
    found = kept_client(folder, metadata, scope, redirect_uri=redirect_uri)
    if found is not None:
        return found
    ask = request or Request()
    make_folder(path.parent)
    with hold(path.with_name(f"{path.name}.lock"), _PATIENCE * seconds_of(ask)):
        found = kept_client(folder, metadata, scope, redirect_uri=redirect_uri)
        if found is not None:
            return found
        members = _register(metadata.registration_endpoint, redirect_uri, scope, ask)
        _keep(path, members)
        return _client(members)


@hide_frames
def register(
    metadata: Metadata, scope: str, *, redirect_uri: str = LOOPBACK, request: Callable[..., Any] | None = None
) -> Client:
    """Ask a server for a client id, and return the client: a public one, unless the server gives it a secret.

    Raises TokenError: not_offered if it gives none to anybody; what it says against it; bad_response for an answer
    that is not about the client that was asked for.
    """
    if metadata.registration_endpoint is None:
        raise TokenError("the authorization server registers no clients by itself", code="not_offered")
    return _client(_register(metadata.registration_endpoint, redirect_uri, scope, request or Request()))


def kept_client(
    folder: str | os.PathLike[str], metadata: Metadata, scope: str, *, redirect_uri: str = LOOPBACK
) -> Client | None:
    """Return the client that was registered at a server before, or None.

    One that was registered for another redirect URI or for less scope is none, and neither is one whose secret is over.
    """
    path = _path(folder, metadata)
    try:
        octets = b"" if path is None else path.read_bytes()[: _LARGEST + 1]
    except OSError:
        return None
    members = parse_object(octets) or {}
    del octets
    fits = (
        members.get("registration_endpoint") == metadata.registration_endpoint
        and members.get("redirect_uri") == redirect_uri
        and set(scope.split()) <= set(str(members.get("scope", "")).split())
        and _is_client(members)
        and not _is_over(members)
    )
    return _client(members) if fits else None


def _register(endpoint: str, redirect_uri: str, scope: str, request: Callable[..., Any]) -> dict[str, Any]:
    """Register a client, and return what is to be kept: what it is for, and what the answer says."""
    wanted = {
        "client_name": "saslkit",
        "software_id": SOFTWARE,
        "software_version": __version__,
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": scope,
    }
    response = request(
        endpoint,
        method="POST",
        body=json.dumps(wanted).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    answer = parse_object(response.data)
    if answer is None or not _is_name(answer.get("client_id")):
        raise bad_response("registered no client that has an id")
    if not _is_client(answer):
        raise bad_response("registered another client than one for a person's programs")
    asked = {"registration_endpoint": endpoint, "redirect_uri": redirect_uri, "scope": scope}
    return {**{name: answer[name] for name in _KEPT if name in answer}, **asked}


def _is_client(members: Mapping[str, Any]) -> bool:
    """Whether members of an answer (RFC 7591 section 3.2.1) are those of a client that is public or has a secret."""
    if not _is_name(members.get("client_id")):
        return False
    method = _method_of(members)
    secret, end = members.get("client_secret"), members.get("client_secret_expires_at", 0)
    return method == "none" or (method in _METHODS and _is_name(secret) and isinstance(end, int | float))


def _is_over(members: Mapping[str, Any]) -> bool:
    return _method_of(members) != "none" and 0 < members.get("client_secret_expires_at", 0) <= time.time()


def _method_of(members: Mapping[str, Any]) -> object:
    """Return how the client proves what it is.

    A server that says nothing keeps to what was asked for, or where it gave a secret to RFC 7591's default (section 2).
    """
    default = "none" if members.get("client_secret") is None else "client_secret_basic"
    return members.get("token_endpoint_auth_method", default)


def _client(members: Mapping[str, Any]) -> Client:
    method = _method_of(members)
    if method == "none":  # a secret that nobody asks for stays unused
        return Client(members["client_id"])
    return Client(members["client_id"], secret=Secret(members["client_secret"]), basic=method == "client_secret_basic")


def _keep(path: Path, members: Mapping[str, Any]) -> None:
    """Keep a client that was registered, for this user's programs. Raises TokenError (not_stored)."""
    try:
        replace_file(path, json.dumps(members).encode())
        return
    except OSError as error:
        failure = TokenError(f"a client id cannot be kept: {error.strerror}", code="not_stored")
    del members
    raise bare(failure)


def _path(folder: str | os.PathLike[str], metadata: Metadata) -> Path | None:
    return None if metadata.issuer is None else Path(folder) / "clients" / name_of(metadata.issuer)


def _is_name(content: object) -> bool:
    return isinstance(content, str) and 0 < len(content) <= _LONGEST and content.isascii() and content.isprintable()
