"""A user's program, never run: `tox -e types` checks it with mypy and pyright against the installed wheel."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
from functools import partial
from typing import TYPE_CHECKING, assert_type

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
import sasl.mechanisms
import sasl.spec
from sasl.adapters.binding import AsyncBinding, Binding, Dialogue, Family, Library, Offer, bind, run, run_async
from sasl.adapters.reference import Endpoint, running, serving
from sasl.adapters.wire import LONGEST_LINE, Line, Wire, imap, smtp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sasl.steps import Answer


def log_in(token: str) -> bytes | None:
    """The client's side, as a library author writes it."""
    channel = sasl.Channel(tls=True, service="imap", host="imap.example.com", port=993)
    credentials = sasl.Bearer("user@example.com", token)
    choice = sasl.choose(["XOAUTH2", "PLAIN"], credentials, policy=sasl.Policy(plaintext="never"), channel=channel)
    assert_type(choice, sasl.Choice)
    assert_type(sasl.resolve(credentials), sasl.Bearer)
    exchange = sasl.client(choice.name, credentials, channel=choice.channel, limits=choice.limits)
    assert_type(exchange, sasl.ClientExchange)
    assert_type(exchange.respond(b""), bytes)
    assert_type(exchange.fail("no", kind="credentials", response_code="AUTHENTICATIONFAILED"), sasl.SASLError)
    return exchange.start()


def resolve_any(credentials: sasl.Credentials) -> sasl.Credentials:
    """Credentials of any kind, as a library takes them."""
    assert_type(sasl.resolve(sasl.Password("user", "password")), sasl.Password)
    return sasl.resolve(credentials)


async def resolve_any_later(credentials: sasl.Credentials) -> sasl.Credentials:
    """The same, awaited."""
    return await sasl.resolve_async(credentials)


async def resolved(source: sasl.TokenSource) -> sasl.Bearer:
    """A token source that may have to be awaited."""
    return await sasl.resolve_async(sasl.Bearer("user@example.com", source), stale="old")


def check(question: sasl.Question) -> Answer:
    """A verifier."""
    if isinstance(question, sasl.CheckPassword) and question.password == "secret":
        return sasl.Accepted(question.authcid)
    return sasl.Rejected("wrong password")


def serve(response: bytes) -> str | None:
    """The server's side."""
    exchange = sasl.server("PLAIN", success_data=False)
    event = sasl.settle(exchange, exchange.start(response), check)
    assert_type(event, sasl.Challenge | sasl.Success | sasl.Failure)
    return event.identity if isinstance(event, sasl.Success) else None


async def settle_later(exchange: sasl.ServerExchange, event: sasl.Event) -> sasl.Settled:
    """No question comes out, whatever goes in."""
    settled = await sasl.settle_async(exchange, event, check)
    assert_type(settled, sasl.Challenge | sasl.Success | sasl.Failure)
    return settled


def token_client(credentials: sasl.Bearer, options: sasl.Options) -> sasl.ClientSteps:
    """A mechanism of one's own."""
    challenge = yield sasl.Complete(credentials.username.encode() + options.mechanism.encode())
    yield sasl.ErrorAnswer(b"", {"challenge": challenge.decode("ascii", "replace")})


def token_server(options: sasl.Options) -> sasl.ServerSteps:
    """Its server."""
    message = yield sasl.Challenge(b"")
    assert options.mechanism
    identity = yield from sasl.ask(sasl.CheckToken(None, sasl.Secret(message.decode("ascii", "replace")), None, None))
    return sasl.Verified(identity)


ROW = sasl.Mechanism(
    "X-TOKEN", token_client, token_server, sasl.Bearer, client_first=True, plaintext=True, rank=5, off_by_default=True
)
sasl.register(ROW)
assert_type([row.name for row in sasl.mechanisms.ROWS], list[str])


def log_in_with_the_libraries(credentials: sasl.Credentials, fetch: Callable[[], str]) -> None:
    """One line each, and the drop-in classes."""
    sasl.adapters.imaplib.authenticate(imaplib.IMAP4("localhost"), credentials, mechanism="PLAIN", timeout=10)
    sasl.adapters.poplib.authenticate(poplib.POP3("localhost"), credentials, policy=sasl.Policy(plaintext="loopback"))
    sasl.adapters.smtplib.authenticate(smtplib.SMTP("localhost"), credentials, initial_response=False)
    plain: imaplib.IMAP4 = sasl.adapters.imaplib.IMAP4_SSL("localhost")
    plain.login("user", "password")
    sasl.adapters.imaplib.IMAP4("localhost").login("user", fetch)
    sasl.adapters.poplib.POP3_SSL("localhost").login("user", credentials)
    sasl.adapters.smtplib.SMTP("localhost").login("user", sasl.Bearer("user", fetch))


class LibraryError(Exception):
    """A library's base error."""


ERRORS = bind(
    LibraryError, module=__name__, prefix="Lib", lost=LibraryError, args=lambda error, dialogue: (str(error),)
)
assert_type(ERRORS, Family)


def drive(wire: Wire, read: Callable[[], bytes], write: Callable[[bytes], None], close: Callable[[], None]) -> None:
    """A binding by hand."""
    run(wire, read, write, close, timeout=30, errors=ERRORS)
    line: Line = wire.command()
    assert_type(line.octets, bytes)
    assert_type(LONGEST_LINE, int)


async def drive_in_a_loop(
    wire: smtp.ClientWire,
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    close: Callable[[], None],
) -> bool:
    """The same, awaited."""
    await run_async(wire, read, write, close, errors=ERRORS)
    return wire.exchange.complete


def describe_library(client: smtplib.SMTP, credentials: sasl.Credentials) -> tuple[int, bytes]:
    """A library of one's own, and its one line for users."""
    library: Library[smtplib.SMTP, tuple[int, bytes]] = Library(
        service="smtp",
        errors=ERRORS,
        channel=lambda conn: sasl.Channel(tls=conn.sock is not None),
        dialogue=lambda conn: Dialogue(conn.send, lambda: b"", conn.close),
        offer=lambda conn, dialogue: Offer(partial(sasl.choose, ["PLAIN"]), smtp.client_wire),
        finish=lambda conn, dialogue: (dialogue.wire.code, dialogue.wire.reply),
    )
    return Binding(library).authenticate(client, credentials, timeout=10)


async def await_library(library: Library[object, bytes], conn: object, credentials: sasl.Credentials) -> bytes:
    """The same of an asynchronous one."""
    return await AsyncBinding(library).authenticate(conn, credentials, policy=sasl.Policy())


def bind_by_wire(exchange: sasl.ClientExchange) -> bytes:
    """A binding for a library."""
    wire = imap.ClientWire(exchange, tag="A1", capabilities=["SASL-IR"])
    line = wire.receive(wire.command().octets)
    return b"" if line is None else line.octets


async def test_against_servers() -> Endpoint:
    """A tester."""
    with running(users={"alice": "wonderland"}) as servers:
        assert_type(servers.imap, Endpoint)
        assert_type(servers.tokens["good"], str)
    async with serving() as servers:
        return servers.pop


assert_type(sasl.spec.cases("plain_server"), tuple[sasl.spec.Case, ...])
assert_type(sasl.spec.vectors("protocol-imap"), tuple[sasl.spec.ProtocolVector, ...])
