"""Our client against our server, with their messages changed on the way: nobody logs in who should not.

SASLKIT_DIALOGUES says how many dialogues (2,000 if it does not); `tox -e changes` and `tox -e long` ask for more.
The seed is fixed, so that a red run stays red; SASLKIT_SEED is another one.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

import sasl
from sasl.hashes import HASHES

DIALOGUES = int(os.environ.get("SASLKIT_DIALOGUES", "2000"))
SEED = int(os.environ.get("SASLKIT_SEED", "5802"))

MECHANISMS = [row.name for row in sasl.known_mechanisms()]
SIGNED = [name for name in MECHANISMS if name.startswith("SCRAM-") or name == "CRAM-MD5"]
"""Those in which every octet of every message counts."""
WITHOUT_SECRET = ("ANONYMOUS", "EXTERNAL")

PASSWORD, TOKEN = "pencil-Geheimnis", "ya29.t0ken-Geheimnis"
BINDINGS = {"tls-exporter": b"\0,=\xff" * 8}
BOUND = sasl.Channel(tls=True, service="imap", host="mail.example", port=993, bindings=BINDINGS)
UNBOUND = sasl.Channel(tls=True, service="imap", host="mail.example", port=993)
LIMITS = sasl.Limits(min_iterations=1, max_iterations=64)
KEYS = {name: sasl.ScramKeys.derive(PASSWORD, hash_name, iterations=1) for name, hash_name in HASHES.items()}
MOST_TURNS = 40


def verifier(question):
    """Knows one user by everything that there is."""
    match question:
        case sasl.CheckPassword(authcid, password):
            return sasl.Accepted("user") if authcid == "user" and password == PASSWORD else sasl.Rejected("wrong")
        case sasl.CheckToken(username, token):
            return sasl.Accepted("user") if username == "user" and token == TOKEN else sasl.Rejected("wrong")
        case sasl.CheckCertificate():
            return sasl.Accepted("user") if question.certificate == b"certificate" else sasl.Rejected("wrong")
        case sasl.CheckAnonymous():
            return sasl.Accepted("anonymous")
        case sasl.FindKeys(authcid, hash_name):
            mechanism = next(name for name, each in HASHES.items() if each == hash_name)
            return sasl.Record("user", KEYS[mechanism]) if authcid == "user" else None
        case sasl.FindSecret(authcid):
            return sasl.Record("user", PASSWORD) if authcid == "user" else None
    return NotImplemented


@dataclass
class Dialogue:
    """One exchange between both sides.

    Attributes:
        invited: whether the server's first challenge only asks for the initial response.
        changed: whether a message came otherwise than it was sent.
        sent: who sent what, as it was sent.
        server: the server's last event.
        client: whether the client believes that it is logged in.
    """

    name: str
    right: bool = True
    success_data: bool = False
    two_step: bool = False
    invited: bool = False
    changed: bool = False
    sent: list[tuple[str, bytes | None]] = field(default_factory=list)
    server: Any = None
    client: bool = False

    def run(self, change) -> Dialogue:
        """Let both talk; `change` is given each message with its place and returns what comes of it."""
        plus = self.name.endswith("-PLUS")
        channel = BOUND if plus else UNBOUND
        client = sasl.client(self.name, self._credentials(), channel=channel, limits=LIMITS, **self._unkept())
        options = {"certificate": b"certificate" if self.right else b"other"} if self.name == "EXTERNAL" else {}
        server = sasl.server(self.name, channel=channel, limits=LIMITS, success_data=self.success_data, **options)
        try:
            self._talk(client, server, change)
        except sasl.SASLError:
            if server.state in (sasl.State.NEW, sasl.State.OPEN):
                self.server = server.cancel()
        self.client = client.state is sasl.State.DONE
        return self

    def _credentials(self):
        row = sasl.lookup(self.name)
        if row.credentials is sasl.Password:
            return sasl.Password("user", PASSWORD if self.right else "wrong")
        if row.credentials is sasl.Bearer:
            return sasl.Bearer("user", TOKEN if self.right else "wrong")
        return row.credentials()

    def _unkept(self):
        return {"keys": None} if self.name.startswith("SCRAM-") else {}

    def _talk(self, client, server, change):
        initial = client.start()
        self.invited = initial is not None and self.two_step
        if self.invited:
            client.defer()
            initial = None
        message = initial if initial is None else self._carry("client", initial, change)
        event = sasl.settle(server, server.start(message), verifier)
        for _ in range(MOST_TURNS):
            self.server = event
            if isinstance(event, sasl.Success):
                data = None if event.data is None else self._carry("server", event.data, change)
                client.succeed(data)
                return
            if isinstance(event, sasl.Failure):
                client.fail(kind=event.kind)
                return
            response = client.respond(self._carry("server", event.data, change))
            event = sasl.settle(server, server.receive(self._carry("client", response, change)), verifier)
        pytest.fail("a dialogue without end")

    def _carry(self, sender, message, change):
        came = change(len(self.sent), message)
        invites = self.invited and not self.sent  # what such a challenge holds is no message of the mechanism
        self.sent.append((sender, message))
        # Whoever is in between may add an extension behind the signature, which signs what comes before it: RFC 5802
        # section 5.1 has the client ignore it.
        extended = message.startswith(b"v=") and came == message + b",x=y"
        self.changed = self.changed or (came != message and not invites and not extended)
        return came


def as_it_is(_, message):
    return message


def changed_once(rng, place, replayed):
    """Change the message at one place in one of five ways."""
    how = rng.choice(["deleted", "replaced", "truncated", "extended", "flipped", "inserted"])

    def change(number, message):
        if number != place:
            return message
        if how == "deleted":
            return b""
        if how == "replaced":
            return rng.choice(replayed) if rng.random() < 0.7 else rng.randbytes(rng.randrange(40))
        if how == "truncated":
            return message[: rng.randrange(len(message))] if message else b""
        if how == "extended":
            return message + rng.choice([b"\0", b",", b",x=y", b" ", b"=", b"\n", rng.randbytes(3), message])
        if how == "inserted":
            at = rng.randrange(len(message) + 1)
            return message[:at] + rng.choice([b"\0", b",", b"=", b"m=x,", rng.randbytes(1)]) + message[at:]
        if not message:
            return b"\x01"
        at, bit = rng.randrange(len(message)), 1 << rng.randrange(8)
        return message[:at] + bytes([message[at] ^ bit]) + message[at + 1 :]

    return change


@pytest.mark.parametrize("two_step", [False, True], ids=["initial", "two-step"])
@pytest.mark.parametrize("success_data", [False, True], ids=["challenge", "success-data"])
@pytest.mark.parametrize("name", MECHANISMS)
def test_messages_that_are_not_changed_log_in(name, success_data, two_step):
    dialogue = Dialogue(name, success_data=success_data, two_step=two_step).run(as_it_is)
    assert isinstance(dialogue.server, sasl.Success)
    assert dialogue.server.identity == ("anonymous" if name == "ANONYMOUS" else "user")
    assert dialogue.client
    assert not dialogue.changed


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name not in ("ANONYMOUS",)])
def test_a_wrong_secret_does_not(name):
    dialogue = Dialogue(name, right=False).run(as_it_is)
    assert (type(dialogue.server), dialogue.server.kind) == (sasl.Failure, "credentials")
    assert not dialogue.client


@pytest.mark.dialogues
@pytest.mark.no_cover  # so many dialogues cover nothing that the tests beside them do not
@pytest.mark.parametrize("name", MECHANISMS)
def test_no_change_on_the_way_makes_a_login_of_what_is_none(name):
    """Never a login with a wrong secret, never one after a changed SCRAM message, never a foreign exception."""
    rng = random.Random(f"{SEED} {name}")
    old = {
        right: [sent for _, sent in Dialogue(name, right or name in SIGNED).run(as_it_is).sent]
        for right in (True, False)
    }
    places = len(Dialogue(name, two_step=True).run(as_it_is).sent)
    for number in range(DIALOGUES // len(MECHANISMS)):
        right = name == "ANONYMOUS" or rng.random() < 0.7
        dialogue = Dialogue(name, right, success_data=rng.random() < 0.3, two_step=rng.random() < 0.5)
        dialogue.run(changed_once(rng, rng.randrange(places), old[right]))
        where = f"SASLKIT_SEED={SEED}, dialogue {number}: {dialogue}"
        succeeded = isinstance(dialogue.server, sasl.Success)
        assert isinstance(dialogue.server, sasl.Success | sasl.Failure), where
        assert right or not (succeeded or dialogue.client), where
        if dialogue.changed and name in SIGNED:
            assert not (succeeded and dialogue.client), where
            assert not succeeded or dialogue.server.data is not None, where  # only what came after its yes
        assert not dialogue.client or succeeded, where
