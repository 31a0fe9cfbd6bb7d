"""A program that reads and sends mail for one account, as its user's OAuth client: what the tests beside it test."""

import imaplib
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage

import sasl
import sasl.adapters.imaplib
import sasl.adapters.smtplib
from sasl.adapters.session import Session


class MailApp:
    """The mail of one account.

    `places` says where the servers are: IMAP_HOST, IMAP_PORT, SMTP_HOST and SMTP_PORT. `tokens` is where access tokens
    come from, `clock` returns what time it is.
    """

    def __init__(
        self,
        user: str,
        tokens: sasl.TokenSource,
        places: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.user = user
        self._places = places
        self._tls = tls or ssl.create_default_context()
        account = sasl.Bearer(user, tokens)
        self._imap = Session(self._open_imap, sasl.adapters.imaplib.authenticate, account, clock=clock)
        self._smtp = Session(self._open_smtp, sasl.adapters.smtplib.authenticate, account, clock=clock)

    def read(self) -> list[EmailMessage]:
        """Return the messages that nobody has read, and mark them as read."""
        self._imap.select("INBOX")
        _, (found,) = self._imap.call(lambda conn: conn.uid("SEARCH", "UNSEEN"), repeat=True)
        return [self._fetch(uid.decode()) for uid in found.split()]

    def send(self, to: str, subject: str, text: str) -> None:
        """Send a message."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.user, to, subject
        message.set_content(text)
        self._smtp.send(self.user, [to], message)

    def close(self) -> None:
        """Log out."""
        self._imap.leave()
        self._smtp.leave()

    def _fetch(self, uid: str) -> EmailMessage:
        _, data = self._imap.call(lambda conn: conn.uid("FETCH", uid, "(BODY.PEEK[])"), repeat=True)
        self._imap.call(lambda conn: conn.uid("STORE", uid, "+FLAGS.SILENT", "(\\Seen)"), repeat=True)
        return message_from_bytes(data[0][1], policy=policy.default)

    def _open_imap(self) -> imaplib.IMAP4:
        conn = imaplib.IMAP4(self._places["IMAP_HOST"], int(self._places["IMAP_PORT"]), timeout=10)
        conn.starttls(self._tls)
        return conn

    def _open_smtp(self) -> smtplib.SMTP:
        conn = smtplib.SMTP(self._places["SMTP_HOST"], int(self._places["SMTP_PORT"]), timeout=10)
        conn.starttls(context=self._tls)
        return conn
