"""What a provider's file says, as values."""

from __future__ import annotations

from sasl.typed import TYPE_CHECKING, final
from sasl.value import KW_ONLY, field, value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@final
@value
class Server:
    """Where a provider's server for one protocol is.

    Attributes:
        host: its name.
        port: its port.
        tls: "implicit" if TLS begins with the connection, "starttls" if a command begins it.
    """

    host: str
    port: int
    tls: str


@final
@value
class OAuth:
    """How a provider grants tokens for mail. The endpoints are named as in RFC 8414 and RFC 8628; None: there is none.

    PKCE is no member: a sign-in sends it always, and no server is known that refuses it.
    In all URLs "{tenant}" stands for the organization: `sasl.adapters.providers.oauth.metadata_of` fills it in.

    Attributes:
        issuer: where its metadata can be asked for; None also where the issuer differs from tenant to tenant.
        scopes: by service, and under "common" what is always asked for.
        parameters: what the authorization request has beside the usual members.
        grants: the grant types that can get a token for mail there.
        client_credentials_scope: the scope of a program that asks for itself; None if it cannot.
        rotation: what becomes of a refresh token that was used: "never" (there is no other one), "keeps old" (there is
            one, and the old one goes on), "single use", or "unknown".
        client_authentication: "none" for public clients, "secret" for those with one, "either", or "unknown".
        redirect_uri: what to register as the redirect URI of a program on somebody's own machine; None: any of it.
        device: whether the device flow (RFC 8628) grants tokens for mail.
        client_id: how to get a client id, in words. None is in these files.
        revoke_page: where a person takes a grant back, in words.
        tenant: which tenant to take if nobody names one; None if URLs hold none.
    """

    _: KW_ONLY
    issuer: str | None = None
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    revocation_endpoint: str | None = None
    registration_endpoint: str | None = None
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    grants: tuple[str, ...] = ()
    client_credentials_scope: str | None = None
    rotation: str = "unknown"
    client_authentication: str = "unknown"
    redirect_uri: str | None = None
    device: bool = False
    client_id: str = ""
    revoke_page: str = ""
    tenant: str | None = None


@final
@value
class Profile:
    """What is known of one provider. Services are "imap", "pop" and "smtp".

    Attributes:
        name: as people know it.
        id: the name of its file, without ".json".
        sources: where the facts come from, by the name of the fact ("oauth.rotation" for one within another).
        hosts: its domains; a host below one of them is meant too.
        addresses: domains of its mail addresses that stand under another provider's hosts, or under none.
        begin_with: the mechanism or login command to begin with, by service, where the strongest is refused there.
            A login looks into no file: in a user's own one this says nothing.
        password: "account" if it takes the account's password, "app" for app passwords (authorization codes) alone,
            "none" if it takes no password; "" where that is not known.
        password_advice: what to do about a refused password that the server says nothing of; "" for nothing special.
        bearer_advice: the same of a token.
        servers: where a mail program connects, by service.
        oauth: how it grants tokens, or None.
        initial_response: by service whether a response may go with the command; what is advertised counts elsewhere.
        line_limits: how many octets a command line may have, by service, where it is less than the protocol allows.
        session_limits: by service, how many seconds a session lasts after a login by "password" and by "token": None
            for no limit that is known, "token" for about as long as the token.
        goodbyes: what its servers say when they end a session that went well, by service.
        busy: what they say when they are asked too often, by service.
        retry_statuses: the status of an error challenge (RFC 7628) after which a new token can help.
        refusals: what its servers say, as rows of `sasl.adapters.refusals`.
    """

    name: str
    _: KW_ONLY
    id: str = ""
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    begin_with: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    password_advice: str = ""
    bearer_advice: str = ""
    servers: Mapping[str, Server] = field(default_factory=dict)
    oauth: OAuth | None = None
    initial_response: Mapping[str, bool] = field(default_factory=dict)
    line_limits: Mapping[str, int] = field(default_factory=dict)
    session_limits: Mapping[str, Mapping[str, float | str | None]] = field(default_factory=dict)
    goodbyes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    busy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    retry_statuses: tuple[str, ...] = ()
    refusals: tuple[Mapping[str, Any], ...] = ()
