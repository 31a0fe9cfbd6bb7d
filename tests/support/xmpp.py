"""One login by slixmpp, with the mechanisms of the example in place of its own."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from .examples import example, library

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl import ClientExchange

EXAMPLE = example("slixmpp_mechanism")
slixmpp = library("slixmpp")

_ENDS = {"session_start": "in", "failed_all_auth": "refused", "killed": "left"}


class Outcome(NamedTuple):
    """What became of a login: "in", "refused" or "left"; the mechanisms as they were tried, and the last exchange."""

    end: str
    mechanisms: list[str]
    exchange: ClientExchange | None


def outcome(
    user: str, password: str, port: int, context: ssl.SSLContext | None, mechanism: str | None = None
) -> Outcome:
    """Log in over STARTTLS, or without TLS where there is no context."""

    def client() -> Any:
        xmpp = slixmpp.ClientXMPP(f"{user}@localhost", password, sasl_mech=mechanism)
        EXAMPLE.check_verdicts(xmpp)
        return xmpp

    return asyncio.run(_log_in(client, port, context))


def outcome_without_us(user: str, password: str, port: int) -> str:
    """Log in without TLS and by slixmpp's own SCRAM, and return what became of it."""
    registry, own = library("slixmpp.util.sasl.client").MECHANISMS, library("slixmpp.util.sasl.mechanisms").SCRAM
    options = {"feature_mechanisms": {"unencrypted_scram": True}}

    def client() -> Any:
        return slixmpp.ClientXMPP(f"{user}@localhost", password, options, sasl_mech="SCRAM-SHA-256")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry, "SCRAM-SHA-256", own)  # where the example has put another one
        return asyncio.run(_log_in(client, port, None)).end


async def _log_in(client: Callable[[], Any], port: int, context: ssl.SSLContext | None) -> Outcome:
    xmpp = client()  # which takes the running event loop
    xmpp.enable_direct_tls, xmpp.enable_starttls, xmpp.enable_plaintext = False, context is not None, context is None
    if context is not None:
        xmpp.ssl_context = context
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    tried: list[str] = []

    def ended(name: str) -> None:
        if not end.done():
            end.set_result(_ENDS[name])

    for name in _ENDS:
        xmpp.add_event_handler(name, lambda _, name=name: ended(name))
    login = xmpp.plugin["feature_mechanisms"]
    xmpp.add_event_handler("failed_auth", lambda _: tried.append(login.mech.name))
    xmpp.connect("127.0.0.1", port)
    try:
        how = await asyncio.wait_for(end, 20)
    finally:
        await xmpp.disconnect(wait=0.1)
    if how != "refused":
        tried.append(login.mech.name)
    return Outcome(how, tried, getattr(login.mech, "exchange", None))
