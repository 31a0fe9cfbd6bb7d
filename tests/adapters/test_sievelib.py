"""sievelib's binding: `authenticate` for its clients, and the drop-in class, at servers that say what a test wrote."""

from __future__ import annotations

import copy
import inspect
import pickle
import ssl
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl.adapters.binding import is_gone

from ..support.leaks import locals_of, seen, shown_by
from ..support.sinks import Sinks, overheard
from .conftest import CLOSE, HANG, TLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

    from .conftest import Server, Stage

managesieve = pytest.importorskip("sievelib.managesieve")

from sasl.adapters import sievelib  # noqa: E402 -- it wants the library

pytestmark = [
    pytest.mark.filterwarnings("ignore:Credentials are sent over an unencrypted connection"),  # sievelib's
    pytest.mark.usefixtures("_trusting"),
]

PASSWORD = sasl.Password("alice", "wonderland")
PLAIN = b64encode(b"\0alice\0wonderland")
IN_THE_CLEAR = sasl.Policy(plaintext="loopback")


def offer(*mechanisms: str, more: bytes = b"") -> bytes:
    """What the server says that it can do."""
    return b'"IMPLEMENTATION" "test"\r\n"SASL" "%b"\r\n%bOK\r\n' % (" ".join(mechanisms).encode(), more)


GREETING = offer("PLAIN", "XOAUTH2", more=b'"VERSION" "1.0"\r\n')
ASKED = (b"CAPABILITY", GREETING)
LOGIN = b'AUTHENTICATE "PLAIN" "%b"' % PLAIN
YES = b'OK "Logged in."\r\n'
NO = b'NO (TRYLATER) "later"\r\n'


@pytest.fixture
def _trusting(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sievelib, which takes no context, trust the servers: OpenSSL looks there."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def play(stage: Stage) -> Callable[..., tuple[Any, Server]]:
    """play(turns) -> a client that is connected, and the server; without TLS, where a policy allows passwords."""

    def connect(
        turns: list[Any],
        *,
        greeting: bytes = GREETING,
        tls: bool = False,
        starttls: bool = False,
        opened: bool = True,
        **options: Any,
    ) -> tuple[Any, Server]:
        server: Server = stage.serve(None, turns, tls=tls, greeting=greeting)  # type: ignore[arg-type]
        client = sievelib.Client("localhost", server.port, **options)
        stage.keep(lambda: client.sock and client.sock.close())
        client.policy = IN_THE_CLEAR
        if opened:
            client.open(starttls=starttls, ssl=tls)
        return client, server

    return connect


def log_in(client: Any, credentials: Any = PASSWORD, **options: Any) -> bool:
    return sievelib.authenticate(client, credentials, policy=IN_THE_CLEAR, **options)


# --- logins


def test_a_login_returns_what_sievelib_returns_and_leaves_the_client_logged_in(play: Any) -> None:
    client, server = play([ASKED, (LOGIN, YES), (b"LISTSCRIPTS", b'"one" ACTIVE\r\n"two"\r\nOK\r\n')])
    assert client.authenticated is False
    assert log_in(client) is True
    assert client.authenticated is True
    assert client.listscripts() == ("one", ["two"])
    client.sock.close()
    assert server.heard()[1] == LOGIN


def test_connect_connects_and_logs_in(play: Any) -> None:
    client, server = play([ASKED, (LOGIN, YES)], opened=False, tls=True)
    client.policy = sasl.Policy()
    assert client.connect("alice", "wonderland", ssl=True) is True
    assert (client.authenticated, client.get_sasl_mechanisms()) == (True, ["PLAIN", "XOAUTH2"])
    client.sock.close()
    assert server.heard() == [b"CAPABILITY", LOGIN]


def test_connect_has_the_signature_of_sievelibs() -> None:
    ours, own = (inspect.signature(cls.connect).parameters for cls in (sievelib.Client, managesieve.Client))
    assert [(each.name, each.default) for each in ours.values()] == [(each.name, each.default) for each in own.values()]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"password": "wonderland"}, LOGIN),
        ({"password": b"wonderland"}, LOGIN),
        ({"password": sasl.Secret("wonderland")}, LOGIN),
        ({"password": PASSWORD}, LOGIN),
        ({"password": "wonderland", "authmech": "plain"}, LOGIN),
        (
            {"password": "wonderland", "authz_id": "bob"},
            b'AUTHENTICATE "PLAIN" "%b"' % b64encode(b"bob\0alice\0wonderland"),
        ),
        (
            {"password": lambda: "ya29.t0ken"},
            b'AUTHENTICATE "XOAUTH2" "%b"' % b64encode(b"user=alice\1auth=Bearer ya29.t0ken\1\1"),
        ),
    ],
    ids=["text", "octets", "secret", "credentials", "mechanism", "authzid", "token source"],
)
def test_connect_takes_passwords_and_whatever_stands_for_them(play: Any, given: dict[str, Any], sent: bytes) -> None:
    client, _ = play([ASKED, (sent, YES)], opened=False)
    assert client.connect("alice", **given) is True


@pytest.mark.parametrize(
    "given",
    [{"password": 5}, {"password": PASSWORD, "authz_id": "bob"}, {"password": b"\xff"}],
    ids=["5", "both", "ff"],
)
def test_what_is_no_credential_is_refused_before_anything_is_connected(given: dict[str, Any]) -> None:
    client = sievelib.Client("localhost", 1)
    with pytest.raises(sasl.UsageError):
        client.connect("alice", **given)
    assert client.sock is None


def test_the_client_of_the_library_itself_can_be_logged_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    greeting = offer("SCRAM-SHA-512")  # which sievelib does not know, so it leaves the connection open
    asked = (b"CAPABILITY", offer("PLAIN"))
    server = stage.serve(None, [asked, (LOGIN, YES)], tls=False, greeting=greeting)  # type: ignore[arg-type]
    client = managesieve.Client("localhost", server.port)
    stage.keep(lambda: client.sock.close())
    assert client.connect("", "") is False
    assert log_in(client) is True
    assert client.authenticated is True


# --- refusals


def test_a_refusal_is_an_error_of_both_and_the_connection_goes_on(play: Any) -> None:
    client, _ = play([ASKED, (LOGIN, b'NO (X-CODE) "no \xc3\xa9"\r\n'), ASKED, (LOGIN, YES)])
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    error = caught.value
    assert type(error) is sievelib.SieveAuthenticationFailed
    assert isinstance(error, sasl.AuthenticationFailed)
    assert (error.response_code, error.server_text) == ("X-CODE", "no \u00e9")
    assert (client.errcode, client.errmsg, client.authenticated) == (b"X-CODE", "no \u00e9".encode(), False)
    assert not sievelib.is_session_lost(error)
    assert log_in(client) is True


def test_a_refusal_at_connect_leaves_the_connection_for_another_login(play: Any) -> None:
    client, _ = play([ASKED, (LOGIN, NO), ASKED, (LOGIN, YES)], opened=False)
    with pytest.raises(sasl.TemporaryFailure) as caught:
        client.connect("alice", "wonderland")
    assert isinstance(caught.value, managesieve.Error)
    assert log_in(client) is True


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'BYE "too many logins"\r\n', "SieveServerBusy"),
        ([b'OK "Logg', CLOSE], "SieveConnectionLost"),
        (CLOSE, "SieveConnectionLost"),
        (b"+OK\r\n", "SieveProtocolError"),
        (b"{99999999}\r\n", "SieveLimitExceeded"),
        (b"x" * 100_000 + b"\r\n", "SieveLimitExceeded"),
    ],
)
def test_what_breaks_a_login_closes_the_connection(play: Any, answer: Any, error: str) -> None:
    client, _ = play([ASKED, (LOGIN, answer)])
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    assert type(caught.value).__name__ == error
    assert (client.sock.fileno(), client.authenticated) == (-1, False)
    with pytest.raises(managesieve.Error, match="Authentication required"):
        client.listscripts()
    with pytest.raises(sievelib.SieveConnectionLost, match="no connection"):
        log_in(client)


def test_a_connection_that_is_cut_anywhere_is_no_login(play: Any) -> None:
    said = GREETING + YES
    for octets in range(len(said)):
        listed, verdict = GREETING[:octets], YES[: max(0, octets - len(GREETING))]
        whole = len(listed) == len(GREETING)
        turns = [(b"CAPABILITY", listed if whole else [listed, CLOSE]), (LOGIN, [verdict, CLOSE])]
        client, _ = play(turns[: 1 + whole])
        with pytest.raises(sievelib.SieveConnectionLost):
            log_in(client)
        assert (client.sock.fileno(), client.authenticated) == (-1, False)


def test_a_yes_without_proof_is_no_login(play: Any) -> None:
    client, _ = play([(b"CAPABILITY", offer("SCRAM-SHA-256")), (None, YES)])
    with pytest.raises(sievelib.SieveServerNotProven):
        log_in(client)
    assert (client.sock.fileno(), client.authenticated) == (-1, False)


def test_a_server_that_is_silent_is_a_lost_connection_in_time(play: Any) -> None:
    client, _ = play([ASKED, (LOGIN, HANG)])
    with pytest.raises(sievelib.SieveConnectionLost) as caught:
        log_in(client, timeout=0.2)
    assert caught.value.kind == "timeout"
    assert sievelib.is_session_lost(caught.value)


@pytest.mark.parametrize("answer", [b'NO "what?"\r\n', b"hello\r\n", b'BYE "bye"\r\n', CLOSE])
def test_a_server_that_does_not_tell_what_it_can_is_not_asked_further(play: Any, answer: Any) -> None:
    client, server = play([(b"CAPABILITY", answer)])
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    assert isinstance(caught.value, sasl.ProtocolError | sasl.ConnectionLost)
    assert client.sock.fileno() == -1
    assert server.heard() == [b"CAPABILITY"]


def test_no_mechanism_in_common_is_an_error_of_both(play: Any) -> None:
    client, _ = play([(b"CAPABILITY", offer("GSSAPI"))])
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    assert isinstance(caught.value, sasl.MechanismUnavailable)


def test_errors_can_be_pickled_and_copied(play: Any) -> None:
    client, _ = play([ASKED, (LOGIN, NO)])
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert (type(error), error.args, error.kind) == (type(caught.value), caught.value.args, "unavailable")


# --- what the server says unasked


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b'BYE "Disconnected for inactivity."\r\n', sasl.ConnectionLost),
        (b'BYE (TRYLATER) "shutting down"\r\n', sasl.ServerBusy),
        (b'OK "Logged in."\r\n', sasl.ProtocolError),
        (b"half a", sasl.ProtocolError),
    ],
)
@pytest.mark.parametrize("read", [True, False], ids=["sievelib has read it", "in the socket"])
def test_what_the_server_says_before_it_is_asked_is_no_reply(
    play: Any, *, said: bytes, error: type[sasl.SASLError], read: bool
) -> None:
    if read:
        client, server = play([], greeting=GREETING + said)
    else:
        client, server = play([ASKED, (LOGIN, b'NO "no"\r\n' + said)])
        with pytest.raises(sasl.AuthenticationFailed):
            log_in(client)
    with pytest.raises(managesieve.Error) as caught:
        log_in(client)
    assert isinstance(caught.value, error)
    assert client.sock.fileno() == -1
    assert server.heard() == ([] if read else [b"CAPABILITY", LOGIN])


def test_what_follows_the_yes_is_left_to_sievelib(play: Any) -> None:
    client, _ = play([ASKED, (LOGIN, YES + b'BYE "shutting down"\r\n'), (b"LISTSCRIPTS", CLOSE)])
    assert log_in(client) is True
    with pytest.raises(managesieve.Error) as caught:
        client.listscripts()
    assert sievelib.is_session_lost(caught.value)


# --- TLS


def test_a_password_does_not_leave_in_the_clear(play: Any) -> None:
    client, server = play([(b"CAPABILITY", offer("PLAIN", more=b'"STARTTLS"\r\n'))], opened=False)
    client.policy = sasl.Policy()
    with pytest.raises(sievelib.SievePolicyViolation, match="it offers STARTTLS"):
        client.connect("alice", "wonderland")
    client.sock.close()
    assert server.heard() == [b"CAPABILITY"]


@pytest.mark.parametrize("tls", [True, False], ids=["from the beginning", "STARTTLS"])
def test_a_password_leaves_under_tls_with_the_certificate_checked(play: Any, *, tls: bool) -> None:
    first = [] if tls else [(b"STARTTLS", [b"OK\r\n", TLS, GREETING])]
    greeting = GREETING if tls else offer("PLAIN", more=b'"STARTTLS"\r\n')
    client, server = play([*first, ASKED, (LOGIN, YES)], greeting=greeting, tls=tls, opened=False)
    client.policy = sasl.Policy()
    assert client.connect("alice", "wonderland", starttls=not tls, ssl=tls) is True
    assert sievelib.LIBRARY.channel(client).checked
    client.sock.close()
    assert server.heard()[-1] == LOGIN


def test_a_server_that_is_not_trusted_gets_nothing(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    client, server = play([], tls=True, opened=False)
    with pytest.raises((managesieve.Error, ssl.SSLError)):
        client.connect("alice", "wonderland", ssl=True)
    assert server.heard() == []


def test_a_server_that_refuses_tls_gets_no_password(play: Any) -> None:
    greeting = offer("PLAIN", more=b'"STARTTLS"\r\n')
    client, server = play([(b"STARTTLS", b'NO "no"\r\n')], greeting=greeting, opened=False)
    with pytest.raises(sievelib.SievePolicyViolation, match="refuses STARTTLS"):
        client.connect("alice", "wonderland", starttls=True)
    assert client.sock.fileno() == -1
    assert server.heard() == [b"STARTTLS"]


def test_a_server_without_starttls_gets_no_password(play: Any) -> None:
    client, server = play([], opened=False)
    with pytest.raises(managesieve.Error, match="STARTTLS not supported"):
        client.connect("alice", "wonderland", starttls=True)
    assert client.sock.fileno() == -1
    assert server.heard() == []


@pytest.mark.parametrize("injected", [offer("PLAIN"), offer("PLAIN") + YES])
def test_what_is_injected_behind_the_yes_to_starttls_is_no_login(play: Any, injected: bytes) -> None:
    greeting = offer("PLAIN", more=b'"STARTTLS"\r\n')
    turns = [(b"STARTTLS", [b"OK\r\n" + injected, TLS, GREETING]), ASKED, (None, YES)]
    client, _ = play(turns, greeting=greeting, opened=False)
    with pytest.raises(managesieve.Error):
        client.connect("alice", "wonderland", starttls=True)
    assert (client.sock.fileno(), client.authenticated) == (-1, False)


def test_what_is_injected_into_the_list_of_capabilities_counts_for_nothing(play: Any) -> None:
    greeting = offer("PLAIN", more=b'"STARTTLS"\r\n')
    listed = offer("PLAIN")
    turns = [(b"STARTTLS", [b'OK\r\n"SASL" "X-WEAK"\r\n', TLS, listed]), (b"CAPABILITY", listed), (LOGIN, YES)]
    client, _ = play(turns, greeting=greeting, opened=False)
    assert client.connect("alice", "wonderland", starttls=True) is True


# --- what is shown


ANSWERS = [b'NO "wonderland %b"\r\n' % PLAIN, b'BYE "wonderland"\r\n', b'"%b' % PLAIN, b"wonderland\r\n", CLOSE, YES]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_nothing_shows_the_credential(play: Any, *, answer: Any) -> None:
    sinks, error = Sinks(), None
    with overheard(sinks):
        client, _ = play([ASKED, (LOGIN, answer if answer in (CLOSE, YES) else [answer, CLOSE])], debug=True)
        try:
            log_in(client)
        except managesieve.Error as caught:
            error = caught
        client.sock.close()
    assert (error is None) == (answer == YES)
    texts = [*sinks.texts(), *shown_by(error), *locals_of(error), repr(vars(client))]
    assert any("IMPLEMENTATION" in text for text in sinks.printed)
    assert seen(texts, "wonderland", PLAIN) == []


def test_sievelib_has_its_mechanisms_for_itself_only_while_it_connects(play: Any) -> None:
    client, _ = play([])
    assert client.get_sasl_mechanisms() == ["PLAIN", "XOAUTH2"]


# --- whose error is the end of a session


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (managesieve.Error("Connection closed by server"), True),
        (managesieve.Error("Failed to read data from the server"), True),
        (managesieve.Error("Failed to read 20 bytes from the server"), True),
        (managesieve.Error("Connection to server failed: refused"), False),
        (managesieve.Error("Authentication required"), False),
        (managesieve.Response(b"NO", b""), False),
        (managesieve.Literal(3), False),
        (sievelib.SieveConnectionLost("gone"), True),
        (sievelib.SieveAuthenticationFailed("no"), False),
        (ConnectionResetError(), True),
        (OSError(9, "Bad file descriptor"), True),
        (ValueError(), False),
    ],
)
def test_the_end_of_a_session_is_told_from_all_else(error: BaseException, *, lost: bool) -> None:
    assert sievelib.is_session_lost(error) is lost
    assert is_gone(error) is lost


def test_a_client_that_was_never_connected_cannot_log_in() -> None:
    with pytest.raises(sievelib.SieveConnectionLost, match="no connection"):
        sievelib.authenticate(sievelib.Client("localhost", 1), PASSWORD)


def test_a_server_that_is_not_there_is_sievelibs_error() -> None:
    with pytest.raises(managesieve.Error, match="Connection to server failed"):
        sievelib.Client("127.0.0.1", 1).connect("alice", "wonderland")
