"""The mechanisms that come with the library: one file each, one row each.

`ROWS` is the built-in table that `sasl.registry` reads; scripts are named by "module:name" and imported when
they are first used. Ranks leave room: 10 anonymous, 20 a password as it is, 30 a token, from 40 on mechanisms
that do not send the secret.
"""

from __future__ import annotations

from typing import Final

from sasl.credentials import Bearer, Password
from sasl.registry import Mechanism

ROWS: Final = (
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
)
