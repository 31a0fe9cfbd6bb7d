"""SMTP on plain streams of asyncio, as the tests of all libraries see it."""

from __future__ import annotations

from typing import Final

from ..support.libraries import Client
from ..support.streams import streams_client

CLIENT: Final[Client] = streams_client("smtp", b"NOOP", yes=b"250")
