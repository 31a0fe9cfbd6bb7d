"""Values: frozen, with slots, cheap, and dataclasses to whoever asks."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import sys
import typing
from typing import Any, ClassVar

import pytest

from sasl.typed import Protocol, final, runtime_checkable
from sasl.value import KW_ONLY, field, replace, value


@final
@value
class Point:
    """Where."""

    scale: ClassVar[int] = 10
    x: int
    y: int = 0

    def moved(self, by: int) -> Point:
        return replace(self, x=self.x + by)

    @property
    def far(self) -> int:
        return self.x * self.scale


@value
class Named:
    name: str
    _: KW_ONLY
    tags: list[str] = field(default_factory=list)
    store: Any = field(default=None, hidden=True)
    must: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.upper())


@value
class Pair:
    """One that writes its own methods."""

    left: int
    right: int

    def __init__(self, both: int) -> None:
        object.__setattr__(self, "left", both)
        object.__setattr__(self, "right", both)

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "Pair(***)"

    def __reduce__(self) -> tuple[type[Pair], tuple[int]]:
        return Pair, (self.left,)


POINTS = [Point(1), Point(1, 2), Point(y=3, x=4)]


def test_fields_are_given_by_place_or_by_name() -> None:
    assert [(point.x, point.y) for point in POINTS] == [(1, 0), (1, 2), (4, 3)]
    assert (Point.scale, Point(2).far, Point(2).moved(3)) == (10, 20, Point(5))


@pytest.mark.parametrize("given", [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_what_does_not_fit_the_fields_is_a_type_error(given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\)"):
        Point(*given[0], **given[1])


def test_fields_behind_kw_only_are_given_by_name() -> None:
    named = Named("a", must=True)
    assert (named.name, named.tags, named.store, named.must) == ("A", [], None, True)
    with pytest.raises(TypeError):
        Named("a", [], must=True)  # type: ignore[call-arg, misc]
    with pytest.raises(TypeError, match="must"):
        Named("a")  # type: ignore[call-arg]


def test_a_default_that_is_made_is_made_anew() -> None:
    assert Named("a", must=True).tags is not Named("a", must=True).tags
    assert Named("a", must=True, tags=["b"]).tags == ["b"]


def test_equal_fields_make_equal_values_of_one_class() -> None:
    other = value(type("Point", (), {"__annotations__": {"x": "int", "y": "int"}}))
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert Point(1, 2) != other(1, 2)
    assert Point(1, 2) != (1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2)) != hash(Point(2, 1))


def test_a_hidden_field_is_neither_shown_nor_compared() -> None:
    one, other = Named("a", must=True, store=1), Named("a", must=True, store=2)
    assert one == other
    assert repr(one) == repr(other) == "Named(name='A', tags=[], must=True)"


def test_a_value_shows_its_fields() -> None:
    assert [repr(point) for point in POINTS] == ["Point(x=1, y=0)", "Point(x=1, y=2)", "Point(x=4, y=3)"]


@pytest.mark.parametrize("name", ["x", "scale", "z"])
def test_nothing_of_a_value_can_be_set_or_deleted(name: str) -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        setattr(point, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        delattr(point, name)
    assert not hasattr(point, "__dict__")
    assert not hasattr(point, "__weakref__")


def test_what_a_class_writes_itself_stays() -> None:
    pair = Pair(1)
    assert (pair.left, pair.right, repr(pair), pair == 7) == (1, 1, "Pair(***)", True)
    assert Pair.__hash__ is None
    assert (copy.copy(pair).right, pickle.loads(pickle.dumps(pair)).right) == (1, 1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_value_is_pickled_and_copied(protocol: int) -> None:
    for one in (Point(1, 2), Named("a", must=False, tags=["b"], store="c")):
        for twin in (pickle.loads(pickle.dumps(one, protocol)), copy.copy(one), copy.deepcopy(one)):
            assert twin == one
            assert twin is not one
            assert [getattr(twin, name) for name in one.__fields__] == [getattr(one, name) for name in one.__fields__]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        replace,
        dataclasses.replace,
        *([copy.replace] if sys.version_info >= (3, 13) else []),  # type: ignore[attr-defined, unused-ignore]
    ],
)
def test_some_fields_can_be_replaced(change: Any) -> None:
    assert change(Point(1, 2), y=3) == Point(1, 3)
    assert change(Point(1, 2)) == Point(1, 2)
    assert change(Named("a", must=True, store=1), name="b").store == 1
    with pytest.raises(TypeError):
        change(Point(1, 2), z=3)


def test_a_value_is_a_dataclass_to_whoever_asks() -> None:
    named = Named("a", must=True, tags=["b"])
    assert dataclasses.is_dataclass(Point)
    assert [(one.name, one.type, one.kw_only) for one in dataclasses.fields(named)] == [
        ("name", "str", False),
        ("tags", "list[str]", True),
        ("store", "Any", True),
        ("must", "bool", True),
    ]
    assert [one.compare and one.repr for one in dataclasses.fields(Named)] == [True, True, False, True]
    assert dataclasses.fields(Point)[1].default == 0
    assert dataclasses.fields(Named)[1].default_factory is list
    assert dataclasses.asdict(named) == {"name": "A", "tags": ["b"], "store": None, "must": True}
    assert dataclasses.astuple(Point(1)) == (1, 0)
    assert Point.__dataclass_params__.frozen


def test_a_value_is_matched_by_its_places() -> None:
    match Point(1, 2):
        case Point(1, y):
            assert y == 2
        case _:
            pytest.fail("no match")
    assert (Point.__match_args__, Named.__match_args__) == (("x", "y"), ("name",))


def test_a_value_tells_how_it_is_made() -> None:
    assert str(inspect.signature(Point)) == "(x: 'int', y: 'int' = 0) -> 'None'"
    assert typing.get_type_hints(Point.__init__) == {"x": int, "y": int, "return": type(None)}
    assert (Point.__init__.__qualname__, Point.__module__, Point.__doc__) == ("Point.__init__", __name__, "Where.")


def test_an_error_of_a_value_has_its_class_in_it() -> None:
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        Point(1).x = 2  # type: ignore[misc]


# --- protocols


@runtime_checkable
class Sized(Protocol):
    @property
    def size(self) -> int: ...

    def grow(self, by: int) -> None: ...


class Unchecked(Protocol):
    def grow(self, by: int) -> None: ...


class Tree:
    size = 3

    def grow(self, by: int) -> None:
        self.size += by


class Bush(Sized):
    """One by inheritance."""


def test_who_has_the_members_of_a_protocol_is_one() -> None:
    assert isinstance(Tree(), Sized)
    assert isinstance(Bush(), Sized)
    assert isinstance(object.__new__(Bush), Bush)
    assert not isinstance(Tree(), Bush)
    assert not isinstance(3, Sized)


def test_a_protocol_that_is_not_marked_is_found_by_inheritance_only() -> None:
    assert not isinstance(Tree(), Unchecked)
