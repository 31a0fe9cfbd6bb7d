"""What SEARCH asks for, and which messages it fits (RFC 3501 section 6.4.4, RFC 4731, RFC 5032, RFC 7162)."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, final

from sasl.value import value

from .fetch import gmail_id, gmail_thread
from .gmail_query import keys_of
from .grammar import (
    MONTHS,
    BadArguments,
    String,
    Word,
    atom,
    compact,
    is_sequence,
    mailbox_name,
    number,
    octets_of,
    quoted,
    sequence,
    text,
)
from .text import addresses_text, body_text, comparable, header_lines, header_text, part_headers, sent_on

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .message import Part
    from .store import Message

    Fits: TypeAlias = Callable[[int, Message], bool]
    Key: TypeAlias = Callable[["_Reader"], Fits]

MOST_LEVELS: Final = 60
"""How deep keys may stand in keys; a chain of NOT, of OR or of both is one level until they alternate."""

_CHARSETS: Final = frozenset({"US-ASCII", "UTF-8"})
_RETURNS: Final = frozenset({"MIN", "MAX", "ALL", "COUNT"})
_DATE: Final = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_MOST_SECONDS: Final = 4_294_967_295
_MOST_OCTETS: Final = 9_223_372_036_854_775_807
_MOST_MODSEQ: Final = 9_223_372_036_854_775_807


class BadCharset(ValueError):
    """A SEARCH is in a charset that is unknown here: NO [BADCHARSET (US-ASCII UTF-8)]."""


@final
@value
class Search:
    """What a client looks for.

    Attributes:
        fits: whether a message is it, by its number and the message.
        returns: what of the result is wanted (RFC 4731 section 3.1); None for the numbers in a plain SEARCH.
        asks_modseq: whether a change is looked for, so that the answer tells the last one.
        texts: how many texts are looked for, each of them in the whole message at worst.
    """

    fits: Fits
    returns: frozenset[str] | None = None
    asks_modseq: bool = False
    texts: int = 0


def parse_search(
    arguments: Sequence[Word],
    *,
    now: datetime,
    last: int = 0,
    last_uid: int = 0,
    utf8: bool = False,
    whole_words: bool = False,
    gmail: bool = False,
) -> Search:
    """Read the arguments of a SEARCH.

    `now` has a time zone. `last` and `last_uid` are what "*" stands for as a number and as a UID, 0 if there are no
    messages. `utf8` is whether the client has enabled UTF8=ACCEPT, then it names no charset (RFC 6855 section 3).
    `whole_words` has text found only where words begin and end, as in Gmail; `gmail` knows Gmail's keys.
    Raises BadArguments and BadCharset.
    """
    words = list(arguments)
    returns = _take_returns(words)
    if words and not isinstance(words[0], list) and words[0].upper() == b"CHARSET":
        if utf8:
            raise BadArguments("There is no CHARSET after ENABLE UTF8=ACCEPT")
        _check_charset(words[1:2])
        del words[:2]
    reader = _Reader(now, last, last_uid, whole_words=whole_words, keys=_KEYS | _GMAIL_KEYS if gmail else _KEYS)
    fits = reader.read_all(words)
    return Search(fits, returns, reader.asks_modseq, reader.wanted)


def matches(search: Search, number: int, message: Message) -> bool:
    """Return whether a message is what is looked for; `number` is its sequence number."""
    return search.fits(number, message)


def answer(search: Search, found: Sequence[tuple[int, Message]], *, uid: bool, tag: str) -> bytes:
    """Return the answer, without the "* " before it and without the end of the line.

    `found` are the messages that fit, with their numbers, ascending; `uid` is whether UIDs are wanted in their place.
    """
    numbers = [message.uid if uid else each for each, message in found]
    last_change = _last_change(search, [message for _, message in found])
    if search.returns is None:
        return b"SEARCH%b%b" % (
            b"".join(b" %d" % each for each in numbers),
            b" (MODSEQ %d)" % last_change if last_change else b"",
        )
    words = [b"ESEARCH (TAG %b)" % quoted(tag)]
    words += [b"UID"] * uid
    if numbers:
        told = {"MIN": b"%d" % numbers[0], "MAX": b"%d" % numbers[-1], "ALL": compact(numbers)}
        words += [b"%b %b" % (name.encode("ascii"), told[name]) for name in told if name in search.returns]
    if "COUNT" in search.returns:
        words.append(b"COUNT %d" % len(numbers))
    if last_change:
        words.append(b"MODSEQ %d" % last_change)
    return b" ".join(words)


def _last_change(search: Search, found: Sequence[Message]) -> int:
    """Return the number of the last change of what is told (RFC 7162 section 3.1.10); 0 if nobody asks."""
    told = found
    if search.returns is not None and search.returns <= {"MIN", "MAX"}:
        told = [*(found[:1] if "MIN" in search.returns else []), *(found[-1:] if "MAX" in search.returns else [])]
    return max((message.modseq for message in told), default=0) if search.asks_modseq else 0


def _take_returns(words: list[Word]) -> frozenset[str] | None:
    """Take RETURN (...) away from the beginning of the arguments."""
    if not words or isinstance(words[0], list) or words[0].upper() != b"RETURN":
        return None
    options = words[1] if len(words) > 1 else b""
    if not isinstance(options, list):
        raise BadArguments("RETURN names no options")
    names = frozenset([atom(option) for option in options])
    if names - _RETURNS:
        raise BadArguments("RETURN names what is unknown here")
    del words[:2]
    return names or frozenset({"ALL"})


def _check_charset(words: list[Word]) -> None:
    if not words:
        raise BadArguments("CHARSET names none")
    if text(words[0]).upper() not in _CHARSETS:
        raise BadCharset("Only US-ASCII and UTF-8 are known here")


# --- keys


@final
class _Reader:
    """Makes one function of keys, from the first to the last."""

    def __init__(self, now: datetime, last: int, last_uid: int, *, whole_words: bool, keys: Mapping[str, Key]) -> None:
        self._keys = keys
        self.now = now
        self.last = last
        self.last_uid = last_uid
        self.whole_words = whole_words
        self.asks_modseq = False
        self.wanted = 0
        self.texts = _Texts()
        self._words: list[Word] = []
        self._level = 0

    def read_all(self, words: list[Word]) -> Fits:
        """Read keys that all have to fit."""
        if not words:
            raise BadArguments("SEARCH looks for nothing")
        outer, self._words = self._words, words[::-1]
        found = []
        while self._words:
            found.append(self.read())
        self._words = outer
        return found[0] if len(found) == 1 else _all(found)

    def read(self) -> Fits:
        """Read one key, and those that it has in it."""
        self._level += 1
        if self._level > MOST_LEVELS:
            raise BadArguments("Too many keys in keys")
        negated = False
        while self._sees(b"NOT"):
            self.next()
            negated = not negated
        fits = self._read_any() if self._sees(b"OR") else self._read_one(self.next())
        self._level -= 1
        return _not(fits) if negated else fits

    def next(self) -> Word:
        """Take the next word."""
        if not self._words:
            raise BadArguments("SEARCH ends too early")
        return self._words.pop()

    def text(self) -> str:
        """Take the next word as text."""
        try:
            return octets_of(self.next()).decode("utf-8")
        except UnicodeDecodeError:
            raise BadArguments("SEARCH looks for what is not UTF-8") from None

    def _sees(self, name: bytes) -> bool:
        word = self._words[-1] if self._words else b""
        return not isinstance(word, list | String) and word.upper() == name

    def _read_any(self) -> Fits:
        """Read keys of which one has to fit. OR takes two, and each may be an OR again."""
        found: list[Fits] = []
        missing = 1
        while missing:
            if self._sees(b"OR"):
                self.next()
                missing += 1
            else:
                found.append(self.read())
                missing -= 1
        return _any(found)

    def _read_one(self, word: Word) -> Fits:
        if isinstance(word, list):
            return self.read_all(word)
        if is_sequence(word):
            numbers = sequence(word)
            return lambda number, _: numbers.contains(number, self.last)
        key = self._keys.get(atom(word))
        if key is None:
            raise BadArguments("SEARCH looks for what is unknown here")
        return key(self)


@final
class _Texts:
    """Keeps the text of the message that was looked at last: several keys may look at it."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._texts: dict[Callable[[Part], str], str] = {}

    def of(self, part: Part, source: Callable[[Part], str]) -> str:
        """Return a text of a message, comparable."""
        if self._part is not part:
            self._part, self._texts = part, {}
        if source not in self._texts:
            self._texts[source] = comparable(source(part))
        return self._texts[source]


def _all(found: Sequence[Fits]) -> Fits:
    return lambda number, message: all(fits(number, message) for fits in found)


def _any(found: Sequence[Fits]) -> Fits:
    return lambda number, message: any(fits(number, message) for fits in found)


def _not(fits: Fits) -> Fits:
    return lambda number, message: not fits(number, message)


def _every(_: _Reader) -> Fits:
    return lambda _number, _message: True


def _none(_: _Reader) -> Fits:
    return lambda _number, _message: False


def _flag(name: str, *, is_set: bool = True) -> Key:
    return lambda _reader: _has_flag(name, is_set=is_set)


def _has_flag(name: str, *, is_set: bool) -> Fits:
    return lambda _, message: (name in _lower(message.flags)) is is_set


def _lower(flags: Collection[str]) -> Collection[str]:
    return [flag.lower() for flag in flags]


def _keyword(*, is_set: bool) -> Key:
    return lambda reader: _has_flag(text(reader.next()).lower(), is_set=is_set)


def _found_in(reader: _Reader, wanted: str) -> Callable[[str], bool]:
    """Return what tells whether a comparable text has something in it."""
    reader.wanted += 1
    wanted = comparable(wanted)
    if not reader.whole_words or not wanted:
        return lambda found: wanted in found
    search = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)").search
    return lambda found: search(found) is not None


def _addresses(name: str) -> Key:
    return lambda reader: _has_field(reader, name, addresses_text)


def _subject(reader: _Reader) -> Fits:
    return _has_field(reader, "SUBJECT", header_text)


def _any_field(reader: _Reader) -> Fits:
    return _has_field(reader, reader.text(), header_text)


def _has_field(reader: _Reader, name: str, text_of: Callable[[bytes], str]) -> Fits:
    field = name.lower().encode()
    is_in = _found_in(reader, reader.text())

    def fits(_: int, message: Message) -> bool:
        return any(is_in(comparable(text_of(content))) for content in message.part.fields.get(field, ()))

    return fits


def _text(*sources: Callable[[Part], str]) -> Key:
    def key(reader: _Reader) -> Fits:
        is_in = _found_in(reader, reader.text())
        texts = reader.texts
        return lambda _, message: any(is_in(texts.of(message.part, source)) for source in sources)

    return key


def _size(is_right: Callable[[int, int], bool]) -> Key:
    def key(reader: _Reader) -> Fits:
        size = number(reader.next(), _MOST_OCTETS)
        return lambda _, message: is_right(len(message.raw), size)

    return key


def _date(day_of: Callable[[Message], date], is_right: Callable[[date, date], bool]) -> Key:
    def key(reader: _Reader) -> Fits:
        day = _day(text(reader.next()))
        return lambda _, message: is_right(day_of(message), day)

    return key


def _day(written: str) -> date:
    match = _DATE.fullmatch(written)
    if match is None or match[2].title() not in MONTHS:
        raise BadArguments("SEARCH has a date that is none")
    try:
        return date(int(match[3]), MONTHS.index(match[2].title()) + 1, int(match[1]))
    except ValueError:
        raise BadArguments("SEARCH has a date that does not exist") from None


def _arrived(message: Message) -> date:
    return message.date.date()


def _sent(message: Message) -> date:
    return sent_on(message.part)


def _age(*, younger: bool) -> Key:
    def key(reader: _Reader) -> Fits:
        interval = timedelta(seconds=number(reader.next(), _MOST_SECONDS) or _refuse("No time is no age"))
        now = reader.now
        return lambda _, message: (now - message.date <= interval) if younger else (now - message.date >= interval)

    return key


def _refuse(why: str) -> int:
    raise BadArguments(why)


def _modseq(reader: _Reader) -> Fits:
    """Read MODSEQ; which flag has changed, which may be asked as well, is not kept (RFC 7162 section 3.1.5)."""
    word = reader.next()
    if isinstance(word, String):
        if atom(reader.next()) not in ("PRIV", "SHARED", "ALL"):
            raise BadArguments("MODSEQ is for priv, shared or all")
        word = reader.next()
    least = number(word, _MOST_MODSEQ)
    reader.asks_modseq = True
    return lambda _, message: message.modseq >= least


def _uid(reader: _Reader) -> Fits:
    uids = sequence(reader.next())
    return lambda _, message: uids.contains(message.uid, reader.last_uid)


def _gmail_number(of: Callable[[Message], int]) -> Key:
    def key(reader: _Reader) -> Fits:
        wanted = number(reader.next(), _MOST_MODSEQ)
        return lambda _, message: of(message) == wanted

    return key


def _label(reader: _Reader) -> Fits:
    wanted = mailbox_name(reader.next())
    return lambda _, message: wanted in message.labels


def _gmail_query(reader: _Reader) -> Fits:
    return reader.read_all(keys_of(reader.text()))


_SYSTEM_FLAGS: Final = ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")

_KEYS: Final[dict[str, Key]] = {
    "ALL": _every,
    "NEW": _none,  # no message is \Recent here
    "RECENT": _none,
    "OLD": _every,
    **{name: _flag(f"\\{name.lower()}") for name in _SYSTEM_FLAGS},
    **{f"UN{name}": _flag(f"\\{name.lower()}", is_set=False) for name in _SYSTEM_FLAGS},
    "KEYWORD": _keyword(is_set=True),
    "UNKEYWORD": _keyword(is_set=False),
    **{name: _addresses(name) for name in ("BCC", "CC", "FROM", "TO")},
    "SUBJECT": _subject,
    "HEADER": _any_field,
    "BODY": _text(body_text),
    "TEXT": _text(header_lines, part_headers, body_text),
    "LARGER": _size(lambda size, wanted: size > wanted),
    "SMALLER": _size(lambda size, wanted: size < wanted),
    "BEFORE": _date(_arrived, lambda day, wanted: day < wanted),
    "ON": _date(_arrived, lambda day, wanted: day == wanted),
    "SINCE": _date(_arrived, lambda day, wanted: day >= wanted),
    "SENTBEFORE": _date(_sent, lambda day, wanted: day < wanted),
    "SENTON": _date(_sent, lambda day, wanted: day == wanted),
    "SENTSINCE": _date(_sent, lambda day, wanted: day >= wanted),
    "YOUNGER": _age(younger=True),
    "OLDER": _age(younger=False),
    "MODSEQ": _modseq,
    "UID": _uid,
}

_GMAIL_KEYS: Final[dict[str, Key]] = {
    "X-GM-MSGID": _gmail_number(gmail_id),
    "X-GM-THRID": _gmail_number(gmail_thread),
    "X-GM-LABELS": _label,
    "X-GM-RAW": _gmail_query,
}
