"""Log in to PostgreSQL by SCRAM-SHA-256, or -PLUS over TLS ("SASL Authentication" in PostgreSQL's manual).

    with socket.create_connection((host, 5432)) as plain, begin_tls(plain, context, host) as tls:
        stream = tls.makefile("rwb")
        log_in(stream, sasl.Password("alice", password), "database", channel=channel(tls, host))

The session goes on in the stream.
"""

import struct

import sasl
from sasl.adapters.channel_binding import bindings

OK, CONTINUE = 0, 11  # what an authentication request says; 10 lists the mechanisms, 12 is the last, and not answered
KINDS = {"28P01": "credentials", "28000": "policy", "08P01": "malformed"}  # by SQLSTATE; any other: try later


def begin_tls(plain, context, host):
    """Return the socket under TLS. Octets in the clear behind the server's yes are no handshake, and break it."""
    plain.sendall(struct.pack("!II", 8, 80877103))
    if plain.recv(1) != b"S":
        raise sasl.PolicyViolation("the server has no TLS")
    return context.wrap_socket(plain, server_hostname=host)


def channel(tls, host):
    """Return the channel of a connection. PostgreSQL binds to this type only, so that it is the default here."""
    found = sasl.LazyBindings(lambda: bindings(tls), default="tls-server-end-point")
    return sasl.Channel(tls=True, service="postgresql", host=host, bindings=found)


def log_in(stream, credentials, database, **options):
    """Log in; the options are those of `sasl.choose`. After an error, close the connection, as PostgreSQL does.

    Whose session it is stands in the first message alone: PostgreSQL does not look at the user name within SCRAM.
    """
    start = f"user\0{credentials.user}\0database\0{database}\0\0"
    if start.count("\0") != 5:
        raise sasl.UsageError("a name with a NUL")
    send(stream, b"", struct.pack("!I", 196608) + start.encode())
    code, data = receive(stream, sasl.ConnectionLost)  # who is turned away here has not shown a credential
    exchange = sasl.choose(data.decode("latin-1").split("\0"), credentials, **options).client(credentials)
    first = exchange.start()
    send(stream, b"p", exchange.name.encode() + struct.pack("!xI", len(first)) + first)
    while code != OK:
        code, data = receive(stream, exchange.fail)
        response = b"" if code == OK else exchange.respond(data)
        if code == CONTINUE:
            send(stream, b"p", response)
    exchange.succeed()  # raises unless the server has proved that it knows the password


def send(stream, kind, body):
    """Send a message."""
    stream.write(kind + struct.pack("!I", len(body) + 4) + body)
    stream.flush()


def receive(stream, refusal):
    """Return the code and the data of an authentication request. Raise what `refusal` makes of the server's error."""
    kind, size = struct.unpack("!cI", stream.read(5).ljust(5, b"\0"))
    body = stream.read(max(4, min(size, 65536)) - 4)
    if kind not in (b"R", b"E") or not 4 <= len(body) == size - 4:
        raise sasl.ConnectionLost("the server ended the connection, or does not speak this protocol")
    if kind == b"R":
        return int.from_bytes(body[:4]), body[4:]
    said = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0")}
    raise refusal(said.get(b"M", ""), kind=KINDS.get(said.get(b"C"), "unavailable"), response_code=said.get(b"C"))
