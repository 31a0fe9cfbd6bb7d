"""SASL for Python's mail libraries: authentication exchanges that take octets, give octets and do no I/O.

    exchange = sasl.client("XOAUTH2", sasl.Bearer("user@example.com", token), channel=channel)
    exchange.start()          # the initial response, to be sent by whatever protocol you speak

`sasl.adapters` binds the exchanges to imaplib, poplib and smtplib; `sasl.mechanisms` holds the mechanisms.
"""

from __future__ import annotations

from .channel import Channel, LazyBindings
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
    ServerNotProven,
    TemporaryFailure,
    TokenError,
    UsageError,
)
from .exchange import ClientExchange, ServerExchange, State
from .keys import ScramKeys
from .limits import Limits
from .policy import Choice, Pins, Policy, choose, offer
from .registry import Mechanism, client, known_mechanisms, lookup, register, server
from .resolve import resolve, resolve_async
from .secret import Secret
from .settle import AsyncVerifier, Verifier, settle, settle_async
from .steps import (
    KINDS,
    Accepted,
    Answer,
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
    Success,
    Unavailable,
    Verified,
    ask,
)

__version__ = "0.1.0"

__all__ = [
    "KINDS",
    "Accepted",
    "AccessToken",
    "Anonymous",
    "Answer",
    "AsyncVerifier",
    "AuthenticationFailed",
    "AuthorizationFailed",
    "Authorize",
    "Bearer",
    "Cancelled",
    "Challenge",
    "Channel",
    "CheckAnonymous",
    "CheckCertificate",
    "CheckPassword",
    "CheckToken",
    "Choice",
    "ClientExchange",
    "ClientSteps",
    "Complete",
    "ConnectionLost",
    "Credentials",
    "ErrorAnswer",
    "Event",
    "External",
    "Failure",
    "FindKeys",
    "FindSecret",
    "Harmless",
    "Kind",
    "LazyBindings",
    "LimitExceeded",
    "Limits",
    "Mechanism",
    "MechanismUnavailable",
    "Options",
    "Password",
    "Pins",
    "Policy",
    "PolicyViolation",
    "ProtocolError",
    "Question",
    "Record",
    "Rejected",
    "SASLError",
    "ScramKeys",
    "Secret",
    "ServerExchange",
    "ServerNotProven",
    "ServerSteps",
    "State",
    "Success",
    "TemporaryFailure",
    "TokenError",
    "TokenSource",
    "Unavailable",
    "UsageError",
    "Verified",
    "Verifier",
    "__version__",
    "ask",
    "choose",
    "client",
    "known_mechanisms",
    "lookup",
    "offer",
    "register",
    "resolve",
    "resolve_async",
    "server",
    "settle",
    "settle_async",
]
