"""The mechanisms that come with the library: one file each, one row each (SCRAM: one row for each hash, and its -PLUS).

`ROWS` is the built-in table that `sasl.registry` reads; scripts are named by "module:name" and imported when
they are first used. Ranks leave room: 1 and 2 the login commands, 10 anonymous, 19 and 20 a password as it is, 30 a
token, from 40 on mechanisms that do not send the secret, from 60 on those that are bound to the TLS channel, 80 what
TLS has proved already.
"""

from __future__ import annotations

from sasl.credentials import Anonymous, Bearer, External, Password
from sasl.hashes import HASHES
from sasl.registry import Mechanism
from sasl.steps import FindKeys, FindSecret
from sasl.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final


def _scram(name: str, rank: int, *, twin: str | None = None) -> Mechanism:
    """Return the row of SCRAM with a hash."""
    return Mechanism(
        name,
        "sasl.mechanisms.scram:scram_client",
        "sasl.mechanisms.scram:scram_server",
        Password,
        client_first=True,
        plaintext=False,
        rank=rank,
        twin=twin,
        asks=(FindKeys,),
        family="SCRAM",
        derives=True,
    )


def _password_command(name: str) -> Mechanism:
    """Return the row of a login command that sends the password as it is."""
    return Mechanism(
        name,
        "sasl.mechanisms.commands:password_client",
        "sasl.mechanisms.commands:password_server",
        Password,
        client_first=True,
        plaintext=True,
        rank=1,
        command=True,
    )


ROWS: Final = (
    _password_command("IMAP-LOGIN"),
    _password_command("POP-USER"),
    Mechanism(
        "POP-APOP",
        "sasl.mechanisms.commands:apop_client",
        "sasl.mechanisms.commands:apop_server",
        Password,
        client_first=False,
        plaintext=False,
        rank=2,
        off_by_default=True,
        asks=(FindSecret,),
        command=True,
    ),
    Mechanism(
        "ANONYMOUS",
        "sasl.mechanisms.anonymous:anonymous_client",
        "sasl.mechanisms.anonymous:anonymous_server",
        Anonymous,
        client_first=True,
        plaintext=False,
        rank=10,
        off_by_default=True,
    ),
    Mechanism(
        "LOGIN",
        "sasl.mechanisms.login:login_client",
        "sasl.mechanisms.login:login_server",
        Password,
        client_first=False,
        plaintext=True,
        rank=19,
        prompts=True,
    ),
    Mechanism(
        "PLAIN",
        "sasl.mechanisms.plain:plain_client",
        "sasl.mechanisms.plain:plain_server",
        Password,
        client_first=True,
        plaintext=True,
        rank=20,
    ),
    Mechanism(
        "XOAUTH2",
        "sasl.mechanisms.xoauth2:xoauth2_client",
        "sasl.mechanisms.xoauth2:xoauth2_server",
        Bearer,
        client_first=True,
        plaintext=True,
        rank=30,
    ),
    Mechanism(
        "OAUTHBEARER",
        "sasl.mechanisms.oauthbearer:oauthbearer_client",
        "sasl.mechanisms.oauthbearer:oauthbearer_server",
        Bearer,
        client_first=True,
        plaintext=True,
        rank=31,
    ),
    Mechanism(
        "CRAM-MD5",
        "sasl.mechanisms.cram_md5:cram_md5_client",
        "sasl.mechanisms.cram_md5:cram_md5_server",
        Password,
        client_first=False,
        plaintext=False,
        rank=40,
        off_by_default=True,
        asks=(FindSecret,),
    ),
    Mechanism(
        "DIGEST-MD5",
        "sasl.mechanisms.digest_md5:digest_md5_client",
        "sasl.mechanisms.digest_md5:digest_md5_server",
        Password,
        client_first=False,
        plaintext=False,
        rank=41,
        off_by_default=True,
        asks=(FindSecret,),
    ),
    *(_scram(name, rank) for rank, name in enumerate(HASHES, 50)),
    *(_scram(f"{name}-PLUS", rank, twin=name) for rank, name in enumerate(HASHES, 60)),
    Mechanism(
        "EXTERNAL",
        "sasl.mechanisms.external:external_client",
        "sasl.mechanisms.external:external_server",
        External,
        client_first=True,
        plaintext=False,
        rank=80,
        needs_tls=True,
    ),
)
