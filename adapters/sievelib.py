"""sievelib: `authenticate` for its ManageSieve clients, and a drop-in class with another connect() (RFC 5804).

sievelib has one method that connects, begins TLS and logs in, and no public way to send a command or to read a reply.
So the drop-in class connects by that method while it has no mechanism to offer to it: sievelib then sends nothing, and
leaves the connection open. The lines of a login go over the client's `sock`, and none of them through its debug output.

`authenticate` returns True, as connect() does, and raises errors that are both ours and sievelib.managesieve.Error. The
client's `authenticated`, and `errcode` and `errmsg` after a refusal, are what sievelib would have set.
"""

from __future__ import annotations

import re
import ssl as ssl_module
from functools import partial

from sievelib import managesieve

from sasl.credentials import Password
from sasl.errors import ConnectionLost, PolicyViolation, SASLError, UsageError
from sasl.policy import DEFAULT_POLICY, Policy
from sasl.secret import Secret
from sasl.typed import TYPE_CHECKING

from .binding import Binding, Dialogue, Library, Offer, bind, channel, credentials_of
from .binding.dialogue import READ
from .binding.errors import unasked_error
from .binding.given import veil_password
from .binding.gone import is_gone_below
from .binding.tls import hint_at_tls, read_ahead
from .wire.sieve import CapabilityWire, choose, client_wire

if TYPE_CHECKING:
    from typing import Any, Final

    from sasl.channel import Channel
    from sasl.credentials import Credentials, Token

    from .wire import Line
    from .wire.sieve import ClientWire

_ENDS: Final = re.compile(r"Connection closed by server|Failed to read (?:data|[0-9]+ bytes) from the server")
"""How sievelib says that the connection has ended, or that the server takes too long."""


def is_session_lost(error: BaseException) -> bool:
    """Whether an error of sievelib or of `authenticate` says that the session is gone: log in on a new connection then.

    It is False for a refusal, which a new connection gets as well, and for a connection that could not be made.
    """
    if isinstance(error, SASLError) or not isinstance(error, managesieve.Error):
        return is_gone_below(error)
    return _ENDS.match(str(error)) is not None


class Client(managesieve.Client):  # type: ignore[misc]  # sievelib has no types
    """sievelib's client with another connect(), and with open(), which connects without a login.

    Attributes:
        policy: what connect() may do.
        mechanism: the one mechanism for connect(), or None for the strongest that fits.
    """

    policy: Policy = DEFAULT_POLICY
    mechanism: str | None = None
    _opens = False

    def connect(  # noqa: PLR0917 -- as sievelib has it, and so may whoever calls it
        self,
        login: str,
        password: Credentials | Token | bytes,
        authz_id: str = "",
        starttls: bool = False,  # noqa: FBT001, FBT002
        ssl: bool = False,  # noqa: FBT001, FBT002
        authmech: str | None = None,
    ) -> bool:
        """Connect, begin TLS if that is wanted, and log in as `authenticate` does; return True.

        `password` is the user's password (a str, bytes or a `sasl.Secret`), credentials, or a callable or token source
        for the user's bearer token. `authz_id` goes with a password only. `authmech` is the name of any mechanism.
        Raises as `open` and `authenticate` do. After a refusal the connection is open: `authenticate` may try again.
        """
        password = veil_password(password)
        credentials = credentials_of(login, password)
        if authz_id:
            if not isinstance(password, Secret):
                raise UsageError("authz_id goes with a password: credentials have an authzid of their own")
            credentials = Password(login, password, authzid=authz_id)
        self.open(starttls=starttls, ssl=ssl)
        return authenticate(self, credentials, policy=self.policy, mechanism=authmech or self.mechanism)

    def open(self, *, starttls: bool = False, ssl: bool = False) -> None:
        """Connect as connect() does, without a login: `authenticate` is for that.

        Raises SievePolicyViolation if the server refuses STARTTLS; what sievelib raises leaves as it is. The connection
        is closed then.
        """
        self._opens = True
        try:
            super().connect("", "", starttls=starttls, ssl=ssl)  # returns False: see the beginning of the file
            if starttls and not isinstance(self.sock, ssl_module.SSLSocket):
                raise ERRORS.translate(PolicyViolation("the server refuses STARTTLS"))
        except BaseException:
            _close(self)
            raise
        finally:
            self._opens = False

    def get_sasl_mechanisms(self) -> list[str]:
        """Return the mechanisms of the server; none to sievelib's own connect(), which would use the first it knows."""
        offered: list[str] = [] if self._opens else super().get_sasl_mechanisms()
        return offered


# --- the description

ERRORS: Final = bind(managesieve.Error, module=__name__, prefix="Sieve")


def _close(client: managesieve.Client) -> None:
    client.authenticated = False
    if client.sock is not None:
        client.sock.close()


def _channel(client: managesieve.Client) -> Channel:
    host = getattr(client, "srvhostname", client.srvaddr)  # since sievelib 1.5, where the certificate has another name
    return channel(client.sock, service="sieve", host=host)


def _check(client: managesieve.Client) -> None:
    if client.sock is None or client.sock.fileno() == -1:
        raise ConnectionLost("there is no connection: call open() first")


def _dialogue(client: managesieve.Client) -> Dialogue:
    def receive(wire: ClientWire, line: bytes) -> Line | None:
        answer = wire.receive(dialogue.take(line, wire.shown))
        if wire.error is not None:
            client.errcode = (wire.error.response_code or "").encode()
            client.errmsg = wire.server_text.encode()
        return answer

    dialogue = Dialogue(
        lambda octets: client.sock.sendall(octets),  # noqa: PLW0108 -- a login has a socket of its own: `limit_time`
        partial(_readline, client),
        partial(_close, client),
        receive=receive,
        unasked=partial(_unasked, client),
    )
    return dialogue


def _readline(client: managesieve.Client) -> bytes:
    """Read a line, octet by octet: what is read ahead of it would be lost to sievelib."""
    line = bytearray()
    while len(line) < READ and not line.endswith(b"\n") and (octet := client.sock.recv(1)):
        line += octet
    return bytes(line)


def _unasked(client: managesieve.Client) -> SASLError | None:
    """Return the error for what the server has said before the next command: a goodbye, or what nobody asked for.

    It may have been said in the clear: sievelib keeps what follows the server's yes to STARTTLS (CVE-2011-0411).
    """
    # There is no other way to see what sievelib has read already: it takes whatever there is, and keeps the rest.
    said = getattr(client, "_Client__read_buffer", b"") or read_ahead(client)
    if not said:
        return None
    line = said.partition(b"\n")[0] + b"\n"
    wire = CapabilityWire()
    wire.receive(line)
    return wire.error if isinstance(wire.error, ConnectionLost) else unasked_error(line)


def _offer(client: managesieve.Client, dialogue: Dialogue) -> Offer:
    """Ask for the capabilities: what sievelib keeps of them is none of the public, and may be from before TLS."""
    wire = CapabilityWire()
    dialogue.ask(wire)
    if "STARTTLS" in wire.capabilities:
        hint_at_tls(dialogue, client)
    said = tuple(f"{name} {words}".rstrip() for name, words in wire.capabilities.items())
    return Offer(partial(choose, wire.capabilities), client_wire, said)


def _finish(client: managesieve.Client, _dialogue: Dialogue) -> bool:
    client.authenticated = True
    return True


LIBRARY: Final[Library[Any, bool]] = Library(
    service="sieve",
    errors=ERRORS,
    channel=_channel,
    dialogue=_dialogue,
    offer=_offer,
    finish=_finish,
    check=_check,
    close=_close,
)
authenticate: Final = Binding(LIBRARY).authenticate
