"""IMAP clients that are not ours do their work at the reference server, with right, wrong and expired credentials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from sasl.adapters import reference

from ..support.servers import HOST, CannotStart, becomes_true, process_group, program
from .clients import Login, Ran, environment, run
from .programs import getmail, offlineimap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "alice", "wonderland"
WHEN = datetime(2026, 2, 1, 10, tzinfo=UTC)
ATTACHED = (
    b"From: Bob <bob@example.org>\nSubject: Two\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="b"\n\n'
    b"--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGr\xc3\xbc\xc3\x9fe\n"
    b"--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--b--\n"
)


@dataclass(frozen=True)
class Place:
    """Servers with mail, and the folder in which a client runs."""

    servers: reference.Servers
    folder: Path

    def run(self, name: str, arguments: list[str], *, terminal: bool = False) -> Ran:
        """Run a program; skip the test where it is missing."""
        command = [found(name), *arguments]
        if terminal:
            line = " ".join(f"'{word}'" for word in command)
            command = [found("script"), "-q", "-e", "-c", line, "/dev/null"]
        return run(command, self.folder, limit=30)

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text, "utf-8")
        return str(path)

    def login(self, secret: str = PASSWORD) -> Login:
        """What a client is asked to do that logs in by PLAIN."""
        port, lmtp, ca = self.servers.imap.tls_port, self.servers.lmtp.port, self.servers.ca_file
        return Login("imap", port, "PLAIN", True, ca, USER, secret, self.folder, lmtp=lmtp)

    def subjects(self, mailbox: str = "INBOX") -> list[str]:
        """The subjects in a mailbox of the server, without what is marked as deleted."""
        messages = self.servers.mailbox(USER, mailbox).messages
        return [message.email["Subject"] for message in messages if "\\Deleted" not in message.flags]

    def outcomes(self) -> list[str]:
        """How the logins on the last connection ended."""
        session = self.servers.imap.sessions[-1]
        becomes_true(lambda: bool(session.attempts), within=10)
        return [attempt.outcome for attempt in session.attempts]

    def errors(self) -> list[str]:
        """Every BAD that a client was told."""
        return [
            said
            for each in self.servers.imap.sessions
            for who, said in each.transcript
            if who == "S" and " BAD " in said
        ]


def found(name: str) -> str:
    """The path of a program; the test is skipped without it."""
    try:
        return program(f"SASLKIT_{name.upper()}", name)
    except CannotStart as missing:
        reason = str(missing)
    pytest.skip(reason)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with reference.running({USER: PASSWORD}) as servers:
        servers.deliver(USER, "From: ann@example.org\nSubject: One\n\nHello, one\n", date=WHEN)
        servers.deliver(USER, ATTACHED, date=WHEN)
        servers.deliver(USER, "From: ann@example.org\nSubject: Three\n\nHello, three\n", flags=["\\Seen"], date=WHEN)
        servers.deliver(USER, "Subject: Sent\n\nHello\n", mailbox="Sent", flags=["\\Seen"], date=WHEN)
        yield Place(servers, tmp_path)


# --- mbsync


def sync(place: Place, secret: str = PASSWORD, mechanism: str = "SCRAM-SHA-256") -> Ran:
    """Synchronise all mailboxes, both ways."""
    (place.folder / "mail").mkdir(exist_ok=True)
    text = f"""\
IMAPStore there
Host {HOST}
Port {place.servers.imap.tls_port}
User {USER}
Pass {secret}
SSLType IMAPS
SystemCertificates no
CertificateFile {place.servers.ca_file}
AuthMechs {mechanism}
Timeout 15

MaildirStore here
Path {place.folder}/mail/
Inbox {place.folder}/mail/INBOX
SubFolders Verbatim

Channel both
Far :there:
Near :here:
Patterns *
Create Both
Expunge Both
SyncState *
"""
    return place.run("mbsync", ["-c", place.write("mbsyncrc", text), "both"])


def local(place: Place, mailbox: str = "INBOX") -> dict[str, Path]:
    """The files of a mailbox in the Maildir, by subject."""
    files = [path for kind in ("cur", "new") for path in (place.folder / "mail" / mailbox / kind).iterdir()]
    return {path.read_text("utf-8").partition("Subject: ")[2].partition("\n")[0]: path for path in files}


def test_mbsync_syncs_a_mailbox_both_ways(place: Place) -> None:
    ran = sync(place)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert sorted(local(place)) == ["One", "Three", "Two"]
    assert "JVBERi0=" in local(place)["Two"].read_text("utf-8")
    assert local(place)["Three"].name.endswith(":2,S")
    assert sorted(local(place, "Sent")) == ["Sent"]

    one, three = local(place)["One"], local(place)["Three"]
    one.rename(place.folder / "mail/INBOX/cur" / f"{one.name.partition(':')[0]}:2,FS")
    three.rename(three.with_name(three.name + "T"))
    (place.folder / "mail/INBOX/new/1.here").write_text("From: me@example.org\nSubject: Written here\n\nx\n")
    place.servers.deliver(USER, "Subject: Four\n\nx\n")
    inbox = place.servers.mailbox(USER)
    place.servers.call(lambda: inbox.remove([inbox.messages[1]]))

    ran = sync(place)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert place.subjects() == ["One", "Four", "Written here"]
    assert inbox.messages[0].flags == {"\\Flagged", "\\Seen"}
    assert sorted(local(place)) == ["Four", "One", "Written here"]

    before = inbox.modseq
    ran = sync(place)
    assert (ran.code, inbox.modseq) == (0, before), ran.shown


@pytest.mark.parametrize(
    ("mechanism", "kind", "outcome"),
    [
        ("SCRAM-SHA-256", "wrong", "credentials"),
        ("XOAUTH2", "good", "accepted"),
    ],
)
def test_mbsync_with_other_credentials(place: Place, mechanism: str, kind: str, outcome: str) -> None:
    secret = {"wrong": "looking-glass", **place.servers.tokens}[kind]
    ran = sync(place, secret, mechanism)
    assert (ran.code == 0) == (outcome == "accepted"), ran.shown
    assert place.outcomes() == [outcome], ran.shown
    assert secret not in ran.shown


def test_mbsync_leaves_the_error_challenge_of_an_expired_token_without_an_answer(tmp_path: Path) -> None:
    """Its plugin for XOAUTH2 has none: both wait until the server does so no longer."""
    with reference.running({USER: PASSWORD}, settings=reference.Settings(deadline=1.0)) as servers:
        place = Place(servers, tmp_path)
        ran = sync(place, servers.tokens["expired"], "XOAUTH2")
        assert ran.code != 0, ran.shown
        assert place.outcomes() == ["unfinished"], ran.shown


# --- offlineimap


def offline(place: Place, secret: str = PASSWORD) -> Ran:
    """Synchronise all mailboxes, both ways, once."""
    text = f"""\
[general]
accounts = alice
metadata = {place.folder}/state
[Account alice]
localrepository = here
remoterepository = there
[Repository here]
type = Maildir
localfolders = {place.folder}/mail
[Repository there]
type = IMAP
remotehost = {HOST}
remoteport = {place.servers.imap.tls_port}
remoteuser = {USER}
remotepass = {secret}
ssl = yes
sslcacertfile = {place.servers.ca_file}
auth_mechanisms = PLAIN
"""
    return place.run("offlineimap", ["-o", "-u", "basic", "-c", place.write("offlineimaprc", text)])


def test_offlineimap_syncs_a_mailbox_both_ways(place: Place) -> None:
    ran = offline(place)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert sorted(local(place)) == ["One", "Three", "Two"]
    (place.folder / "mail/INBOX/new/1.here").write_text("From: me@example.org\nSubject: Written here\n\nx\n")
    local(place)["Three"].unlink()
    place.servers.deliver(USER, "Subject: Four\n\nx\n")

    ran = offline(place)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert sorted(local(place)) == ["Four", "One", "Two", "Written here"]
    assert sorted(place.subjects()) == ["Four", "One", "Two", "Written here"]


def test_offlineimap_with_a_wrong_password(place: Place) -> None:
    ran = offline(place, "looking-glass")
    assert ran.code != 0, ran.shown
    assert "credentials" in place.outcomes(), ran.shown
    assert place.servers.imap.sessions[-1].identity is None


# --- curl


def curl(place: Place, path: str, *arguments: str, secret: str = PASSWORD, token: str = "") -> Ran:
    lines = [f'user = "{USER}:{secret}"'] if not token else [f"user = {USER}", f'oauth2-bearer = "{token}"']
    config = place.write("curlrc", "\n".join(lines) + "\n")
    options = ["-q", "-sS", "--noproxy", "*", "--max-time", "20", "--config", config]
    url = f"imaps://{HOST}:{place.servers.imap.tls_port}/{path}"
    return place.run("curl", [*options, "--cacert", str(place.servers.ca_file), *arguments, url])


def test_curl_lists_fetches_searches_stores_and_appends(place: Place) -> None:
    assert '* LIST (\\HasNoChildren \\Sent) "/" Sent' in curl(place, "").shown
    assert curl(place, "INBOX;UID=1").shown.endswith("Hello, one\r\n")
    assert curl(place, "INBOX;MAILINDEX=2;SECTION=TEXT").shown.endswith("--b--\r\n")
    assert curl(place, "INBOX;UID=2;SECTION=1").shown == "Gr\u00fc\u00dfe"
    assert curl(place, "INBOX?UNSEEN").shown.strip() == "* SEARCH"
    assert curl(place, "INBOX", "-X", "FETCH 1:3 FLAGS").shown.splitlines()[2:] == ["* 3 FETCH (FLAGS (\\Seen))"]
    assert curl(place, "INBOX", "-X", "STORE 1 +FLAGS \\Deleted").code == 0
    assert curl(place, "INBOX", "-X", "EXPUNGE").shown == "* 1 EXPUNGE\r\n"
    message = place.write("message", "Subject: Put\r\n\r\nx\r\n")
    ran = curl(place, "Drafts", "-T", message)
    assert (ran.code, place.subjects("Drafts")) == (0, ["Put"]), ran.shown
    assert curl(place, "INBOX", "-X", "EXAMINE INBOX").code == 0
    assert curl(place, "INBOX", "-X", "COPY 1 Archive").code == 0
    assert (place.subjects(), place.subjects("Archive")) == (["Two", "Three"], ["Two"])
    assert place.errors() == []


def test_curl_with_other_credentials(place: Place) -> None:
    denied = 67
    assert curl(place, "", secret="looking-glass").code == denied
    assert place.outcomes()[0] == "credentials"
    assert curl(place, "", token=place.servers.tokens["good"]).code == 0
    assert place.outcomes() == ["accepted"]
    assert curl(place, "", token=place.servers.tokens["expired"]).code == denied
    assert place.outcomes()[0] == "expired"


# --- mutt


def mutt(place: Place, keys: str, secret: str = PASSWORD, mechanism: str = "login") -> Ran:
    url = f"imaps://{USER}@{HOST}:{place.servers.imap.tls_port}"
    text = f"""\
set ssl_ca_certificates_file="{place.servers.ca_file}" certificate_file=/dev/null ssl_force_tls=yes
set imap_pass="{secret}" imap_authenticators="{mechanism}"
set folder="{url}" spoolfile="{url}" record="=Sent" postponed="=Drafts" header_cache="" message_cachedir=""
set confirmappend=no confirmcreate=no delete=yes quit=yes move=no mark_old=no
set connect_timeout=15 wait_key=no sleep_time=0
"""
    return place.run("mutt", ["-n", "-F", place.write("muttrc", text), "-e", f'push "{keys}"'], terminal=True)


def test_mutt_reads_copies_and_deletes(place: Place) -> None:
    ran = mutt(
        place, "<first-entry><display-message><exit><copy-message>=Archive<enter><next-entry><delete-message><quit>"
    )
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert place.subjects("Archive") == ["One"]
    assert place.subjects() == ["One", "Three"]
    assert "\\Seen" in place.servers.mailbox(USER).messages[0].flags


def test_mutt_with_a_wrong_password(place: Place) -> None:
    mutt(place, "q", secret="looking-glass")
    assert "credentials" in place.outcomes()
    assert place.servers.imap.sessions[-1].identity is None


# --- fetchmail and getmail


def fetchmail(place: Place, secret: str = PASSWORD, *, keep: bool = True) -> Ran:
    port = place.servers.imap.tls_port
    text = f"""\
poll {HOST} protocol IMAP port {port} timeout 15
  user "{USER}" password "{secret}" ssl sslcertck sslcertfile "{place.servers.ca_file}" sslproto "TLS1.2+"
  {"keep" if keep else "nokeep"} mda "cat >> {place.folder}/fetched"
"""
    options = [
        "--nodetach",
        "--nosyslog",
        "--idfile",
        str(place.folder / "ids"),
        "--pidfile",
        str(place.folder / "pid"),
    ]
    return place.run("fetchmail", [*options, "-f", place.write("fetchmailrc", text)])


def test_fetchmail_fetches_what_is_new_and_deletes_it(place: Place) -> None:
    ran = fetchmail(place, keep=False)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    text = (place.folder / "fetched").read_text("utf-8")
    assert [subject in text for subject in ("One", "Two", "Three")] == [True, True, False]
    assert place.subjects() == ["Three"]
    nothing_new = 1
    assert fetchmail(place).code == nothing_new


def test_fetchmail_with_a_wrong_password(place: Place) -> None:
    refused = 3
    assert fetchmail(place, "looking-glass").code == refused
    assert place.outcomes()[0] == "credentials"


def run_getmail(place: Place, secret: str = PASSWORD) -> Ran:
    return place.run("getmail", getmail(place.login(secret)))


def test_getmail_fetches_all_and_deletes_it(place: Place) -> None:
    there = place.servers.mailbox(USER).messages
    ran = run_getmail(place)
    assert (ran.code, place.errors()) == (0, []), ran.shown
    assert [sent.email["Subject"] for sent in place.servers.lmtp.messages] == ["One", "Two", "Three", "Sent"]
    assert (place.subjects(), place.subjects("Sent")) == (["One", "Two", "Three", "Sent"], [])
    assert not {each.uid for each in there} & {each.uid for each in place.servers.mailbox(USER).messages}


def test_getmail_with_a_wrong_password(place: Place) -> None:
    ran = run_getmail(place, "looking-glass")
    assert ran.code != 0, ran.shown
    assert place.outcomes()[0] == "credentials"
    assert place.servers.lmtp.messages == ()


# --- offlineimap


def test_offlineimap_fetches_what_is_delivered_while_it_waits(place: Place) -> None:
    command = [found("offlineimap"), *offlineimap(place.login())]
    with process_group(command, place.folder, env=environment(place.folder)):
        assert becomes_true(lambda: "IDLE" in [each.name for each in place.servers.log.commands("imap")], within=15)
        assert sorted(local(place)) == ["One", "Three", "Two"]
        place.servers.deliver(USER, "Subject: Four\n\nx\n")
        assert becomes_true(lambda: "Four" in local(place), within=15)
    assert (place.errors(), place.servers.verdicts) == ([], ())
