"""What the program does when mail comes, when a token is refused, when consent ends, and when an hour passes."""

from collections.abc import Iterator

import pytest
from mailapp import MailApp

import sasl
from sasl.adapters.tokens.oauth import OAuthTokens
from sasl.adapters.tokens.store import MemoryStore

ALICE = "alice@gmail.com"

pytestmark = pytest.mark.sasl(persona="gmail", users={ALICE: "not used: she has signed in with OAuth"})


@pytest.fixture
def store(sasl_accounts, sasl_oauth):
    """What is left of the one time that she has signed in."""
    store = MemoryStore()
    store.put(sasl_accounts[ALICE].grant())
    return store


@pytest.fixture
def app(sasl_servers, sasl_clock, store) -> Iterator[MailApp]:
    """The program, on the time of the servers."""
    app = MailApp(
        ALICE,
        OAuthTokens(store, ALICE, clock=sasl_clock),
        sasl_servers.env(),
        tls=sasl_servers.client_context(),
        clock=sasl_clock,
    )
    yield app
    app.close()


def test_it_reads_a_message_once(app, sasl_accounts):
    sasl_accounts[ALICE].deliver("From: bob@example.org\nSubject: Lunch?\n\nAt noon.\n")
    [message] = app.read()
    assert (message["Subject"], message.get_content()) == ("Lunch?", "At noon.\r\n")
    assert app.read() == []
    assert sasl_accounts[ALICE].mailbox().messages[0].flags == {"\\Seen"}


def test_it_renews_a_token_that_was_refused(app, store, sasl_servers, sasl_oauth):
    app.send("bob@example.org", "One", "With the first token.")
    app.close()
    sasl_oauth.revoke(store.load(ALICE).access_token.reveal())  # good for an hour, as far as the program knows
    app.send("bob@example.org", "Two", "With another one.")
    assert [attempt.outcome for attempt in sasl_servers.attempts] == ["accepted", "credentials", "accepted"]
    sasl_servers.assert_error_challenge_answered()
    sasl_servers.assert_token_sent_once()


def test_it_asks_for_a_sign_in_when_consent_was_withdrawn(app, sasl_oauth):
    app.read()
    sasl_oauth.revoke_consent(ALICE)
    with pytest.raises(sasl.TokenError) as caught:
        app.read()
    assert caught.value.needs_user


def test_what_it_sends_arrives_as_it_is(app, sasl_servers):
    app.send("bob@example.org", "Lunch?", "At noon.")
    sent = sasl_servers.smtp.wait()
    assert (sent.sender, sent.recipients, sent.user) == (ALICE, ("bob@example.org",), ALICE)
    assert sent.email["Subject"] == "Lunch?"
    sasl_servers.assert_no_cleartext_credential()


def test_it_goes_on_when_the_server_ends_the_session(app, sasl_servers, sasl_accounts):
    assert app.read() == []
    sasl_servers.imap.on("SEARCH").close("* BYE Session expired, please login again.")
    sasl_accounts[ALICE].deliver("Subject: Meanwhile\n\nHere.\n")
    [message] = app.read()
    assert message["Subject"] == "Meanwhile"


def test_it_goes_on_when_its_token_has_expired(app, sasl_servers, sasl_accounts, sasl_clock):
    assert app.read() == []
    sasl_clock.advance(hours=1, minutes=1)
    sasl_accounts[ALICE].deliver("Subject: An hour later\n\nHere.\n")
    [message] = app.read()
    assert message["Subject"] == "An hour later"
    assert {attempt.outcome for attempt in sasl_servers.attempts} == {"accepted"}
