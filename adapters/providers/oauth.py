"""How to sign in at a provider that is known here: endpoints, scopes, and how to get a client id. None is shipped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from sasl.errors import UsageError
from sasl.value import value

from ..tokens.metadata import parse_metadata
from . import profiles, scopes
from . import provider as find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..tokens.metadata import Metadata
    from ._profile import Profile

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "registration_endpoint",
)


@final
@value
class Provider:
    """A provider at which people can sign in.

    Attributes:
        profile: what its file says.
        metadata: its authorization server, of one tenant.
        parameters: more of the authorization request.
        redirect_uri: where the browser is sent back to, as clients are told to register it; None for any of this
            machine.
        device: whether mail is among what its device codes are for.
        client: how to get a client id.
        servers: its mail servers, by protocol.
    """

    profile: Profile
    metadata: Metadata
    parameters: Mapping[str, str]
    redirect_uri: str | None
    device: bool
    client: str
    servers: Mapping[str, str]

    @property
    def id(self) -> str:
        """The name of its profile."""
        return self.profile.id

    @property
    def name(self) -> str:
        """As people know it."""
        return self.profile.name

    def scope(self, protocols: Sequence[str]) -> str:
        """Return the scope for some protocols. Raises UsageError for one that it has none for."""
        return scopes(self.profile, protocols)


def provider(word: str, *, tenant: str | None = None) -> Provider | None:
    """Return the provider of a name ("gmail"), of a host or of a mail address; None if there is none to sign in at.

    `tenant` is that of an organization, where the provider has such. Raises UsageError for another, and for a file of
    the user's own that is broken.
    """
    found = find(word)
    if found is None or found.oauth is None or found.oauth.token_endpoint is None:
        return None
    return Provider(
        found,
        metadata_of(found, tenant),
        found.oauth.parameters,
        found.oauth.redirect_uri,
        found.oauth.device,
        found.oauth.client_id,
        {service: server.host for service, server in found.servers.items()},
    )


def metadata_of(profile: Profile, tenant: str | None = None) -> Metadata:
    """Return a provider's authorization server, of a tenant if it has such: by default the one that its file names.

    Raises UsageError where it has none, or grants no tokens.
    """
    facts = profile.oauth
    if facts is None:
        raise UsageError(f"{profile.name} grants no tokens that are known here")
    if tenant is not None and (facts.tenant is None or not _TENANT.fullmatch(tenant)):
        raise UsageError("a tenant is a domain or an id, and of Microsoft's alone")
    chosen = tenant or facts.tenant or ""
    endpoints = {name: getattr(facts, name) for name in _ENDPOINTS}
    filled = {name: url.replace("{tenant}", chosen) for name, url in endpoints.items() if url is not None}
    return parse_metadata({"issuer": facts.issuer, **filled})


def names() -> list[str]:
    """Return the names of the providers to sign in at."""
    return [each.id for each in profiles() if each.oauth is not None and each.oauth.token_endpoint is not None]
