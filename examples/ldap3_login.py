"""Log in on an ldap3 connection by any mechanism; ldap3 alone knows EXTERNAL, DIGEST-MD5, GSSAPI and PLAIN.

    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED)
    connection = ldap3.Connection(ldap3.Server(host, use_ssl=True, tls=tls))
    log_in(connection, sasl.Password("alice", password))

Without `tls`, ldap3 checks no certificate.
"""

from ldap3 import BASE
from ldap3.protocol.sasl.sasl import send_sasl_negotiation

import sasl
from sasl.adapters.binding import channel

KINDS = {
    "invalidCredentials": "credentials",
    "insufficientAccessRights": "authorization",
    "authMethodNotSupported": "unsupported",
    "strongerAuthRequired": "policy",
    "confidentialityRequired": "policy",
    "protocolError": "malformed",
}


def log_in(connection, credentials, **options):
    """Bind, as bind() of ldap3 does, with the strategy SYNC; the options are those of `sasl.choose`.

    Raises a SASLError, or what ldap3 raises, and closes the connection then.
    """
    if connection.closed:
        connection.open()
    with connection.connection_lock:
        try:
            bind(connection, credentials, **options)
        except BaseException:
            connection.strategy.close()
            raise
        finally:
            connection.request = None  # it holds the credential
        connection.bound = True
        connection.refresh_server_info()
    return True


def bind(connection, credentials, **options):
    """Run the exchange."""
    connection.search("", "(objectClass=*)", BASE, attributes=["supportedSASLMechanisms"])
    offered = connection.response[0]["attributes"]["supportedSASLMechanisms"]
    below = channel(connection.socket, service="ldap", host=connection.server.host)
    exchange = sasl.choose(offered, credentials, channel=below, **options).client(credentials)
    connection.sasl_mechanism = exchange.name
    result = send_sasl_negotiation(connection, None, exchange.start())
    while result["description"] == "saslBindInProgress":
        result = send_sasl_negotiation(connection, None, exchange.respond(result["saslCreds"] or b""))
    said = result["description"]
    if said != "success":
        raise exchange.fail(result["message"], kind=KINDS.get(said, "unavailable"), response_code=said)
    exchange.succeed(result["saslCreds"])
