"""GNU SASL as the other side: our clients at its servers, its clients at our servers, for every mechanism of both."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import OpenSSL.SSL
import pytest
import trustme

import sasl
from sasl.adapters.channel_binding import bindings
from sasl.mechanisms.scram import KeyCache
from sasl.prep import saslprep

from .gsasl import GsaslError

if TYPE_CHECKING:
    from .gsasl import Answers, Gsasl, Session

SCRAM = ("SCRAM-SHA-1", "SCRAM-SHA-256")
PLUS = tuple(f"{name}-PLUS" for name in SCRAM)
HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
PASSWORD = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", *SCRAM, *PLUS)
WITH_AUTHZID = ("PLAIN", "DIGEST-MD5", *SCRAM, *PLUS)

EXPORTER = {"tls-exporter": bytes(range(32))}
UNIQUE = {"tls-unique": b"\0finished\xff"}
END_POINT = {"tls-server-end-point": b"#" * 32}

ACCOUNTS = {
    "ascii": ("alice", "wonderland"),
    "address": ("alice@example.org", " a password with blanks "),
    "comma and equals sign": ("a,b=c", "p,=w"),
    "what looks escaped": ("=2C=3D", "=2C"),
    "quotes and backslashes": ('a"b\\c', 'p"w\\'),
    "latin 1 name": ("j\u00f6rg", "wonderland"),
    "latin 1 password": ("alice", "p\u00e4ssw\u00f6rd"),
    "beyond latin 1": ("\u30e6\u30fc\u30b6\u30fc", "p\u00e4ss \u20ac \u2603"),
    "beyond the basic plane": ("\U00010400", "\U0001d11e"),
    "right to left": ("\u0645\u0631\u064a\u0645", "\u0643\u0644\u0645\u0629"),
    "compatible": ("\ufb01ona", "\u2168 \u00aa \u212b"),
    "not composed": ("zoe\u0308 \u20ac", "e\u0301 \u20ac"),
    "other blanks": ("a\u3000b", "c\u2003d"),
    "what is dropped": ("al\u00adice \u20ac", "won\u00adder\u200dland\ufe0f"),
}
OTHERWISE_IN_DIGEST_MD5 = ("quotes and backslashes", "latin 1 name")  # see the last tests
accounts = pytest.mark.parametrize(("authcid", "password"), ACCOUNTS.values(), ids=ACCOUNTS)
success_data = pytest.mark.parametrize("success_data", [True, False], ids=["with success", "as a challenge"])


# --- how the two sides talk


Wire = Callable[[bytes | None], bytes | None]


def as_it_is(message: bytes | None) -> bytes | None:
    return message


def login_there(
    client: sasl.ClientExchange,
    server: Session,
    *,
    success_data: bool = True,
    defer: bool = False,
    wire: Wire = as_it_is,
) -> None:
    """Log in to GNU SASL. Raises what our client raises.

    `success_data`: whether the last data goes along with the yes. `defer`: whether the initial response waits.
    `wire` carries each message.
    """
    message = client.start()
    if defer:
        client.defer()
        message = None
    try:
        answer = wire(server.step(wire(message)))
        while not server.done:
            answer = wire(server.step(wire(client.respond(answer or b""))))
    except GsaslError as error:
        raise client.fail(str(error)) from None
    if answer is not None and not success_data:
        assert client.respond(answer) == b""
        answer = None
    client.succeed(answer)


def login_here(
    client: Session,
    server: sasl.ServerExchange,
    verifier: sasl.Verifier,
    *,
    defer: bool = False,
    wire: Wire = as_it_is,
) -> sasl.Success | sasl.Failure:
    """Let GNU SASL log in, and give the server's last event. Raises GsaslError where the client refuses the server."""
    first = sasl.lookup(server.name).client_first and not defer
    event = sasl.settle(server, server.start(wire(client.step(None)) if first else None), verifier)
    while isinstance(event, sasl.Challenge):
        response = wire(client.step(wire(event.data)))
        event = sasl.settle(server, server.receive(response or b""), verifier)
    assert isinstance(event, sasl.Success | sasl.Failure)
    if isinstance(event, sasl.Success) and event.data is not None:
        assert not client.step(wire(event.data))
    assert not isinstance(event, sasl.Success) or client.done, "our server is content, and its client wants more"
    return event


def answers(authcid: str, password: str, channel: sasl.Channel, authzid: str | None = None) -> Answers:
    """What a client of GNU SASL knows."""
    known: dict[str, Any] = {
        "authid": authcid,
        "password": password,
        "service": channel.service,
        "hostname": channel.host,
    }
    return known | ({"authzid": authzid} if authzid is not None else {}) | bound(channel.bindings)


def directory(authcid: str, password: str, channel: sasl.Channel, more: Mapping[str, Any] | None = None) -> Answers:
    """What a server of GNU SASL knows: one user, by the name as it was given or prepared."""
    names = (authcid, saslprep(authcid))
    looked_up: dict[str, Any] = {"password": lambda session: password if session["authid"] in names else None}
    return looked_up | bound(channel.bindings) | dict(more or {})


def bound(data: Mapping[str, bytes]) -> dict[str, Any]:
    return {f"cb_{kind.replace('-', '_')}": base64.b64encode(octets).decode("ascii") for kind, octets in data.items()}


def verifier_of(authcid: str, password: str, *, may_act_as: tuple[str, ...] = ()) -> sasl.Verifier:
    """What our server knows: the same user, and whom that may act as."""
    names = (authcid, saslprep(authcid))

    def verify(question: sasl.Question) -> Any:
        match question:
            case sasl.CheckPassword(name, secret):
                right = name in names and secret in (sasl.Secret(password), sasl.Secret(saslprep(password)))
                return sasl.Accepted(name) if right else sasl.Rejected("wrong password")
            case sasl.FindSecret(name):
                return sasl.Record(name, password) if name in names else None
            case sasl.FindKeys(name, hash_name):
                return sasl.Record(name, sasl.ScramKeys.derive(password, hash_name)) if name in names else None
            case sasl.Authorize(_, str(authzid)) if authzid in may_act_as:
                return sasl.Accepted(authzid)
        return NotImplemented

    return verify


def account_of(name: str, mechanism: str) -> tuple[str, str]:
    """Return user name and password. Of names that GNU SASL's DIGEST-MD5 does otherwise, one that it does not."""
    authcid, password = ACCOUNTS[name]
    return ("alice" if mechanism == "DIGEST-MD5" and name in OTHERWISE_IN_DIGEST_MD5 else authcid), password


def channel_for(mechanism: str, data: Mapping[str, bytes] | None = None) -> sasl.Channel:
    if data is None:
        data = EXPORTER if mechanism.endswith("-PLUS") else {}
    return sasl.Channel(tls=True, service="imap", host="mail.example.org", bindings=data)


def ways(*mechanisms: str) -> Any:
    """Each mechanism with its initial response, and without where it has one."""
    return pytest.mark.parametrize(
        ("mechanism", "defer"),
        [
            pytest.param(name, defer, id=f"{name}{' deferred' * defer}")
            for name in mechanisms
            for defer in (False, True)
            if not defer or sasl.lookup(name).client_first
        ],
    )


# --- every mechanism


@pytest.mark.parametrize("side", ["client", "server"])
def test_every_mechanism_of_both_is_tested_here(gsasl: Gsasl, side: str) -> None:
    ours = {row.name for row in sasl.known_mechanisms()}
    assert ours & set(gsasl.mechanisms(side)) == {*PASSWORD, "EXTERNAL", "ANONYMOUS"}


@success_data
@ways(*PASSWORD)
@pytest.mark.parametrize("account", ACCOUNTS)
def test_our_client_logs_in_there(gsasl: Gsasl, mechanism: str, account: str, defer: bool, success_data: bool) -> None:
    authcid, password = account_of(account, mechanism)
    channel = channel_for(mechanism)
    client = sasl.client(mechanism, sasl.Password(authcid, password), channel=channel)
    with gsasl.server(mechanism, directory(authcid, password, channel)) as server:
        login_there(client, server, success_data=success_data, defer=defer)
        assert server["authid"] in (authcid, saslprep(authcid))
    assert client.state is sasl.State.DONE


@success_data
@ways(*PASSWORD)
@pytest.mark.parametrize("account", ACCOUNTS)
def test_its_client_logs_in_here(gsasl: Gsasl, mechanism: str, account: str, defer: bool, success_data: bool) -> None:
    authcid, password = account_of(account, mechanism)
    channel = channel_for(mechanism)
    server = sasl.server(mechanism, channel=channel, success_data=success_data)
    with gsasl.client(mechanism, answers(authcid, password, channel)) as client:
        event = login_here(client, server, verifier_of(authcid, password), defer=defer)
    assert isinstance(event, sasl.Success), event
    assert event.identity in (authcid, saslprep(authcid))


WRONG = {"wrong password": ("alice", "looking-glass"), "unknown user": ("bob", "wonderland")}
wrong = pytest.mark.parametrize(("authcid", "password"), WRONG.values(), ids=WRONG)


@wrong
@pytest.mark.parametrize("mechanism", PASSWORD)
def test_its_server_refuses_our_client(gsasl: Gsasl, mechanism: str, authcid: str, password: str) -> None:
    channel = channel_for(mechanism)
    client = sasl.client(mechanism, sasl.Password(authcid, password), channel=channel)
    with gsasl.server(mechanism, directory("alice", "wonderland", channel)) as server:
        with pytest.raises(sasl.AuthenticationFailed, match=r"AUTHENTICATION_ERROR|NO_PASSWORD"):
            login_there(client, server)
        assert not server.done


@wrong
@pytest.mark.parametrize("mechanism", PASSWORD)
def test_our_server_refuses_its_client(gsasl: Gsasl, mechanism: str, authcid: str, password: str) -> None:
    channel = channel_for(mechanism)
    server = sasl.server(mechanism, channel=channel)
    with gsasl.client(mechanism, answers(authcid, password, channel)) as client:
        event = login_here(client, server, verifier_of("alice", "wonderland"))
    assert isinstance(event, sasl.Failure)
    assert event.kind == "credentials"


AUTHZIDS = ("bob", "b,o=b", "j\u00f6rg", "\u30e6\u30fc\u30b6\u30fc")


@pytest.mark.parametrize("authzid", AUTHZIDS)
@pytest.mark.parametrize("mechanism", WITH_AUTHZID)
def test_our_client_says_there_whom_to_act_as(gsasl: Gsasl, mechanism: str, authzid: str) -> None:
    channel = channel_for(mechanism)
    client = sasl.client(mechanism, sasl.Password("alice", "wonderland", authzid=authzid), channel=channel)
    with gsasl.server(mechanism, directory("alice", "wonderland", channel)) as server:
        login_there(client, server)
        assert (server["authid"], server["authzid"]) == ("alice", authzid)


@pytest.mark.parametrize("authzid", AUTHZIDS)
@pytest.mark.parametrize("mechanism", WITH_AUTHZID)
def test_its_client_says_here_whom_to_act_as(gsasl: Gsasl, mechanism: str, authzid: str) -> None:
    channel = channel_for(mechanism)
    server = sasl.server(mechanism, channel=channel, success_data=True)
    with gsasl.client(mechanism, answers("alice", "wonderland", channel, authzid)) as client:
        event = login_here(client, server, verifier_of("alice", "wonderland", may_act_as=AUTHZIDS))
    assert isinstance(event, sasl.Success), event
    assert (event.authcid, event.identity) == ("alice", authzid)


@pytest.mark.parametrize("mechanism", WITH_AUTHZID)
def test_its_client_may_not_act_here_as_somebody_else(gsasl: Gsasl, mechanism: str) -> None:
    channel = channel_for(mechanism)
    server = sasl.server(mechanism, channel=channel)
    with gsasl.client(mechanism, answers("alice", "wonderland", channel, "bob")) as client:
        event = login_here(client, server, verifier_of("alice", "wonderland"))
    assert isinstance(event, sasl.Failure)
    assert event.kind == "authorization"


# --- EXTERNAL and ANONYMOUS


external = pytest.mark.parametrize("authzid", [None, "bob", "j\u00f6rg, b=c"])


@pytest.mark.parametrize("granted", [True, False])
@ways("EXTERNAL")
@external
def test_its_server_is_told_whom_the_certificate_acts_as(
    gsasl: Gsasl, mechanism: str, defer: bool, authzid: str | None, granted: bool
) -> None:
    client = sasl.client(mechanism, sasl.External(authzid))
    with gsasl.server(mechanism, {"validate_external": granted}) as server:
        if granted:
            login_there(client, server, defer=defer)
        else:
            with pytest.raises(sasl.AuthenticationFailed, match="AUTHENTICATION_ERROR"):
                login_there(client, server, defer=defer)
        assert server["authzid"] == authzid


@pytest.mark.parametrize("granted", [True, False])
@ways("EXTERNAL")
@external
def test_our_server_is_told_whom_the_certificate_acts_as(
    gsasl: Gsasl, mechanism: str, defer: bool, authzid: str | None, granted: bool
) -> None:
    def verify(question: sasl.Question) -> Any:
        if isinstance(question, sasl.Authorize):
            return sasl.Accepted(question.authzid or question.identity)
        assert question == sasl.CheckCertificate(b"DER", authzid)
        return sasl.Accepted("alice") if granted else sasl.Rejected("nobody")

    server = sasl.server(mechanism, certificate=b"DER")
    with gsasl.client(mechanism, {"authzid": authzid}) as client:
        event = login_here(client, server, verify, defer=defer)
    if granted:
        assert event == sasl.Success(authzid or "alice", "alice")
    else:
        assert event == sasl.Failure("credentials", "nobody")


anonymous = pytest.mark.parametrize("trace", ["a", "alice@example.org", "\u30e6\u30fc\u30b6\u30fc", "\u20ac" * 255])


@ways("ANONYMOUS")
@anonymous
def test_our_client_leaves_its_trace_there(gsasl: Gsasl, mechanism: str, defer: bool, trace: str) -> None:
    client = sasl.client(mechanism, sasl.Anonymous(trace))
    with gsasl.server(mechanism, {"validate_anonymous": True}) as server:
        login_there(client, server, defer=defer)
        assert server["anonymous_token"] == trace


@ways("ANONYMOUS")
@anonymous
def test_its_client_leaves_its_trace_here(gsasl: Gsasl, mechanism: str, defer: bool, trace: str) -> None:
    def verify(question: sasl.Question) -> Any:
        if isinstance(question, sasl.Authorize):
            return NotImplemented
        assert question == sasl.CheckAnonymous(trace)
        return sasl.Accepted("anonymous")

    with gsasl.client(mechanism, {"anonymous_token": trace}) as client:
        event = login_here(client, sasl.server(mechanism), verify, defer=defer)
    assert event == sasl.Success("anonymous", "anonymous")


def test_an_anonymous_client_may_be_turned_away_by_either_server(gsasl: Gsasl) -> None:
    with (
        gsasl.server("ANONYMOUS", {"validate_anonymous": False}) as server,
        pytest.raises(sasl.AuthenticationFailed, match="AUTHENTICATION_ERROR"),
    ):
        login_there(sasl.client("ANONYMOUS", sasl.Anonymous("alice")), server)
    with gsasl.client("ANONYMOUS", {"anonymous_token": "alice"}) as client:
        event = login_here(client, sasl.server("ANONYMOUS"), lambda _: sasl.Rejected("closed"))
    assert event == sasl.Failure("credentials", "closed")


def test_a_trace_of_nothing_is_refused_by_its_server_only(gsasl: Gsasl) -> None:
    """RFC 4505 section 2 has the message optional; GNU SASL wants one."""
    with (
        gsasl.server("ANONYMOUS", {"validate_anonymous": True}) as server,
        pytest.raises(sasl.AuthenticationFailed, match="MECHANISM_PARSE_ERROR"),
    ):
        login_there(sasl.client("ANONYMOUS", sasl.Anonymous()), server)
    with gsasl.client("ANONYMOUS", {"anonymous_token": ""}) as client:
        event = login_here(client, sasl.server("ANONYMOUS"), lambda _: sasl.Accepted("anonymous"))
    assert isinstance(event, sasl.Success)


# --- channel binding: what the client has, what the server has, and under which name they meet

CHANGED = {"tls-exporter": b"another connection".ljust(32)}
MATRIX = {
    "both have tls-exporter": (True, EXPORTER, EXPORTER, True),
    "both have tls-unique": (True, UNIQUE, UNIQUE, True),
    "both have both": (True, EXPORTER | UNIQUE, UNIQUE | EXPORTER, True),
    "the server has more": (True, UNIQUE, EXPORTER | UNIQUE, True),
    "two connections": (True, EXPORTER, CHANGED, False),
    "two connections, tls-unique": (True, UNIQUE, {"tls-unique": b"\0finished\xfe"}, False),
    "data cut off": (True, EXPORTER, {"tls-exporter": EXPORTER["tls-exporter"][:-1]}, False),
    "the server lacks the type": (True, EXPORTER, UNIQUE, False),
    "the server has none": (True, EXPORTER, {}, False),
    "nobody has any": (False, {}, {}, True),
    "only the server has some": (False, {}, EXPORTER, True),
}
STRIPPED = {
    "only the client has some": (False, EXPORTER, {}, True),
    "somebody took -PLUS out of the list": (False, EXPORTER, EXPORTER, False),
    "somebody took -PLUS out of the list, tls-unique": (False, UNIQUE, UNIQUE, False),
    "an unknown type": (True, END_POINT, EXPORTER | UNIQUE, False),
}
Data = Mapping[str, bytes]


def matrix(rows: Mapping[str, tuple[bool, Data, Data, bool]]) -> Any:
    return pytest.mark.parametrize(("plus", "at_client", "at_server", "good"), rows.values(), ids=rows)


@matrix(MATRIX | STRIPPED)
@pytest.mark.parametrize("mechanism", SCRAM)
def test_its_server_checks_what_our_client_binds_to(
    gsasl: Gsasl, mechanism: str, *, plus: bool, at_client: Data, at_server: Data, good: bool
) -> None:
    mechanism += "-PLUS" * plus
    client = sasl.client(mechanism, sasl.Password("alice", "wonderland"), channel=channel_for(mechanism, at_client))
    with gsasl.server(mechanism, directory("alice", "wonderland", channel_for(mechanism, at_server))) as server:
        if good:
            login_there(client, server)
        else:
            with pytest.raises(sasl.AuthenticationFailed, match=r"AUTHENTICATION_ERROR|NO_CB_TLS"):
                login_there(client, server)


@matrix(MATRIX)
@pytest.mark.parametrize("mechanism", SCRAM)
def test_our_server_checks_what_its_client_binds_to(
    gsasl: Gsasl, mechanism: str, *, plus: bool, at_client: Data, at_server: Data, good: bool
) -> None:
    mechanism += "-PLUS" * plus
    server = sasl.server(mechanism, channel=channel_for(mechanism, at_server))
    with gsasl.client(mechanism, answers("alice", "wonderland", channel_for(mechanism, at_client))) as client:
        if good:
            event = login_here(client, server, verifier_of("alice", "wonderland"))
            assert isinstance(event, sasl.Success), event
            return
        with pytest.raises(GsaslError, match="MECHANISM_PARSE_ERROR"):  # what it says of e= (RFC 5802 section 7)
            login_here(client, server, verifier_of("alice", "wonderland"))
    failure = server.cancel()
    assert failure.kind == "policy"
    assert "channel-binding" in failure.reason


@pytest.mark.parametrize("ours", ["client", "server"])
@pytest.mark.parametrize(("kind", "library"), [("tls-unique", "ssl"), ("tls-exporter", "pyOpenSSL")])
@pytest.mark.parametrize("mechanism", PLUS)
def test_both_bind_to_a_real_connection(gsasl: Gsasl, mechanism: str, kind: str, library: str, ours: str) -> None:
    at_client, at_server = stdlib_connection() if library == "ssl" else pyopenssl_connection()
    mine = bindings(at_client if ours == "client" else at_server, server_side=ours == "server")
    assert next(iter(mine)) == kind
    theirs = taken_by_hand(at_server if ours == "client" else at_client)
    if ours == "client":
        credentials = sasl.Password("alice", "wonderland")
        client = sasl.client(mechanism, credentials, channel=channel_for(mechanism, mine))
        known = directory("alice", "wonderland", channel_for(mechanism, {kind: theirs}))
        with gsasl.server(mechanism, known) as server:
            login_there(client, server)
    else:
        known = answers("alice", "wonderland", channel_for(mechanism, {kind: theirs}))
        with gsasl.client(mechanism, known) as its_client:
            our_server = sasl.server(mechanism, channel=channel_for(mechanism, mine))
            event = login_here(its_client, our_server, verifier_of("alice", "wonderland"))
        assert isinstance(event, sasl.Success), event


def taken_by_hand(connection: ssl.SSLObject | OpenSSL.SSL.Connection) -> bytes:
    """What GNU SASL's own program takes from GnuTLS."""
    if isinstance(connection, OpenSSL.SSL.Connection):
        return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    data = connection.get_channel_binding("tls-unique")
    assert data is not None
    return data


def stdlib_connection() -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection of TLS 1.2, in memory."""
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("mail.example.org").configure_cert(server)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(downwards, upwards, server_hostname="mail.example.org"),
        server.wrap_bio(upwards, downwards, server_side=True),
    )
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return ends


def pyopenssl_connection() -> tuple[OpenSSL.SSL.Connection, OpenSSL.SSL.Connection]:
    """Both ends of a connection of TLS 1.3, in memory."""
    context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
    context.set_min_proto_version(OpenSSL.SSL.TLS1_3_VERSION)
    trustme.CA().issue_cert("mail.example.org").configure_cert(context)
    client, server = (OpenSSL.SSL.Connection(context) for _ in range(2))
    client.set_connect_state()
    server.set_accept_state()
    waiting = [(client, server), (server, client)]
    while waiting:
        end, peer = waiting.pop(0)
        try:
            end.do_handshake()
        except OpenSSL.SSL.WantReadError:
            waiting.append((end, peer))
        try:
            peer.bio_write(end.bio_read(65_536))
        except OpenSSL.SSL.WantReadError:
            pass
    return client, server


# --- stored keys, and who knows what


def stored(keys: sasl.ScramKeys) -> dict[str, Any]:
    octets = {"scram_salt": keys.salt, "scram_storedkey": keys.stored_key, "scram_serverkey": keys.server_key}
    texts: dict[str, Any] = {name: base64.b64encode(value).decode("ascii") for name, value in octets.items()}
    return texts | {"scram_iter": str(keys.iterations)}


@pytest.mark.parametrize("iterations", [4_096, 10_000])
@pytest.mark.parametrize("mechanism", SCRAM)
@accounts
def test_our_keys_serve_its_server(gsasl: Gsasl, mechanism: str, authcid: str, password: str, iterations: int) -> None:
    keys = sasl.ScramKeys.derive(password, HASHES[mechanism], iterations=iterations)
    with (
        gsasl.server(mechanism, stored(keys)) as server,
        gsasl.client(mechanism, answers(authcid, password, sasl.Channel())) as its_client,
    ):
        login_there(sasl.client(mechanism, sasl.Password(authcid, password)), server)
        event = login_here(
            its_client, sasl.server(mechanism), lambda q: sasl.Record("it", keys) if q.lookup else NotImplemented
        )
    assert isinstance(event, sasl.Success), event


@pytest.mark.parametrize("mechanism", SCRAM)
@accounts
def test_its_keys_are_ours(gsasl: Gsasl, mechanism: str, authcid: str, password: str) -> None:
    hash_name = HASHES[mechanism]
    ours = sasl.ScramKeys.derive(password, hash_name, salt=b"some salt", iterations=4_242)
    stored_key, server_key = gsasl.scram_keys(hash_name, password, b"some salt", 4_242)
    assert ours == sasl.ScramKeys(hash_name, b"some salt", 4_242, stored_key, server_key)


@pytest.mark.parametrize("mechanism", SCRAM)
def test_the_keys_that_its_server_makes_can_be_kept(gsasl: Gsasl, mechanism: str) -> None:
    channel = channel_for(mechanism)
    with gsasl.server(mechanism, directory("alice", "wonderland", channel)) as server:
        login_there(sasl.client(mechanism, sasl.Password("alice", "wonderland")), server)
        fields = ",".join(
            server[name] or "" for name in ("scram_iter", "scram_salt", "scram_storedkey", "scram_serverkey")
        )
    keys = sasl.ScramKeys.parse(f"{{{mechanism}}}{fields}")
    assert keys.verifies("wonderland")
    assert not keys.verifies("looking-glass")


def half_known(mechanism: str) -> sasl.ScramKeys:
    """What somebody has who stole the StoredKey, and pretends to be the server."""
    keys = sasl.ScramKeys.derive("wonderland", HASHES[mechanism])
    return sasl.ScramKeys(keys.hash, keys.salt, keys.iterations, keys.stored_key, bytes(len(keys.server_key)))


@success_data
@pytest.mark.parametrize("mechanism", SCRAM)
def test_our_client_notices_that_its_server_knows_no_password(gsasl: Gsasl, mechanism: str, success_data: bool) -> None:
    client = sasl.client(mechanism, sasl.Password("alice", "wonderland"))
    with gsasl.server(mechanism, stored(half_known(mechanism))) as server:
        with pytest.raises(sasl.ServerNotProven):
            login_there(client, server, success_data=success_data)
        assert server.done


@success_data
@pytest.mark.parametrize("mechanism", SCRAM)
def test_its_client_notices_that_our_server_knows_no_password(gsasl: Gsasl, mechanism: str, success_data: bool) -> None:
    record = sasl.Record("alice", half_known(mechanism))
    server = sasl.server(mechanism, success_data=success_data)
    with gsasl.client(mechanism, answers("alice", "wonderland", sasl.Channel())) as client:
        with pytest.raises(GsaslError, match="AUTHENTICATION_ERROR"):
            login_here(client, server, lambda question: record if question.lookup else NotImplemented)
        assert not client.done


@pytest.mark.parametrize("iterations", [1, 4_095, 600_001])
def test_our_client_refuses_its_server_that_makes_the_password_cheap_or_the_login_dear(
    gsasl: Gsasl, iterations: int
) -> None:
    client = sasl.client("SCRAM-SHA-256", sasl.Password("alice", "wonderland"))
    known = directory("alice", "wonderland", sasl.Channel(), {"scram_iter": str(iterations)})
    with gsasl.server("SCRAM-SHA-256", known) as server, pytest.raises(sasl.PolicyViolation):
        login_there(client, server)


@pytest.mark.parametrize("mechanism", SCRAM)
def test_our_client_logs_in_there_with_keys_that_it_kept(gsasl: Gsasl, mechanism: str) -> None:
    channel, kept = channel_for(mechanism), KeyCache()
    salt = {"scram_salt": base64.b64encode(b"always the same").decode("ascii")}
    for _ in range(2):
        client = sasl.client(mechanism, sasl.Password("alice", "wonderland"), channel=channel, keys=kept)
        with gsasl.server(mechanism, directory("alice", "wonderland", channel, salt)) as server:
            login_there(client, server)
    assert len(kept) == 1


# --- somebody in between


class Changing:
    """A wire that changes one bit of one octet, counted over all messages.

    The bit is the one that tells "A" from "a". A lower one may be one of those at the end of base64 that mean nothing,
    and GNU SASL does not look at these.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.left = place

    def __call__(self, message: bytes | None) -> bytes | None:
        size = len(message or b"")
        place, self.left = self.left, self.left - size
        if message is None or not 0 <= place < size:
            return message
        return message[:place] + bytes([message[place] ^ 0x20]) + message[place + 1 :]

    @property
    def changed(self) -> bool:
        return self.left < 0


def changing() -> Iterator[Changing]:
    """Yield wires until one has nothing left to change."""
    for place in count():
        wire = Changing(place)
        yield wire
        if not wire.changed:
            return


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_no_login_there_survives_a_changed_bit(gsasl: Gsasl, mechanism: str) -> None:
    channel, kept = channel_for(mechanism), KeyCache()
    keys = sasl.ScramKeys.derive("wonderland")
    for wire in changing():
        client = sasl.client(mechanism, sasl.Password("alice", "wonderland"), channel=channel, keys=kept)
        with gsasl.server(mechanism, {**stored(keys), **bound(channel.bindings)}) as server:
            try:
                login_there(client, server, wire=wire)
            except sasl.SASLError:
                assert wire.changed
            else:
                assert not wire.changed, f"octet {wire.place}"
    assert wire.place > 200


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_no_login_here_survives_a_changed_bit(gsasl: Gsasl, mechanism: str) -> None:
    channel = channel_for(mechanism)
    record = sasl.Record("alice", sasl.ScramKeys.derive("wonderland"))
    for wire in changing():
        server = sasl.server(mechanism, channel=channel)
        with gsasl.client(mechanism, answers("alice", "wonderland", channel)) as client:
            try:
                event = login_here(client, server, lambda q: record if q.lookup else NotImplemented, wire=wire)
            except GsaslError:
                assert wire.changed
            else:
                assert isinstance(event, sasl.Success) is not wire.changed, f"octet {wire.place}: {event}"
    assert wire.place > 200


# --- DIGEST-MD5


@pytest.mark.parametrize("realm", ["example.org", "realm \u20ac"])
def test_our_client_takes_the_realm_that_its_server_offers(gsasl: Gsasl, realm: str) -> None:
    channel = channel_for("DIGEST-MD5")
    client = sasl.client("DIGEST-MD5", sasl.Password("alice", "wonderland"), channel=channel)
    with gsasl.server("DIGEST-MD5", directory("alice", "wonderland", channel, {"realm": realm})) as server:
        login_there(client, server)
        assert server["realm"] == realm


@pytest.mark.parametrize("realm", ["example.org", "realm \u20ac"])
def test_its_client_takes_the_realm_that_our_server_offers(gsasl: Gsasl, realm: str) -> None:
    channel = channel_for("DIGEST-MD5")
    server = sasl.server("DIGEST-MD5", channel=channel, realm=realm)
    asked: list[sasl.Question] = []

    def verify(question: sasl.Question) -> Any:
        asked.append(question)
        return verifier_of("alice", "wonderland")(question)

    with gsasl.client("DIGEST-MD5", answers("alice", "wonderland", channel)) as client:
        event = login_here(client, server, verify)
    assert isinstance(event, sasl.Success), event
    assert asked[0] == sasl.FindSecret("alice", "DIGEST-MD5", realm)


@pytest.mark.parametrize(("name", "value"), [("service", "smtp"), ("hostname", "other.example.org")])
def test_its_client_that_means_another_server_is_refused(gsasl: Gsasl, name: str, value: str) -> None:
    channel = channel_for("DIGEST-MD5")
    server = sasl.server("DIGEST-MD5", channel=channel)
    known: Any = dict(answers("alice", "wonderland", channel)) | {name: value}
    with gsasl.client("DIGEST-MD5", known) as client:
        event = login_here(client, server, verifier_of("alice", "wonderland"))
    assert isinstance(event, sasl.Failure)
    assert event.kind == "credentials"


# --- where GNU SASL does otherwise


@pytest.mark.parametrize("data", [EXPORTER, UNIQUE], ids=lambda data: next(iter(data)))
@pytest.mark.parametrize("mechanism", SCRAM)
def test_its_client_that_could_bind_does_not_log_in_without(gsasl: Gsasl, mechanism: str, data: Data) -> None:
    """RFC 5801 section 5 has "y" for it; GNU SASL refuses before it sends anything."""
    with (
        gsasl.client(mechanism, answers("alice", "wonderland", channel_for(mechanism, data))) as client,
        pytest.raises(GsaslError, match="AUTHENTICATION_ERROR"),
    ):
        client.step(None)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_quoted_name_is_not_escaped_in_its_digest_md5(gsasl: Gsasl, side: str) -> None:
    """RFC 2831 section 7.2 wants a backslash before quotes and backslashes; both servers refuse what comes of it."""
    channel = channel_for("DIGEST-MD5")
    if side == "client":
        known = answers('"bob"', "wonderland", channel)
        with gsasl.client("DIGEST-MD5", known) as its_client:
            event = login_here(
                its_client, sasl.server("DIGEST-MD5", channel=channel), verifier_of('"bob"', "wonderland")
            )
        assert isinstance(event, sasl.Failure)
        assert event.kind == "malformed"
    else:
        client = sasl.client("DIGEST-MD5", sasl.Password('"bob"', "wonderland"), channel=channel)
        with (
            gsasl.server("DIGEST-MD5", directory('"bob"', "wonderland", channel)) as server,
            pytest.raises(sasl.AuthenticationFailed),
        ):
            login_there(client, server)


def test_a_quoted_realm_of_its_server_is_malformed(gsasl: Gsasl) -> None:
    channel = channel_for("DIGEST-MD5")
    client = sasl.client("DIGEST-MD5", sasl.Password("alice", "wonderland"), channel=channel)
    known = directory("alice", "wonderland", channel, {"realm": 'a "realm"'})
    with gsasl.server("DIGEST-MD5", known) as server, pytest.raises(sasl.ProtocolError):
        login_there(client, server)


def test_a_name_in_latin_1_is_hashed_otherwise_in_its_digest_md5(gsasl: Gsasl) -> None:
    """RFC 2831 section 2.1.2.1 hashes it in ISO 8859-1, as it does the password; GNU SASL only does the latter."""
    channel = channel_for("DIGEST-MD5")
    client = sasl.client("DIGEST-MD5", sasl.Password("j\u00f6rg", "wonderland"), channel=channel)
    with (
        gsasl.server("DIGEST-MD5", directory("j\u00f6rg", "wonderland", channel)) as server,
        pytest.raises(sasl.AuthenticationFailed, match="AUTHENTICATION_ERROR"),
    ):
        login_there(client, server)
    with gsasl.client("DIGEST-MD5", answers("j\u00f6rg", "wonderland", channel)) as its_client:
        event = login_here(
            its_client, sasl.server("DIGEST-MD5", channel=channel), verifier_of("j\u00f6rg", "wonderland")
        )
    assert isinstance(event, sasl.Failure)


def test_a_zero_width_space_is_a_space_there_and_nothing_here(gsasl: Gsasl) -> None:
    """U+200B stands in two tables of RFC 3454. It matters where both sides prepare what they hash."""
    password, salt = "won\u200bderland", b"some salt"
    assert gsasl.scram_keys("sha256", password, salt, 4_096) == gsasl.scram_keys("sha256", "won derland", salt, 4_096)
    ours = sasl.ScramKeys.derive(password, salt=salt)
    assert (ours.stored_key, ours.server_key) == gsasl.scram_keys("sha256", "wonderland", salt, 4_096)


@pytest.mark.parametrize(("mechanism", "good"), [("PLAIN", True), ("CRAM-MD5", False), ("SCRAM-SHA-256", False)])
def test_a_password_with_a_zero_width_space_logs_in_where_only_the_server_prepares_it(
    gsasl: Gsasl, mechanism: str, good: bool
) -> None:
    password = "won\u200bderland"
    client = sasl.client(mechanism, sasl.Password("alice", password))
    with gsasl.server(mechanism, directory("alice", password, sasl.Channel())) as server:
        if good:
            login_there(client, server)
        else:
            with pytest.raises(sasl.AuthenticationFailed):
                login_there(client, server)
    with gsasl.client(mechanism, answers("alice", password, sasl.Channel())) as its_client:
        event = login_here(its_client, sasl.server(mechanism), verifier_of("alice", password))
    assert isinstance(event, sasl.Success if good else sasl.Failure)
