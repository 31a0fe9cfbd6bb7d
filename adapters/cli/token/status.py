"""`sasl token status`: what is kept of accounts, without a secret of theirs."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import TokenError
from sasl.text import printable

from .. import exits, screen
from .account import add_store, load, store_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from ...tokens.record import Record
    from ...tokens.store import Store

_EPILOG: Final = """\
examples:
  sasl token status
  sasl token status me@example.com --json

states:
  good         the access token is good now
  expired      it is over; the next login renews it
  no token     none was asked for yet
  refused      nothing is renewed any more until somebody does what the hint says
  interrupted  a renewal was begun and not finished; the next one tells whether the grant is lost
  unreadable   the record is broken

--json prints one object, for all accounts {accounts [...]}: account, state, user, provider, issuer, token_endpoint,
client_id, scope, granted_at, expires_at, refresh_token (whether there is one), pending {since, until}, refused {code,
text, hint, needs_user, at}, retry_at, failures. Times are in UTC. A token is never shown.

The exit code is that of the account that is worst off: 77 for one to sign in again, 78 for one whose client or record
is not as it should be.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.description = "Say how long tokens are good for, since when, and what was refused. It asks no server."
    parser.epilog = _EPILOG
    parser.add_argument("account", metavar="ACCOUNT", nargs="?", help="its name (default: all of them)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    store, now = store_of(arguments.store), time.time()
    if arguments.account is not None:
        rows = [describe(load(store, arguments.account), now)]
    else:
        rows = [_look_up(store, name, now) for name in store.keys()]  # noqa: SIM118 -- a store is no mapping
    if arguments.json:
        import json

        print(json.dumps({"accounts": rows} if arguments.account is None else rows[0]))
    else:
        for row in rows:
            _print(row)
    return max(map(_code, rows), default=exits.DONE)


def describe(record: Record, now: float) -> dict[str, Any]:
    """Return what may be shown of a record."""
    pending = record.pending
    refused = record.refused if _state(record, now) == "refused" else None
    return {
        "account": record.key,
        "state": _state(record, now),
        "user": record.user,
        "provider": record.provider,
        "issuer": record.issuer,
        "token_endpoint": record.token_endpoint,
        "client_id": record.client_id,
        "scope": record.granted_scope or record.scope,
        "granted_at": _when(record.granted_at or None),
        "expires_at": _when(record.expires_at),
        "refresh_token": record.refresh_token is not None,
        "pending": None if pending is None else {"since": _when(pending.since), "until": _when(pending.until)},
        "refused": None
        if refused is None
        else {
            "code": refused.code,
            "text": refused.text,
            "hint": refused.hint,
            "needs_user": refused.needs_user,
            "at": _when(refused.at),
        },
        "retry_at": _when(record.retry_at),
        "failures": record.failures,
    }


def _look_up(store: Store, account: str, now: float) -> dict[str, Any]:
    """Return what may be shown of an account whose record may be broken, or gone meanwhile."""
    try:
        return describe(load(store, account), now)
    except TokenError as error:
        refused = {"code": error.code, "text": str(error), "hint": error.hint, "needs_user": error.needs_user}
    return {"account": account, "state": "unreadable", "refused": {**refused, "at": None}}


def _state(record: Record, now: float) -> str:
    if record.refused is not None and record.refused.grant == record.grant():
        return "refused"
    if record.pending is not None and record.pending.until < now:
        return "interrupted"
    if record.access_token is None:
        return "no token"
    return "good" if record.expires_at is None or record.expires_at > now else "expired"


def _code(row: Mapping[str, Any]) -> int:
    if row["state"] not in ("refused", "unreadable"):
        return exits.DONE
    return exits.REFUSED if row["refused"]["needs_user"] else exits.POLICY


def _print(row: Mapping[str, Any]) -> None:
    screen.print_line(screen.paint(printable(row["account"]), screen.BOLD, file=sys.stdout), file=sys.stdout)
    colour = {"good": screen.GREEN, "refused": screen.RED, "unreadable": screen.RED}.get(row["state"], "")
    screen.print_row("state", row["state"], file=sys.stdout, colour=colour)
    for name, text in _facts(row):
        screen.print_row(name, printable(text), file=sys.stdout)


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, member in _ROWS.items():
        if row.get(member):
            yield name, row[member]
    if row.get("pending"):
        yield "renewal", f"begun at {row['pending']['since']}"
    if row["refused"]:
        yield "refused", f"{row['refused']['code']}: {row['refused']['text']}"
        yield "what to do", row["refused"]["hint"]


_ROWS: Final = {
    "user": "user",
    "provider": "provider",
    "issuer": "issuer",
    "client": "client_id",
    "scope": "scope",
    "signed in": "granted_at",
    "good until": "expires_at",
    "asks again": "retry_at",
}


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
