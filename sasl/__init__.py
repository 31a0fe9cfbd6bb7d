"""SASL for Python's mail libraries: authentication exchanges that take octets, give octets and do no I/O.

    exchange = sasl.client("XOAUTH2", sasl.Bearer("user@example.com", token), channel=channel)
    exchange.start()          # the initial response, to be sent by whatever protocol you speak

`sasl.adapters` binds the exchanges to imaplib, poplib and smtplib; `sasl.mechanisms` holds the mechanisms.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .channel import Channel, LazyBindings
    from .client_exchange import ClientExchange
    from .credentials import AccessToken, Anonymous, Bearer, Credentials, External, Password, TokenSource
    from .errors import (
        AuthenticationFailed,
        AuthorizationFailed,
        Cancelled,
        ConnectionLost,
        Kind,
        LimitExceeded,
        MechanismUnavailable,
        PolicyViolation,
        ProtocolError,
        SASLError,
        ServerBusy,
        ServerNotProven,
        TemporaryFailure,
        TokenError,
        UsageError,
    )
    from .exchange import State
    from .keys import ScramKeys
    from .limits import Limits
    from .policy import Choice, Pins, Policy, choose, offer
    from .registry import Mechanism, client, known_mechanisms, lookup, register, server
    from .resolution import resolve, resolve_async
    from .secret import Secret
    from .server_exchange import ServerExchange
    from .settlement import Verifier, settle, settle_async
    from .steps import (
        KINDS,
        Accepted,
        Authorize,
        Challenge,
        CheckAnonymous,
        CheckCertificate,
        CheckPassword,
        CheckToken,
        ClientSteps,
        Complete,
        ErrorAnswer,
        Event,
        Failure,
        FindKeys,
        FindSecret,
        Harmless,
        Options,
        Question,
        Record,
        Rejected,
        ServerSteps,
        Settled,
        Success,
        Unavailable,
        Verified,
        ask,
    )

__version__ = "0.1.0"

# What the README calls public; the groups say who needs it.
__all__ = [  # noqa: RUF022 -- by audience
    "__version__",
    # to log in
    "Password",
    "Bearer",
    "External",
    "Anonymous",
    "Credentials",
    "AccessToken",
    "TokenSource",
    "Secret",
    "resolve",
    "resolve_async",
    "Channel",
    "LazyBindings",
    "Policy",
    "Pins",
    "Limits",
    "choose",
    "Choice",
    "client",
    "ClientExchange",
    "State",
    # what goes wrong
    "SASLError",
    "Kind",
    "UsageError",
    "MechanismUnavailable",
    "PolicyViolation",
    "ProtocolError",
    "ServerNotProven",
    "LimitExceeded",
    "AuthenticationFailed",
    "AuthorizationFailed",
    "TemporaryFailure",
    "ConnectionLost",
    "ServerBusy",
    "Cancelled",
    "TokenError",
    # to serve
    "offer",
    "server",
    "ServerExchange",
    "Event",
    "Settled",
    "settle",
    "settle_async",
    "Verifier",
    "Challenge",
    "Success",
    "Failure",
    "Question",
    "CheckPassword",
    "CheckToken",
    "CheckCertificate",
    "CheckAnonymous",
    "FindKeys",
    "FindSecret",
    "Authorize",
    "Accepted",
    "Record",
    "Rejected",
    "Unavailable",
    "KINDS",
    "ScramKeys",
    # to write a mechanism
    "Mechanism",
    "register",
    "lookup",
    "known_mechanisms",
    "Options",
    "ClientSteps",
    "Harmless",
    "Complete",
    "ErrorAnswer",
    "ServerSteps",
    "Verified",
    "ask",
]

# Each name is loaded when it is first used: who logs in pays for no server, who serves for no policy.
_MODULES = {
    "channel": "Channel LazyBindings",
    "credentials": "AccessToken Anonymous Bearer Credentials External Password TokenSource",
    "errors": (
        "AuthenticationFailed AuthorizationFailed Cancelled ConnectionLost Kind LimitExceeded MechanismUnavailable "
        "PolicyViolation ProtocolError SASLError ServerBusy ServerNotProven "
        "TemporaryFailure TokenError UsageError"
    ),
    "client_exchange": "ClientExchange",
    "exchange": "State",
    "server_exchange": "ServerExchange",
    "keys": "ScramKeys",
    "limits": "Limits",
    "policy": "Choice Pins Policy choose offer",
    "registry": "Mechanism client known_mechanisms lookup register server",
    "resolution": "resolve resolve_async",
    "secret": "Secret",
    "settlement": "Verifier settle settle_async",
    "steps": (
        "KINDS Accepted Authorize Challenge CheckAnonymous CheckCertificate CheckPassword CheckToken ClientSteps "
        "Complete ErrorAnswer Event Failure FindKeys FindSecret Harmless Options Question Record Rejected ServerSteps "
        "Settled Success Unavailable Verified ask"
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in ("Client", "saslwrapper"):
        # Whoever asks for these means the binding to Cyrus SASL of this name, and falls back on ImportError (PyHive).
        raise ImportError(f"sasl.{name} is of the package sasl on PyPI; this one is saslkit", name=__name__)
    if name not in _HOME and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_HOME.get(name, name)}")
    found = globals()[name] = getattr(module, name) if name in _HOME else module
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
