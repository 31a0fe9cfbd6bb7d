"""TLS for tests of -PLUS.

Python's ssl has the default type of channel binding up to TLS 1.2 alone: over TLS 1.3 our clients bind only where they
are asked to. The reference servers have it there, too, unless a test sees to it.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import sasl
import sasl.adapters.reference.conversation
import sasl.adapters.reference.servers
from sasl.adapters.reference.certificates import server_context

if TYPE_CHECKING:
    from collections.abc import Iterator

Context = TypeVar("Context", bound=ssl.SSLContext)


def tls_1_2(context: Context) -> Context:
    """Keep a context to TLS 1.2."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def servers_keep_to_tls_1_2() -> Iterator[None]:
    """Let the reference servers that are started in the block speak TLS 1.2, for clients whose context is their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sasl.adapters.reference.servers,
            "server_context",
            lambda *how, **more: tls_1_2(server_context(*how, **more)),
        )
        yield


@contextmanager
def servers_have_no_exporter() -> Iterator[None]:
    """Let the reference servers that are started in the block have no tls-exporter, as most servers in Python."""

    def without(*how: Any, **more: Any) -> ssl.SSLContext:
        context = server_context(*how, **more)
        context.sni_callback = None  # type: ignore[assignment]  # which typeshed does not know
        return context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sasl.adapters.reference.servers, "server_context", without)
        yield


@contextmanager
def servers_offer_plus() -> Iterator[None]:
    """Let the reference servers offer -PLUS by hand where they hold any type of channel binding, as some servers do."""
    offer = sasl.adapters.reference.conversation.offer

    def offer_by_hand(channel: sasl.Channel, *rest: Any, **more: Any) -> list[str]:
        by_hand = {"tls-exporter": b"not looked at"} if channel.bindings else {}
        return offer(sasl.Channel(tls=channel.tls, loopback=channel.loopback, bindings=by_hand), *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sasl.adapters.reference.conversation, "offer", offer_by_hand)
        yield
