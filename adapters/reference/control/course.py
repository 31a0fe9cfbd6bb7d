"""What can be asked for about how things go: the clock, faults, the persona, sessions and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sasl.errors import UsageError
from sasl.text import printable

from ..rules import Rule
from . import views
from .mail import time_of
from .table import Problem

if TYPE_CHECKING:
    from ..faults import Fault
    from .table import Call

_LONGEST_DETAIL: Final = 300  # characters


def ready(_call: Call) -> dict[str, Any]:
    """Return that all is ready."""
    return {"ready": True}


def info(call: Call) -> dict[str, Any]:
    """Return what a client needs to know."""
    return views.info(call.servers)


def reset(call: Call) -> None:
    """Begin anew."""
    call.servers.reset()


# --- time


def show_clock(call: Call) -> dict[str, Any]:
    """Return what time it is."""
    return {"now": views.iso(call.servers.clock.now())}


def move_clock(call: Call) -> dict[str, Any]:
    """Put the clock forward."""
    clock, failure = call.servers.clock, ""
    if len(call.body) != 1:
        raise Problem(400, "bad_request", "either advance or set")
    try:
        if "set" in call.body:
            clock.set(time_of(call.body["set"]))
        else:
            clock.advance(seconds=call.body["advance"])
    except UsageError as error:
        failure = str(error)
    except OverflowError:
        failure = "the clock ends before that"
    if failure:
        raise Problem(400, "bad_request", failure)
    return show_clock(call)


# --- faults


def list_faults(call: Call) -> dict[str, Any]:
    """Return the faults that stand."""
    return {"faults": [views.fault(number, fault) for number, fault in call.desk.faults().items()]}


def add_fault(call: Call) -> dict[str, Any]:
    """Let something go wrong."""
    body, failure = dict(call.body), ""
    fault: Fault | None = None
    try:
        if "text" not in body:
            fault = call.servers.faults.add(Rule.from_json(body))
        elif len(body) == 1:
            fault = call.servers.faults.add(body["text"])
        else:
            failure = "either text or the members of a rule"
    except UsageError as error:
        failure = str(error)
    if fault is None:
        raise Problem(400, "bad_request", printable(failure, limit=_LONGEST_DETAIL))
    number = next(number for number, one in call.desk.faults().items() if one is fault)
    return views.fault(number, fault)


def remove_fault(call: Call) -> None:
    """Let a fault strike no more."""
    fault = call.desk.faults().get(call.number("id"))
    if fault is None:
        raise Problem(404, "not_found", "there is no fault of that id")
    fault.remove()


def clear_faults(call: Call) -> None:
    """Let nothing go wrong any more."""
    call.servers.faults.clear()


# --- persona


def show_persona(call: Call) -> dict[str, Any]:
    """Return whom the servers play."""
    persona = call.servers.persona
    return {"id": persona.id, "name": persona.name}


def change_persona(call: Call) -> dict[str, Any]:
    """Let the servers play another one, for those who connect from now on."""
    call.servers.play(call.body["persona"])
    return show_persona(call)


# --- what happened


def list_sessions(call: Call) -> dict[str, Any]:
    """Return the connections, those that have ended among them; where not all are told, those that go on."""
    sessions = [session for session in call.servers.log.sessions if not call.most or session.ended is None]
    return {"sessions": [views.session(session) for session in call.newest(sessions)]}


def end_session(call: Call) -> None:
    """End a session, as if for this reason."""
    if not call.servers.end_session(call.number("id"), call.body.get("as", "revoked")):
        raise Problem(404, "not_found", "no session of that id goes on")


def list_attempts(call: Call) -> dict[str, Any]:
    """Return the login attempts."""
    return {"attempts": [views.attempt(attempt) for attempt in call.newest(call.servers.log.attempts)]}


def list_verdicts(call: Call) -> dict[str, Any]:
    """Return the verdicts."""
    return {"verdicts": [views.verdict(verdict) for verdict in call.newest(call.servers.log.verdicts)]}


def list_commands(call: Call) -> dict[str, Any]:
    """Return what clients have sent, redacted."""
    since = call.query.get("since")
    after = None if since is None else time_of(since).timestamp()
    commands = call.servers.log.commands(call.query.get("protocol"))
    return {"commands": [views.command(one) for one in commands if after is None or one.when >= after]}
