"""The commands that SMTP and LMTP share: logins, envelopes, and messages by DATA and by BDAT.

RFC 5321, RFC 6409, RFC 2033 (LMTP), RFC 4954 (AUTH), RFC 3207 (STARTTLS), RFC 3030 (BDAT).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, final

from sasl.secret import octets
from sasl.text import printable
from sasl.value import value

from ..wire.smtp import AUTH_REQUIRED, StartTlsServerWire, mail_auth
from .envelope import Refused, parse_recipient, parse_sender
from .mail.store import INBOX, Full
from .outbox import Sent, local_part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from .conversation import Conversation
    from .envelope import Path
    from .outbox import Outbox

LARGEST_MESSAGE: Final = 10_485_760
"""Octets of a message that is taken."""

_MOST_RECIPIENTS: Final = 100
_PIECE: Final = 65_536  # octets that are read at once
_AUTH: Final = re.compile(rb"AUTH\b", re.IGNORECASE)  # malformed or not, it is the wire's
_CHUNK: Final = re.compile(rb"([0-9]{1,20})( LAST)?", re.IGNORECASE)
_MESSAGE_ID: Final = re.compile(rb"^Message-ID:[ \t]*(<[^<>\s]{1,200}>)", re.IGNORECASE | re.MULTILINE)
_HEADER: Final = 16_384  # octets among which the Message-ID is looked for
_LONGEST_NAME: Final = 255  # octets of a domain (RFC 5321 section 4.5.3.1.2)
_TOO_LARGE: Final = "552 5.3.4 Too large"
_WITH_ARGUMENT: Final = frozenset({b"MAIL", b"RCPT", b"EHLO", b"HELO", b"LHLO"})
_NOT_HERE: Final = frozenset({b"EXPN", b"TURN", b"ETRN"})
_NO_ROOM: Final = "452 4.3.1 There is no room for it"
_END: Final = "DATA:end"  # the event of the reply to a whole message


@final
@value
class Rules:
    """In what SMTP and LMTP differ.

    Attributes:
        hello: the command that tells the extensions.
        older: the one that tells none, "" where there is none.
        login: whether a sender has to log in first.
        delivers: whether recipients are users here, each of whom has a reply of its own to the message (RFC 2033).
    """

    hello: str
    older: str
    login: bool
    delivers: bool


@final
class MailCommands:
    """Takes the commands of one connection; `meet` lets an event happen, or the fault that waits for it.

    Attributes:
        authenticated_as: what the client put into the AUTH parameter of its last MAIL command, or None.
    """

    def __init__(
        self,
        conversation: Conversation,
        rules: Rules,
        meet: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[object]],
    ) -> None:
        self.authenticated_as: str | None = None
        self._conversation = conversation
        self._say = conversation.say
        self._manner = conversation.manner
        self._rules = rules
        self._meet = meet
        self._greeted = ""  # the command that greeted
        self._transaction: _Transaction | None = None
        self._verbs: Mapping[bytes, Callable[[bytes], Awaitable[None]]] = {
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self._rset,
            b"VRFY": self._vrfy,
            b"HELP": self._help,
            b"NOOP": self._noop,
            b"QUIT": self._quit,
            **{verb.encode("ascii"): partial(self._greet, verb) for verb in (rules.hello, rules.older) if verb},
        }

    def forget(self) -> None:
        """Forget the message that is being sent, if one is."""
        if self._transaction is not None:
            self._transaction.close()
        self._transaction = None

    async def obey(self, line: bytes) -> None:
        """Take one command line and answer it."""
        verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
        verb = verb.upper()
        conversation = self._conversation
        if _AUTH.match(line):
            await self._auth(line)
        elif conversation.is_too_long(line):
            conversation.note(octets(line))
            await self._say("500 5.5.6 Line too long")
        elif verb == b"STARTTLS":
            conversation.note(_shown(verb, argument, line))
            await self._start_tls(line)
        elif verb in self._verbs:
            conversation.note(_shown(verb, argument, line))
            await self._verbs[verb](argument.strip())
        else:
            conversation.note(octets(line.rstrip(b"\r\n")))
            said = "502 5.5.1 Not implemented" if verb in _NOT_HERE else "500 5.5.1 Unknown command"
            await self._say(*self._manner.lines("unknown", said))

    # --- the session

    async def _greet(self, verb: str, name: bytes) -> None:
        if not name:
            await self._say(f"501 5.5.4 {verb} takes a name")
            return
        self.forget()
        self._greeted = verb
        if verb == self._rules.older:
            await self._say("250 localhost")
            return
        client = printable(name.decode("utf-8", "replace"), limit=_LONGEST_NAME, instead="?")
        extensions = self._manner.lines("ehlo", "localhost", client=client)
        extensions += self._conversation.advertise(self._extensions())
        await self._say(*(f"250-{extension}" for extension in extensions[:-1]), f"250 {extensions[-1]}")

    def _extensions(self) -> list[str]:
        served = ["PIPELINING", "8BITMIME", f"SIZE {self._largest}", "ENHANCEDSTATUSCODES"]
        served += ["DSN", "SMTPUTF8", "CHUNKING", "BINARYMIME"]
        if not self._conversation.connection.tls:
            served.append("STARTTLS")
        return self._manner.told(served)

    @property
    def _largest(self) -> int:
        """How many octets a message may have."""
        return int(self._manner.persona.limit(self._conversation.service, "message") or LARGEST_MESSAGE)

    async def _auth(self, line: bytes) -> None:
        """AUTH needs the EHLO that offered it, and is no part of a mail transaction (RFC 4954 section 4)."""
        if self._greeted == self._rules.hello and self._transaction is None:
            await self._conversation.authenticate(line, "AUTH")
            return
        self._conversation.note("AUTH")
        await self._say("503 5.5.1 Not in a mail transaction" if self._transaction else self._too_early)

    async def _start_tls(self, line: bytes) -> None:
        if await self._conversation.start_tls(StartTlsServerWire, line):
            self._greeted = ""  # what was said in the clear is forgotten (RFC 3207 section 4.2)
            self.forget()

    @property
    def _too_early(self) -> str:
        return f"503 5.5.1 {self._rules.hello} first"

    async def _rset(self, _: bytes) -> None:
        self.forget()
        await self._say("250 2.0.0 OK")

    async def _vrfy(self, _: bytes) -> None:
        await self._say("252 2.5.0 Send it and see")

    async def _help(self, _: bytes) -> None:
        await self._say(f"214 2.0.0 {' '.join(verb.decode('ascii') for verb in self._verbs)} AUTH STARTTLS")

    async def _noop(self, _: bytes) -> None:
        await self._say("250 2.0.0 OK")

    async def _quit(self, _: bytes) -> None:
        self._conversation.over = True
        await self._say(*self._manner.lines("quit", "221 2.0.0 Bye"))

    # --- the envelope

    async def _mail(self, argument: bytes) -> None:
        if not self._greeted:
            await self._say(self._too_early)
            return
        if self._rules.login and self._conversation.identity is None:
            await self._say(*self._manner.login_first(AUTH_REQUIRED).lines)
            return
        if self._transaction is not None:
            await self._say("503 5.5.1 One sender at a time")
            return
        try:
            sender = parse_sender(argument)
        except Refused as refused:
            await self._say(str(refused))
            return
        if int(sender.options.get("SIZE", 0)) > self._largest:
            await self._refuse(_TOO_LARGE)
            return
        self._transaction = _Transaction(sender, self._conversation.backend.outbox, self._largest)
        said = sender.options.get("AUTH")
        self.authenticated_as = None if said is None else mail_auth(f"AUTH={said}")
        await self._say(*self._manner.lines("mail", "250 2.1.0 OK"))

    async def _refuse(self, refusal: str) -> None:
        """Refuse a message that is too large, or for which there is no room."""
        await self._say(*self._manner.lines("too_large", refusal) if refusal == _TOO_LARGE else [refusal])

    async def _rcpt(self, argument: bytes) -> None:
        refusal = self._add_recipient(argument)
        await self._say(*[refusal] if refusal else self._manner.lines("rcpt", "250 2.1.5 OK"))

    def _add_recipient(self, argument: bytes) -> str:
        """Return why not, "" for a yes."""
        transaction = self._transaction
        if transaction is None:
            return "503 5.5.1 MAIL first"
        if transaction.chunks:
            return "503 5.5.1 The message has begun"
        try:
            recipient = parse_recipient(argument, utf8="SMTPUTF8" in transaction.sender.options)
        except Refused as refused:
            return str(refused)
        if len(transaction.recipients) >= _MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if self._rules.delivers and self._user(recipient) is None:
            return "550 5.1.1 No such user here"
        transaction.recipients.append(recipient)
        return ""

    def _user(self, recipient: Path) -> str | None:
        """Return the user whose name is the recipient's address or its local part."""
        users = self._conversation.backend.users
        if users is None:
            return None
        address = recipient.address
        return users.find_user(address) or users.find_user(local_part(address))

    # --- the message

    async def _data(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            await self._say("501 5.5.4 DATA takes no argument")
        elif transaction is None or not transaction.recipients:
            await self._say("503 5.5.1 RCPT first")
        elif transaction.chunks or transaction.is_binary:
            await self._say("503 5.5.1 This message takes BDAT")
        elif refused := self._manner.sends():
            self._transaction = None
            await self._say(*refused.lines)
        else:
            await self._say(*self._manner.lines("data", "354 End with a line that is a dot"))
            if await self._collect_lines(transaction):
                await self._end(transaction)
            self._manner.sending = False

    async def _collect_lines(self, transaction: _Transaction) -> bool:
        """Read a message up to the line that is a dot; return False if the connection ended before.

        Nothing but CR LF ends a line here: anything laxer lets mail be smuggled in.
        """
        ended = b"\r\n"  # the last two octets of what came
        while piece := await self._conversation.connection.read_piece(_PIECE):
            begins = ended == b"\r\n"
            if begins and piece == b".\r\n":
                return True
            ended = (ended + piece)[-2:]
            transaction.add(piece[1:] if begins and piece.startswith(b".") else piece)
        self._conversation.over = True
        return False

    async def _bdat(self, argument: bytes) -> None:
        match = _CHUNK.fullmatch(argument)
        if match is None:
            self._conversation.over = True  # nobody knows now how many octets are no commands
            await self._say("501 5.5.4 BDAT takes a number of octets of up to 20 digits, and LAST")
            return
        transaction = self._transaction
        if transaction is not None and not transaction.recipients:
            transaction = None
        begins = transaction is not None and not transaction.chunks
        refused = self._manner.sends() if begins else None
        came = await self._collect_octets(int(match[1]), None if refused else transaction)
        self._manner.sending = False
        if not came:
            return
        if refused:
            self.forget()
            await self._say(*refused.lines)
        elif transaction is None:
            await self._say("503 5.5.1 RCPT first")
        elif match[2]:
            await self._end(transaction)
        elif refusal := transaction.refusal:
            self.forget()
            await self._refuse(refusal)
        else:
            await self._say("250 2.0.0 OK")

    async def _collect_octets(self, left: int, transaction: _Transaction | None) -> bool:
        """Read a chunk, for nobody if it came out of order; return False if the connection ended before its end."""
        if transaction is not None:
            transaction.chunks = True
        while left:
            piece = await self._conversation.connection.read(min(left, _PIECE))
            if not piece:
                self._conversation.over = True
                return False
            left -= len(piece)
            if transaction is not None:
                transaction.add(piece)
        return True

    async def _end(self, transaction: _Transaction) -> None:
        """Answer a whole message: once, or for each recipient (RFC 2033 section 4.2)."""
        self._conversation.note(f"<{transaction.size} octets>")
        message, everybody = bytes(transaction.message), transaction.recipients
        self.forget()
        for recipients in [[each] for each in everybody] if self._rules.delivers else [everybody]:
            if not self._conversation.over:
                await self._meet(_END, partial(self._take, transaction, message, recipients))

    async def _take(self, transaction: _Transaction, message: bytes, recipients: Sequence[Path]) -> None:
        """Keep a message, deliver it to those recipients that are users here, and say so."""
        if refusal := transaction.refusal:
            await self._refuse(refusal)
            return
        conversation = self._conversation
        sent = Sent(
            transaction.sender.address,
            tuple(recipient.address for recipient in recipients),
            message,
            conversation.identity,
            transaction.sender.options,
            tuple(recipient.options for recipient in recipients),
            conversation.connection.tls,
            conversation.backend.clock.now(),
            conversation.service,
        )
        if self._deliver(sent, recipients):
            conversation.backend.outbox.add(sent)
            mid = _MESSAGE_ID.search(message[:_HEADER])
            name = "" if mid is None else mid[1].decode("ascii", "replace")
            await self._say(*self._manner.lines("queued", "250 2.0.0 Accepted", mid=name))
        else:
            await self._say(_NO_ROOM)

    def _deliver(self, sent: Sent, recipients: Sequence[Path]) -> bool:
        """Put a message into the INBOX of each recipient that is a user here, once, or into none: then return False."""
        backend = self._conversation.backend
        users = dict.fromkeys(filter(None, map(self._user, recipients)))
        delivered = []
        for user in users:
            inbox = backend.accounts.account(user).mailbox(INBOX)
            try:
                delivered.append((inbox, inbox.add(sent.raw, (), sent.when)))
            except Full:
                for other, kept in delivered:
                    other.remove([kept])
                return False
        return True


@final
class _Transaction:
    """What a client has said of the message that it sends."""

    def __init__(self, sender: Path, outbox: Outbox, largest: int) -> None:
        self.sender = sender
        self._largest = largest
        self.recipients: list[Path] = []
        self.chunks = False  # whether BDAT has begun it
        self.message = bytearray()
        self.size = 0
        self.refusal = ""  # of what is too large, or for which there is no room: no more of it is kept
        self._outbox = outbox

    def add(self, piece: bytes) -> None:
        """Take octets of the message."""
        self.size += len(piece)
        if self.refusal:
            return
        if self.size > self._largest:
            self._refuse(_TOO_LARGE)
        elif self._outbox.reserve(len(piece)):
            self.message += piece
        else:
            self._refuse(_NO_ROOM)

    def close(self) -> None:
        """Keep nothing of the message."""
        self._outbox.release(len(self.message))
        self.message.clear()

    def _refuse(self, refusal: str) -> None:
        self.refusal = refusal
        self.close()

    @property
    def is_binary(self) -> bool:
        return self.sender.options.get("BODY", "").upper() == "BINARYMIME"


def _shown(verb: bytes, argument: bytes, line: bytes) -> str:
    """Return how a command is shown: an argument where none has its place may be a secret that has lost its own."""
    fits = verb in _WITH_ARGUMENT or (verb == b"BDAT" and _CHUNK.fullmatch(argument.strip()))
    if argument and not fits:
        return f"{verb.decode('ascii')} {octets(argument)}"
    return line.decode("utf-8", "replace").rstrip("\r\n")
