"""IMAPClient: what a login returns, raises, leaves behind and prints, in the newest release and in the oldest."""

from __future__ import annotations

import contextlib
import copy
import imaplib
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, IMAPClientReadOnlyError, LoginError

import sasl
from sasl.adapters.binding import is_gone
from sasl.adapters.imapclient import ERRORS, authenticate, is_session_lost
from sasl.adapters.session import Session

from ..support.leaks import seen, shown
from ..support.protocols import b64
from .conftest import HANG, TLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sasl.adapters.reference import Servers

USER, SECRET = "alice", "wonderland-of-secrets"

pytestmark = pytest.mark.sasl(users={USER: SECRET})
PASSWORD = sasl.Password(USER, SECRET)
PLAIN = b64(f"\0{USER}\0{SECRET}")
COMMAND = b"{tag} AUTHENTICATE PLAIN " + PLAIN
TOKEN = sasl.Bearer(USER, "token-of-alice")
XOAUTH2 = b"user=alice\x01auth=Bearer token-of-alice\x01\x01"


class Play:
    """Connects IMAPClients to scripted servers."""

    def __init__(self, imap: Any, stage: Any) -> None:
        self._imap = imap
        self._stage = stage

    def __call__(self, turns: list[Any], *, tls: bool = True, **options: Any) -> tuple[IMAPClient, Any]:
        server = self._stage.serve(self._imap, turns, tls=tls, **options)
        context = self._stage.client_context if tls else None
        client = IMAPClient("127.0.0.1", server.port, ssl=tls, ssl_context=context)
        self._stage.keep(lambda: _close(client))
        return client, server


def _close(client: IMAPClient) -> None:
    with contextlib.suppress(OSError):
        client._imap.shutdown()


@pytest.fixture
def play(imap: Any, stage: Any) -> Play:
    return Play(imap, stage)


@pytest.fixture
def client(sasl_servers: Servers) -> Iterator[IMAPClient]:
    """A client of an embedded server."""
    imap = sasl_servers.imap
    client = IMAPClient("localhost", imap.tls_port, ssl_context=sasl_servers.client_context(), timeout=10)
    yield client
    _close(client)


# --- after a login


def test_a_login_returns_octets_as_the_librarys_own_does(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, b"{tag} OK [CAPABILITY IMAP4rev1 AFTER] Logged in\r\n")])
    assert authenticate(client, PASSWORD) == b"[CAPABILITY IMAP4rev1 AFTER] Logged in"


NAMED = [(COMMAND, b"{tag} OK [CAPABILITY IMAP4rev1 after] Logged in\r\n")]
UNTAGGED = [(COMMAND, b"* CAPABILITY IMAP4rev1 after\r\n{tag} OK Logged in\r\n")]
ASKED = [
    (COMMAND, b"{tag} OK Logged in\r\n"),
    (b"{tag} CAPABILITY", b"* CAPABILITY IMAP4rev1 after\r\n{tag} OK done\r\n"),
]


@pytest.mark.parametrize("looked", [False, True], ids=["", "looked at before"])
@pytest.mark.parametrize("turns", [NAMED, UNTAGGED, ASKED], ids=["named", "untagged", "asked"])
def test_the_capabilities_are_those_after_the_login(imap: Any, play: Play, turns: Any, looked: bool) -> None:
    before = (b"{tag} NOOP", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN BEFORE\r\n{tag} OK done\r\n")
    client, server = play([*imap.offer("PLAIN"), *([before] if looked else []), *turns])
    if looked:
        client.noop()
        assert client.has_capability("BEFORE")
    authenticate(client, PASSWORD)
    sent = len(server.received)
    assert client.has_capability("AFTER")
    assert not client.has_capability("BEFORE")
    assert not client.has_capability("AUTH=PLAIN")
    assert client.capabilities() == (b"IMAP4REV1", b"AFTER")
    assert len(server.received) == sent


def test_the_next_command_that_needs_a_login_is_sent(imap: Any, play: Play) -> None:
    select = (b'{tag} SELECT "INBOX"', b"* 3 EXISTS\r\n{tag} OK [READ-WRITE] done\r\n")
    client, _ = play([*imap.offer("PLAIN"), *NAMED, select])
    authenticate(client, PASSWORD)
    assert client.select_folder("INBOX")[b"EXISTS"] == 3


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_a_password_logs_in_and_logs_out(client: IMAPClient, sasl_servers: Servers, mechanism: str | None) -> None:
    with client:
        authenticate(client, PASSWORD, mechanism=mechanism)
        client.noop()
    assert sasl_servers.imap.sessions[-1].attempts[-1].outcome == "accepted"


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("size", [20, 4_000])
def test_a_token_logs_in_however_long_it_is(
    client: IMAPClient, sasl_servers: Servers, mechanism: str, size: int
) -> None:
    token = "t" * size
    sasl_servers.verifier.add_token(token, USER)
    authenticate(client, sasl.Bearer(USER, lambda: token), mechanism=mechanism)
    client.noop()


def test_without_sasl_ir_no_initial_response_is_sent(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN", extra=()), (b"{tag} AUTHENTICATE PLAIN", b"+ \r\n"), (PLAIN, imap.yes)])
    authenticate(client, PASSWORD)


# --- STARTTLS

BEGIN = (b"{tag} STARTTLS", [b"{tag} OK begin\r\n", TLS])


def test_after_starttls_the_offer_is_the_one_under_tls(imap: Any, play: Play, stage: Any) -> None:
    clear = [(b"{tag} CAPABILITY", b"* CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS\r\n{tag} OK done\r\n")]
    client, _ = play([*clear, BEGIN, *imap.offer("PLAIN"), *NAMED], tls=False)
    client.starttls(stage.client_context)
    authenticate(client, PASSWORD)
    assert client.has_capability("AFTER")


def test_a_server_that_names_starttls_under_tls_is_asked_again(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("LOGIN", extra=("STARTTLS",)), *imap.offer("PLAIN"), *NAMED])
    authenticate(client, PASSWORD)


def test_a_connection_that_ends_when_it_is_asked_again_is_lost(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN", extra=("STARTTLS",)), (b"{tag} CAPABILITY", "close")])
    with pytest.raises(IMAPClientAbortError) as caught:
        authenticate(client, PASSWORD)
    assert isinstance(caught.value, sasl.ConnectionLost)


def test_without_tls_nothing_is_sent(imap: Any, play: Play) -> None:
    client, server = play(imap.offer("PLAIN", extra=("STARTTLS",)), tls=False)
    with pytest.raises(IMAPClientError, match="begin TLS first") as caught:
        authenticate(client, PASSWORD)
    assert isinstance(caught.value, sasl.PolicyViolation)
    assert len(server.received) == 1


# --- refusals, and the end of a connection


@pytest.mark.parametrize("library", [LoginError, IMAPClientError, imaplib.IMAP4.error, sasl.AuthenticationFailed])
def test_a_refusal_is_the_librarys_error_and_ours(imap: Any, play: Play, library: type[Exception]) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.no), imap.noop])
    before = client.capabilities()
    with pytest.raises(library) as caught:
        authenticate(client, PASSWORD)
    error: Any = caught.value
    assert error.args == ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)",)
    assert (error.kind, error.response_code) == ("credentials", "AUTHENTICATIONFAILED")
    assert not is_session_lost(error)
    assert client.capabilities() == before
    client.noop()


def test_a_refusal_keeps_the_servers_code(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, b"{tag} NO [EXPIRED] Change your password\r\n")])
    with pytest.raises(LoginError) as caught:
        authenticate(client, PASSWORD)
    assert isinstance(caught.value, ERRORS[sasl.AuthenticationFailed])
    assert (caught.value.kind, caught.value.response_code) == ("expired", "EXPIRED")


def test_an_error_challenge_is_answered_and_the_token_is_sent_once(imap: Any, play: Play) -> None:
    turns = [
        (b"{tag} AUTHENTICATE XOAUTH2 " + b64(XOAUTH2), imap.challenge(b'{"status":"400"}')),
        (b"", imap.no),
    ]
    client, server = play([*imap.offer("XOAUTH2"), *turns, imap.noop])
    with pytest.raises(LoginError) as caught:
        authenticate(client, TOKEN)
    assert isinstance(caught.value, sasl.AuthenticationFailed)
    assert caught.value.detail["status"] == "400"
    client.noop()
    assert b"".join(server.received).count(b64(XOAUTH2)) == 1


@pytest.mark.parametrize(
    "answer",
    ["close", [b"* BYE Session expired\r\n", "close"], [b"{tag} OK half", "close"]],
    ids=["EOF", "BYE", "half"],
)
def test_a_lost_connection_is_no_refusal(imap: Any, play: Play, answer: Any) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, answer)])
    with pytest.raises(IMAPClientAbortError) as caught:
        authenticate(client, PASSWORD)
    assert isinstance(caught.value, sasl.ConnectionLost)
    assert not isinstance(caught.value, LoginError)
    assert is_session_lost(caught.value)
    assert is_gone(caught.value)


def test_a_server_that_is_silent_is_lost_in_time(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, HANG)])
    with pytest.raises(IMAPClientAbortError) as caught:
        authenticate(client, PASSWORD, timeout=0.05)
    assert isinstance(caught.value, sasl.ConnectionLost)
    assert caught.value.kind == "timeout"


def test_after_a_lost_connection_the_end_of_a_with_block_raises_nothing_more(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN"), (COMMAND, "close")])
    with pytest.raises(IMAPClientAbortError), client:
        authenticate(client, PASSWORD)


@pytest.mark.parametrize("ending", ["close", [b"* BYE Session expired\r\n", "close"]], ids=["EOF", "BYE"])
def test_a_session_that_is_lost_in_the_librarys_own_login_is_told_from_a_refusal(
    imap: Any, play: Play, ending: Any
) -> None:
    client, _ = play([*imap.offer("PLAIN"), (None, ending)])
    with pytest.raises(LoginError) as caught:
        client.login(USER, "x")
    assert is_session_lost(caught.value)
    refused, _ = play([*imap.offer("PLAIN"), (None, b"{tag} NO [AUTHENTICATIONFAILED] no\r\n")])
    with pytest.raises(LoginError) as no:
        refused.login(USER, "x")
    assert not is_session_lost(no.value)


def test_a_session_that_is_lost_later_is_told(imap: Any, play: Play) -> None:
    client, _ = play([*imap.offer("PLAIN"), *NAMED, (b"{tag} NOOP", [b"* BYE Session expired\r\n", "close"])])
    authenticate(client, PASSWORD)
    with pytest.raises(IMAPClientError) as caught:
        client.noop()
    assert is_session_lost(caught.value)
    assert is_gone(caught.value)


def test_a_mailbox_that_is_read_only_and_a_mistake_of_the_callers_lose_no_session() -> None:
    assert not is_session_lost(IMAPClientReadOnlyError("read-only"))
    assert not is_session_lost(LoginError("AUTHENTICATE command error: BAD [b'what?']"))
    assert not is_session_lost(ValueError("none of the library's"))


@pytest.mark.parametrize("ours", list(ERRORS), ids=lambda cls: cls.__name__)
def test_every_error_is_the_librarys_and_can_be_pickled_and_copied(ours: type[sasl.SASLError]) -> None:
    error = ERRORS[ours]("said", origin=ours("a sentence"))
    assert isinstance(error, IMAPClientError)
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(twin), twin.args, str(twin)) == (type(error), error.args, str(error))


def test_a_token_that_is_refused_is_asked_for_anew_on_a_new_connection(sasl_servers: Servers) -> None:
    sasl_servers.verifier.add_token("old-token-of-alice", USER, "expired")
    sasl_servers.verifier.add_token("new-token-of-alice", USER)

    asked: list[str | None] = []

    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            asked.append(stale)
            return sasl.AccessToken("old-token-of-alice" if stale is None else "new-token-of-alice")

    def connect() -> IMAPClient:
        return IMAPClient("localhost", sasl_servers.imap.tls_port, ssl_context=sasl_servers.client_context())

    with Session(connect, authenticate, sasl.Bearer(USER, Source())).connected() as client:
        client.noop()
    assert asked == [None, "old-token-of-alice"]


# --- what is shown


@pytest.mark.parametrize("answer", ["yes", "no", "lost"])
def test_the_debug_output_shows_no_credential_and_stays_in_the_librarys_logger(
    imap: Any, play: Play, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], answer: str
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = b"{tag} NO [AUTHENTICATIONFAILED] you sent " + PLAIN + b"\r\n"
    said: Any = {"yes": imap.yes, "no": echo, "lost": "close"}[answer]
    client, _ = play(
        [*imap.offer("PLAIN", extra=()), (b"{tag} AUTHENTICATE PLAIN", b"+ \r\n"), (PLAIN, said), imap.noop]
    )
    error: Exception | None = None
    try:
        authenticate(client, PASSWORD)
        client.noop()
    except IMAPClientError as caught:
        error = caught
    assert "octets>" in caplog.text
    assert {record.name.partition(".")[0] for record in caplog.records} <= {"imapclient", "sasl"}
    assert seen([caplog.text, *capfd.readouterr(), *(shown(error) if error else ())], SECRET, PLAIN) == []
    assert client._imap.debug == 5


def test_a_bare_password_in_the_place_of_credentials_is_shown_nowhere(client: IMAPClient) -> None:
    with pytest.raises(sasl.UsageError, match="not str") as caught:
        authenticate(client, SECRET)  # type: ignore[arg-type]
    assert seen(shown(caught.value), SECRET) == []
    with pytest.raises(sasl.UsageError, match="options") as caught:
        authenticate(client, PASSWORD, options=SECRET)  # type: ignore[arg-type]
    assert seen(shown(caught.value), SECRET) == []
