"""What is aiosmtplib's own: EHLO, its replies and errors, its class that logs in where it connects."""

from __future__ import annotations

import asyncio
import base64
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiosmtplib
import pytest

import sasl
import sasl.adapters.aiosmtplib
from sasl import Bearer, Password, Secret
from sasl.adapters.aiosmtplib import ERRORS, SMTP, authenticate, is_session_lost
from sasl.adapters.binding import is_gone
from sasl.adapters.reference import Settings, running

from ..support.leaks import seen, shown
from ..support.loops import Cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sasl.adapters.reference import Attempt, Servers

PASSWORD: Final = Password("alice", "wonderland")
PLAIN: Final = b"AUTH PLAIN " + base64.b64encode(b"\0alice\0wonderland")
MANY: Final = 100
LOOPBACK: Final = sasl.Policy(plaintext="loopback")
OLD: Final = not hasattr(aiosmtplib, "SMTPConnectResponseError")
"""Whether it is a release before 5.0."""


@pytest.fixture
def play(run: Any, smtp: Any, stage: Any) -> Callable[..., Any]:
    """play(turns, call) -> what call(client) returns, and the server; the client is connected to it over TLS."""

    def play(
        turns: list[Any],
        call: Callable[[aiosmtplib.SMTP], Awaitable[Any]],
        *,
        tls: bool = True,
        cls: type[aiosmtplib.SMTP] = aiosmtplib.SMTP,
        **options: Any,
    ) -> tuple[Any, Any]:
        server = stage.serve(smtp, turns, tls=tls)

        async def main() -> Any:
            settings = {"use_tls": True, "tls_context": stage.client_context} if tls else {"start_tls": False}
            client = cls(hostname="127.0.0.1", port=server.port, **settings, **options)
            try:
                await client.connect()
                return await call(client)
            finally:
                sasl.adapters.aiosmtplib.LIBRARY.dialogue(client).close()

        return run(main), server

    return play


def offer(smtp: Any, *mechanisms: str, **options: Any) -> list[Any]:
    ((_, reply),) = smtp.offer(*mechanisms, **options)
    return [(None, reply)]


def login(client: aiosmtplib.SMTP, **options: Any) -> Awaitable[Any]:
    return authenticate(client, PASSWORD, **options)


async def failing(kind: type[sasl.SASLError], call: Awaitable[Any]) -> Any:
    with pytest.raises(ERRORS[kind]) as caught:
        await call
    assert type(caught.value) is ERRORS[kind]
    assert caught.value.__context__ is None
    return caught.value


# --- what is said, and what is returned


def test_a_login_returns_what_the_librarys_own_does(smtp: Any, play: Any) -> None:
    response, server = play([*offer(smtp, "PLAIN"), (PLAIN, smtp.yes)], login)
    assert response == aiosmtplib.SMTPResponse(235, "2.7.0 Accepted")
    assert isinstance(response, aiosmtplib.SMTPResponse)
    assert [line.split()[0] for line in server.heard()] == [b"EHLO", b"AUTH"]


def test_an_ehlo_of_the_callers_is_not_repeated(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        await login(client)
        await client.noop()

    _, server = play([*offer(smtp, "PLAIN"), (PLAIN, smtp.yes), (b"NOOP", b"250 ok\r\n")], call)
    assert len(server.heard()) == 3


def test_the_old_way_to_advertise_auth_is_understood(smtp: Any, play: Any) -> None:
    play([*offer(smtp, extra=("AUTH=LOGIN PLAIN",)), (PLAIN, smtp.yes)], login)


def test_a_server_that_only_knows_helo_has_no_auth(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.MechanismUnavailable, login(client))
        assert isinstance(error, aiosmtplib.SMTPNotSupported)
        assert error.message == str(error)
        await client.noop()

    _, server = play([(None, b"502 what?\r\n"), (None, b"250 hello\r\n"), (b"NOOP", b"250 ok\r\n")], call)
    assert [line.split()[0] for line in server.heard()] == [b"EHLO", b"HELO", b"NOOP"]


def test_a_server_that_refuses_ehlo_and_helo(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.ProtocolError, login(client))
        assert isinstance(error, aiosmtplib.SMTPException)
        assert (error.response_code, error.server_text) == ("550", "5.7.1 go  away")
        await client.noop() if OLD else None  # newer ones say EHLO again before a NOOP

    turns = [(None, b"550 no\r\n"), (None, b"550 5.7.1 go\x1b away\r\n"), *[(b"NOOP", b"250 ok\r\n")] * OLD]
    play(turns, call)


@pytest.mark.parametrize("said", [b"421 4.3.2 too busy\r\n", b"421-4.3.2 too\r\n421 4.3.2 busy\r\n"])
def test_a_421_to_ehlo_is_a_server_that_is_busy(play: Any, said: bytes) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.ServerBusy, login(client))
        assert isinstance(error, aiosmtplib.SMTPServerDisconnected)
        assert isinstance(error, aiosmtplib.SMTPAuthenticationError)
        assert error.code == 421
        assert is_session_lost(error)
        assert not client.is_connected

    play([(None, said)], call)


def test_where_there_is_tls_to_begin_an_error_says_so(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.PolicyViolation, login(client))
        assert str(error).endswith("it offers STARTTLS: begin TLS first")

    _, server = play(offer(smtp, "PLAIN", extra=("STARTTLS",)), call, tls=False)
    assert len(server.heard()) == 1


# --- errors


def test_a_refusal_has_the_attributes_of_both(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.AuthenticationFailed, login(client))
        assert isinstance(error, aiosmtplib.SMTPAuthenticationError)
        text = "5.7.8 Username and Password not accepted. 5.7.8 See https://help.example"
        assert (error.code, error.message, error.args) == (535, text, (535, text))
        assert (error.response_code, error.mechanism) == ("535 5.7.8", "PLAIN")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
        await client.noop()

    play([*offer(smtp, "PLAIN"), (PLAIN, smtp.no), (b"NOOP", b"250 ok\r\n")], call)


def test_no_attribute_of_an_error_shows_the_credential_or_what_a_terminal_obeys(play: Any, smtp: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.AuthenticationFailed, login(client))
        assert error.args == (error.code, error.message)
        assert seen(shown(error), "wonderland", PLAIN.split()[2]) == []
        assert error.message.isprintable()

    play([*offer(smtp, "PLAIN"), (PLAIN, b"535-no \x1b[2J" + PLAIN + b"\r\n535 wonderland?\r\n")], call)


def test_a_refusal_right_before_the_end_of_the_connection_is_a_refusal(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        await failing(sasl.AuthenticationFailed, login(client))

    play([*offer(smtp, "PLAIN"), (PLAIN, [smtp.no, "close"])], call)


def test_a_temporary_failure_is_none_of_the_credential(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.TemporaryFailure, login(client))
        assert isinstance(error, aiosmtplib.SMTPAuthenticationError)
        assert not isinstance(error, sasl.AuthenticationFailed)
        assert error.code == 454

    play([*offer(smtp, "PLAIN"), (PLAIN, smtp.temporary)], call)


def test_a_421_is_the_end_of_the_connection(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        with pytest.raises(aiosmtplib.SMTPServerDisconnected) as caught:
            await login(client)
        assert isinstance(caught.value, sasl.ConnectionLost)
        assert caught.value.server_text == "Closing"
        assert not client.is_connected

    play([*offer(smtp, "PLAIN"), (PLAIN, smtp.bye)], call)


@pytest.mark.parametrize("said", [b"", b"250-mx.example\r\n", b"250 mx.exa"], ids=repr)
def test_the_end_of_the_connection_at_ehlo_is_a_lost_one(play: Any, said: bytes) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        await failing(sasl.ConnectionLost, login(client))
        assert not client.is_connected

    play([(None, [said, "close"])], call)


@pytest.mark.parametrize("at", ["EHLO", "AUTH"])
@pytest.mark.parametrize(
    "said",
    [b"235 " + b"x" * 9_000 + b"\r\n", b"AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n", b"235-ok\r\n" * 5_000],
    ids=["long line", "no reply", "long reply"],
)
def test_a_reply_that_aiosmtplib_cannot_read_is_an_error_and_closes(smtp: Any, play: Any, said: bytes, at: str) -> None:
    if OLD and len(said) > 32_768:
        pytest.skip("it reads it")

    async def call(client: aiosmtplib.SMTP) -> None:
        error = await failing(sasl.ProtocolError, login(client))
        assert seen(shown(error), "wonderland") == []
        assert not client.is_connected

    play([*[turn for turn in offer(smtp, "PLAIN") if at == "AUTH"], (None, said)], call)


def test_a_connection_that_is_none_is_told(run: Any) -> None:
    async def main() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1")
        error = await failing(sasl.ConnectionLost, login(client))
        assert isinstance(error, aiosmtplib.SMTPServerDisconnected)
        assert error.message == str(error)

    run(main)


def test_a_connection_that_has_ended_meanwhile_is_told(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        while client.is_connected:
            await asyncio.sleep(0.01)
        await failing(sasl.ConnectionLost, login(client))

    play([(None, [*[reply for _, reply in offer(smtp, "PLAIN")], "close"])], call)


# --- time


@pytest.mark.parametrize("speed", ["hang", "drip"])
@pytest.mark.parametrize("at", ["EHLO", "AUTH", "challenge"])
@pytest.mark.parametrize("whose", ["login", "client"])
def test_a_server_that_takes_too_long_is_lost(smtp: Any, play: Any, whose: str, at: str, speed: str) -> None:
    turns = [*offer(smtp, "LOGIN"), (b"AUTH LOGIN", smtp.challenge(b"Username:")), (None, speed)]
    turns = {"EHLO": [(None, speed)], "AUTH": [turns[0], (None, speed)], "challenge": turns}[at]

    async def call(client: aiosmtplib.SMTP) -> None:
        if whose == "client":
            client.timeout = 0.2
        error = await failing(sasl.ConnectionLost, login(client, timeout=0.2 if whose == "login" else None))
        assert error.kind == "timeout"
        assert is_session_lost(error)
        assert not client.is_connected

    play(turns, call)


# --- cancellation


async def _token() -> str:
    await asyncio.sleep(0)
    return "ya29.t0ken"


def _login_by(name: str, smtp: Any) -> tuple[list[Any], sasl.Credentials]:
    """What a server says in a login, and with what it is done."""
    asked, refused = smtp.challenge(b"User Name"), smtp.challenge(b'{"status":"401"}')
    if name == "HELO":
        return [(None, b"502 what?\r\n"), (None, b"250 hello\r\n")], PASSWORD
    if name == "LOGIN":
        return [*offer(smtp, "LOGIN"), (None, asked), (None, asked), (None, smtp.yes)], PASSWORD
    if name == "XOAUTH2":
        return [*offer(smtp, "XOAUTH2"), (None, refused), (b"", smtp.no)], Bearer("alice", _token)
    return [*offer(smtp, "PLAIN"), (PLAIN, smtp.yes)], PASSWORD


async def _cancel(credentials: sasl.Credentials, at: int, client: aiosmtplib.SMTP) -> Cancelled:
    """Log in, and cancel that at one of its waits, if there are so many."""
    steps = Cancelled(authenticate(client, credentials, policy=LOOPBACK), at)
    try:
        await steps
    except asyncio.CancelledError:
        steps.left = True
        assert not client.is_connected
    except sasl.SASLError:
        pass
    return steps


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "XOAUTH2", "HELO"])
def test_a_login_that_is_cancelled_at_any_wait_sends_nothing_more(
    smtp: Any, play: Any, name: str, *, tls: bool
) -> None:
    turns, credentials = _login_by(name, smtp)
    cut: list[list[bytes]] = []
    while True:
        steps, server = play(turns, partial(_cancel, credentials, len(cut) + 1), tls=tls)
        heard = server.heard()
        if steps.waits < steps.at:
            break
        assert steps.left
        cut.append(heard)
    assert len(heard) == len(turns)
    assert len(cut) >= len(turns)
    for lines in cut:
        assert lines == heard[: len(lines)]


# --- other tasks, and replies to nothing


def _asked(smtp: Any, last: bytes) -> list[Any]:
    return [(b"AUTH LOGIN", smtp.challenge(b"User Name")), (None, smtp.challenge(b"Password")), (None, last)]


async def _begun(client: aiosmtplib.SMTP) -> asyncio.Task[Any]:
    """A login that has sent its first line."""
    await client.ehlo()
    task = asyncio.create_task(login(client))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task


def test_commands_of_other_tasks_wait_for_the_end_of_a_login(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        logging_in = await _begun(client)
        nothing = asyncio.create_task(client.noop())
        assert (await logging_in).code == 235
        assert (await nothing).code == 250

    play([*offer(smtp, "LOGIN"), *_asked(smtp, smtp.yes), (b"NOOP", b"250 ok\r\n")], call)


def test_commands_of_other_tasks_wait_while_another_mechanism_follows(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        logging_in = await _begun(client)
        nothing = asyncio.create_task(client.noop())
        assert (await logging_in).code == 235
        assert (await nothing).code == 250

    refused = (None, b"504 5.5.4 unknown mechanism\r\n")
    play([*offer(smtp, "SCRAM-SHA-256", "PLAIN"), refused, (PLAIN, smtp.yes), (b"NOOP", b"250 ok\r\n")], call)


def test_a_login_while_another_one_is_running_is_the_callers_mistake(smtp: Any, play: Any) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        logging_in = await _begun(client)
        with pytest.raises(sasl.UsageError, match="another command is running"):
            await authenticate(client, Password("bob", "builder"))
        assert (await logging_in).code == 235

    play([*offer(smtp, "LOGIN"), *_asked(smtp, smtp.yes)], call)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"235 2.7.0 Accepted\r\n", sasl.ProtocolError),
        (b"235 2.7", sasl.ProtocolError),
        (b"421 4.3.2 closing\r\n", sasl.ServerBusy),
    ],
)
@pytest.mark.parametrize("behind", ["EHLO", "a challenge"])
def test_a_reply_to_nothing_is_no_reply_and_closes(
    smtp: Any, play: Any, said: bytes, kind: type[sasl.SASLError], behind: str
) -> None:
    async def call(client: aiosmtplib.SMTP) -> None:
        await failing(kind, login(client, initial_response=False))
        assert not client.is_connected

    ((_, offered),) = offer(smtp, "PLAIN")
    asked = [] if behind == "EHLO" else [(b"AUTH PLAIN", smtp.challenge(b"") + said)]
    play([(None, offered + said * (not asked)), *asked], call)


def test_a_reply_before_the_command_is_no_login(smtp: Any, play: Any) -> None:
    """Newer releases drop it, older ones keep it for the next command."""

    async def call(client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        await asyncio.sleep(0.05)
        with pytest.raises((ERRORS[sasl.AuthenticationFailed], ERRORS[sasl.ProtocolError])):
            await login(client)

    ((_, offered),) = offer(smtp, "PLAIN")
    play([(None, [offered, smtp.yes]), (None, smtp.no)], call)


# --- is the session lost?


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (aiosmtplib.SMTPServerDisconnected("gone"), True),
        (aiosmtplib.SMTPReadTimeoutError("late"), True),
        (aiosmtplib.SMTPSenderRefused(421, "closing", "a@example.com"), True),
        (aiosmtplib.SMTPSenderRefused(530, "5.7.57 Client not authenticated", "a@example.com"), True),
        (aiosmtplib.SMTPSenderRefused(530, "5.7.0 Must issue a STARTTLS command first", "a@example.com"), False),
        (aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(550, "no", "b@example.com")]), False),
        (aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(530, "who?", "b@example.com")]), True),
        (aiosmtplib.SMTPDataError(554, "spam"), False),
        (aiosmtplib.SMTPAuthenticationError(421, "closing"), True),
        (aiosmtplib.SMTPAuthenticationError(530, "5.7.0 Authentication required"), False),
        (aiosmtplib.SMTPAuthenticationError(535, "no"), False),
        (aiosmtplib.SMTPConnectError("refused"), False),
        (aiosmtplib.SMTPConnectTimeoutError("late"), False),
        (aiosmtplib.SMTPException("no AUTH"), False),
        (ERRORS[sasl.ConnectionLost]("gone"), True),
        (ERRORS[sasl.AuthenticationFailed](535, "no"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_a_lost_session_is_told_from_anything_else(error: Exception, *, lost: bool) -> None:
    assert is_session_lost(error) == is_gone(error) == lost


# --- the class


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running(settings=Settings(policy=sasl.Policy(plaintext="loopback", allow=("CRAM-MD5", "LOGIN")))) as servers:
        yield servers


@pytest.fixture
def connected(run: Any, servers: Servers) -> Callable[..., list[Attempt]]:
    """connected(call, ...) -> the attempts that the server saw; a client of ours connects, over TLS, and calls."""

    def connected(
        call: Callable[[SMTP], Awaitable[Any]] | None = None, *, cls: type[SMTP] = SMTP, **options: Any
    ) -> list[Attempt]:
        async def main() -> None:
            where = {"hostname": "localhost", "port": servers.smtp.tls_port, "use_tls": True}
            client = cls(**where, tls_context=servers.client_context(), **options)
            try:
                await client.connect()
                assert call is None or (await call(client)).code == 235
                assert (await client.noop()).code == 250
            finally:
                sasl.adapters.aiosmtplib.LIBRARY.dialogue(client).close()

        run(main)
        return list(servers.smtp.sessions[-1].attempts)

    return connected


@pytest.mark.parametrize("password", ["wonderland", b"wonderland", Secret("wonderland"), PASSWORD], ids=repr)
@pytest.mark.parametrize("user", ["alice", b"alice"])
def test_the_class_logs_in_where_it_connects(connected: Any, user: str | bytes, password: Any) -> None:
    (attempt,) = connected(username=user, password=password)
    assert (attempt.outcome, attempt.identity) == ("accepted", "alice")
    assert attempt.mechanism.startswith("SCRAM-")


@pytest.mark.parametrize("timeout", [{}, {"timeout": 5}, {"timeout": None}], ids=repr)
def test_login_takes_what_the_librarys_own_takes(connected: Any, timeout: Any) -> None:
    (attempt,) = connected(lambda client: client.login("alice", "wonderland", **timeout))
    assert attempt.outcome == "accepted"


def test_login_takes_names_as_that_of_older_releases_does(connected: Any) -> None:
    (attempt,) = connected(lambda client: client.login(username="alice", password="wonderland"))
    assert attempt.outcome == "accepted"


@pytest.mark.parametrize("kind", ["token", "function", "coroutine function", "credentials"])
def test_the_class_takes_a_token(connected: Any, servers: Servers, kind: str) -> None:
    token = servers.tokens["good"]

    async def ask() -> str:
        return token

    given = {"function": lambda: token, "coroutine function": ask, "credentials": Bearer("alice", token)}
    if kind == "token":
        (attempt,) = connected(lambda client: client.auth_xoauth2("alice", token))
    else:
        (attempt,) = connected(lambda client: client.login("alice", given[kind]))
    assert attempt.outcome == "accepted"
    assert attempt.mechanism == ("XOAUTH2" if kind == "token" else "OAUTHBEARER")


@pytest.mark.skipif(not hasattr(aiosmtplib.SMTP, "auth_xoauth2"), reason="this release has none")
def test_a_generator_of_tokens_is_asked_where_it_connects(connected: Any, servers: Servers) -> None:
    async def ask() -> str:
        return servers.tokens["good"]

    (attempt,) = connected(username="alice", oauth_token_generator=ask)
    assert (attempt.mechanism, attempt.outcome) == ("XOAUTH2", "accepted")


@pytest.mark.parametrize("name", ["plain", "login", "crammd5"])
def test_one_mechanism_can_be_asked_for(connected: Any, name: str) -> None:
    class Lenient(SMTP):
        policy = sasl.Policy(allow=("CRAM-MD5",))

    (attempt,) = connected(lambda client: getattr(client, f"auth_{name}")("alice", "wonderland"), cls=Lenient)
    assert (attempt.mechanism.replace("-", "").lower(), attempt.outcome) == (name, "accepted")


def test_the_class_has_a_mechanism_and_a_policy(connected: Any) -> None:
    class Plain(SMTP):
        mechanism = "PLAIN"

    (attempt,) = connected(cls=Plain, username="alice", password="wonderland")
    assert attempt.mechanism == "PLAIN"

    class Bound(SMTP):
        policy = sasl.Policy(channel_binding="require")

    (attempt,) = connected(cls=Bound, username="alice", password="wonderland")
    assert attempt.mechanism.endswith("-PLUS")


def test_a_refusal_where_it_connects_is_the_librarys_error_and_closes(run: Any, servers: Servers) -> None:
    async def main() -> None:
        context = servers.client_context()
        where = {"hostname": "localhost", "port": servers.smtp.tls_port, "use_tls": True, "tls_context": context}
        client = SMTP(**where, username="alice", password="Looking.G1ass")
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as caught:
            await client.connect()
        assert isinstance(caught.value, sasl.AuthenticationFailed)
        assert seen(shown(caught.value), "Looking.G1ass") == []
        client.close()

    run(main)


@pytest.mark.parametrize("name", ["login", "auth_plain", "auth_login", "auth_crammd5", "auth_xoauth2"])
def test_no_method_of_the_class_sends_a_credential_in_the_clear(smtp: Any, play: Any, name: str) -> None:
    async def call(client: SMTP) -> None:
        with pytest.raises(ERRORS[sasl.PolicyViolation]) as caught:
            await getattr(client, name)("alice", "wonderland")
        assert seen(shown(caught.value), "wonderland") == []

    mechanisms = ("PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2")
    _, server = play(offer(smtp, *mechanisms), call, tls=False, cls=SMTP)
    assert len(server.heard()) == 1


@pytest.mark.parametrize("name", ["login", "auth_plain", "auth_login", "auth_crammd5", "auth_xoauth2"])
def test_what_is_no_credential_is_not_shown(connected: Any, name: str) -> None:
    async def call(client: SMTP) -> Any:
        with pytest.raises(sasl.UsageError) as caught:
            await getattr(client, name)("alice", ["wonderland"])
        assert seen(shown(caught.value), "wonderland") == []
        return await client.login("alice", "wonderland")

    connected(call)


def test_a_message_is_sent_after_the_login(run: Any, servers: Servers) -> None:
    async def main() -> None:
        context = servers.client_context()
        where = {"hostname": "localhost", "port": servers.smtp.port, "tls_context": context, "start_tls": True}
        async with SMTP(**where, username="alice", password="wonderland") as client:
            await client.sendmail("alice@example.com", ["bob@example.com"], b"Subject: hello\r\n\r\nhello\r\n")

    run(main)
    (attempt,) = servers.smtp.sessions[-1].attempts
    assert (attempt.outcome, attempt.tls) == ("accepted", True)


def test_many_logins_at_once_stand_in_nobodys_way(run: Any, servers: Servers) -> None:
    async def one(number: int) -> None:
        context = servers.client_context() if number % 2 else None
        where = {"port": servers.smtp.tls_port, "use_tls": True, "tls_context": context}
        client = aiosmtplib.SMTP(hostname="localhost", **(where if context else {"port": servers.smtp.port}))
        await client.connect(**({} if context else {"start_tls": False}))
        try:
            await authenticate(
                client, PASSWORD if number % 3 else Bearer("alice", servers.tokens["good"]), policy=LOOPBACK
            )
        finally:
            sasl.adapters.aiosmtplib.LIBRARY.dialogue(client).close()

    async def main() -> None:
        await asyncio.gather(*[one(number) for number in range(MANY)])

    run(main)
    ended = [attempt.outcome for session in list(servers.smtp.sessions)[-MANY:] for attempt in session.attempts]
    assert ended == ["accepted"] * MANY
