"""The shapes of answers, as JSON Schema, which the description names (OpenAPI 3.1 takes it as it is)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_YES_OR_NO: Final = {"type": "boolean"}
_TIME: Final = {"type": "string", "format": "date-time"}
_MAYBE_TEXT: Final = {"type": ["string", "null"]}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_TEXT_BY_NAME: Final = {"type": "object", "additionalProperties": _TEXT}


def _object(optional: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def _list(name: str, shape: str) -> dict[str, Any]:
    return _object(**{name: {"type": "array", "items": {"$ref": f"#/components/schemas/{shape}"}}})


_PLACE: Final = _object(host=_TEXT, port=_NUMBER, tls_port=_NUMBER)

SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Error": _object(error=_TEXT, detail=_TEXT),
    "Ready": _object(ready=_YES_OR_NO),
    "Info": _object(
        dict.fromkeys(("imap", "pop", "smtp", "lmtp"), _PLACE),
        oauth={"oneOf": [_object(url=_TEXT, issuer=_TEXT), {"type": "null"}]},
        ca=_TEXT,
        persona=_TEXT,
        users=_TEXTS,
    ),
    "User": _object(name=_TEXT, messages=_NUMBER),
    "Users": _list("users", "User"),
    "Token": _object(id=_TEXT, token=_TEXT, scope=_TEXT, state=_TEXT),
    "Mailbox": _object(name=_TEXT, use=_TEXT, uidvalidity=_NUMBER, uidnext=_NUMBER, messages=_NUMBER),
    "Mailboxes": _list("mailboxes", "Mailbox"),
    "Message": _object(uid=_NUMBER, flags=_TEXTS, date=_TIME, size=_NUMBER, subject=_TEXT),
    "Messages": _list("messages", "Message"),
    "Sent": _object(
        id=_NUMBER,
        protocol=_TEXT,
        sender=_TEXT,
        recipients=_TEXTS,
        user=_MAYBE_TEXT,
        options=_TEXT_BY_NAME,
        recipient_options={"type": "array", "items": _TEXT_BY_NAME},
        tls=_YES_OR_NO,
        when=_TIME,
        size=_NUMBER,
        subject=_TEXT,
    ),
    "SentMessages": _list("messages", "Sent"),
    "Clock": _object(now=_TIME),
    "Persona": _object(id=_TEXT, name=_TEXT),
    "Fault": _object(id=_NUMBER, rules={"type": "array", "items": {"type": "object"}}, text=_TEXT, hits=_NUMBER),
    "Faults": _list("faults", "Fault"),
    "Session": _object(
        id=_NUMBER,
        service=_TEXT,
        port=_NUMBER,
        began=_TIME,
        ended={"type": ["string", "null"], "format": "date-time"},
        tls=_YES_OR_NO,
        user=_MAYBE_TEXT,
    ),
    "Sessions": _list("sessions", "Session"),
    "Attempt": _object(
        session=_NUMBER,
        service=_TEXT,
        when=_TIME,
        mechanism=_TEXT,
        tls=_YES_OR_NO,
        initial_response=_YES_OR_NO,
        turns=_NUMBER,
        outcome=_TEXT,
        identity=_MAYBE_TEXT,
        reason=_TEXT,
        offered=_TEXTS,
        challenge=_TEXT,
    ),
    "Attempts": _list("attempts", "Attempt"),
    "Verdict": _object(session=_NUMBER, service=_TEXT, when=_TIME, name=_TEXT, words=_TEXT),
    "Verdicts": _list("verdicts", "Verdict"),
    "Command": _object(session=_NUMBER, service=_TEXT, when=_TIME, tag=_TEXT, name=_TEXT, line=_TEXT, user=_MAYBE_TEXT),
    "Log": _list("commands", "Command"),
    "Description": {"type": "object"},
}
"""By their names."""
