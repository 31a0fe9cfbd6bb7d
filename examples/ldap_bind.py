"""Bind to an LDAP directory by any mechanism: BER by pyasn1, over any connection (RFC 4511 section 4.2).

    with context.wrap_socket(socket.create_connection((host, 636)), server_hostname=host) as sock:
        stream = sock.makefile("rwb")
        below = sasl.adapters.binding.channel(sock, service="ldap", host=host)
        bind(stream, ["SCRAM-SHA-256", "PLAIN"], sasl.Password("alice", password), channel=below)

The session goes on in the stream.
"""

from pyasn1.codec.ber import decoder, encoder
from pyasn1.codec.native import decoder as from_native
from pyasn1.codec.native import encoder as to_native
from pyasn1.type import tag, univ
from pyasn1.type.namedtype import NamedType, NamedTypes, OptionalNamedType

import sasl

SUCCESS, IN_PROGRESS = 0, 14
KINDS = {2: "malformed", 7: "unsupported", 8: "policy", 13: "policy", 49: "credentials", 50: "authorization"}


def tagged(kind, number, form=tag.tagFormatConstructed, within=tag.tagClassContext):
    """Return a type under an implicit tag."""
    return kind.subtype(implicitTag=tag.Tag(within, form, number))


def message(number, *fields):
    """Return the type of an LDAPMessage that holds one operation."""
    operation = tagged(univ.Sequence(componentType=NamedTypes(*fields)), number, within=tag.tagClassApplication)
    return univ.Sequence(componentType=NamedTypes(NamedType("id", univ.Integer()), NamedType("operation", operation)))


TEXT = univ.OctetString()
SASL = univ.Sequence(componentType=NamedTypes(NamedType("mechanism", TEXT), OptionalNamedType("credentials", TEXT)))
REQUEST = message(0, NamedType("version", univ.Integer()), NamedType("name", TEXT), NamedType("sasl", tagged(SASL, 3)))
RESULT = NamedType("code", univ.Enumerated()), NamedType("matched", TEXT), NamedType("text", TEXT)
REFERRAL = OptionalNamedType("referral", tagged(univ.SequenceOf(TEXT), 3))
DATA = OptionalNamedType("data", tagged(TEXT, 7, tag.tagFormatSimple))
RESPONSE = message(1, *RESULT, REFERRAL, DATA)


def bind(stream, offered, credentials, **options):
    """Bind. `offered` is what the root DSE lists as supportedSASLMechanisms; the options are those of `sasl.choose`.

    Raises a SASLError, or a PyAsn1Error for what is no LDAP, or half a message. Close the connection then.
    """
    exchange = sasl.choose(offered, credentials, **options).client(credentials)
    send(stream, 1, exchange.name, exchange.start())
    for number, response in enumerate(decoder.StreamingDecoder(stream, asn1Spec=RESPONSE), 1):
        if not isinstance(response, univ.Sequence) or response["id"] != number:
            break
        result = to_native.encode(response["operation"])
        code, text, data = result["code"], result["text"].decode("utf-8", "replace"), result.get("data")
        if code == SUCCESS:
            return exchange.succeed(data)
        if code != IN_PROGRESS:
            raise exchange.fail(text, kind=KINDS.get(code, "unavailable"), response_code=str(code))
        send(stream, number + 1, exchange.name, exchange.respond(data or b""))
    raise sasl.ConnectionLost("the server ended the connection, or answers something else")


def send(stream, number, mechanism, data):
    """Send a BindRequest. Without data it is not the same as with empty ones."""
    said = {"mechanism": mechanism} if data is None else {"mechanism": mechanism, "credentials": data}
    request = {"id": number, "operation": {"version": 3, "name": "", "sasl": said}}
    stream.write(encoder.encode(from_native.decode(request, asn1Spec=REQUEST)))
    stream.flush()
