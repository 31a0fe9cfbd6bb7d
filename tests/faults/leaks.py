"""The search for secrets: in texts, in objects, in exceptions with their frames, in whatever an object leads to."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gc
import traceback
import types
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sasl
import sasl.adapters
import sasl.mechanisms
import sasl.mechanisms.scram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FOLDERS = tuple(str(Path(module.__file__ or "").parent) for module in (sasl, sasl.adapters, sasl.mechanisms))


@functools.cache
def forms(secret: str | bytes) -> frozenset[str]:
    """How a secret could be seen: as it is, escaped, backwards, in hex, in a URL, in base64 wherever it begins."""
    octets = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    text = secret if isinstance(secret, str) else secret.decode("latin-1")
    shown = {text, text[::-1], repr(text)[1:-1], ascii(text)[1:-1], repr(octets)[2:-1]}
    shown |= {octets.hex(), octets.hex().upper(), octets.hex(" ")}
    shown |= {urllib.parse.quote(octets, safe=safe) for safe in ("", "/")} | {urllib.parse.quote_plus(octets)}
    for before in range(3):
        for alphabet in (None, b"-_"):
            encoded = base64.b64encode(b"\0" * before + octets, alphabet).decode()
            whole = len(before * b"\0" + octets) // 3 * 4  # what follows may change the letters behind that
            shown.add(encoded[-(-before * 4 // 3) : whole])
    return frozenset(form for form in shown if len(form) >= 8)


def seen(texts: Iterable[str | bytes], *secrets: str | bytes) -> list[str]:
    """The forms of secrets that stand in any of the texts."""
    everything = "\n".join(text if isinstance(text, str) else text.decode("latin-1") for text in texts)
    return [form for secret in secrets for form in forms(secret) if form in everything]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and all that led to it."""
    known: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in known:
            known.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]


def shown_by(error: BaseException | None) -> Iterator[str]:
    """Every text of an exception: its arguments, attributes and notes, and those of what led to it."""
    for link in chain(error):
        yield from (repr(link), str(link), repr(link.args), repr(vars(link)), repr(getattr(link, "__notes__", ())))
        yield from traceback.format_exception(link)
        if isinstance(link, UnicodeError):
            yield repr(getattr(link, "object", ""))


def locals_of(error: BaseException | None) -> Iterator[str]:
    """The locals in the frames of this library, as whoever reports errors shows them."""
    for link in chain(error):
        captured = traceback.TracebackException.from_exception(link, capture_locals=True)
        for frame in captured.stack:
            if frame.filename.startswith(_FOLDERS):
                yield f"{frame.name}: {frame.locals}"
        for frame_object, _ in traceback.walk_tb(link.__traceback__):
            if frame_object.f_code.co_filename.startswith(_FOLDERS):
                for value in frame_object.f_locals.values():
                    yield repr(value)


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


def reachable(*roots: object, collect: bool = True) -> Iterator[str]:
    """Every text and all octets that objects lead to, other than through modules, classes, globals and frames."""
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
        if isinstance(thing, str):
            yield thing
        elif isinstance(thing, bytes | bytearray):
            yield bytes(thing).decode("latin-1")
        elif isinstance(thing, sasl.Secret):
            yield thing.reveal()
        elif isinstance(thing, types.FunctionType):
            waiting += [thing.__closure__, thing.__defaults__, thing.__kwdefaults__]
        elif not isinstance(thing, dict) or "__builtins__" not in thing:
            waiting += gc.get_referents(thing)


def is_dataclass_value(thing: object) -> Any:
    return dataclasses.is_dataclass(thing) and not isinstance(thing, type)
