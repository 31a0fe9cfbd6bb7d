"""One definition of a leak for all tests: how a secret may look, and every place in which something may show it."""

from __future__ import annotations

import base64
import functools
import gc
import json
import traceback
import types
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import sasl
import sasl.mechanisms.scram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TESTS = str(Path(__file__).parents[1])

# --- how a secret may look


@functools.cache
def forms(secret: str | bytes) -> frozenset[str]:
    """How a secret could be seen: as it is, backwards, escaped, in hex, in a URL, in base64 wherever it begins.

    Left out is what is so short that it stands in any text by chance: under four characters, or four octets in hex.
    """
    octets = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    texts = [secret] if isinstance(secret, str) else [octets.decode("latin-1"), octets.decode("utf-8", "replace")]
    shown = {repr(octets)[2:-1], *_in_urls(octets), *_in_base64(octets)}
    for text in texts:
        shown |= {text, text[::-1], repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1]}
    hexadecimal = {octets.hex(), octets.hex(" ")} if len(octets) >= 4 else set()
    return frozenset(form for form in shown if len(form) >= 4) | hexadecimal


def _in_urls(octets: bytes) -> Iterator[str]:
    for quoted in (urllib.parse.quote(octets), urllib.parse.quote(octets, safe=""), urllib.parse.quote_plus(octets)):
        yield quoted
        yield quoted.replace("%", "%25")


def _in_base64(octets: bytes) -> Iterator[str]:
    """Yield the letters that stand for these octets alone, whatever is before them and behind them."""
    for before in range(3):
        first, end = -(-before * 8 // 6), (before + len(octets)) * 8 // 6
        for alphabet in (b"+/", b"-_"):
            encoded = base64.b64encode(b"\0" * before + octets, alphabet).decode("ascii")[first:end]
            yield encoded
            yield urllib.parse.quote(encoded, safe="")


def seen(texts: Iterable[str | bytes], *secrets: str | bytes) -> list[str]:
    """The forms of secrets that stand in any of the texts; those of eight characters or more in whatever case."""
    everything = "\n".join(text if isinstance(text, str) else text.decode("latin-1") for text in texts)
    folded = everything.casefold()
    found = [form for secret in secrets for form in forms(secret)]
    return [form for form in found if form in everything or (len(form) >= 8 and form.casefold() in folded)]


# --- where it may stand


def shown(thing: object) -> Iterator[str]:
    """Every text through which a thing may end up in a log; of an exception also its frames and what led to it."""
    yield safe_repr(thing)
    yield str(thing)
    if isinstance(thing, BaseException):
        yield from shown_by(thing)
        yield from locals_of(thing)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, all that led to it, and all that it is a group of."""
    known: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in known:
            known.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]
            if isinstance(error, BaseExceptionGroup):
                waiting += error.exceptions


def shown_by(error: BaseException | None) -> Iterator[str]:
    """Every text of an exception: its arguments, attributes and notes, and those of what led to it."""
    for link in chain(error):
        yield from (repr(link), str(link), repr(link.args), repr(vars(link)), repr(getattr(link, "__notes__", ())))
        yield from traceback.format_exception_only(link)
        if isinstance(link, UnicodeError):
            yield repr(getattr(link, "object", ""))


def frames_of(error: BaseException | None) -> Iterator[types.FrameType]:
    """The frames that an exception, and what led to it, hold; without those of the tests, which know the secret."""
    for link in chain(error):
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if not frame.f_code.co_filename.startswith(_TESTS):
                yield frame


def is_ours(frame: types.FrameType) -> bool:
    """Whether a frame is one of this library."""
    return frame.f_globals.get("__name__", "").partition(".")[0] == "sasl"


def locals_of(error: BaseException | None, *, everywhere: bool = False) -> Iterator[str]:
    """The locals in this library's frames, or everywhere in all others too, as whoever reports errors shows them."""
    for frame in frames_of(error):
        if everywhere or is_ours(frame):
            values = (f"{name}={safe_repr(value)}" for name, value in frame.f_locals.items())
            yield f"in {frame.f_code.co_name}(): {', '.join(values)}"


def safe_repr(value: object) -> str:
    """What a debugger shows of a local; an object that is half made has no repr yet."""
    try:
        return repr(value)
    except AttributeError:
        return "half made"


def walked(thing: object, *, known: set[int] | None = None) -> Iterator[str]:
    """The attributes of an object, and theirs, as long as they have a __dict__ or are containers."""
    known = set() if known is None else known
    if id(thing) in known or isinstance(thing, type | types.ModuleType | types.FunctionType):
        return
    known.add(id(thing))
    yield repr(thing)
    inside = vars(thing) if hasattr(thing, "__dict__") else thing
    if isinstance(inside, dict):
        for key, value in inside.items():
            yield repr(key)
            yield from walked(value, known=known)
    elif isinstance(inside, list | tuple | set | frozenset):
        for value in inside:
            yield from walked(value, known=known)


def objects_behind(*roots: object, collect: bool = True) -> Iterator[object]:
    """Everything that objects lead to, however deep, other than through modules, classes, globals and frames."""
    if collect:
        gc.collect()
    # From Python 3.13 on a generator leads to its function, whose default is what this process keeps on purpose.
    known = {id(roots), id(sasl.mechanisms.scram.KEYS)}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in known or isinstance(thing, type | types.ModuleType | types.CodeType | types.FrameType):
            continue
        known.add(id(thing))
        yield thing
        if isinstance(thing, types.FunctionType):
            waiting += [thing.__closure__, thing.__defaults__, thing.__kwdefaults__]
        elif not isinstance(thing, dict) or "__builtins__" not in thing:
            waiting += gc.get_referents(thing)


def reachable(*roots: object, collect: bool = True) -> Iterator[str]:
    """Every text and all octets that objects lead to."""
    for thing in objects_behind(*roots, collect=collect):
        if isinstance(thing, str):
            yield thing
        elif isinstance(thing, bytes | bytearray):
            yield bytes(thing).decode("latin-1")
        elif isinstance(thing, sasl.Secret):
            yield thing.reveal()
