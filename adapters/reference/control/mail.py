"""What can be asked for about mail: what lies in the users' mailboxes, and what was sent."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sasl.errors import UsageError

from ..mail.store import Full
from . import views
from .people import known_user
from .table import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..mail.store import Mailbox, Message
    from ..outbox import Sent
    from .table import Call

_FLAG: Final = re.compile(r'\\?[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,100}')  # RFC 3501 section 9


def time_of(text: str) -> datetime:
    """Return a time. Raises Problem for what is none, and for one without its zone."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise Problem(400, "bad_request", "a time is written as 2026-12-01T00:00:00Z")
    return when


def _mailbox(call: Call) -> Mailbox:
    name, folder = known_user(call), call.path["folder"]
    try:
        return call.servers.mailbox(name, folder)
    except UsageError:
        pass
    raise Problem(404, "not_found", "the user has no mailbox of that name")


def _message(call: Call) -> Message:
    box, uid = _mailbox(call), call.number("uid")
    for message in box.messages:
        if message.uid == uid:
            return message
    raise Problem(404, "not_found", "there is no message of that uid")


def list_mailboxes(call: Call) -> dict[str, Any]:
    """Return a user's mailboxes."""
    boxes = call.servers.account(known_user(call)).mailboxes
    return {"mailboxes": [views.mailbox(box) for box in boxes.values()]}


def list_messages(call: Call) -> dict[str, Any]:
    """Return the messages of a mailbox."""
    return {"messages": [views.message(message) for message in _mailbox(call).messages]}


def deliver(call: Call) -> dict[str, Any]:
    """Put a message into a mailbox."""
    box = _mailbox(call)
    date = call.body.get("date")
    raw = call.body["raw"] if call.body else call.octets
    if not raw:
        raise Problem(400, "bad_request", "the message is empty")
    flags = call.body.get("flags", ())
    if not all(map(_FLAG.fullmatch, flags)):
        raise Problem(400, "bad_request", "a flag is an atom, or one behind a backslash")
    try:
        message = call.servers.deliver(
            call.path["user"], raw, mailbox=box.name, flags=flags, date=None if date is None else time_of(date)
        )
    except UsageError as error:
        problem = Problem(400, "bad_request", str(error))
    except Full:
        problem = Problem(507, "full", "there is no room for another message")
    else:
        return views.message(message)
    raise problem


def empty_mailbox(call: Call) -> None:
    """Take all messages out of a mailbox."""
    box = _mailbox(call)
    box.remove(box.messages)


def show_message(call: Call) -> dict[str, Any]:
    """Return what a message is."""
    return views.message(_message(call))


def show_octets(call: Call) -> bytes:
    """Return a message's octets."""
    return _message(call).raw


def remove_message(call: Call) -> None:
    """Take a message out of its mailbox."""
    message = _message(call)
    _mailbox(call).remove([message])


# --- what was sent


def list_sent(call: Call) -> dict[str, Any]:
    """Return what was sent."""
    return {"messages": [views.sent(number, sent) for number, sent in call.newest(_sent(call).items())]}


def show_sent(call: Call) -> dict[str, Any]:
    """Return what a message is that was sent."""
    return views.sent(call.number("id"), _sent_one(call))


def show_sent_octets(call: Call) -> bytes:
    """Return the octets of a message that was sent."""
    return _sent_one(call).raw


def forget_sent(call: Call) -> None:
    """Forget what was sent."""
    call.servers.forget_sent()


async def wait_for_sent(call: Call) -> dict[str, Any]:
    """Wait until so many messages were sent."""
    count, seconds, to = call.query.get("count", 1), call.query.get("timeout", 5), call.query.get("to")
    with call.desk.live.place() as admitted:
        if not admitted:
            raise Problem(503, "busy", "too many wait already")
        try:
            sent = await call.servers.smtp.wait_async(count, timeout=seconds, to=to)
        except TimeoutError:
            sent = None
    if sent is None:
        raise Problem(408, "timeout", "so many messages have not come in that time")
    number = next(number for number, one in _sent(call).items() if one is sent)
    return views.sent(number, sent)


def _sent(call: Call) -> Mapping[int, Sent]:
    return call.servers.sent()


def _sent_one(call: Call) -> Sent:
    found = _sent(call).get(call.number("id"))
    if found is None:
        raise Problem(404, "not_found", "no message of that id was sent, or it is forgotten")
    return found
