"""Users and tokens that come and go while the servers run: sessions end with what they rest on."""

from __future__ import annotations

import asyncio
import imaplib
import json
import socket
import ssl
import urllib.parse
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

import sasl
from sasl.adapters import reference
from sasl.adapters.imaplib import authenticate
from sasl.adapters.reference.token_endpoint import MAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sasl.adapters.reference import Servers

USER: Final = "alice"
PASSWORD: Final = "wonderland"
PROTOCOLS: Final = ("imap", "pop", "smtp")
BEGINNINGS: Final = {"imap": b"* OK", "pop": b"+OK", "smtp": b"220"}
TEXTS: Final = {
    "expired": ("* BYE Session expired", "-ERR [SYS/TEMP] Session expired", "421 4.7.0 Session expired"),
    "revoked": (
        "* BYE Session ended, the login was revoked",
        "-ERR [SYS/TEMP] Session ended, the login was revoked",
        "421 4.7.0 Session ended, the login was revoked",
    ),
    "disabled": (
        "* BYE Session ended, the account is disabled",
        "-ERR [SYS/PERM] Session ended, the account is disabled",
        "421 4.7.0 Session ended, the account is disabled",
    ),
    "limit": (
        "* BYE Session ended, it lasted too long",
        "-ERR [SYS/TEMP] Session ended, it lasted too long",
        "421 4.7.0 Session ended, it lasted too long",
    ),
    "late": ("* BYE Too slow", "", "421 4.4.2 Too slow"),
}


@pytest.fixture
def servers() -> Iterator[Servers]:
    with reference.running(settings=reference.Settings(policy=sasl.Policy(plaintext="loopback"))) as running:
        yield running


class Client:
    """A client of one protocol, in the clear or under TLS."""

    opened: ClassVar[list[Client]] = []

    def __init__(self, servers: Servers, protocol: str, *, tls: bool = False) -> None:
        self.opened.append(self)
        self.protocol = protocol
        endpoint = getattr(servers, protocol)
        port = endpoint.tls_port if tls else endpoint.port
        self.sock = socket.create_connection((endpoint.host, port), timeout=5)
        if tls:
            self.sock = servers.client_context().wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")
        assert self.file.readline().startswith(BEGINNINGS[protocol])
        self.session = endpoint.sessions[-1]

    def say(self, line: bytes) -> bytes:
        """Send a line; return the last line of the answer."""
        self.sock.sendall(line + b"\r\n")
        while True:
            said = self.file.readline()
            if not said.startswith(b"* ") and said[3:4] != b"-":
                return said.rstrip(b"\r\n")

    def log_in(self, mechanism: str, message: bytes) -> bytes:
        if self.protocol == "smtp":
            self.say(b"EHLO me.example")
        command = {"imap": b"a AUTHENTICATE", "pop": b"AUTH", "smtp": b"AUTH"}[self.protocol]
        return self.say(b"%b %b %b" % (command, mechanism.encode(), sasl.base64.encode(message)))

    def by_password(self, user: str = USER, password: str = PASSWORD) -> bytes:
        return self.log_in("PLAIN", f"\0{user}\0{password}".encode())

    def by_token(self, token: str, user: str = USER) -> bytes:
        said = self.log_in("OAUTHBEARER", f"n,a={user},\x01auth=Bearer {token}\x01\x01".encode())
        prompt = b"334 " if self.protocol == "smtp" else b"+ "
        if said.startswith(prompt):
            self.challenge = json.loads(sasl.base64.decode(said.removeprefix(prompt)))
            return self.say(b"AQ==")
        return said

    def noop(self) -> bytes:
        return self.say(b"a NOOP" if self.protocol == "imap" else b"NOOP")

    def rest(self) -> str:
        """What the server says before it ends."""
        return self.file.read().decode().rstrip("\r\n")

    def waits(self) -> bool:
        """Whether nothing has come, and the connection goes on."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) is None
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(5)

    def told(self) -> bytes:
        """What the server has said by now, without waiting."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1_000)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        finally:
            self.sock.settimeout(5)

    def close(self) -> None:
        self.file.close()
        self.sock.close()


YES: Final = {"imap": b"a OK", "pop": b"+OK", "smtp": b"235"}
NO: Final = {"imap": b"a NO", "pop": b"-ERR", "smtp": b"535"}


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    for client in Client.opened:
        client.close()
    Client.opened.clear()


@pytest.fixture
def connect(servers: Servers) -> Callable[[str], Client]:
    return partial(Client, servers)


def each(*, by: str) -> Any:
    """A test for each protocol, that begins with a login."""

    def login(client: Client, servers: Servers) -> str:
        token = servers.oauth.issue(USER)
        said = client.by_token(token) if by == "token" else client.by_password()
        assert said.startswith(YES[client.protocol])
        return token

    return pytest.mark.parametrize(("protocol", "login"), [pytest.param(each, login, id=each) for each in PROTOCOLS])


def told(why: str, protocol: str) -> bytes:
    text = TEXTS[why][PROTOCOLS.index(protocol)]
    return text.encode() + b"\r\n" if text else b""


# --- the clock


@each(by="token")
def test_a_session_ends_with_its_token_when_the_clock_is_moved(
    servers: Servers, connect: Callable[[str], Client], protocol: str, login: Any
) -> None:
    client = connect(protocol)
    login(client, servers)
    servers.clock.advance(minutes=29)
    assert client.noop().startswith((b"a OK", b"+OK", b"250"))
    servers.clock.advance(minutes=29)
    client.noop()
    assert client.waits()
    servers.clock.advance(minutes=2)
    assert client.told() == told("expired", protocol)
    assert client.rest() == ""


@each(by="password")
def test_a_session_by_password_goes_on_when_tokens_expire(
    servers: Servers, connect: Callable[[str], Client], protocol: str, login: Any
) -> None:
    client = connect(protocol)
    login(client, servers)
    for _ in range(100):
        servers.clock.advance(minutes=25)
        assert client.noop().startswith((b"a OK", b"+OK", b"250"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_by_password_ends_at_its_limit(protocol: str) -> None:
    settings = reference.Settings(policy=sasl.Policy(plaintext="loopback"), session=86_400, idle=90_000)
    with reference.running(settings=settings) as servers:
        client = Client(servers, protocol)
        client.by_password()
        servers.clock.advance(hours=23, minutes=59)
        assert client.waits()
        servers.clock.advance(minutes=1)
        assert client.told() == told("limit", protocol)


@each(by="password")
def test_a_session_that_says_nothing_ends_by_the_clock(
    servers: Servers, connect: Callable[[str], Client], protocol: str, login: Any
) -> None:
    client = connect(protocol)
    login(client, servers)
    servers.clock.advance(minutes=29)
    client.noop()
    servers.clock.advance(minutes=29)
    assert client.waits()
    servers.clock.advance(minutes=2)
    assert client.told() == told("late", protocol)
    assert client.rest() == ""


def test_who_is_not_logged_in_has_real_time(servers: Servers, connect: Callable[[str], Client]) -> None:
    client = connect("imap")
    servers.clock.advance(days=2)
    assert client.by_password().startswith(b"a OK")


def test_a_token_that_is_over_in_a_moment_ends_its_session_without_a_move(
    servers: Servers, connect: Callable[[str], Client]
) -> None:
    client = connect("imap")
    assert client.by_token(servers.oauth.issue(USER, 0.2)).startswith(b"a OK")
    assert client.rest() == "* BYE Session expired"


# --- revocation


@each(by="token")
def test_a_session_ends_when_its_token_is_revoked(
    servers: Servers, connect: Callable[[str], Client], protocol: str, login: Any
) -> None:
    client, other = connect(protocol), connect(protocol)
    token = login(client, servers)
    login(other, servers)
    servers.oauth.revoke(token)
    assert client.told() == told("revoked", protocol)
    assert client.rest() == ""
    assert other.waits()
    assert connect(protocol).by_token(token).startswith(NO[protocol])


def test_the_token_that_the_servers_have_from_the_beginning_can_be_revoked(
    servers: Servers, connect: Callable[[str], Client]
) -> None:
    client = connect("imap")
    client.by_token(servers.tokens["good"])
    servers.oauth.revoke(servers.tokens["good"])
    assert client.rest() == "* BYE Session ended, the login was revoked"


@pytest.mark.parametrize("whose", [None, "app", "another"])
def test_a_session_ends_when_the_consent_is_revoked(
    servers: Servers, connect: Callable[[str], Client], whose: str | None
) -> None:
    _, answer = servers.oauth.consent(USER, "app", MAIL)
    client, second = connect("imap"), connect("smtp")
    assert client.by_token(answer["access_token"]).startswith(b"a OK")
    assert second.by_token(answer["access_token"]).startswith(b"235")
    servers.oauth.revoke_consent(USER, whose)
    if whose == "another":
        assert client.waits()
        assert second.waits()
        return
    assert client.rest() == "* BYE Session ended, the login was revoked"
    assert second.rest() == "421 4.7.0 Session ended, the login was revoked"
    assert servers.oauth.state(answer["access_token"]) == "revoked"


def test_a_refresh_token_that_is_revoked_takes_the_sessions_of_its_access_tokens_along(
    servers: Servers, connect: Callable[[str], Client]
) -> None:
    _, answer = servers.oauth.consent(USER, "app", MAIL)
    client = connect("pop")
    client.by_token(answer["access_token"])
    servers.oauth.revoke(answer["refresh_token"])
    assert client.rest() == "-ERR [SYS/TEMP] Session ended, the login was revoked"


def test_a_command_that_goes_on_is_answered_before_the_session_ends(
    servers: Servers, connect: Callable[[str], Client]
) -> None:
    client = connect("smtp")
    token = servers.oauth.issue(USER)
    client.by_token(token)
    client.say(b"MAIL FROM:<a@example.org>")
    client.say(b"RCPT TO:<b@example.org>")
    assert client.say(b"DATA").startswith(b"354")
    servers.oauth.revoke(token)
    assert client.waits()
    assert client.say(b"Subject: x\r\n\r\nx\r\n.").startswith(b"250")
    assert client.rest() == "421 4.7.0 Session ended, the login was revoked"


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_client_that_idles_is_told_at_once(servers: Servers, connect: Callable[[str], Client], how: str) -> None:
    client = connect("imap")
    token = servers.oauth.issue(USER)
    client.by_token(token)
    client.say(b"a SELECT INBOX")
    assert client.say(b"a IDLE").startswith(b"+ ")
    if how == "revoked":
        servers.oauth.revoke(token)
    else:
        servers.clock.advance(hours=1)
    assert client.told() == told(how, "imap")
    assert client.rest() == ""


def test_a_command_that_comes_with_the_end_of_its_session_is_not_obeyed() -> None:
    async def main() -> tuple[bytes, int]:
        settings = reference.Settings(policy=sasl.Policy(plaintext="loopback"))
        async with reference.serving(settings=settings) as servers:
            servers.deliver(USER, b"Subject: x\n\nx\n")
            reader, writer = await asyncio.open_connection(servers.pop.host, servers.pop.port)
            token = servers.oauth.issue(USER)
            message = sasl.base64.encode(f"user={USER}\x01auth=Bearer {token}\x01\x01".encode())
            writer.write(b"AUTH XOAUTH2 %b\r\n" % message)
            assert [(await reader.readline())[:3] for _ in range(2)] == [b"+OK", b"+OK"]
            writer.write(b"DELE 1\r\nQUIT\r\n")
            servers.oauth.revoke(token)
            said = await reader.read()
            writer.close()
            return said, len(servers.mailbox(USER).messages)

    assert asyncio.run(main()) == (told("revoked", "pop"), 1)


# --- users


@each(by="password")
def test_a_user_who_is_disabled_is_put_out_and_kept_out(
    servers: Servers, connect: Callable[[str], Client], protocol: str, login: Any
) -> None:
    client = connect(protocol)
    token = login(client, servers)
    servers.disable(USER)
    assert client.told() == told("disabled", protocol)
    for said in (connect(protocol).by_password(), connect(protocol).by_token(token)):
        assert not said.startswith(YES[protocol])
    attempts = [session.attempts[0] for session in getattr(servers, protocol).sessions]
    assert [attempt.outcome for attempt in attempts] == ["accepted", "disabled", "disabled"]
    assert connect(protocol).by_password(password="guess").startswith(NO[protocol])
    assert getattr(servers, protocol).sessions[-1].attempts[0].outcome == "credentials"
    servers.enable(USER)
    assert connect(protocol).by_password().startswith(YES[protocol])


def test_a_user_who_is_disabled_gets_no_token(servers: Servers) -> None:
    info = servers.oauth.authorized_user(USER)
    form = {"grant_type": "refresh_token", **{name: info[name] for name in ("refresh_token", "client_id")}}
    form["client_secret"] = info["client_secret"]
    assert servers.oauth.grant(form, None)[0] == USER
    servers.disable(USER)
    with pytest.raises(Exception, match="invalid_grant"):
        servers.oauth.grant(form, None)
    servers.enable(USER)
    assert servers.oauth.grant(form, None)[0] == USER


def test_a_user_who_is_removed_by_another_spelling_leaves_no_mail() -> None:
    with reference.running() as servers:
        servers.add_user("IX", "nine")
        servers.deliver("\u2168", "Subject: hello\n\n")
        servers.remove_user("\u2168")
        servers.add_user("IX", "nine")
        assert servers.mailbox("IX").messages == ()


def test_a_user_can_be_added_and_removed(servers: Servers, connect: Callable[[str], Client]) -> None:
    assert connect("imap").by_password("bob", "secret").startswith(b"a NO")
    servers.add_user("bob", "secret")
    assert servers.users["bob"] == "secret"
    client, by_token = connect("imap"), connect("smtp")
    assert client.by_password("bob", "secret").startswith(b"a OK")
    token = servers.oauth.issue("bob")
    assert by_token.by_token(token, "bob").startswith(b"235")
    servers.deliver("bob", b"Subject: x\n\nx\n")
    servers.remove_user("bob")
    assert client.rest() == "* BYE Session ended, the login was revoked"
    assert by_token.rest() == "421 4.7.0 Session ended, the login was revoked"
    assert "bob" not in servers.users
    assert connect("imap").by_password("bob", "secret").startswith(b"a NO")
    servers.add_user("bob", "another")
    assert connect("imap").by_password("bob", "another").startswith(b"a OK")
    assert connect("imap").by_token(token, "bob").startswith(b"a NO")
    assert len(servers.mailbox("bob").messages) == 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_all_mechanisms_know_who_has_come_and_who_has_another_password(servers: Servers, mechanism: str) -> None:
    def can_log_in(user: str, password: str) -> bool:
        with imaplib.IMAP4(servers.imap.host, servers.imap.port, timeout=5) as conn:
            try:
                policy = sasl.Policy(plaintext="loopback")
                authenticate(conn, sasl.Password(user, password), mechanism=mechanism, policy=policy)
            except imaplib.IMAP4.error:
                return False
            return True

    assert can_log_in(USER, PASSWORD)  # keys are derived now
    servers.add_user("bob", "secret")
    assert can_log_in("bob", "secret")
    servers.set_password("bob", "changed")
    assert can_log_in("bob", "changed")
    assert not can_log_in("bob", "secret")
    servers.remove_user("bob")
    assert not can_log_in("bob", "changed")
    assert can_log_in(USER, PASSWORD)


@pytest.mark.parametrize("sign_out", [False, True])
def test_another_password_ends_sessions_only_where_it_signs_out(
    servers: Servers, connect: Callable[[str], Client], *, sign_out: bool
) -> None:
    by_password, by_token = connect("imap"), connect("pop")
    by_password.by_password()
    by_token.by_token(servers.oauth.issue(USER))
    servers.set_password(USER, "changed", sign_out=sign_out)
    if not sign_out:
        assert by_password.waits()
        assert by_token.waits()
        return
    assert by_password.rest() == "* BYE Session ended, the login was revoked"
    assert by_token.rest() == "-ERR [SYS/TEMP] Session ended, the login was revoked"
    again = connect("imap")
    assert again.by_password(password="changed").startswith(b"a OK")
    assert again.waits()


@pytest.mark.parametrize("persona", ["gmail", "microsoft365", "rfc"])
def test_another_password_ends_refresh_tokens_where_the_persona_says_so(persona: str) -> None:
    with reference.running(persona=persona) as servers:
        info = servers.oauth.authorized_user(USER)
        form = {name: info[name] for name in ("refresh_token", "client_id", "client_secret")}
        form["grant_type"] = "refresh_token"
        token = servers.oauth.grant(form, None)[1]["access_token"]
        client = Client(servers, "imap", tls=True)
        assert by_xoauth2(client, token).startswith(b"a OK")
        servers.set_password(USER, "changed")
        assert client.told() == b""
        assert servers.oauth.state(token) == "good"
        if persona == "rfc":
            assert servers.oauth.grant(form, None)[0] == USER
            return
        with pytest.raises(Exception, match="invalid_grant"):
            servers.oauth.grant(form, None)
        asking = servers.oauth.clients.find(info["client_id"])
        assert servers.oauth.introspect(asking, info["refresh_token"]) == {"active": False}


def test_users_who_are_not_there_and_users_who_are_there_cannot_be_changed_and_added(servers: Servers) -> None:
    for change in (servers.remove_user, servers.disable, servers.enable, lambda name: servers.set_password(name, "x")):
        with pytest.raises(sasl.UsageError, match="no such user: 'bob'"):
            change("bob")
    with pytest.raises(sasl.UsageError, match="there is a user"):
        servers.add_user(USER, "x")
    with pytest.raises(sasl.UsageError):
        servers.add_user("bob", "")
    assert "bob" not in servers.users


# --- scopes


@pytest.mark.parametrize(
    ("scope", "good"),
    [
        (MAIL, PROTOCOLS),
        ("openid mail", PROTOCOLS),
        ("openid email", ()),
        ("calendar", ()),
        ("https://outlook.office.com/IMAP.AccessAsUser.All offline_access", ("imap",)),
        ("https://outlook.office.com/POP.AccessAsUser.All https://outlook.office.com/SMTP.Send", ("pop", "smtp")),
        ("https://outlook.office365.com/.default", PROTOCOLS),
    ],
)
def test_a_token_opens_what_its_scope_is_for(
    servers: Servers, connect: Callable[[str], Client], scope: str, good: tuple[str, ...]
) -> None:
    token = servers.oauth.issue(USER, scope=scope)
    for protocol in PROTOCOLS:
        client = connect(protocol)
        said = client.by_token(token)
        if protocol in good:
            assert said.startswith(YES[protocol])
            assert client.session.misfit == ""
        else:
            assert not said.startswith(YES[protocol])
            assert client.session.attempts[0].outcome == "authorization"
            assert client.session.misfit == "wrong_scope"
            assert client.challenge["scope"] == MAIL


# --- personas


def by_xoauth2(client: Client, token: str) -> bytes:
    said = client.log_in("XOAUTH2", f"user={USER}\x01auth=Bearer {token}\x01\x01".encode())
    prompt = b"334 " if client.protocol == "smtp" else b"+ "
    return client.say(b"") if said.startswith(prompt) else said


@pytest.mark.parametrize("why", ["expired", "revoked"])
def test_gmail_says_at_once_that_a_session_is_over(why: str) -> None:
    with reference.running(persona="gmail") as servers:
        client = Client(servers, "imap", tls=True)
        token = servers.oauth.issue(USER)
        assert by_xoauth2(client, token).startswith(b"a OK")
        if why == "expired":
            servers.clock.advance(hours=1)
        else:
            servers.oauth.revoke(token)
        assert client.told() == b"* BYE Session expired, please login again.\r\n"


@pytest.mark.parametrize(("protocol", "hours"), [("imap", 24), ("pop", 7 * 24)])
def test_gmail_ends_a_session_by_password_at_its_limit(protocol: str, hours: int) -> None:
    with reference.running(persona="gmail", settings=reference.Settings(idle=10 * 86_400)) as servers:
        client = Client(servers, protocol, tls=True)
        assert client.by_password().startswith(YES[protocol])
        servers.clock.advance(hours=hours - 1)
        assert client.noop().startswith((b"a OK", b"+OK"))
        servers.clock.advance(hours=1)
        assert b"Session expired, please login again." in (client.told() or client.noop())


def test_exchange_says_it_as_the_answer_to_the_next_command() -> None:
    with reference.running(persona="microsoft365") as servers:
        client = Client(servers, "imap", tls=True)
        assert by_xoauth2(client, servers.oauth.issue(USER)).startswith(b"a OK")
        servers.clock.advance(hours=1)
        assert client.told() == b""
        client.sock.sendall(b"b NOOP\r\n")
        assert client.rest() == "* BYE Session invalidated - AccessTokenExpired"
        assert servers.imap.sessions[-1].transcript[-2][0] == "C"


def test_exchange_lets_a_token_of_another_scope_in_and_then_nowhere() -> None:
    with reference.running(persona="microsoft365") as servers:
        client = Client(servers, "imap", tls=True)
        token = servers.oauth.issue(USER, scope="https://outlook.office.com/SMTP.Send")
        assert by_xoauth2(client, token).startswith(b"a OK")
        assert (client.session.manner.half, client.session.identity) == ("wrong_scope", None)
        sender = Client(servers, "smtp", tls=True)
        assert by_xoauth2(sender, token).startswith(b"235")


# --- the authority and the servers are one


def ask(url: str, **form: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        body = answer.read()
        return answer.status, json.loads(body) if body else None


def test_revocation_and_introspection_over_http_and_mail_agree() -> None:
    pytest.importorskip("h11")
    settings = reference.Settings(policy=sasl.Policy(plaintext="loopback"))
    with reference.running(settings=settings, oauth=True) as servers:
        info = servers.oauth.authorized_user(USER)
        client = {name: info[name] for name in ("client_id", "client_secret")}
        _, tokens = ask(servers.oauth.url, grant_type="refresh_token", refresh_token=info["refresh_token"], **client)
        token = tokens["access_token"]
        mail = Client(servers, "imap")
        assert mail.by_token(token).startswith(b"a OK")
        introspect, revoke = f"{servers.oauth.issuer}/introspect", f"{servers.oauth.issuer}/revoke"
        assert ask(introspect, token=token, **client)[1]["active"] is True
        assert ask(introspect, token=servers.tokens["good"], **client)[1]["active"] is True
        servers.disable(USER)
        assert ask(introspect, token=token, **client)[1] == {"active": False}
        assert mail.rest() == "* BYE Session ended, the account is disabled"
        servers.enable(USER)
        mail = Client(servers, "imap")
        assert mail.by_token(token).startswith(b"a OK")
        assert ask(revoke, token=info["refresh_token"], **client)[0] == 200
        assert mail.told() == b"* BYE Session ended, the login was revoked\r\n"
        assert ask(introspect, token=token, **client)[1] == {"active": False}


def test_a_refresh_token_that_is_used_twice_ends_the_sessions_of_its_tokens() -> None:
    with reference.running(settings=reference.Settings(policy=sasl.Policy(plaintext="loopback"))) as servers:
        servers.oauth.rotates = True
        info = servers.oauth.authorized_user(USER)
        form = {name: info[name] for name in ("refresh_token", "client_id", "client_secret")}
        form["grant_type"] = "refresh_token"
        token = servers.oauth.grant(form, None)[1]["access_token"]
        client = Client(servers, "imap")
        assert client.by_token(token).startswith(b"a OK")
        with pytest.raises(Exception, match="invalid_grant"):
            servers.oauth.grant(form, None)
        assert client.told() == b"* BYE Session ended, the login was revoked\r\n"


def test_an_endpoint_of_its_own_ends_sessions_too() -> None:
    from sasl.adapters.reference import token_endpoint

    pytest.importorskip("h11")
    settings = reference.Settings(policy=sasl.Policy(plaintext="loopback"))
    with (
        token_endpoint.running() as endpoint,
        reference.running(settings=settings, checks=endpoint.checks) as servers,
    ):
        client, other = Client(servers, "imap"), Client(servers, "imap")
        token = endpoint.issue(USER)
        client.by_token(token)
        other.by_token(servers.oauth.issue(USER))
        endpoint.revoke(token)
        assert client.told() == b"* BYE Session ended, the login was revoked\r\n"
        assert other.waits()
        servers.oauth.revoke_consent(USER)
        assert other.told() == b"* BYE Session ended, the login was revoked\r\n"


def test_a_conversation_keeps_no_token(servers: Servers, connect: Callable[[str], Client]) -> None:
    token = servers.oauth.issue(USER)
    client = connect("imap")
    client.by_token(token)

    def texts(thing: object, depth: int) -> Iterator[str]:
        yield repr(thing)
        for each in vars(thing).values() if hasattr(thing, "__dict__") and depth else ():
            yield from texts(each, depth - 1)

    session = client.session
    assert not any(token in text for text in texts(session._lifetime, 2))
    assert not any(token in repr(each) for each in vars(session).values())
    assert servers.oauth.standing(session._lifetime.login.token) is not None


def test_all_goes_the_same_way_in_one_event_loop() -> None:
    async def main() -> bytes:
        async with reference.serving(settings=reference.Settings(policy=sasl.Policy(plaintext="loopback"))) as servers:
            reader, writer = await asyncio.open_connection(servers.imap.host, servers.imap.port)
            await reader.readline()
            message = sasl.base64.encode(f"user={USER}\x01auth=Bearer {servers.oauth.issue(USER)}\x01\x01".encode())
            writer.write(b"a AUTHENTICATE XOAUTH2 %b\r\n" % message)
            assert (await reader.readline()).startswith(b"a OK")
            servers.clock.advance(hours=1)
            assert servers.imap.sessions[-1].transcript[-1] == ("S", "* BYE Session expired")
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(main()) == b"* BYE Session expired\r\n"
