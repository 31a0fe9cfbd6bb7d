"""What can be asked for about users and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sasl.errors import LimitExceeded, UsageError

from ..scopes import MAIL
from . import views
from .table import Problem

if TYPE_CHECKING:
    from .table import Call


def known_user(call: Call) -> str:
    """Return the user in the path. Raises Problem if there is none of that name."""
    name = call.path["user"]
    if name not in call.servers.users:
        raise Problem(404, "not_found", "there is no user of that name")
    return name


def list_users(call: Call) -> dict[str, Any]:
    """Return all users."""
    return {"users": [views.user(call.servers, name) for name in call.servers.users]}


def add_user(call: Call) -> dict[str, Any]:
    """Let another user in."""
    name, password = call.body["name"], call.body["password"]
    if name in call.servers.users:
        raise Problem(409, "conflict", "there is a user of that name")
    usable = True
    try:
        call.servers.add_user(name, password)
    except (UsageError, LimitExceeded):
        usable = False
    if not usable:
        raise Problem(
            400, "bad_request", "SASLprep refuses the name, or the password is empty, too long, or holds a control"
        )
    return views.user(call.servers, name)


def remove_user(call: Call) -> None:
    """Forget a user."""
    call.servers.remove_user(known_user(call))


def change_user(call: Call) -> dict[str, Any]:
    """Give a user another password, or let the user in no more."""
    name = known_user(call)
    disabled, usable = call.body.get("disabled"), True
    how = {"sign_out": call.body["sign_out"]} if "sign_out" in call.body else {}  # else as the persona has it
    try:
        if "password" in call.body:
            call.servers.set_password(name, call.body["password"], **how)
    except (UsageError, LimitExceeded):
        usable = False
    if not usable:
        raise Problem(400, "bad_request", "the password is empty, too long, or holds a control")
    if disabled is not None:
        (call.servers.disable if disabled else call.servers.enable)(name)
    return views.user(call.servers, name)


def issue_token(call: Call) -> dict[str, Any]:
    """Issue a token; the one answer that shows it."""
    name, oauth = known_user(call), call.servers.oauth
    scope, state = call.body.get("scope", MAIL), call.body.get("state", "good")
    token = oauth.issue(name, call.body.get("lifetime"), scope=scope)
    if state == "expired":
        oauth.expire(token)
    elif state == "revoked":
        oauth.revoke(token)
    return {"id": call.desk.note_token(token), "token": token, "scope": scope, "state": state}


def revoke_issued(call: Call) -> None:
    """Revoke a token that was issued here."""
    token = call.desk.token(call.path["id"])
    if token is None:
        raise Problem(404, "not_found", "no token of that id was issued here")
    call.servers.oauth.revoke(token.reveal())


def revoke_token(call: Call) -> None:
    """Revoke an access or a refresh token, wherever it comes from."""
    known = True
    try:
        call.servers.oauth.revoke(call.body["token"])
    except UsageError:
        known = False
    if not known:
        raise Problem(404, "not_found", "this token is not from here")


def revoke_consents(call: Call) -> None:
    """Revoke all that a user has granted."""
    call.servers.oauth.revoke_consent(known_user(call))
