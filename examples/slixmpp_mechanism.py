"""Let slixmpp log in by the mechanisms of this library: passwords of any kind that the policy allows.

    xmpp = slixmpp.ClientXMPP("alice@example.com", password)
    check_verdicts(xmpp)
    xmpp.connect()

slixmpp takes the strongest that the server offers, and after a refusal the next; its option `use_mech` names one.
"""

from slixmpp.util.sasl import Mech, SASLCancelled, SASLMutualAuthFailed, sasl_mech

import sasl


class Mechanism(Mech):
    """One login, as slixmpp wants it."""

    required_credentials = frozenset({"username", "password"})
    optional_credentials = frozenset({"authzid", "channel_binding", "host"})
    security = frozenset({"encrypted", "tls_version", "binding_proposed"})

    def setup(self, name):
        """Choose, or refuse, the mechanism that slixmpp has chosen."""
        said = {key: value.decode() for key, value in self.credentials.items() if key != "channel_binding"}
        version, data = self.security_settings.get("tls_version"), self.credentials["channel_binding"]
        channel = sasl.Channel(
            tls=self.security_settings["encrypted"],
            service="xmpp",
            host=said["host"],
            bindings={"tls-exporter" if version == "TLSv1.3" else "tls-unique": data} if data else {},
            tls_version=version,
        )
        offered = [name, f"{name}-PLUS"] if self.security_settings["binding_proposed"] else [name]
        password = sasl.Password(said["username"], said["password"], authzid=said["authzid"] or None)
        try:
            self.exchange = sasl.choose(offered, password, channel=channel, mechanism=name).client(password)
        except sasl.SASLError as error:
            raise SASLCancelled(str(error)) from None

    def process(self, challenge=None):
        """Return the response to a challenge, or to the data of a success: slixmpp does not say which."""
        try:
            if challenge is None:
                return self.exchange.start()
            return b"" if self.exchange.complete and not challenge else self.exchange.respond(challenge)
        except sasl.SASLError as error:
            raise SASLMutualAuthFailed(str(error)) from None


def check_verdicts(xmpp):
    """Leave a server that says yes too early: `process` cannot tell that from a challenge."""

    def check(_):
        try:
            xmpp.plugin["feature_mechanisms"].mech.exchange.succeed()
        except sasl.SASLError:
            xmpp.abort()

    xmpp.add_event_handler("auth_success", check)


for row in sasl.known_mechanisms():
    if row.credentials is sasl.Password:
        sasl_mech(row.rank)(type(row.name, (Mechanism,), {"name": row.name}))
