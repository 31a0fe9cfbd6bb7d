"""One new token, on a new connection, after a refusal that it may cure: never twice, never without cause."""

from __future__ import annotations

import asyncio
import imaplib
import json
from typing import TYPE_CHECKING, Any

import pytest

import sasl
import sasl.adapters.imaplib
import sasl.adapters.poplib
import sasl.adapters.smtplib
from sasl.adapters import reference
from sasl.adapters.reference import token_endpoint
from sasl.adapters.session import Session, with_new_token, with_new_token_async
from sasl.adapters.tokens import google

from ..support.protocols import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sasl.adapters.reference import Servers
    from sasl.adapters.reference.token_endpoint import TokenEndpoint


@pytest.fixture(scope="module")
def _running() -> Iterator[tuple[Servers, TokenEndpoint]]:
    with token_endpoint.running() as endpoint, reference.running(checks=endpoint.checks) as servers:
        yield servers, endpoint


@pytest.fixture
def servers(_running: tuple[Servers, TokenEndpoint]) -> Servers:
    return _running[0]


@pytest.fixture
def endpoint(_running: tuple[Servers, TokenEndpoint]) -> TokenEndpoint:
    """Alice's authorization server; the mail servers ask it whether a token is good."""
    endpoint = _running[1]
    endpoint.requests.clear()
    endpoint.faults.clear()
    endpoint.rotates = False
    return endpoint


@pytest.fixture
def source(endpoint: TokenEndpoint, tmp_path: Path) -> google.GoogleTokens:
    path = tmp_path / "token.json"
    path.write_text(json.dumps(endpoint.authorized_user("alice")))
    return google.from_file(path)


class Mail:
    """One protocol's way to the servers, and what they saw of it."""

    def __init__(self, protocol: str, servers: Servers) -> None:
        self.server = getattr(servers, protocol)
        self.authenticate = PROTOCOLS[protocol].binding.authenticate
        self.connections: list[Any] = []
        self._context = servers.client_context()
        self._protocol = PROTOCOLS[protocol]
        self._before = len(self.server.sessions)

    def connect(self) -> Any:
        conn = self._protocol.connect(self.server.tls_port, self._context, host=self.server.host)
        self.connections.append(conn)
        return conn

    def outcomes(self) -> list[list[str]]:
        """The outcome of each attempt on each connection."""
        sessions = list(self.server.sessions)[self._before :]
        return [[attempt.outcome for attempt in session.attempts] for session in sessions]

    def session(self, credentials: sasl.Credentials, **options: Any) -> Session[Any]:
        return Session(self.connect, self.authenticate, credentials, **options)


@pytest.fixture(params=["imap", "pop", "smtp"])
def mail(request: pytest.FixtureRequest, servers: Servers) -> Mail:
    return Mail(request.param, servers)


@pytest.fixture
def imap(servers: Servers) -> Mail:
    return Mail("imap", servers)


def is_closed(conn: Any) -> bool:
    return conn.sock is None or conn.sock.fileno() == -1


# --- with google-auth, at real servers


@pytest.mark.parametrize("mechanism", [None, "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("fate", ["revoke", "expire"])
def test_a_token_that_is_over_is_refused_renewed_and_good_on_a_second_connection(
    mail: Mail, endpoint: TokenEndpoint, source: google.GoogleTokens, fate: str, mechanism: str | None
) -> None:
    getattr(endpoint, fate)(source.token().value.reveal())
    with mail.session(sasl.Bearer("alice", source), mechanism=mechanism).connected() as conn:
        conn.noop()
    assert mail.outcomes() == [["expired" if fate == "expire" else "credentials"], ["accepted"]]
    assert [asked.outcome for asked in endpoint.requests] == ["granted", "granted"]
    assert [is_closed(conn) for conn in mail.connections] == [True, True]


def test_a_good_token_costs_one_connection_and_one_request_for_all_logins(
    mail: Mail, endpoint: TokenEndpoint, source: google.GoogleTokens
) -> None:
    session = mail.session(sasl.Bearer("alice", source))
    for _ in range(2):
        with session.connected() as conn:
            conn.noop()
    assert mail.outcomes() == [["accepted"], ["accepted"]]
    assert len(endpoint.requests) == 1


def test_a_second_refusal_is_the_last(mail: Mail, endpoint: TokenEndpoint, source: google.GoogleTokens) -> None:
    class Revoked:
        """Gives tokens that somebody revokes at once."""

        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            token = source.token(stale=stale)
            endpoint.revoke(token.value.reveal())
            return token

    with pytest.raises(sasl.AuthenticationFailed) as caught:
        mail.session(sasl.Bearer("alice", Revoked())).log_in()
    assert caught.value.new_token_may_help
    assert mail.outcomes() == [["credentials"], ["credentials"]]
    assert len(endpoint.requests) == 2
    assert all(map(is_closed, mail.connections))


def test_a_consent_that_is_gone_is_what_is_told_and_the_refusal_is_its_cause(
    mail: Mail, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    info = endpoint.authorized_user("alice")
    (tmp_path / "token.json").write_text(json.dumps(info))
    source = google.from_file(tmp_path / "token.json")
    source.token()
    endpoint.revoke(info["refresh_token"])
    with pytest.raises(sasl.TokenError) as caught:
        mail.session(sasl.Bearer("alice", source)).log_in()
    assert (caught.value.code, caught.value.needs_user) == ("invalid_grant", True)
    refusal = caught.value.__cause__
    assert isinstance(refusal, sasl.AuthenticationFailed)
    assert (refusal.__traceback__, refusal.__cause__, refusal.__context__) == (None, None, None)
    assert mail.outcomes() == [["credentials"]]


def test_an_endpoint_that_is_down_is_told_as_retryable(
    mail: Mail, endpoint: TokenEndpoint, source: google.GoogleTokens
) -> None:
    endpoint.revoke(source.token().value.reveal())
    endpoint.faults.append("503")
    with pytest.raises(sasl.TokenError) as caught:
        mail.session(sasl.Bearer("alice", source)).log_in()
    assert caught.value.retryable
    assert mail.outcomes() == [["credentials"]]


def test_without_a_token_nobody_connects(mail: Mail, endpoint: TokenEndpoint, source: google.GoogleTokens) -> None:
    endpoint.faults.append("invalid_grant")
    with pytest.raises(sasl.TokenError):
        mail.session(sasl.Bearer("alice", source)).log_in()
    assert mail.connections == []


# --- what is not repeated


@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_a_token_that_has_no_source_is_refused_once(mail: Mail, servers: Servers, state: Any) -> None:
    with pytest.raises(sasl.AuthenticationFailed):
        mail.session(sasl.Bearer("alice", servers.tokens[state])).log_in()
    assert [len(attempts) for attempts in mail.outcomes()] == [1]


def test_a_source_that_has_nothing_newer_leaves_it_at_the_refusal(mail: Mail, servers: Servers) -> None:
    asked = []

    def source() -> str:
        asked.append(1)
        return servers.tokens["expired"]

    with pytest.raises(sasl.AuthenticationFailed):
        mail.session(sasl.Bearer("alice", source)).log_in()
    assert (mail.outcomes(), len(asked)) == ([["expired"]], 2)


def test_a_wrong_password_is_refused_once(mail: Mail) -> None:
    with pytest.raises(sasl.AuthenticationFailed):
        mail.session(sasl.Password("alice", "looking-glass")).log_in()
    assert mail.outcomes() == [["credentials"]]


def test_a_token_for_another_mailbox_is_refused_once(mail: Mail, servers: Servers) -> None:
    with pytest.raises(sasl.AuthenticationFailed):
        mail.session(sasl.Bearer("bob", lambda: servers.tokens["good"])).log_in()
    assert mail.outcomes() == [["authorization"]]


def test_a_right_password_logs_in(mail: Mail) -> None:
    with mail.session(sasl.Password("alice", "wonderland")).connected() as conn:
        conn.noop()
    assert mail.outcomes() == [["accepted"]]


def test_a_connection_that_cannot_be_had_is_tried_once(source: google.GoogleTokens) -> None:
    tried = []

    def factory() -> Any:
        tried.append(1)
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        Session(factory, sasl.adapters.imaplib.authenticate, sasl.Bearer("alice", source)).log_in()
    assert len(tried) == 1


def test_the_options_are_for_the_binding_and_what_it_raises_closes_the_connection(imap: Mail) -> None:
    with pytest.raises(sasl.MechanismUnavailable):
        imap.session(sasl.Password("alice", "wonderland"), mechanism="X-NONE").log_in()
    assert is_closed(imap.connections[0])


def test_an_interruption_closes_the_connection(imap: Mail) -> None:
    def authenticate(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Session(imap.connect, authenticate, sasl.Password("alice", "wonderland")).log_in()
    assert is_closed(imap.connections[0])


def test_the_connection_is_closed_when_the_block_fails(mail: Mail) -> None:
    with pytest.raises(ZeroDivisionError), mail.session(sasl.Password("alice", "wonderland")).connected():
        raise ZeroDivisionError
    assert is_closed(mail.connections[0])


def test_a_connection_that_is_closed_already_is_no_failure(mail: Mail) -> None:
    with mail.session(sasl.Password("alice", "wonderland")).connected() as conn:
        conn.sock.close()


class Box:
    """A connection that is closed by a farewell only, like imap_tools' MailBox; `fails` says that it cannot be."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.left = 0

    def logout(self) -> None:
        self.left += 1
        if self.fails:
            raise imaplib.IMAP4.abort("socket error: EOF")


@pytest.mark.parametrize("fails", [True, False])
def test_the_error_of_a_login_is_what_leaves_whatever_becomes_of_closing(fails: bool) -> None:
    box, tokens = Box(fails=fails), iter(["old", "new"])

    def refuse(_conn: Box, _credentials: sasl.Credentials) -> None:
        raise stale()

    session = Session(lambda: box, refuse, sasl.Bearer("alice", lambda: next(tokens)))
    with pytest.raises(sasl.AuthenticationFailed):
        session.log_in()
    assert box.left == 2  # a new token was asked for


def test_the_error_of_a_block_is_what_leaves_whatever_becomes_of_closing() -> None:
    session = Session(lambda: Box(fails=True), lambda *_: None, sasl.Password("alice", "wonderland"))
    with pytest.raises(ZeroDivisionError), session.connected():
        raise ZeroDivisionError


def test_a_connection_without_a_close_takes_leave() -> None:
    box = Box()
    with Session(lambda: box, lambda *_: None, sasl.Password("alice", "wonderland")).connected():
        assert not box.left
    assert box.left == 1


def test_a_connection_that_nobody_knows_to_close_is_a_usage_error() -> None:
    session = Session(object, lambda *_: None, sasl.Password("alice", "wonderland"))
    with pytest.raises(sasl.UsageError, match="how to close a object"), session.connected():
        pass


def test_a_session_says_at_once_what_it_cannot_use() -> None:
    good: Any = (object, lambda *_: None, sasl.Password("alice", "wonderland"))
    for at, name in enumerate(("factory", "authenticate", "credentials")):
        wrong = [*good[:at], "wonderland", *good[at + 1 :]]
        with pytest.raises(sasl.UsageError, match=name) as caught:
            Session(*wrong)
        assert "wonderland" not in str(caught.value)
    with pytest.raises(sasl.UsageError, match="close"):
        Session(*good, close="logout")  # type: ignore[arg-type]


def test_a_connection_may_be_closed_in_another_way(imap: Mail) -> None:
    session = imap.session(sasl.Password("alice", "wonderland"), close=imaplib.IMAP4.logout)
    with session.connected():
        pass
    transcript = [text for side, text in imap.server.sessions[-1].transcript if side == "C"]
    assert transcript[-1].endswith("LOGOUT")


# --- the rule by itself


class Refusing:
    """Refuses the first tokens, and keeps what it was given."""

    def __init__(self, *refusals: sasl.SASLError) -> None:
        self.refusals = list(refusals)
        self.given: list[Any] = []

    def __call__(self, ready: sasl.Credentials) -> str:
        self.given.append(ready.token.reveal() if isinstance(ready, sasl.Bearer) else ready)  # type: ignore[union-attr]
        if self.refusals:
            raise self.refusals.pop(0)
        return "logged in"

    async def later(self, ready: sasl.Credentials) -> str:
        await asyncio.sleep(0)
        return self(ready)


class Source:
    """Numbers its tokens."""

    def __init__(self) -> None:
        self.stale: list[str | None] = []

    def token(self, *, stale: str | None = None) -> sasl.AccessToken:
        self.stale.append(stale)
        return sasl.AccessToken(f"token-{len(self.stale)}")


class LaterSource(Source):
    async def token(self, *, stale: str | None = None) -> sasl.AccessToken:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().token(stale=stale)


def stale(**settings: Any) -> sasl.AuthenticationFailed:
    error = sasl.AuthenticationFailed("refused", kind="credentials", **settings)
    error.token = True
    return error


def blocking(source: Any, attempt: Refusing) -> str:
    return with_new_token(sasl.Bearer("alice", source), attempt)


def awaited(source: Any, attempt: Refusing) -> str:
    return asyncio.run(with_new_token_async(sasl.Bearer("alice", source), attempt.later))


@pytest.fixture(params=[blocking, awaited])
def log_in(request: pytest.FixtureRequest) -> Callable[[Any, Refusing], str]:
    found: Callable[[Any, Refusing], str] = request.param
    return found


def test_the_source_is_told_which_token_was_refused(log_in: Callable[[Any, Refusing], str]) -> None:
    source, attempt = Source(), Refusing(stale())
    assert log_in(source, attempt) == "logged in"
    assert (source.stale, attempt.given) == ([None, "token-1"], ["token-1", "token-2"])


def test_an_asynchronous_source_is_awaited_both_times() -> None:
    source, attempt = LaterSource(), Refusing(stale())
    assert awaited(source, attempt) == "logged in"
    assert (source.stale, attempt.given) == ([None, "token-1"], ["token-1", "token-2"])


@pytest.mark.parametrize(
    "refusal",
    [
        stale(detail={"status": "403"}),
        sasl.AuthorizationFailed("no", kind="authorization"),
        sasl.AuthenticationFailed("no", kind="credentials"),
        sasl.TemporaryFailure("later"),
        sasl.ConnectionLost("gone"),
        sasl.ProtocolError("what?"),
        sasl.ServerNotProven("really?"),
        sasl.PolicyViolation("no"),
        sasl.TokenError("none"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.detail}",
)
def test_what_a_new_token_cannot_cure_is_raised_at_once(
    log_in: Callable[[Any, Refusing], str], refusal: sasl.SASLError
) -> None:
    source, attempt = Source(), Refusing(refusal)
    with pytest.raises(type(refusal)) as caught:
        log_in(source, attempt)
    assert caught.value is refusal
    assert (len(source.stale), len(attempt.given)) == (1, 1)


def test_two_refusals_are_the_end_and_the_second_one_is_raised(log_in: Callable[[Any, Refusing], str]) -> None:
    first, second = stale(), stale()
    attempt = Refusing(first, second)
    with pytest.raises(sasl.AuthenticationFailed) as caught:
        log_in(Source(), attempt)
    assert caught.value is second
    assert len(attempt.given) == 2


def test_a_source_that_fails_the_second_time_is_told_with_the_refusal_as_its_cause(
    log_in: Callable[[Any, Refusing], str],
) -> None:
    class Failing(Source):
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            if stale is not None:
                raise sasl.TokenError("sign in again", code="invalid_grant", needs_user=True)
            return super().token()

    refusal = stale()
    with pytest.raises(sasl.TokenError, match="sign in again") as caught:
        log_in(Failing(), Refusing(refusal))
    assert caught.value.__cause__ is refusal


def test_a_source_that_repeats_itself_leaves_it_at_the_refusal(log_in: Callable[[Any, Refusing], str]) -> None:
    refusal = stale()
    with pytest.raises(sasl.AuthenticationFailed) as caught:
        log_in(lambda: "the same", Refusing(refusal))
    assert caught.value is refusal
    assert isinstance(refusal.__cause__, sasl.TokenError)


def test_a_source_with_a_failure_that_nobody_can_mend_leaves_it_at_the_refusal(
    log_in: Callable[[Any, Refusing], str],
) -> None:
    class Broken(Source):
        def token(self, *, stale: str | None = None) -> sasl.AccessToken:
            if stale is not None:
                raise ValueError(stale)
            return super().token()

    refusal = stale()
    with pytest.raises(sasl.AuthenticationFailed) as caught:
        log_in(Broken(), Refusing(refusal))
    assert caught.value is refusal
    cause = refusal.__cause__
    assert isinstance(cause, sasl.TokenError)
    assert (cause.code, cause.__traceback__, cause.__context__) == ("source_failed", None, None)


@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_other_credentials_are_tried_once(way: str) -> None:
    credentials, attempt = sasl.Password("alice", "wonderland"), Refusing(stale())
    with pytest.raises(sasl.AuthenticationFailed):
        if way == "blocking":
            with_new_token(credentials, attempt)
        else:
            asyncio.run(with_new_token_async(credentials, attempt.later))
    assert attempt.given == [credentials]
