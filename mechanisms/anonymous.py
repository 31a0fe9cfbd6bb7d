"""ANONYMOUS (RFC 4505): nobody in particular, who leaves a trace for the server's log."""

from __future__ import annotations

import re

from sasl.errors import LimitExceeded, ProtocolError, UsageError
from sasl.steps import EMPTY_CHALLENGE, CheckAnonymous, Complete, Verified
from sasl.typed import TYPE_CHECKING

from ._password import text_of, utf8

if TYPE_CHECKING:
    from typing import Final

    from sasl.credentials import Anonymous
    from sasl.steps import ClientSteps, Options, ServerSteps

_LONGEST: Final = 255  # characters, so 1,020 octets (section 2); no mail address is longer (RFC 5321 section 4.5.3.1)
_TOO_LONG: Final = f"a trace of more than {_LONGEST} characters (RFC 4505 section 2)"
# addr-spec of RFC 2822 section 3.4.1, without comments, folding and white space
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM: Final = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_EMAIL: Final = re.compile(rf"(?:{_DOT_ATOM}|{_QUOTED})@(?:{_DOT_ATOM}|\[[!-Z^-~]*\])")


def anonymous_client(credentials: Anonymous, _options: Options) -> ClientSteps:
    """Send the trace: nothing, a mail address, or a token of up to 255 characters."""
    trace = credentials.trace
    if len(trace) > _LONGEST:
        raise UsageError(_TOO_LONG)
    if flaw := _flaw(trace):
        raise UsageError(flaw)
    yield Complete(utf8(trace))


def anonymous_server(_options: Options) -> ServerSteps:
    """Ask CheckAnonymous, which says whose rights an anonymous client has."""
    trace = text_of((yield EMPTY_CHALLENGE))
    if trace is None:
        raise ProtocolError("a trace that is not UTF-8")
    if len(trace) > _LONGEST:
        raise LimitExceeded(_TOO_LONG)
    if flaw := _flaw(trace):
        raise ProtocolError(flaw)
    identity = yield CheckAnonymous(trace)
    return Verified(identity)


def _flaw(trace: str) -> str:
    """Say what keeps a text from being a trace, nothing where it is one."""
    if not _is_loggable(trace):
        return "a trace holds no control character and the like, nor text in both directions (RFC 4505 section 3)"
    if "@" in trace and not _EMAIL.fullmatch(trace):
        return "a trace with an @ is a mail address (RFC 4505 section 2)"
    return ""


def _is_loggable(trace: str) -> bool:
    """Whether the "trace" profile of stringprep takes a text (section 3). It maps nothing; unassigned is allowed."""
    if trace.isascii():
        return trace.isprintable()
    import stringprep as tables  # 3 ms, as in sasl.prep

    prohibited = (
        tables.in_table_c21_c22,
        tables.in_table_c3,
        tables.in_table_c4,
        tables.in_table_c5,
        tables.in_table_c6,
        tables.in_table_c8,
        tables.in_table_c9,
    )
    if any(prohibits(char) for char in trace for prohibits in prohibited):
        return False
    if not any(map(tables.in_table_d1, trace)):
        return True
    ends_right_to_left = tables.in_table_d1(trace[0]) and tables.in_table_d1(trace[-1])
    return ends_right_to_left and not any(map(tables.in_table_d2, trace))
