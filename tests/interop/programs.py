"""Mail programs that are not ours: how each is called to send a message, to fetch mail, or only to log in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..support.servers import HOST, program
from .clients import CLIENTS, Login, Ran, run

if TYPE_CHECKING:
    from collections.abc import Callable

BEARERS = ("XOAUTH2", "OAUTHBEARER")
BODY = ".\n..\n.dots\nb\u00fcrning\n\nlast\n"
MESSAGE = "Subject: hello\nFrom: a@example.org\nTo: b@example.org\nContent-Type: text/plain; charset=utf-8\n\n" + BODY


@dataclass(frozen=True)
class Program:
    """One program: what it is called with, and its exit code after a refusal."""

    name: str
    mechanism: str
    command: Callable[[Login], list[str]]
    refused: int
    read: str = ""

    def log_in(self, login: Login) -> Ran:
        """Run it. Only swaks shows what it sends."""
        ran = run([program(f"SASLKIT_{self.name.upper()}", self.name), *self.command(login)], login.folder, self.read)
        assert self.name == "swaks" or login.password not in ran.shown
        return ran


def curl(login: Login) -> list[str]:
    secret = (
        f'user = "{login.user}"\noauth2-bearer = "{login.password}"'
        if login.mechanism in BEARERS
        else f'user = "{login.user}:{login.password}"'
    )
    secret += f'\nlogin-options = "AUTH={login.mechanism}"'
    config = login.write(
        "curlrc", f'{secret}\ncacert = "{login.ca}"\nmax-time = 20\nsilent\nshow-error\nnoproxy = "*"\n'
    )
    return ["-q", "--config", config]


def _curl_sends(login: Login) -> list[str]:
    message = login.write("message", MESSAGE)
    url = f"smtps://{HOST}:{login.port}/"
    return [*curl(login), "--crlf", "-T", message, "--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", url]


def _curl_fetches(login: Login) -> list[str]:
    return [*curl(login), "--output", str(login.folder / "mail"), f"pop3s://{HOST}:{login.port}/1"]


def _msmtp(login: Login) -> list[str]:
    return CLIENTS["msmtp", "smtp"].command(login)


def _swaks(login: Login) -> list[str]:
    message = login.write("message", MESSAGE.removesuffix("\n"))  # it ends the last line itself
    return [*CLIENTS["swaks", "smtp"].command(login), "--data", f"@{message}"]


def mutt(login: Login) -> list[str]:
    arguments = CLIENTS["mutt", login.protocol].command(login)
    configured = login.folder / "muttrc"
    if login.mechanism in BEARERS:
        secret = login.write("token", login.password)
        text = configured.read_text("utf-8").replace(login.password, "")
        configured.write_text(f'{text}set {login.protocol}_oauth_refresh_command="cat {secret}"\n', "utf-8")
    return arguments


def fetchmail(login: Login) -> list[str]:
    text = f"""\
poll {HOST} protocol {"pop3" if login.protocol == "pop" else "imap"} service {login.port} auth password
  user "{login.user}" password "{login.password}" ssl sslcertck sslcertfile "{login.ca}" no keep
  mda "cat >> {login.folder}/mail"
"""
    return ["--fetchmailrc", login.write("fetchmailrc", text), "--timeout", "15", "--nosyslog", "--nodetach"]


def getmail(login: Login) -> list[str]:
    """It delivers by LMTP, into the mailbox of the user who fetches, which is empty then but for that.

    Into a file, and to a command, it delivers by a process of its own: it waits a minute for one that has ended before
    it began to wait.
    """
    retriever, mailboxes = {
        "imap": ("SimpleIMAPSSLRetriever", 'mailboxes = ("INBOX", "Sent")'),
        "pop": ("SimplePOP3SSLRetriever", ""),
    }[login.protocol]
    text = f"""\
[retriever]
type = {retriever}
server = {HOST}
port = {login.port}
username = {login.user}
password = {login.password}
ca_certs = {login.ca}
timeout = 15
{mailboxes}
[destination]
type = MDA_lmtp
host = {HOST}
port = {login.lmtp}
override = {login.user}
[options]
delete = true
read_all = true
"""
    return ["--getmaildir", str(login.folder), "--rcfile", login.write("getmailrc", text)]


def offlineimap(login: Login) -> list[str]:
    """It waits by IDLE and does not end by itself, unless it is called with "-o"."""
    secret = (
        f"oauth2_access_token = {login.password}" if login.mechanism in BEARERS else f"remotepass = {login.password}"
    )
    text = f"""\
[general]
accounts = both
metadata = {login.folder}/state
ui = basic
socktimeout = 15
[Account both]
localrepository = here
remoterepository = there
autorefresh = 1
[Repository here]
type = Maildir
localfolders = {login.folder}/mail
[Repository there]
type = IMAP
remotehost = {HOST}
remoteport = {login.port}
remoteuser = {login.user}
{secret}
ssl = yes
sslcacertfile = {login.ca}
{f"auth_mechanisms = {login.mechanism}" if login.mechanism else ""}
idlefolders = ['INBOX']
folderfilter = lambda name: name == 'INBOX'
"""
    return ["-c", login.write("offlineimaprc", text)]


def swaks_delivers(login: Login) -> list[str]:
    arguments = _swaks(login)
    configured = login.folder / "swaksrc"
    kept = [line for line in configured.read_text("utf-8").splitlines(keepends=True) if not line.startswith("--auth")]
    configured.write_text("".join(kept), "utf-8")
    return [*arguments, "--protocol", "LMTP", "--to", "mallory@example.org,alice@example.org"]


def msmtp_delivers(login: Login) -> list[str]:
    arguments = [*_msmtp(login)[:2], "alice@example.org"]
    configured = login.folder / "msmtprc"
    text = configured.read_text("utf-8").replace("auth plain\n", "auth off\n")
    configured.write_text(f"{text}protocol lmtp\n", "utf-8")
    return arguments


def gsasl(login: Login) -> list[str]:
    at = ["--connect", f"{HOST}:{login.port}", "--starttls", "--x509-ca-file", str(login.ca)]
    return ["--client", f"--{login.protocol}", "--no-cb", *at, "-a", login.user, "-m", login.mechanism]


SENDERS = [
    *(Program("msmtp", mechanism, _msmtp, 77, MESSAGE) for mechanism in ("PLAIN", *BEARERS)),
    Program("swaks", "PLAIN", _swaks, 28),
    *(Program("curl", mechanism, _curl_sends, 67) for mechanism in ("PLAIN", "OAUTHBEARER")),
    *(Program("mutt", mechanism, mutt, 1, BODY) for mechanism in ("PLAIN", *BEARERS)),
]
FETCHERS = [
    Program("fetchmail", "POP-USER", fetchmail, 3),
    Program("getmail", "POP-USER", getmail, 127),
    *(Program("curl", mechanism, _curl_fetches, 67) for mechanism in ("PLAIN", "OAUTHBEARER")),
]
