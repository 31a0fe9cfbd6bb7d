"""Mail clients that are not ours, as programs: what each is told, in a file where it can be, and how it says no."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..support.servers import HOST, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MESSAGE = "Subject: hello\n\nhello\n"


@dataclass(frozen=True)
class Ran:
    """How a program ended: its exit code, and all that it wrote."""

    code: int
    shown: str


@dataclass(frozen=True)
class Login:
    """What a client is asked to do: log in, and the least that can be done then.

    Attributes:
        mechanism: its name, or "" for what the client takes by itself.
        implicit: whether TLS comes first; else STARTTLS is insisted on.
        ca: the file with the certificate of the CA that the client is to trust, and of no other.
        folder: where its configuration goes, and what it keeps.
        command: prints the password, for a client that is not to have it written down; "" for one that is.
        lmtp: the port of a server that takes what getmail has fetched.
    """

    protocol: str
    port: int
    mechanism: str
    implicit: bool
    ca: Path
    user: str
    password: str
    folder: Path
    command: str = ""
    lmtp: int = 0

    def write(self, name: str, text: str) -> str:
        """Write a file that none but its owner may read, as clients want it of one with a password; return its path."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text, "utf-8")
        return str(path)


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        name: its program; the environment variable SASLKIT_<NAME> may name another.
        mechanisms: those that it is tried with.
        command: writes its configuration; returns the arguments of its program.
        refused: its exit code after a refusal.
        shows_password: whether it shows what it sends, which no transcript of ours does.
        terminal: whether it wants one.
    """

    name: str
    mechanisms: tuple[str, ...]
    command: Callable[[Login], list[str]]
    refused: int
    shows_password: bool = False
    terminal: bool = False

    def log_in(self, login: Login) -> Ran:
        """Run it once. Neither its arguments nor what it writes may hold the password."""
        arguments = self.command(login)
        command = [program(f"SASLKIT_{self.name.upper()}", self.name), *arguments]
        if self.terminal:
            command = [program("SASLKIT_SCRIPT", "script"), "-q", "-e", "-c", shlex.join(command), os.devnull]
        assert login.password not in " ".join(command)
        ran = run(command, login.folder, _MESSAGE if login.protocol == "smtp" else "")
        assert self.shows_password or login.password not in ran.shown
        return ran


def environment(folder: Path) -> dict[str, str]:
    """What a program is started in, whose home is this folder."""
    return {**os.environ, "HOME": str(folder), "TERM": "vt100", "LC_ALL": "C.UTF-8"}


def run(command: list[str], folder: Path, read: str = "", *, limit: float = 20) -> Ran:
    """Run a program that reads this, in a folder that is its home, and with no terminal to ask at.

    Raises subprocess.TimeoutExpired where it takes more than `limit` seconds; it is killed then, with its children.
    """
    (folder / "input").write_text(read, "utf-8")
    with (folder / "input").open("rb") as source, (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdin=source,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return Ran(code, output.read().decode("utf-8", "replace"))


def _swaks(login: Login) -> list[str]:
    lines = [
        f"--server {HOST}",
        f"--port {login.port}",
        "--tls-on-connect" if login.implicit else "--tls",
        f"--tls-ca-path {login.ca}",
        "--tls-verify",
        f"--auth {login.mechanism}",
        f"--auth-user {login.user}",
        f"--auth-password {login.password}",
        "--from a@example.org",
        "--to b@example.org",
        "--timeout 15",
    ]
    return ["--config", login.write("swaksrc", "\n".join(lines) + "\n")]


def _msmtp(login: Login) -> list[str]:
    lines = [
        "account default",
        f"host {HOST}",
        f"port {login.port}",
        "tls on",
        f"tls_starttls {'off' if login.implicit else 'on'}",
        f"tls_trust_file {login.ca}",
        f"auth {login.mechanism.lower() or 'on'}",
        f"user {login.user}",
        f"passwordeval {login.command}" if login.command else f"password {login.password}",
        "from a@example.org",
        "timeout 15",
    ]
    return ["-C", login.write("msmtprc", "\n".join(lines) + "\n"), "b@example.org"]


def _mbsync(login: Login) -> list[str]:
    mail = login.folder / "mail"
    mail.mkdir(exist_ok=True)
    text = f"""\
IMAPStore there
Host {HOST}
Port {login.port}
User {login.user}
{f'PassCmd "{login.command}"' if login.command else f"Pass {login.password}"}
SSLType {"IMAPS" if login.implicit else "STARTTLS"}
SystemCertificates no
CertificateFile {login.ca}
AuthMechs {login.mechanism or "*"}
Timeout 15

MaildirStore here
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel both
Far :there:
Near :here:
Patterns INBOX
SyncState *
"""
    return ["-c", login.write("mbsyncrc", text), "--list", "both"]


def _mutt(login: Login) -> list[str]:
    url = f"{login.protocol}{'s' * login.implicit}://{login.user}@{HOST}:{login.port}"
    text = f"""\
set ssl_ca_certificates_file="{login.ca}" certificate_file={os.devnull} ssl_starttls=yes ssl_force_tls=yes
set {login.protocol}_pass="{login.password}" {login.protocol}_authenticators="{login.mechanism.lower()}"
set folder="{login.folder}" spoolfile="{login.folder}/none" record="" copy=no header_cache="" message_cachedir=""
set from="a@example.org" use_from=yes sendmail=false smtp_url="{url if login.protocol == "smtp" else ""}"
set connect_timeout=15 wait_key=no sleep_time=0
"""
    told = ["-n", "-F", login.write("muttrc", text)]
    return [*told, "-s", "hello", "b@example.org"] if login.protocol == "smtp" else [*told, "-f", url, "-e", "push q"]


_ALL = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")

# swaks wants further modules of Perl for DIGEST-MD5. mutt looks into a mailbox at a terminal only, where it ends with 0
# whatever came of it.
CLIENTS = {
    ("swaks", "smtp"): Client("swaks", _ALL[:3], _swaks, 28, shows_password=True),
    ("msmtp", "smtp"): Client("msmtp", (*_ALL, ""), _msmtp, 77),
    ("mbsync", "imap"): Client("mbsync", (*_ALL, ""), _mbsync, 1),
    ("mutt", "imap"): Client("mutt", _ALL, _mutt, 0, terminal=True),
    ("mutt", "pop"): Client("mutt", _ALL, _mutt, 0, terminal=True),
    ("mutt", "smtp"): Client("mutt", _ALL, _mutt, 1),
}
