"""imap_tools: what a login returns, raises and leaves behind; the drop-in classes log in by nothing but us."""

from __future__ import annotations

import contextlib
import copy
import imaplib
import inspect
import pickle
import ssl
from typing import TYPE_CHECKING, Any

import imap_tools
import pytest
from imap_tools import ImapToolsError, MailboxFolderSelectError, MailboxLoginError

import sasl
import sasl.base64
from sasl.adapters.binding import is_gone
from sasl.adapters.binding.errors import is_parsers
from sasl.adapters.imap_tools import (
    ERRORS,
    MailBox,
    MailBoxStartTls,
    MailBoxUnencrypted,
    authenticate,
    is_session_lost,
)
from sasl.adapters.session import Session

from ..support.leaks import seen, shown
from ..support.protocols import b64
from .conftest import HANG, TLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

USER, SECRET = "alice", "wonderland-of-secrets"

pytestmark = pytest.mark.sasl(users={USER: SECRET})
PASSWORD = sasl.Password(USER, SECRET)
PLAIN = b64(f"\0{USER}\0{SECRET}")
COMMAND = b"{tag} AUTHENTICATE PLAIN " + PLAIN
TOKEN = "token-of-alice-1234"
XOAUTH2 = b64(f"user={USER}\x01auth=Bearer {TOKEN}\x01\x01")
SELECT = (b'{tag} SELECT "INBOX"', b"* 3 EXISTS\r\n{tag} OK [READ-WRITE] done\r\n")
LOOPBACK = sasl.Policy(plaintext="loopback")
LATIN = "p\u00e4sswort-of-secrets"


@pytest.fixture
def play(imap: Any, stage: Any) -> Callable[..., tuple[Any, Any]]:
    """Connects mailboxes to scripted servers."""

    def connect(turns: list[Any], *, of: Any = imap_tools.MailBox) -> tuple[Any, Any]:
        tls = issubclass(of, imap_tools.MailBox)
        server = stage.serve(imap, turns, tls=tls)
        in_the_clear = issubclass(of, imap_tools.MailBoxUnencrypted)
        options = {} if in_the_clear else {"ssl_context": stage.client_context}
        mailbox = of("127.0.0.1", server.port, **options)
        stage.keep(lambda: close(mailbox))
        return mailbox, server

    return connect


def close(mailbox: Any) -> None:
    with contextlib.suppress(OSError):
        mailbox.client.shutdown()


@pytest.fixture
def servers(sasl_servers: Servers) -> Servers:
    sasl_servers.verifier.add_token(TOKEN, USER)
    return sasl_servers


@pytest.fixture
def mailbox(servers: Servers) -> Iterator[MailBox]:
    """A drop-in mailbox at an embedded server."""
    mailbox = MailBox("localhost", servers.imap.tls_port, timeout=10, ssl_context=servers.client_context())
    yield mailbox
    close(mailbox)


# --- authenticate


@pytest.mark.parametrize("of", [imap_tools.MailBox, MailBox])
def test_a_login_selects_the_inbox_and_returns_the_mailbox(imap: Any, play: Any, of: Any) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT], of=of)
    assert authenticate(mailbox, PASSWORD) is mailbox
    assert mailbox.login_result == imap.returned
    assert mailbox.folder.get() == "INBOX"
    assert mailbox.client.state == "SELECTED"


def test_no_folder_is_selected_where_none_is_wanted(imap: Any, play: Any) -> None:
    mailbox, server = play([*imap.offer("PLAIN"), (COMMAND, imap.yes)])
    authenticate(mailbox, PASSWORD, initial_folder=None)
    assert mailbox.client.state == "AUTH"
    assert len(server.received) == 2


def test_a_folder_that_cannot_be_selected_is_the_librarys_error(imap: Any, play: Any) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), (b'{tag} SELECT "Nowhere"', b"{tag} NO what?\r\n")])
    with pytest.raises(MailboxFolderSelectError):
        authenticate(mailbox, PASSWORD, initial_folder="Nowhere")
    assert mailbox.client.state == "AUTH"


def test_at_the_end_of_a_with_block_the_mailbox_logs_out(imap: Any, play: Any) -> None:
    logout = (b"{tag} LOGOUT", b"* BYE so long\r\n{tag} OK done\r\n")
    mailbox, server = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT, logout])
    with authenticate(mailbox, PASSWORD) as same:
        assert same is mailbox
    assert server.heard()[-1].endswith(b"LOGOUT")


# --- the drop-in classes


@pytest.mark.parametrize("name", ["login", "login_utf8"])
@pytest.mark.parametrize(
    "password", [SECRET, sasl.Secret(SECRET), SECRET.encode(), PASSWORD], ids=lambda p: type(p).__name__
)
def test_a_password_logs_in_by_sasl(imap: Any, play: Any, name: str, password: Any) -> None:
    mailbox, server = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT], of=MailBox)
    assert getattr(mailbox, name)(USER, password, "INBOX") is mailbox
    assert not [line for line in server.received if b"LOGIN" in line]


@pytest.mark.parametrize("name", ["login", "xoauth2"])
@pytest.mark.parametrize("kind", ["callable", "source", "credentials"])
def test_a_token_source_logs_in(imap: Any, play: Any, name: str, kind: str) -> None:
    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            return sasl.AccessToken(TOKEN)

    turns = [*imap.offer("XOAUTH2"), (b"{tag} AUTHENTICATE XOAUTH2 " + XOAUTH2, imap.yes), SELECT]
    mailbox, _ = play(turns, of=MailBox)
    secret: Any = {"callable": lambda: TOKEN, "source": Source(), "credentials": sasl.Bearer(USER, TOKEN)}[kind]
    assert getattr(mailbox, name)(USER, secret) is mailbox


@pytest.mark.parametrize("token", [TOKEN, sasl.Secret(TOKEN)], ids=["str", "Secret"])
def test_xoauth2_takes_a_token_and_no_other_mechanism(imap: Any, play: Any, token: Any) -> None:
    turns = [*imap.offer("OAUTHBEARER", "XOAUTH2"), (b"{tag} AUTHENTICATE XOAUTH2 " + XOAUTH2, imap.yes), SELECT]
    mailbox, _ = play(turns, of=MailBox)
    assert mailbox.xoauth2(USER, token) is mailbox


def test_xoauth2_sends_the_token_once(imap: Any, play: Any) -> None:
    turns = [(b"{tag} AUTHENTICATE XOAUTH2 " + XOAUTH2, imap.challenge(b'{"status":"400"}')), (b"", imap.no), imap.noop]
    mailbox, server = play([*imap.offer("XOAUTH2"), *turns], of=MailBox)
    with pytest.raises(MailboxLoginError):
        mailbox.xoauth2(USER, TOKEN)
    mailbox.client.noop()
    assert b"".join(server.received).count(XOAUTH2) == 1


@pytest.mark.parametrize("name", ["login", "login_utf8", "xoauth2"])
def test_nothing_leaves_in_the_clear(imap: Any, play: Any, name: str) -> None:
    mailbox, server = play(imap.offer("PLAIN", "XOAUTH2"), of=MailBoxUnencrypted)
    with pytest.raises(ImapToolsError) as caught:
        getattr(mailbox, name)(USER, SECRET)
    assert isinstance(caught.value, sasl.PolicyViolation)
    assert len(server.received) == 1


def test_the_policy_lets_a_password_out_in_the_clear(imap: Any, play: Any) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT], of=MailBoxUnencrypted)
    mailbox.policy = LOOPBACK
    mailbox.login(USER, SECRET)


def test_the_mechanism_can_be_named(mailbox: MailBox, servers: Servers) -> None:
    mailbox.mechanism = "SCRAM-SHA-256"
    mailbox.login(USER, SECRET, initial_folder=None)
    assert servers.imap.sessions[-1].attempts[-1].mechanism == "SCRAM-SHA-256"


def test_starttls_comes_before_the_login(imap: Any, play: Any) -> None:
    begin = (b"{tag} STARTTLS", [b"{tag} OK begin\r\n", TLS])
    turns = [*imap.offer("PLAIN", extra=("STARTTLS",)), begin, *imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT]
    mailbox, _ = play(turns, of=MailBoxStartTls)
    mailbox.login(USER, SECRET)


def test_a_server_that_refuses_starttls_gets_nothing_and_is_left(imap: Any, stage: Any) -> None:
    turns = [*imap.offer("PLAIN", extra=("STARTTLS",)), (b"{tag} STARTTLS", b"{tag} NO not now\r\n")]
    server = stage.serve(imap, turns, tls=False)
    with pytest.raises(imaplib.IMAP4.error, match="refuses STARTTLS"):
        MailBoxStartTls("127.0.0.1", server.port, ssl_context=stage.client_context)
    assert server.heard()[-1].endswith(b"STARTTLS")


@pytest.mark.parametrize("of", [MailBox, MailBoxStartTls])
def test_without_a_context_the_certificate_is_checked(servers: Servers, of: Any) -> None:
    imap = servers.imap
    with pytest.raises(ssl.SSLCertVerificationError):
        of("localhost", imap.tls_port if of is MailBox else imap.port)


@pytest.mark.parametrize("ours", [MailBox, MailBoxUnencrypted, MailBoxStartTls])
def test_the_classes_are_the_librarys_and_are_made_as_they_are(ours: Any) -> None:
    name = ours.__name__
    library = getattr(imap_tools, name, None) or imap_tools.MailBoxTls  # type: ignore[attr-defined]  # before 1.11
    assert issubclass(ours, library)
    assert inspect.signature(ours) == inspect.signature(library)
    for method in ("login", "login_utf8", "xoauth2"):
        assert list(inspect.signature(getattr(ours, method)).parameters) == list(
            inspect.signature(getattr(library, method)).parameters
        )


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER"])
def test_every_mechanism_logs_in_and_out(mailbox: MailBox, servers: Servers, mechanism: str | None) -> None:
    mailbox.mechanism = mechanism
    secret: Any = (lambda: TOKEN) if "OAUTH" in (mechanism or "") else SECRET
    with mailbox.login(USER, secret, initial_folder=None):
        mailbox.client.noop()
    assert servers.imap.sessions[-1].attempts[-1].outcome == "accepted"


# --- refusals, and the end of a connection


@pytest.mark.parametrize("library", [MailboxLoginError, ImapToolsError, imaplib.IMAP4.error, sasl.AuthenticationFailed])
def test_a_refusal_is_the_librarys_error_and_imaplibs_and_ours(imap: Any, play: Any, library: type[Exception]) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.no), imap.noop], of=MailBox)
    with pytest.raises(library) as caught:
        mailbox.login(USER, SECRET)
    error: Any = caught.value
    assert error.command_result == ("NO", [b"[AUTHENTICATIONFAILED] Invalid credentials (Failure)"])
    assert error.expected == "OK"
    assert str(error) == "Invalid credentials (Failure)"
    assert error.response_code == "AUTHENTICATIONFAILED"
    assert mailbox.login_result is None
    assert not is_session_lost(error)
    mailbox.client.noop()


def test_a_server_that_is_busy_and_says_goodbye_is_both(imap: Any, play: Any) -> None:
    turns = [*imap.offer("PLAIN"), (COMMAND, [b"* BYE [UNAVAILABLE] Too many connections\r\n", "close"])]
    mailbox, _ = play(turns)
    with pytest.raises(MailboxLoginError) as caught:
        authenticate(mailbox, PASSWORD)
    assert isinstance(caught.value, sasl.ServerBusy)
    assert isinstance(caught.value, imaplib.IMAP4.abort)
    assert caught.value.command_result == ("NO", [b"Too many connections"])
    assert is_session_lost(caught.value)


@pytest.mark.parametrize("answer", ["close", [b"* BYE Session expired\r\n", "close"]], ids=["EOF", "BYE"])
def test_a_lost_connection_is_no_refusal(imap: Any, play: Any, answer: Any) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, answer)])
    with pytest.raises(imaplib.IMAP4.abort) as caught:
        authenticate(mailbox, PASSWORD)
    assert isinstance(caught.value, ImapToolsError | sasl.ConnectionLost)
    assert not isinstance(caught.value, MailboxLoginError)
    assert is_session_lost(caught.value)
    assert is_gone(caught.value)


def test_a_server_that_is_silent_is_lost_in_time(imap: Any, play: Any) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, HANG)])
    with pytest.raises(imaplib.IMAP4.abort) as caught:
        authenticate(mailbox, PASSWORD, timeout=0.05)
    assert isinstance(caught.value, sasl.ConnectionLost)
    assert caught.value.kind == "timeout"


def test_a_session_that_is_lost_later_is_told(imap: Any, play: Any) -> None:
    expired = (b"{tag} NOOP", [b"* BYE Session expired\r\n", "close"])
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT, expired])
    authenticate(mailbox, PASSWORD)
    with pytest.raises(imaplib.IMAP4.error) as caught:
        mailbox.client.noop()
    assert is_session_lost(caught.value)


@pytest.mark.parametrize("ours", list(ERRORS), ids=lambda cls: cls.__name__)
def test_every_error_is_the_librarys_and_imaplibs_and_can_be_pickled_and_copied(ours: type[sasl.SASLError]) -> None:
    given: Any = (("NO", [b"said"]), "OK") if issubclass(ERRORS[ours], MailboxLoginError) else ("said",)
    error = ERRORS[ours](*given, origin=ours("a sentence"))
    assert isinstance(error, ImapToolsError)
    assert isinstance(error, imaplib.IMAP4.error)
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(twin), twin.args, str(twin), vars(twin)) == (type(error), error.args, str(error), vars(error))


def test_what_our_own_code_raises_is_not_what_the_server_has_sent() -> None:
    with pytest.raises(TypeError) as caught:
        sasl.base64.decode(None)  # type: ignore[arg-type]
    assert not is_parsers(caught.value, ERRORS)


@pytest.mark.parametrize("of", [imap_tools.MailBox, MailBox])
def test_a_token_that_is_refused_is_asked_for_anew_on_a_new_connection(servers: Servers, of: Any) -> None:
    servers.verifier.add_token("old-token-of-alice", USER, "expired")
    servers.verifier.add_token("new-token-of-alice", USER)
    asked: list[str | None] = []

    class Source:
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            asked.append(stale)
            return sasl.AccessToken("old-token-of-alice" if stale is None else "new-token-of-alice")

    def connect() -> Any:
        return of("localhost", servers.imap.tls_port, ssl_context=servers.client_context())

    session = Session(connect, authenticate, sasl.Bearer(USER, Source()), initial_folder=None)
    with session.connected() as mailbox:
        mailbox.client.noop()
    assert asked == [None, "old-token-of-alice"]


# --- what is shown


def test_an_echo_of_the_password_is_shown_nowhere(imap: Any, play: Any) -> None:
    echo = b"{tag} NO you sent " + PLAIN + b" that is " + SECRET.encode() + b"\r\n"
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, echo)], of=MailBox)
    with pytest.raises(MailboxLoginError) as caught:
        mailbox.login(USER, SECRET)
    assert "***" in str(caught.value.command_result)
    assert seen(shown(caught.value), SECRET, PLAIN) == []


def test_an_echo_in_a_goodbye_is_shown_nowhere(imap: Any, play: Any) -> None:
    echo = b"* BYE [UNAVAILABLE] too many for " + SECRET.encode() + b"\r\n"
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, [echo, "close"])])
    with pytest.raises(MailboxLoginError) as caught:
        authenticate(mailbox, PASSWORD)
    assert seen(shown(caught.value), SECRET) == []


@pytest.mark.parametrize("name", ["login", "login_utf8", "xoauth2", "authenticate"])
@pytest.mark.parametrize("given", [7, [SECRET]], ids=["a number", "a list"])
def test_what_is_no_credential_is_the_callers_mistake_and_shown_nowhere(
    mailbox: MailBox, name: str, given: Any
) -> None:
    log_in: Any = authenticate if name == "authenticate" else getattr(type(mailbox), name)
    arguments = (mailbox, given) if name == "authenticate" else (mailbox, USER, given)
    with pytest.raises(sasl.UsageError, match=type(given).__name__) as caught:
        log_in(*arguments)
    assert seen(shown(caught.value), SECRET) == []


@pytest.mark.parametrize("debug", [4, 5])
def test_the_debug_output_shows_no_credential(
    imap: Any, play: Any, capfd: pytest.CaptureFixture[str], debug: int
) -> None:
    mailbox, _ = play([*imap.offer("PLAIN"), (COMMAND, imap.yes), SELECT], of=MailBox)
    mailbox.client.debug = debug
    mailbox.login(USER, SECRET)
    told = capfd.readouterr()
    assert "octets>" in told.err
    assert seen(told, SECRET, PLAIN) == []
