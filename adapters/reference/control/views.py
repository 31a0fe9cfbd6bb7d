"""How what the servers hold is shown as JSON. No password, no token and no message's text is in any of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..servers import SERVICES

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..faults import Fault
    from ..journal import Attempt, Command, Session
    from ..mail.store import Mailbox, Message
    from ..outbox import Sent
    from ..servers import Servers
    from ..verdicts import Verdict


_LONGEST_HEAD: Final = 65_536  # octets that are looked through
_LONGEST_SUBJECT: Final = 500  # characters
_SUBJECT: Final = re.compile(rb"^subject:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)


def iso(when: float | datetime) -> str:
    """Return a time, POSIX seconds or not, as RFC 3339 has it, in UTC."""
    at = when if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def endpoints(servers: Servers) -> dict[str, Any]:
    """Return the servers that listen, and where."""
    found: dict[str, Endpoint] = {name: getattr(servers, name) for name in SERVICES}
    return {
        name: {"host": each.host, "port": each.port, "tls_port": each.tls_port}
        for name, each in found.items()
        if each.port
    }


def info(servers: Servers) -> dict[str, Any]:
    """Return what a client needs to know."""
    return {
        **endpoints(servers),
        "oauth": {"url": servers.oauth.url, "issuer": servers.oauth.issuer} if servers.oauth.url else None,
        "ca": servers.ca_file.read_text("ascii"),
        "persona": servers.persona.id,
        "users": list(servers.users),
    }


def user(servers: Servers, name: str) -> dict[str, Any]:
    """Return a user, without the password."""
    boxes = servers.account(name).mailboxes
    return {"name": name, "messages": sum(len(box.messages) for box in boxes.values())}


def mailbox(box: Mailbox) -> dict[str, Any]:
    """Return what a mailbox is."""
    return {
        "name": box.name,
        "use": box.use,
        "uidvalidity": box.uidvalidity,
        "uidnext": box.uidnext,
        "messages": len(box.messages),
    }


def message(one: Message) -> dict[str, Any]:
    """Return what a message in a mailbox is, without its text."""
    return {
        "uid": one.uid,
        "flags": sorted(one.flags),
        "date": iso(one.date),
        "size": len(one.raw),
        "subject": _subject(one.raw),
    }


def sent(number: int, one: Sent) -> dict[str, Any]:
    """Return what a message that was sent is, with its envelope and without its text."""
    return {
        "id": number,
        "protocol": one.protocol,
        "sender": one.sender,
        "recipients": list(one.recipients),
        "user": one.user,
        "options": dict(one.options),
        "recipient_options": [dict(options) for options in one.recipient_options],
        "tls": one.tls,
        "when": iso(one.when),
        "size": len(one.raw),
        "subject": _subject(one.raw),
    }


def session(one: Session) -> dict[str, Any]:
    """Return what is known of a connection."""
    return {
        "id": one.number,
        "service": one.service,
        "port": one.port,
        "began": iso(one.began),
        "ended": None if one.ended is None else iso(one.ended),
        "tls": one.tls,
        "user": one.user,
    }


def attempt(one: Attempt) -> dict[str, Any]:
    """Return what is known of a login attempt."""
    return {
        "session": one.session,
        "service": one.service,
        "when": iso(one.when),
        "mechanism": one.mechanism,
        "tls": one.tls,
        "initial_response": one.initial_response,
        "turns": one.turns,
        "outcome": one.outcome,
        "identity": one.identity,
        "reason": one.reason,
        "offered": list(one.offered),
        "challenge": one.challenge,
    }


def verdict(one: Verdict) -> dict[str, Any]:
    """Return a verdict."""
    return {
        "session": one.session,
        "service": one.service,
        "when": iso(one.when),
        "name": one.name,
        "words": one.words,
    }


def command(one: Command) -> dict[str, Any]:
    """Return a command that a client sent, redacted."""
    return {
        "session": one.session,
        "service": one.service,
        "when": iso(one.when),
        "tag": one.tag,
        "name": one.name,
        "line": one.line,
        "user": one.user,
    }


def fault(number: int, one: Fault) -> dict[str, Any]:
    """Return a fault, as text and as JSON, and how often it has struck."""
    return {
        "id": number,
        "rules": [rule.to_json() for rule in one.rules],
        "text": "; ".join(map(str, one.rules)),
        "hits": one.hits,
    }


def _subject(raw: bytes) -> str:
    """Return the subject of a message as a person reads it, cut; "" if it has none."""
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    end = raw.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
    match = _SUBJECT.search(raw, 0, end if end >= 0 else _LONGEST_HEAD)
    if match is None:
        return ""
    text = " ".join(match[1].decode("utf-8", "replace").split())[:_LONGEST_SUBJECT]
    try:
        return str(make_header(decode_header(text))) if "=?" in text else text
    except (HeaderParseError, LookupError, ValueError):
        return text
