"""Let kafka-python 3 log in by the mechanisms of this library: import this before a client is made.

A mechanism is asked whether it is done, since Kafka has no message for the server's yes (KIP-152): that is
`ClientExchange.complete`.
"""

from contextlib import contextmanager

from kafka.errors import SaslAuthenticationFailedError
from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.abc import SaslMechanism

import sasl
from sasl.adapters.binding import bind

ERRORS = bind(SaslAuthenticationFailedError, module=__name__, prefix="Kafka")


@contextmanager
def translated():
    """Let our errors be errors of kafka-python as well."""
    try:
        yield
    except sasl.SASLError as error:
        raise ERRORS.translate(error) from None


class Mechanism(SaslMechanism):
    """One login, as kafka-python wants it."""

    @translated()
    def __init__(self, **config):
        user, provider = config["sasl_plain_username"], config["sasl_oauth_token_provider"]
        if provider is None:
            credentials = sasl.Password(user, config["sasl_plain_password"])
        else:
            credentials = sasl.resolve(sasl.Bearer(user, provider.token))
        # Without the host, which OAUTHBEARER would send: Kafka takes it for an extension of its own (KIP-342).
        channel = sasl.Channel(tls=config["security_protocol"] == "SASL_SSL", service="kafka")
        self.exchange = sasl.choose([config["sasl_mechanism"]], credentials, channel=channel).client(credentials)
        self.message = self.exchange.start()

    def auth_bytes(self):
        """Return what to send."""
        message, self.message = self.message, b""
        return message

    @translated()
    def receive(self, auth_bytes):
        """Take what the server sent; nothing at all, where nothing has to come, is its yes."""
        if auth_bytes or not self.exchange.complete:
            self.message = self.exchange.respond(auth_bytes)
        if self.exchange.complete:
            self.exchange.succeed()

    def is_done(self):
        """Whether the server has said yes, and may: a no is an error of the protocol, which ends the connection."""
        return self.exchange.state is sasl.State.DONE

    is_authenticated = is_done


for name in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"):
    register_sasl_mechanism(name, Mechanism, overwrite=True)
