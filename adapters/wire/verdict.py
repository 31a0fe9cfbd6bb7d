"""What a no or an end of the connection is, by the table of refusals; loaded where a login did not succeed."""

from __future__ import annotations

from sasl.errors import ConnectionLost, ProtocolError, ServerBusy
from sasl.typed import TYPE_CHECKING, final
from sasl.value import value

from ..refusals import classify
from .text import one_line, sentence_of_end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from sasl.client_exchange import ClientExchange
    from sasl.errors import Kind, SASLError
    from sasl.steps import ErrorAnswer

    from ..refusals import Phase, Row

_ABOUT_THE_MESSAGE: Final = frozenset({"malformed", "limit", "state", "unsupported", "cancelled", "unexpected_ir"})
"""What a server may call a no after it has explained it: it is the same no."""
_NOT_UNDERSTOOD: Final = frozenset({"credentials", "malformed"})
"""What IMAP's BAD is where the table knows no better."""
_BY_GOODBYE: Final = frozenset({"credentials", "authorization", "expired", "disabled", "policy"})
"""Kinds of a refusal that a server may put into its goodbye."""


@final
@value
class Heard:
    """What a server said of the running command before its reply (RFC 9051 section 7.1).

    Attributes:
        text: what may be shown of it.
        code: its response code.
        refuses: whether it is a NO or BAD; else it is an alert.
    """

    text: str
    code: str | None
    refuses: bool


@final
@value
class Verdict:
    """What a server's no means, as far as its reply alone tells: `refusal` of each protocol returns it.

    Attributes:
        kind: one of `sasl.KINDS`, for `ClientExchange.fail`.
        response_code: the reply's code: "535 5.7.8" in SMTP, without brackets in IMAP and POP3; None if it has none.
        text: what the server said without its codes, on one line.
        row: the id of what the table knows of it, for `sasl.adapters.refusals.advice`.
    """

    kind: Kind
    response_code: str | None
    text: str
    row: str


def judge(protocol: str, text: str, code: str | None, *, revealed: bool, understood: bool = True) -> Verdict:
    """Return what a no means; `understood` is False for IMAP's BAD."""
    phase: Phase = "after" if revealed else "before"
    row = classify(protocol, text=text, code=code if understood else code or "BAD", phase=phase)
    return Verdict(row.kind or "credentials", code, one_line(text), row.id)


def join(heard: Sequence[Heard], text: str) -> str:
    """Return all that a server said of one command, each text once."""
    return " ".join(dict.fromkeys([*(each.text for each in heard if each.text), *([text] if text else [])]))


def refusal(
    exchange: ClientExchange,
    protocol: str,
    text: str,
    code: str | None,
    *,
    heard: Sequence[Heard] = (),
    understood: bool = True,
) -> SASLError:
    """Return the error for a server's no; `understood` is False for IMAP's BAD."""
    row = _row_for(exchange, protocol, text, code if understood else code or "BAD")
    if _tells_little(row, code):
        row = next((each for each in _rows_for(exchange, protocol, heard) if not _tells_little(each, None)), row)
    said = join(heard, text)
    if not understood and exchange.revealed and exchange.explanation is None and row.kind in _NOT_UNDERSTOOD:
        why = f"the server did not understand: {said}"
        return ProtocolError(why, server_text=said, response_code=code, refusal=row.id)
    return _refuse(exchange, row, said, code)


def end(
    exchange: ClientExchange, protocol: str, text: str, code: str | None, *, heard: Sequence[Heard] = ()
) -> SASLError:
    """Return the error for an end of the connection, announced by a text and a code or not.

    It is the refusal that came right before it, or in the goodbye itself; else nobody has refused anything.
    """
    refused = [each for each in heard if each.refuses]
    rows = _rows_for(exchange, protocol, refused)
    told = next((each for each in rows if not _tells_little(each, None)), rows[0] if rows else None)
    last = _row_for(exchange, protocol, text, code) if text or code else None
    said = join(heard, text)
    if last is not None and (told is None or _tells_little(told, None)):
        if last.kind == "unavailable" and (last.says or exchange.explanation is None):
            return _busy(last, said, code)
        if told is None and last.kind in _BY_GOODBYE and (last.says or last.codes) and code != "ALERT":
            told = last
    if told is not None:
        code = code or next((each.code for each in refused if each.code), None)
        return _busy(told, said, code) if told.kind == "unavailable" else _refuse(exchange, told, said, code)
    if exchange.explanation is not None:
        return _refuse(exchange, _row_of_challenge(exchange.explanation, protocol), said, code)
    by_phase = "closed-after" if exchange.revealed else "closed-before"
    return ConnectionLost(sentence_of_end(said), server_text=said, response_code=code, refusal=by_phase)


def known(protocol: str, text: str) -> str | None:
    """Return the id of the row for a text that broke the protocol, if the table knows it; else None."""
    row = classify(protocol, text=text, phase="after")
    return row.id if row.says else None


def _refuse(exchange: ClientExchange, row: Row, said: str, code: str | None) -> SASLError:
    error = exchange.fail(said, kind=row.kind or "credentials", response_code=code)
    error.refusal = row.id
    return error


def _busy(row: Row, said: str, code: str | None) -> ServerBusy:
    why = sentence_of_end(said)
    return ServerBusy(why, server_text=said, response_code=code, kind="unavailable", refusal=row.id)


def _rows_for(exchange: ClientExchange, protocol: str, heard: Sequence[Heard]) -> list[Row]:
    """Return the rows for what a server said, the last thing first."""
    return [_row_for(exchange, protocol, each.text, each.code) for each in reversed(heard) if each.refuses]


def _row_for(exchange: ClientExchange, protocol: str, text: str, code: str | None) -> Row:
    """Return the row for what a server said, in the light of its error challenge if there was one."""
    phase: Phase = "after" if exchange.revealed else "before"
    row = classify(protocol, text=text, code=code, phase=phase)
    told = exchange.explanation
    if told is None or not (row.kind == "credentials" or row.kind in _ABOUT_THE_MESSAGE):
        return row  # the reply itself says more than the challenge
    if told.kind is None and (not exchange.revealed or not row.is_general):
        return row
    return _row_of_challenge(told, protocol)


def _row_of_challenge(told: ErrorAnswer, protocol: str) -> Row:
    """Return the row for what an error challenge said, of whatever reply follows it."""
    words = " ".join(f"{name}={told.detail[name]}" for name in ("error", "status") if told.detail.get(name))
    return classify(protocol, code=words, phase="after", kind=told.kind or "credentials")


def _tells_little(row: Row, code: str | None) -> bool:
    """Whether a row says no more than that there was a no, so that what was said before tells more."""
    return row.is_general and (not row.codes or code in ("ALERT", "BAD") or row.codes in (("ALERT",), ("BAD",)))
