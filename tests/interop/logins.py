"""What programs do with right, wrong and expired credentials: the rows of docs/clients.md that are theirs."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.conduct import BEARERS, ITSELF, USER, Conduct
from ..support.servers import HOST, program
from .clients import CLIENTS, Client, Login, Ran
from .programs import FETCHERS, SENDERS, Program, curl, fetchmail, gsasl, mutt, offlineimap

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl.adapters import reference

HANGS = {("mbsync", "XOAUTH2")}
"""What waits for more than the error challenge, until the server does so no longer."""
SLOW = {("mutt", "XOAUTH2"), ("mutt", "OAUTHBEARER")}
"""Left out: mutt shows each refusal for a second or two."""


def _by_gsasl(login: Login) -> Ran:
    return Program("gsasl", login.mechanism, gsasl, 1, f"{login.password}\n").log_in(login)


def _by_curl(login: Login) -> Ran:
    def lists(login: Login) -> list[str]:
        return [*curl(login), f"imaps://{HOST}:{login.port}/"]

    return Program("curl", login.mechanism, lists, 67).log_in(login)


def _by_mutt(login: Login) -> Ran:
    return Client("mutt", (), mutt, 0, terminal=True).log_in(login)


def _by_offlineimap(login: Login) -> Ran:
    return Program("offlineimap", login.mechanism, lambda login: ["-o", *offlineimap(login)], 1).log_in(login)


def programs() -> list[Conduct]:
    """The rows of the programs."""
    return [
        _row(*each)
        for each in (
            *(
                (each.name, "smtp", each.mechanism, each.log_in)
                for each in SENDERS
                if (each.name, each.mechanism) not in SLOW
            ),
            *((each.name, "pop", each.mechanism, each.log_in) for each in FETCHERS),
            *(("curl", "imap", each, _by_curl) for each in ("PLAIN", *BEARERS)),
            ("fetchmail", "imap", ITSELF, Program("fetchmail", "", fetchmail, 3).log_in),
            *(("mbsync", "imap", each, CLIENTS["mbsync", "imap"].log_in) for each in (ITSELF, "PLAIN", "XOAUTH2")),
            ("mutt", "imap", "OAUTHBEARER", _by_mutt),
            *(("offlineimap", "imap", each, _by_offlineimap) for each in (ITSELF, "XOAUTH2")),
            ("msmtp", "smtp", ITSELF, CLIENTS["msmtp", "smtp"].log_in),
            *(("gsasl", each, "SCRAM-SHA-256", _by_gsasl) for each in ("imap", "smtp")),
        )
    ]


def _row(name: str, protocol: str, mechanism: str, by: Callable[[Login], Ran]) -> Conduct:
    def log_in(servers: reference.Servers, secret: str) -> None:
        endpoint: reference.Endpoint = getattr(servers, protocol)
        implicit = name != "gsasl"
        port = endpoint.tls_port if implicit else endpoint.port
        told = "" if mechanism == ITSELF else mechanism
        with tempfile.TemporaryDirectory() as folder:
            login = Login(protocol, port, told, implicit, servers.ca_file, USER, secret, Path(folder))
            by(replace(login, lmtp=servers.lmtp.port))

    deadline = 1.0 if (name, mechanism) in HANGS else 30.0
    return Conduct("Programs", name, protocol, mechanism, log_in, deadline, partial(version, name))


def version(name: str) -> str:
    """What a program says that its version is."""
    option = "-v" if name == "mutt" else "--version"
    done = subprocess.run(
        [program(f"SASLKIT_{name.upper()}", name), option], capture_output=True, text=True, timeout=10
    )
    found = re.search(r"\d[\d.]*\d", done.stdout)
    return found[0] if found else ""
