"""SCRAM: every vector and bad input from the side that it names, channel binding, kept keys, and users who are not."""

from __future__ import annotations

import base64
import hmac
import re
from itertools import product

import pytest

import sasl
import sasl.keys
import sasl.spec
from sasl.hashes import HASHES
from sasl.mechanisms import _scram_decoy, _scram_messages, scram
from sasl.mechanisms.scram import KeyCache

from ..support.exchanges import said
from ..support.leaks import seen

VECTORS = sasl.spec.vectors("scram")
FIRST_FROM_SERVER = sasl.spec.cases("scram_client_server_first")
FINAL_FROM_SERVER = sasl.spec.cases("scram_client_server_final")
FIRST_FROM_CLIENT = sasl.spec.cases("scram_server_client_first")
FINAL_FROM_CLIENT = sasl.spec.cases("scram_server_client_final")

NAMES = [row.name for row in sasl.known_mechanisms() if row.name.startswith("SCRAM-")]
PLAIN_NAMES = [name for name in NAMES if not name.endswith("-PLUS")]
BINDINGS = {"tls-exporter": b"\0,=\xff" * 8, "tls-server-end-point": b"e" * 32}
PASSWORD = "pencil-Geheimnis"
LENIENT = sasl.Limits(min_iterations=1)
QUICK = sasl.Limits(min_iterations=1, max_iterations=10)


def octets(text):
    return None if text is None else base64.b64decode(text)


def keys_of(password, mechanism, **parts):
    return sasl.ScramKeys.derive(password, HASHES[mechanism.removesuffix("-PLUS")], **parts)


class Users:
    """A verifier that knows users by their keys, and keeps what it was asked."""

    def __init__(self, users=(), **more):
        self.users = dict(users, **more)
        self.asked = []

    def __call__(self, question):
        self.asked.append(question)
        if isinstance(question, sasl.FindKeys):
            keys = self.users.get(question.authcid)
            return None if keys is None else sasl.Record(question.authcid, keys)
        return NotImplemented


def dialogue(client, server, verifier):
    """Let both talk to the end; return the server's last event and what the client makes of it."""
    event = sasl.settle(server, server.start(client.start()), verifier)
    while isinstance(event, sasl.Challenge):
        event = sasl.settle(server, server.receive(client.respond(event.data)), verifier)
    if isinstance(event, sasl.Success):
        client.succeed(event.data)
        return event, None
    return event, client.fail()


# --- the vectors


def channel_of(vector, side):
    binding = vector.credentials.get("channel_binding")
    if binding is not None:
        return sasl.Channel(tls=True, bindings={binding["type"]: octets(binding["data_b64"])})
    types = vector.credentials.get("server_channel_binding_types", [])
    types = [*types, *(["tls-exporter"] if vector.credentials.get("server_offers_plus") else [])]
    if side == "server" and vector.mechanism.endswith("-PLUS"):
        types = types or ["tls-exporter"]
    return sasl.Channel(tls=True, bindings=dict.fromkeys(types, b"x") if side == "server" else {})


def client_of(vector):
    known = vector.credentials
    iterations = known.get("iterations", 4_096)
    return sasl.client(
        vector.mechanism,
        sasl.Password(known["authcid"], known["password"], authzid=known.get("authzid")),
        channel=channel_of(vector, "client"),
        limits=sasl.Limits(min_iterations=min(iterations, 4_096)),
        nonce=known["client_nonce"].encode(),
        keys=None,
    )


CLIENT_VECTORS = [
    vector for vector in VECTORS if "client" in vector.sides and vector.expected.get("detected_by") != "server"
]


@pytest.mark.parametrize("vector", CLIENT_VECTORS, ids=str)
def test_a_client_sends_and_concludes_what_the_vector_says(vector, shows_no_secret):
    exchange = client_of(vector)
    first, *answers = said(vector, "client")
    assert exchange.start() == first
    outcome = vector.expected["outcome"]
    challenges = said(vector, "server")
    for challenge, answer in zip(challenges, [*answers, b""], strict=False):
        if challenge == challenges[-1] and outcome == "failure" and len(answers) < len(challenges):
            with pytest.raises(sasl.SASLError) as caught:
                exchange.respond(challenge)
            expected = {"policy": sasl.PolicyViolation}.get(vector.expected["error"], sasl.ProtocolError)
            assert isinstance(caught.value, expected)
            shows_no_secret(caught.value, vector.credentials["password"])
            return
        assert exchange.respond(challenge) == answer
    if outcome == "success":
        exchange.succeed()
        assert exchange.state is sasl.State.DONE
        return
    assert vector.expected["profile_outcome"] == "success"
    with pytest.raises(sasl.ServerNotProven):
        exchange.succeed()


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if vector.name.startswith("bad-server-error")], ids=str
)
def test_a_client_keeps_the_error_that_the_server_sends(vector):
    exchange = client_of(vector)
    exchange.start()
    *_, error = said(vector, "server")
    for challenge in said(vector, "server")[:-1]:
        exchange.respond(challenge)
    assert exchange.respond(error) == b""
    refused = exchange.fail("no")
    assert type(refused) is sasl.AuthenticationFailed
    assert refused.detail == {"error": vector.expected["error"]}


SERVER_VECTORS = [
    vector for vector in VECTORS if "server" in vector.sides and vector.expected.get("detected_by") != "client"
]


@pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])
@pytest.mark.parametrize("vector", SERVER_VECTORS, ids=str)
def test_a_server_answers_and_concludes_what_the_vector_says(vector, two_step, shows_no_secret):
    known, expected = vector.credentials, vector.expected
    first, *answers = said(vector, "client")
    challenges = [challenge for challenge in said(vector, "server") if not challenge.startswith(b"e=")]
    options = {"send_errors": True, "nonce": b"n"}
    user = known.get("authcid", "user")
    salt, iterations = octets(known.get("salt_b64")), known.get("iterations", 4_096)
    if challenges:
        server_first = _scram_messages.parse_server_first(challenges[0])
        options["nonce"] = server_first.nonce.removeprefix(re.search(rb",r=([^,]+)", first)[1])
        salt, iterations = server_first.salt, server_first.iterations
    password = known.get("password", "pencil")
    if expected.get("error") == "invalid-proof" and vector.name != "bad-wrong-proof":
        password += " of somebody else"
    verifier = Users({sasl.prep.saslprep(user): keys_of(password, vector.mechanism, salt=salt, iterations=iterations)})

    def verify(question):
        if isinstance(question, sasl.Authorize) and expected["outcome"] == "success":
            assert question.authzid == expected["authzid"]
            return sasl.Accepted(question.authzid or question.identity)
        return verifier(question)

    exchange = sasl.server(vector.mechanism, channel=channel_of(vector, "server"), **options)
    if two_step:
        assert exchange.start() == sasl.Challenge(b"")
    event = sasl.settle(exchange, exchange.receive(first) if two_step else exchange.start(first), verify)
    for challenge, answer in zip(challenges, [*answers, b""], strict=False):
        assert event.data == challenge
        event = sasl.settle(exchange, exchange.receive(answer), verify)
    if expected["outcome"] == "success":
        identity = sasl.prep.saslprep(user)
        assert event == sasl.Success(identity=expected["authzid"] or identity, authcid=identity)
        return
    if expected["error"] in ("invalid-encoding", "invalid-username-encoding"):
        assert (type(event), event.kind) == (sasl.Failure, "malformed")
        assert verifier.asked == []
        return
    assert event.data == b"e=" + expected["error"].encode()
    event = exchange.receive(b"")
    kind = "policy" if expected["error"] in ABOUT_THE_CHANNEL else "credentials"
    assert (type(event), event.kind, event.reason) == (sasl.Failure, kind, expected["error"])
    shows_no_secret(event, password)


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.derived], ids=str)
def test_the_keys_are_those_of_the_vector(vector):
    known = vector.credentials
    parts = {"salt": octets(known["salt_b64"]), "iterations": known["iterations"]}
    keys = keys_of(known["password"], vector.mechanism, **parts)
    assert (keys.stored_key, keys.server_key) == (vector.derived["stored_key"], vector.derived["server_key"])


def test_every_vector_is_run_from_a_side():
    run = {vector.name for vector in (*CLIENT_VECTORS, *SERVER_VECTORS)}
    errors = {vector.name for vector in VECTORS if vector.name.startswith("bad-server-error")}
    assert run | errors == {vector.name for vector in VECTORS}


# --- bad inputs, on the client's side


def conclude(case):
    """Play the server's steps; return the exchange, what was sent and what there is to raise."""
    known = case.params
    exchange = sasl.client(
        f"SCRAM-{known['hash']}",
        sasl.Password(known["username"], known["password"]),
        nonce=known["cnonce"].encode(),
        keys=None,
    )
    sent = [exchange.start()]
    try:
        for step in case.steps:
            if step.sender == "server":
                sent.append(exchange.respond(step.data))
            elif step.sender == "server-success":
                exchange.succeed(step.data)
            else:
                return exchange, sent, exchange.fail((step.data or b"").decode())
    except sasl.SASLError as error:
        return exchange, sent, error
    return exchange, sent, None


CLASSES = {
    "protocol": (sasl.ProtocolError, sasl.ServerNotProven),
    "abort": (sasl.ProtocolError,),
    "policy": (sasl.PolicyViolation,),
    "limit": (sasl.LimitExceeded,),
    "fail": (sasl.AuthenticationFailed,),
}


@pytest.mark.parametrize("case", [*FIRST_FROM_SERVER, *FINAL_FROM_SERVER], ids=str)
def test_what_a_server_sends_has_the_result_of_its_case(case, shows_no_secret):
    exchange, sent, error = conclude(case)
    if case.expect == "send":
        assert sent[-1].startswith(b"c=")
        return
    if case.expect == "accept":
        assert error is None
        assert exchange.state is sasl.State.DONE
        assert sent[-1] == case.output == b""
        return
    if case.family == "error-early" and case.expect == "fail":
        error = exchange.fail()  # the case ends before the server's no
    assert type(error) in CLASSES[case.expect]
    assert "the mechanism failed" not in str(error)  # refused on purpose, not by a crash
    believed = case.steps[-1].sender == "server-success" and case.expect == "protocol"
    if believed and len(sent) == len(case.steps):
        assert type(error) is sasl.ServerNotProven
    assert exchange.state is sasl.State.FAILED
    assert sum(b"p=" in message for message in sent) <= 1
    shows_no_secret(error, case.params["password"])


# --- bad inputs, on the server's side


def server_of(case, decoy=(b"secret of the server", 4_096)):
    known = case.params
    bound = known["channel_binding"]
    if known.get("tls_version") == "TLSv1.3" and bound == "tls-unique":
        bound = None  # what adapters.channel_binding makes of it
    name = known.get("mechanism", f"SCRAM-{known['hash']}")
    channel = sasl.Channel(tls=True, bindings={bound: b"data"} if bound else {})
    return sasl.server(name, channel=channel, nonce=known["snonce"].encode(), decoy=decoy)


def users_of(case):
    return Users(
        {
            name: keys_of(user["password"], case.mechanism, salt=octets(user["salt_b64"]), iterations=user["i"])
            for name, user in case.params["users"].items()
        }
    )


KINDS = {"malformed": "malformed", "limit": "limit", "reject": "credentials"}
ABOUT_THE_CHANNEL = {
    "channel-binding-not-supported",
    "channel-bindings-dont-match",
    "server-does-support-channel-binding",
    "unsupported-channel-binding-type",
}


@pytest.mark.parametrize("case", [*FIRST_FROM_CLIENT, *FINAL_FROM_CLIENT], ids=str)
def test_what_a_client_sends_has_the_result_of_its_case(case, shows_no_secret):
    exchange, verifier = server_of(case), users_of(case)
    first, *rest = case.steps
    events = [sasl.settle(exchange, exchange.start(first.data), verifier)]
    for step in rest[:1]:
        assert isinstance(events[-1], sasl.Challenge)
        events.append(sasl.settle(exchange, exchange.receive(step.data), verifier))
    if case.expect == "reject" and isinstance(events[-1], sasl.Challenge):  # it is told what is wrong with the channel
        error = events[-1].data.removeprefix(b"e=").decode()
        assert error in ABOUT_THE_CHANNEL
        failure = exchange.receive(b"")
        assert (type(failure), failure.kind, failure.reason) == (sasl.Failure, "policy", error)
        return
    if case.expect in KINDS:
        assert (type(events[-1]), events[-1].kind) == (sasl.Failure, KINDS[case.expect])
        assert "the mechanism failed" not in events[-1].reason
        if case.expect != "reject":
            assert len(verifier.asked) == len(rest)
        shows_no_secret(events[-1], *(user["password"] for user in case.params["users"].values()))
        return
    if case.expect == "challenge":
        message = _scram_messages.parse_server_first(events[-1].data)
        assert case.output in (None, events[-1].data)
        assert message.iterations == 4_096
        user = octets(case.params["users"]["user"]["salt_b64"])
        assert (message.salt == user) is (case.family != "enumeration")
        return
    assert isinstance(events[-1], sasl.Challenge)
    assert case.output in (None, events[-1].data)
    assert exchange.receive(b"") == sasl.Success(identity="user", authcid="user")
    if case.expect == "state":
        with pytest.raises(sasl.UsageError):
            exchange.receive(rest[1].data)
        assert exchange.state is sasl.State.DONE
    else:
        assert case.expect == "accept"


# --- both sides


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("success_data", [False, True])
def test_both_sides_agree_for_every_hash_with_and_without_binding(name, success_data):
    channel = sasl.Channel(tls=True, bindings=BINDINGS if name.endswith("-PLUS") else {})
    client = sasl.client(name, sasl.Password("user", PASSWORD), channel=channel, limits=QUICK, keys=None)
    server = sasl.server(name, channel=channel, success_data=success_data)
    verifier = Users(user=keys_of(PASSWORD, name, iterations=2))
    event, error = dialogue(client, server, verifier)
    assert error is None
    assert (event.identity, event.authcid) == ("user", "user")
    assert (event.data is not None) is success_data
    assert verifier.asked == [
        sasl.FindKeys("user", HASHES[name.removesuffix("-PLUS")]),
        sasl.Authorize("user", None, "user"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_password_is_refused(name, shows_no_secret):
    channel = sasl.Channel(tls=True, bindings=BINDINGS if name.endswith("-PLUS") else {})
    client = sasl.client(name, sasl.Password("user", PASSWORD), channel=channel, limits=QUICK, keys=None)
    server = sasl.server(name, channel=channel)
    event, error = dialogue(client, server, Users(user=keys_of("another", name, iterations=2)))
    assert (type(event), event.kind, event.reason) == (sasl.Failure, "credentials", "invalid-proof")
    assert type(error) is sasl.AuthenticationFailed
    shows_no_secret(error, PASSWORD)


def test_another_identity_needs_a_verifier_that_allows_it():
    keys = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2)
    client = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD, authzid="root"), limits=QUICK)
    event, _ = dialogue(client, sasl.server("SCRAM-SHA-256"), Users(user=keys))
    assert (type(event), event.kind) == (sasl.Failure, "authorization")


def test_a_proof_that_begins_with_zeros_is_not_right_without_them():
    keys, name = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=1, salt=b"salt"), "SCRAM-SHA-256"
    client_key, _ = sasl.keys.derive(PASSWORD, "sha256", b"salt", 1)
    for number in range(10_000):
        nonces = b"c%d" % number, b"s%d" % number
        server = sasl.server(name, nonce=nonces[1])
        event = sasl.settle(server, server.start(b"n,,n=user,r=" + nonces[0]), Users(user=keys))
        final = b"c=biws,r=" + b"".join(nonces)
        signed = b"n=user,r=%s,%s,%s" % (nonces[0], event.data, final)
        proof = scram.xor(client_key, hmac.digest(keys.stored_key, signed, "sha256"))
        if not proof[0]:
            break
    short = base64.b64encode(proof.lstrip(b"\0"))
    event = sasl.settle(server, server.receive(b"%s,p=%s" % (final, short)), Users(user=keys))
    assert (type(event), event.kind, event.reason) == (sasl.Failure, "credentials", "invalid-proof")


# --- what a caller does wrong


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("", "p"),
        ("u", ""),
        ("u\0", "p"),
        ("u", "p\0"),
        ("\u00ad", "p"),
        ("u", "\u00ad"),
        ("u", "\u0221"),
        ("\ud800", "p"),
    ],
)
def test_names_and_passwords_that_cannot_be_prepared_are_refused_before_anything_is_sent(user, password):
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password(user, password))
    with pytest.raises(sasl.UsageError):
        exchange.start()


def test_what_is_too_long_to_be_prepared_is_refused():
    with pytest.raises(sasl.UsageError):
        sasl.client("SCRAM-SHA-256", sasl.Password("u", "\u00fc" * 1_025)).start()
    assert sasl.client("SCRAM-SHA-256", sasl.Password("u", "p" * 1_500)).start()


@pytest.mark.parametrize("authzid", ["a\0b", "\ud800"])
def test_an_authzid_that_cannot_be_sent_is_refused(authzid):
    with pytest.raises(sasl.UsageError):
        sasl.client("SCRAM-SHA-256", sasl.Password("u", "p", authzid=authzid)).start()


def test_a_password_is_hashed_as_it_is_where_that_is_asked_for():
    """PostgreSQL and Dovecot store what SASLprep refuses as it came."""
    password = "p\u0221\a"
    with pytest.raises(sasl.UsageError):
        sasl.client("SCRAM-SHA-256", sasl.Password("\u2168", password)).start()
    client = sasl.client("SCRAM-SHA-256", sasl.Password("\u2168", password), prepare=False, limits=QUICK)
    salt = b"salt"
    client_key, server_key = sasl.keys.derive(password, "sha256", salt, 2)
    keys = sasl.ScramKeys("sha256", salt, 2, scram.digest("sha256", client_key), server_key)
    event, error = dialogue(client, sasl.server("SCRAM-SHA-256", prepare=False), Users({"\u2168": keys}))
    assert error is None
    assert event.identity == "\u2168"


def test_a_password_that_has_no_utf8_is_refused_before_anything_is_sent(shows_no_secret):
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", "pencil\ud800b"), prepare=False)
    with pytest.raises(sasl.UsageError) as refused:
        exchange.start()
    assert refused.value.__context__ is None
    shows_no_secret(refused.value, "pencil\ud800b")


def test_a_name_with_a_binding_needs_one():
    with pytest.raises(sasl.UsageError, match="channel"):
        sasl.client("SCRAM-SHA-256-PLUS", sasl.Password("u", "p")).start()


# --- channel binding (RFC 5801 section 5)


@pytest.mark.parametrize(
    ("bindings", "plus", "flag"), [({}, "", b"n"), (BINDINGS, "", b"y"), (BINDINGS, "-PLUS", b"p")]
)
def test_a_client_says_whether_it_could_bind(bindings, plus, flag):
    channel = sasl.Channel(tls=True, bindings=bindings)
    message = sasl.client(f"SCRAM-SHA-256{plus}", sasl.Password("u", "p"), channel=channel).start()
    assert message.partition(b",")[0] == (b"p=tls-exporter" if plus else flag)


@pytest.mark.parametrize(("plus", "offered", "flag"), list(product([False, True], [False, True], "nyp")))
def test_a_server_takes_only_the_flag_that_goes_with_what_it_offers(plus, offered, flag):
    right = {(False, False): "ny", (False, True): "n", (True, False): "", (True, True): "p"}
    name = "SCRAM-SHA-256-PLUS" if plus else "SCRAM-SHA-256"
    channel = sasl.Channel(tls=True, bindings=BINDINGS if offered else {})
    header = b"p=tls-exporter" if flag == "p" else flag.encode()
    exchange, verifier = sasl.server(name, channel=channel), Users()
    event = sasl.settle(exchange, exchange.start(header + b",,n=user,r=abc"), verifier)
    if flag in right[plus, offered]:
        assert isinstance(event, sasl.Challenge)
    else:
        error = event.data.removeprefix(b"e=").decode()
        event = exchange.receive(b"")
        assert (type(event), event.kind, event.reason) == (sasl.Failure, "policy", error)
        assert error in _scram_messages.SERVER_ERRORS
        assert verifier.asked == []


@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_a_server_whose_binding_nobody_uses_unasked_takes_y_and_n(flag):
    """Over TLS 1.3 with the certificate's hash alone it offers no -PLUS: who says "y" is right."""
    bindings = {"tls-server-end-point": b"e" * 32}
    channel = sasl.Channel(tls=True, bindings=bindings, tls_version="TLSv1.3")
    exchange = sasl.server("SCRAM-SHA-256", channel=channel)
    event = sasl.settle(exchange, exchange.start(flag + b",,n=user,r=abc"), Users())
    assert isinstance(event, sasl.Challenge)
    assert event.data.startswith(b"r=abc")


@pytest.mark.parametrize("name", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
def test_what_is_wrong_with_a_binding_is_told_and_says_nothing_about_the_password(name):
    channel = sasl.Channel(tls=True, bindings={"tls-server-end-point": b"e" * 32}, tls_version="TLSv1.3")
    exchange = sasl.server(name, channel=channel)
    event = exchange.start(b"p=tls-unique,,n=user,r=abc")
    error = "unsupported-channel-binding-type" if name.endswith("-PLUS") else "channel-binding-not-supported"
    assert event.data == b"e=" + error.encode()
    event = exchange.receive(b"")
    assert (type(event), event.kind, event.reason) == (sasl.Failure, "policy", error)


def test_a_binding_to_another_connection_is_told_before_the_proof_is_looked_at():
    exchange = sasl.server("SCRAM-SHA-1-PLUS", channel=sasl.Channel(tls=True, bindings={"tls-unique": b"ours"}))
    client = sasl.client(
        "SCRAM-SHA-1-PLUS",
        sasl.Password("user", "wrong"),
        channel=sasl.Channel(tls=True, bindings={"tls-unique": b"theirs"}),
        limits=QUICK,
    )
    event, error = dialogue(client, exchange, Users(user=keys_of(PASSWORD, "SCRAM-SHA-1", iterations=2)))
    assert (event.kind, event.reason) == ("policy", "channel-bindings-dont-match")
    assert (error.kind, error.detail) == ("policy", {"error": "channel-bindings-dont-match"})


def test_a_server_takes_any_binding_that_it_has_and_no_other():
    client = sasl.Channel(tls=True, bindings={"tls-server-end-point": BINDINGS["tls-server-end-point"]})
    for bindings, reason in (
        (BINDINGS, None),
        ({**BINDINGS, "tls-server-end-point": b"of another server"}, "channel-bindings-dont-match"),
        ({"tls-exporter": b"x"}, "unsupported-channel-binding-type"),
    ):
        exchange = sasl.client("SCRAM-SHA-1-PLUS", sasl.Password("user", PASSWORD), channel=client, limits=QUICK)
        server = sasl.server("SCRAM-SHA-1-PLUS", channel=sasl.Channel(tls=True, bindings=bindings))
        event, _ = dialogue(exchange, server, Users(user=keys_of(PASSWORD, "SCRAM-SHA-1", iterations=2)))
        assert getattr(event, "reason", None) == reason


def test_a_list_that_lost_its_plus_on_the_way_is_noticed():
    channel = sasl.Channel(tls=True, bindings=BINDINGS)
    offered = sasl.offer(channel, sasl.Policy(), [sasl.FindKeys])
    assert "SCRAM-SHA-256-PLUS" in offered
    choice = sasl.choose([n for n in offered if "PLUS" not in n], sasl.Password("user", PASSWORD), channel=channel)
    assert choice.name == "SCRAM-SHA3-512"
    client = sasl.client(choice.name, sasl.Password("user", PASSWORD), channel=choice.channel)
    verifier = Users(user=keys_of(PASSWORD, choice.name, iterations=2))
    event, _ = dialogue(client, sasl.server(choice.name, channel=channel), verifier)
    assert event.reason == "server-does-support-channel-binding"


def test_a_plus_that_was_offered_and_not_taken_is_no_stripped_list():
    channel = sasl.Channel(tls=True, bindings=BINDINGS)
    policy = sasl.Policy(channel_binding="never")
    choice = sasl.choose(
        ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], sasl.Password("user", PASSWORD), channel=channel, policy=policy
    )
    client = sasl.client(choice.name, sasl.Password("user", PASSWORD), channel=choice.channel, limits=QUICK)
    verifier = Users(user=keys_of(PASSWORD, choice.name, iterations=2))
    event, error = dialogue(client, sasl.server(choice.name, channel=channel), verifier)
    assert error is None
    assert event.identity == "user"


# --- a server's errors


@pytest.mark.parametrize(
    ("error", "family", "kind"),
    [
        (b"no-resources", sasl.TemporaryFailure, "unavailable"),
        (b"channel-bindings-dont-match", sasl.AuthenticationFailed, "policy"),
        (b"server-does-support-channel-binding", sasl.AuthenticationFailed, "policy"),
        (b"unknown-user", sasl.AuthenticationFailed, "credentials"),
        (b"invalid-proof", sasl.AuthenticationFailed, "credentials"),
        (b"made-up", sasl.AuthenticationFailed, "credentials"),
    ],
)
def test_an_error_of_the_server_says_what_kind_of_no_follows(error, family, kind):
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD))
    exchange.start()
    assert exchange.respond(b"e=" + error) == b""
    refused = exchange.fail("Authentication failed")
    assert (type(refused), refused.kind) == (family, kind)
    assert refused.detail == {"error": "other-error" if error == b"made-up" else error.decode()}


def test_an_error_is_no_success():
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD))
    exchange.start()
    exchange.respond(b"e=other-error")
    with pytest.raises(sasl.ServerNotProven):
        exchange.succeed()


def test_errors_are_sent_only_where_that_is_asked_for_and_tell_nothing_about_who_is_known():
    answers = set()
    for user in ("user", "nobody"):
        exchange, verifier = (
            sasl.server("SCRAM-SHA-256", send_errors=True),
            Users(user=keys_of(PASSWORD, "SCRAM-SHA-256")),
        )
        event = sasl.settle(exchange, exchange.start(f"n,,n={user},r=abc".encode()), verifier)
        nonce = _scram_messages.parse_server_first(event.data).nonce
        event = sasl.settle(exchange, exchange.receive(b"c=biws,r=%s,p=AAAA" % nonce), verifier)
        answers.add(event.data)
        assert exchange.receive(b"").kind == "credentials"
    assert answers == {b"e=invalid-proof"}


# --- users whom nobody knows


def first_answer(user, decoy, name="SCRAM-SHA-256"):
    exchange = sasl.server(name, decoy=decoy)
    event = sasl.settle(exchange, exchange.start(b"n,,n=%s,r=abc" % user), Users())
    return _scram_messages.parse_server_first(event.data)


def test_an_unknown_user_has_the_same_salt_at_every_worker_and_after_every_restart():
    decoy = b"0123456789abcdef", 10_000
    first, second = first_answer(b"nobody", decoy), first_answer(b"nobody", decoy)
    assert (first.salt, first.iterations) == (second.salt, second.iterations) == (second.salt, 10_000)
    assert len(first.salt) == 16
    assert first.nonce != second.nonce
    others = [
        (b"root", decoy, "SCRAM-SHA-256"),
        (b"nobody", decoy, "SCRAM-SHA-1"),
        (b"nobody", (b"another secret of 16", 1), "SCRAM-SHA-256"),
    ]
    assert first.salt not in [first_answer(*other).salt for other in others]


@pytest.mark.parametrize("octets", [1, 12, 16, 28, 64, 65, 4_096])
def test_an_unknown_user_has_a_salt_as_long_as_those_of_the_others(octets):
    first, second = (first_answer(b"nobody", (SECRET, 15_000, octets)) for _ in range(2))
    assert first.salt == second.salt
    assert len(first.salt) == octets


def test_unknown_users_have_the_iterations_and_salts_that_users_have_as_often_as_they_have_them():
    pairs = [(4_096, 16), (4_096, 16), (100_000, 28)]
    found = [first_answer(b"nobody%d" % number, (SECRET, pairs)) for number in range(300)]
    assert found[7][1:] == first_answer(b"nobody7", (SECRET, tuple(pairs)))[1:]
    assert {(len(each.salt), each.iterations) for each in found} == {(16, 4_096), (28, 100_000)}
    assert 60 < sum(each.iterations == 100_000 for each in found) < 140
    assert first_answer(b"nobody7", (SECRET, [(4_096, 16)])).salt == first_answer(b"nobody7", (SECRET, 4_096)).salt


def test_an_unknown_user_whose_keys_were_guessed_is_not_let_in(monkeypatch):
    guessed = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2)
    monkeypatch.setitem(_scram_decoy.NOBODY, "sha256", guessed)
    monkeypatch.setattr(_scram_decoy.Decoy, "make", lambda *_: (guessed.salt, guessed.iterations))
    client = sasl.client("SCRAM-SHA-256", sasl.Password("nobody", PASSWORD), limits=QUICK)
    event, error = dialogue(client, sasl.server("SCRAM-SHA-256", decoy=(b"secret of all workers", 2)), Users())
    assert (type(event), event.kind, event.reason) == (sasl.Failure, "credentials", "not found")
    assert type(error) is sasl.AuthenticationFailed


SECRET = b"a secret of all workers"


@pytest.mark.parametrize(
    "decoy",
    [
        (b"", 4_096),
        (b"less than sixty", 4_096),
        ("a secret in a text", 4_096),
        (SECRET, 0),
        (SECRET, "4096"),
        (SECRET, True),
        (SECRET, 2**31),
        (SECRET, 4_096, 0),
        (SECRET, 4_096, 4_097),
        (SECRET, 4_096, "16"),
        (SECRET, 4_096, 16, 16),
        (SECRET, []),
        (SECRET, [4_096]),
        (SECRET, [(4_096,)]),
        (SECRET, [(4_096, 16), (0, 16)]),
        (SECRET, [(4_096, 16), (4_096, 0)]),
        SECRET,
        None,
    ],
    ids=repr,
)
def test_a_decoy_that_is_none_is_a_wrong_call(decoy):
    with pytest.raises(sasl.UsageError):
        sasl.server("SCRAM-SHA-256", decoy=decoy)


@pytest.mark.parametrize("answer", [None, sasl.Rejected("locked")])
def test_who_is_not_known_or_refused_fails_at_the_same_step_as_a_wrong_proof(answer):
    exchange = sasl.server("SCRAM-SHA-256")
    verifier = lambda question: answer  # noqa: E731
    event = sasl.settle(exchange, exchange.start(b"n,,n=user,r=abc"), verifier)
    nonce = _scram_messages.parse_server_first(event.data).nonce
    event = sasl.settle(exchange, exchange.receive(b"c=biws,r=%s,p=%s" % (nonce, b"A" * 43 + b"=")), verifier)
    assert (type(event), event.kind) == (sasl.Failure, "credentials")


@pytest.mark.parametrize(
    "value", [PASSWORD, None, keys_of("x", "SCRAM-SHA-1", iterations=1)], ids=["str", "None", "sha1"]
)
def test_a_record_without_the_keys_for_the_hash_is_a_fault_of_the_server(value, shows_no_secret):
    exchange = sasl.server("SCRAM-SHA-256")
    event = sasl.settle(exchange, exchange.start(b"n,,n=user,r=abc"), lambda _: sasl.Record("user", value))
    assert (type(event), event.kind) == (sasl.Failure, "unavailable")
    shows_no_secret(event, PASSWORD)


def test_an_unavailable_store_is_no_refusal():
    exchange = sasl.server("SCRAM-SHA-256")
    event = sasl.settle(exchange, exchange.start(b"n,,n=user,r=abc"), lambda _: sasl.Unavailable())
    assert event.kind == "unavailable"


def test_an_authzid_is_compared_in_its_prepared_form():
    exchange = sasl.server("SCRAM-SHA-256")
    event = sasl.settle(exchange, exchange.start("n,a=\u00ad,n=user,r=abc".encode()), Users())
    assert (event.kind, event.reason) == ("credentials", "invalid-username-encoding")


# --- kept keys


@pytest.fixture
def derivations(monkeypatch):
    """How often PBKDF2 was run."""
    calls = []

    def derive(*arguments):
        calls.append(arguments[1:])
        return sasl.keys.derive(*arguments)

    monkeypatch.setattr(scram, "derive", derive)
    return calls


def log_in(password, stored, **options):
    client = sasl.client("SCRAM-SHA-256", sasl.Password("user", password), limits=QUICK, **options)
    return dialogue(client, sasl.server("SCRAM-SHA-256"), Users(user=stored))


def test_a_second_login_derives_nothing(derivations):
    stored, keys = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2), KeyCache()
    for _ in range(3):
        assert log_in(PASSWORD, stored, keys=keys)[1] is None
    assert len(derivations) == 1
    assert seen([repr(keys)], PASSWORD) == []


def test_keys_are_kept_for_this_process_unless_one_says_otherwise(derivations):
    stored = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2)
    log_in(PASSWORD, stored)
    log_in(PASSWORD, stored)
    assert len(derivations) == 1
    log_in(PASSWORD, stored, keys=None)
    log_in(PASSWORD, stored, keys=None)
    assert len(derivations) == 3


def test_any_mapping_will_do(derivations):
    stored, keys = keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2), {}
    log_in(PASSWORD, stored, keys=keys)
    log_in(PASSWORD, stored, keys=keys)
    assert len(derivations) == len(keys) == 1


def test_a_changed_password_is_noticed(derivations):
    keys = KeyCache()
    log_in(PASSWORD, keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2, salt=b"salt"), keys=keys)
    _, error = log_in("new", keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2, salt=b"salt"), keys=keys)
    assert type(error) is sasl.AuthenticationFailed
    assert log_in("new", keys_of("new", "SCRAM-SHA-256", iterations=2, salt=b"salt"), keys=keys)[1] is None
    assert len(derivations) == 3


@pytest.mark.parametrize("changed", [{"salt": b"other"}, {"iterations": 3}])
def test_a_new_salt_or_count_is_derived_anew(derivations, changed):
    keys, parts = KeyCache(), {"salt": b"salt", "iterations": 2}
    log_in(PASSWORD, keys_of(PASSWORD, "SCRAM-SHA-256", **parts), keys=keys)
    log_in(PASSWORD, keys_of(PASSWORD, "SCRAM-SHA-256", **{**parts, **changed}), keys=keys)
    assert len(derivations) == 2


def test_nothing_is_kept_of_a_login_that_failed():
    keys = KeyCache()
    log_in("wrong", keys_of(PASSWORD, "SCRAM-SHA-256", iterations=2), keys=keys)
    assert len(keys) == 0


def test_nothing_is_kept_of_a_server_that_does_not_know_the_password():
    keys = KeyCache()
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD), limits=QUICK, keys=keys, nonce=b"abc")
    exchange.start()
    exchange.respond(b"r=abcdef,s=c2FsdA==,i=2")
    with pytest.raises(sasl.ServerNotProven):
        exchange.respond(b"v=" + base64.b64encode(hmac.digest(b"k", b"m", "sha256")))
    assert len(keys) == 0


# --- limits


@pytest.mark.parametrize("count", [4_095, 600_001])
def test_no_key_is_derived_for_a_count_outside_the_limits(count, derivations):
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD), nonce=b"abc")
    exchange.start()
    with pytest.raises(sasl.PolicyViolation, match="iterations"):
        exchange.respond(b"r=abcdef,s=c2FsdA==,i=%d" % count)
    assert derivations == []


def test_the_limits_of_a_policy_reach_the_exchange():
    choice = sasl.choose(["SCRAM-SHA-256"], sasl.Password("user", "p"), policy=sasl.Policy(min_iterations=10_000))
    exchange = sasl.client(choice.name, sasl.Password("user", "p"), limits=choice.limits, nonce=b"abc")
    exchange.start()
    with pytest.raises(sasl.PolicyViolation):
        exchange.respond(b"r=abcdef,s=c2FsdA==,i=4096")


# --- the grammar


@pytest.mark.parametrize("more", [b",x=\xff", b",x=1,x=2", b",e=other-error", b",v=AAAA", b",x=", b",xy=1"])
def test_what_stands_behind_a_message_is_text_that_nobody_knows(more):
    exchange = sasl.client("SCRAM-SHA-256", sasl.Password("user", PASSWORD), nonce=b"abc")
    exchange.start()
    with pytest.raises(sasl.ProtocolError):
        exchange.respond(b"r=abcdef,s=c2FsdA==,i=4096" + more)


def test_a_name_of_a_user_that_is_too_long_is_a_limit():
    for name in (b"u" * 4_096, b"\xc3\xbc" * 1_025):
        event = sasl.server("SCRAM-SHA-256").start(b"n,,n=%s,r=abc" % name)
        assert (type(event), event.kind) == (sasl.Failure, "limit")


@pytest.mark.parametrize("first", [b"n,,n=tim,r=" + b"z" * 60_000, b"n,,n=tim,r=z,x=" + b"z" * 60_000])
def test_little_is_kept_of_a_client_until_its_last_message(first):
    event = sasl.server("SCRAM-SHA-256").start(first)
    assert (type(event), event.kind) == (sasl.Failure, "limit")


def test_a_proof_is_shown_in_no_repr():
    final = _scram_messages.parse_client_final(b"c=biws,r=abcdef,p=c2VjcmV0")
    assert final.proof == b"secret"
    assert repr(final) == "ClientFinal(***)"
