"""Values: what `@dataclass(frozen=True, slots=True)` makes, defined and made at a fraction of its cost.

    @final
    @value
    class Complete:
        data: bytes
        last: bool = False

Type checkers take a value for a frozen dataclass, and so does `dataclasses` itself: `fields`, `replace` and `asdict`
work, and so do `match`, copy and pickle. See docs/decisions/0019-values.md.
"""

from __future__ import annotations

from sys import modules

from .errors import bare
from .typed import TYPE_CHECKING, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import KW_ONLY
    from typing import Any, Final, NoReturn, TypeVar

    T = TypeVar("T")
else:
    KW_ONLY = object


_MISSING: Any = object()


class Field:
    """What a field is given in its class when a plain default is not enough; made by `field`."""

    __slots__ = ("default", "factory", "hidden", "keyword")

    def __init__(self, default: Any, factory: Callable[[], Any] | None, *, hidden: bool) -> None:
        self.default = default
        self.factory = factory
        self.hidden = hidden
        self.keyword = False


def field(*, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None, hidden: bool = False) -> Any:
    """Describe a field: one whose default is made anew for each value, or that neither repr nor equality looks at."""
    return Field(default, default_factory, hidden=hidden)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T], /) -> type[T]:
    """Make a class of annotated fields a frozen one with slots.

    What it writes itself of `__init__`, `__repr__`, `__eq__`, `__hash__` and the like stays; the rest is made. Fields
    behind `_: KW_ONLY` are given by name. `__post_init__` runs last; it sets a field by `object.__setattr__`. Fields
    are not inherited; what a class names in `__slots__` is no field. The module needs
    `from __future__ import annotations`.
    """
    body: dict[str, Any] = {**_METHODS, **cls.__dict__}
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    more = body.get("__slots__", ())
    for name in more:
        del body[name]
    fields = body["__fields__"] = _fields(body)
    body["__slots__"] = (*fields, *more)
    body["__match_args__"] = tuple([name for name, each in fields.items() if not each.keyword])
    kind: Any = type(cls)
    made: Any = kind(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made  # type: ignore[no-any-return]  # what a metaclass makes is unknown to checkers


def replace(value: T, /, **changes: Any) -> T:
    """Return a value with some of its fields changed."""
    return value.__replace__(**changes)  # type: ignore[attr-defined, no-any-return]  # a class that `value` made


def _fields(body: dict[str, Any]) -> dict[str, Field]:
    """Take the fields of a class out of its body."""
    fields: dict[str, Field] = {}
    keyword = False
    for name, kind in body.get("__annotations__", {}).items():
        if kind == "KW_ONLY":
            keyword = True
        elif not kind.startswith("ClassVar"):
            default = body.pop(name, _MISSING)
            fields[name] = default if isinstance(default, Field) else field(default=default)
            fields[name].keyword = keyword
    return fields


def _initializer(cls: Any) -> Any:
    """Write an `__init__` that puts what it is given into the slots, past the `__setattr__` that refuses.

    Calling the slots themselves takes half the time of object.__setattr__.
    """
    given: dict[str, Any] = {}
    takes, lines = ["self"], []
    for name, each in cls.__fields__.items():
        if each.keyword and "*" not in takes:
            takes.append("*")
        given[f"set_{name}"] = cls.__dict__[name].__set__
        content = name
        if each.factory is not None:
            given[f"default_{name}"], given[f"make_{name}"] = _MISSING, each.factory
            content = f"make_{name}() if {name} is default_{name} else {name}"
        elif each.default is not _MISSING:
            given[f"default_{name}"] = each.default
        takes.append(f"{name}=default_{name}" if f"default_{name}" in given else name)
        lines.append(f"set_{name}(self, {content})")
    if hasattr(cls, "__post_init__"):
        # What a field cannot be may be a password gone astray: no frame of the error shows it, nor what is half made.
        given["bare"] = bare
        lines += ["try: self.__post_init__()", "except BaseException as _error: _refusal = bare(_error)"]
        lines += ["else: return", f"del self, {', '.join(cls.__fields__)}", "raise _refusal"]
    source = f"def make({', '.join(given)}):\n def __init__({', '.join(takes)}):\n  "
    made: dict[str, Any] = {}
    exec(source + "\n  ".join(lines) + "\n return __init__", vars(modules[cls.__module__]), made)  # noqa: S102 -- only names of fields
    init = made["make"](**given)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {name: cls.__annotations__[name] for name in cls.__fields__} | {"return": "None"}
    return init


# --- what every value has, unless it writes its own


def _contents(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name, each in self.__fields__.items() if not each.hidden])


def _repr(self: Any) -> str:
    shown = [f"{name}={getattr(self, name)!r}" for name, each in self.__fields__.items() if not each.hidden]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> Any:
    return _contents(self) == _contents(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_contents(self))


def _refuse(self: Any, name: str, *_content: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"{type(self).__name__}.{name} cannot be changed: it is a value")


def _replace(self: Any, /, **changes: Any) -> Any:
    return type(self)(**{name: getattr(self, name) for name in self.__fields__} | changes)


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__fields__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, content in zip(self.__fields__, state, strict=True):
        object.__setattr__(self, name, content)


def _twin(cls: Any) -> Any:
    """Return a dataclass with the fields of a value: `dataclasses` reads what it holds."""
    import dataclasses

    specs = []
    for name, each in cls.__fields__.items():
        default: dict[str, Any] = {}
        if each.factory is not None:
            default = {"default_factory": each.factory}
        elif each.default is not _MISSING:
            default = {"default": each.default}
        shown = not each.hidden
        spec = dataclasses.field(**default, repr=shown, compare=shown, kw_only=each.keyword)
        specs.append((name, cls.__annotations__[name], spec))
    return dataclasses.make_dataclass(cls.__name__, specs, frozen=True)


class _OnDemand:
    """A member of a class that is made when somebody looks for it: most values of a process are never made."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[[type], Any]) -> None:
        self.name = name
        self.make = make

    def __get__(self, instance: object, cls: type) -> Any:
        setattr(cls, self.name, self.make(cls))
        return getattr(cls if instance is None else instance, self.name)


_METHODS: Final = {
    "__init__": _OnDemand("__init__", _initializer),
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__replace__": _replace,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
    "__dataclass_fields__": _OnDemand("__dataclass_fields__", lambda cls: _twin(cls).__dataclass_fields__),
    "__dataclass_params__": _OnDemand("__dataclass_params__", lambda cls: _twin(cls).__dataclass_params__),
}

__all__ = ["KW_ONLY", "Field", "field", "replace", "value"]
