"""The table of mechanisms: rows, registration, entry points, and how an exchange is made (contract, "Plugging in")."""

from __future__ import annotations

import dataclasses
import sys
import types
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import Bearer, CheckCertificate, CheckPassword, CheckToken, FindKeys, Mechanism, Password, registry
from sasl.registry import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Add = Callable[..., Mechanism]
    Leaks = Callable[[BaseException], list[str]]


def greeting(c: Password, options: sasl.Options, *, word: str = "hello") -> sasl.ClientSteps:
    yield sasl.Complete(word.encode())


def row(name: str = "X-TEST", client: Any = greeting, server: Any = None, credentials: Any = Password) -> Mechanism:
    return Mechanism(name, client, server, credentials, client_first=True, plaintext=False, rank=1)


# --- names


@pytest.mark.parametrize("name", ["PLAIN", "plain", "Plain", b"PLAIN", b"plain"])
def test_a_name_is_compared_without_regard_to_case(name: Any) -> None:
    assert canonical(name) == "PLAIN"
    assert sasl.lookup(name).name == "PLAIN"


@pytest.mark.parametrize("name", ["A", "9", "-", "_", "A" * 20, "X-9_Z"])
def test_every_name_of_the_grammar_is_one(name: str) -> None:
    assert canonical(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A" * 21, "PLAIN ", " PLAIN", "PL AIN", "PLAIN\n", "PLAIN\0", "PLA.IN", "PLA\u0131N", "\u017fCRAM",
     "STRA\u00dfE", "\uff30LAIN", "PLAIN\u0301", "\ud800", b"PLA\xc4\xb1N", b"\xff", b"", None, 7, ["PLAIN"]],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_name_is_a_usage_error_everywhere(name: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: canonical(name),
        lambda: sasl.lookup(name),
        lambda: sasl.client(name, Password("joe", "x")),
        lambda: sasl.server(name),
        lambda: row(name),
    ]
    for call in calls:
        with pytest.raises(sasl.UsageError, match="not a mechanism name"):
            call()


def test_a_name_that_nobody_provides_is_unavailable() -> None:
    for call in (lambda: sasl.lookup("NO-SUCH"), lambda: sasl.client("no-such", Password("joe", "x"))):
        with pytest.raises(sasl.MechanismUnavailable, match="NO-SUCH") as caught:
            call()
        assert caught.value.mechanism == "NO-SUCH"
    with pytest.raises(sasl.MechanismUnavailable):
        sasl.server("NO-SUCH")


# --- rows


def test_a_row_is_a_frozen_value() -> None:
    assert row("x-test") == row("X-TEST")
    assert hash(row()) == hash(row())
    with pytest.raises(dataclasses.FrozenInstanceError):
        row().rank = 5  # type: ignore[misc]
    plus = Mechanism("A-PLUS", None, None, Password, client_first=True, plaintext=False, rank=1, twin="a")
    assert (plus.twin, plus.off_by_default) == ("A", False)


def test_a_row_that_is_changed_uses_its_new_script() -> None:
    one = row(client="sasl.mechanisms.plain:plain_client")
    assert one.script("client").__name__ == "plain_client"
    assert dataclasses.replace(one, client=greeting).script("client") is greeting


@pytest.mark.parametrize(
    ("credentials", "asks", "questions"),
    [
        (Password, None, (CheckPassword,)),
        (Bearer, None, (CheckToken,)),
        (sasl.External, None, (CheckCertificate,)),
        (sasl.Anonymous, None, (sasl.CheckAnonymous,)),
        (str, None, ()),
        (Password, (FindKeys,), (FindKeys,)),
        (Password, (), ()),
    ],
    ids=str,
)
def test_a_row_knows_what_its_server_asks(credentials: Any, asks: Any, questions: Any) -> None:
    assert dataclasses.replace(row(credentials=credentials), asks=asks).questions == questions


# --- registering


@pytest.mark.usefixtures("own_registry")
class TestRegistering:
    """Each test has a registry of its own."""

    def test_what_is_registered_can_be_used(self) -> None:
        sasl.register(row())
        assert sasl.lookup("x-test") == row()
        assert sasl.client("X-TEST", Password("joe", "x")).start() == b"hello"
        assert row() in sasl.known_mechanisms()

    @pytest.mark.parametrize("name", ["PLAIN", "plain", "X-TEST"])
    def test_a_name_that_is_taken_is_not_taken_over_silently(self, name: str) -> None:
        sasl.register(row("X-TEST"))
        before = sasl.lookup(name)
        with pytest.raises(sasl.UsageError, match="is there already"):
            sasl.register(row(name))
        assert sasl.lookup(name) is before

    @pytest.mark.parametrize("name", ["PLAIN", "X-TEST"])
    def test_a_name_is_taken_over_on_request(self, name: str) -> None:
        sasl.register(row("X-TEST", client=None))
        mine = row(name)
        sasl.register(mine, replace=True)
        assert sasl.lookup(name) is mine
        assert [each for each in sasl.known_mechanisms() if each.name == name] == [mine]

    def test_only_rows_are_registered(self) -> None:
        with pytest.raises(sasl.UsageError, match="a row is a Mechanism, not str"):
            sasl.register("PLAIN")  # type: ignore[arg-type]

    def test_a_side_that_a_row_lacks_is_unavailable(self) -> None:
        sasl.register(row(client=None))
        with pytest.raises(sasl.MechanismUnavailable, match="no client side"):
            sasl.client("X-TEST", Password("joe", "x"))
        with pytest.raises(sasl.MechanismUnavailable, match="no server side"):
            sasl.server("X-TEST")


def test_all_mechanisms_are_listed_with_the_strongest_first() -> None:
    ranks = [each.rank for each in sasl.known_mechanisms()]
    assert ranks == sorted(ranks, reverse=True)
    assert {"PLAIN", "XOAUTH2", "OAUTHBEARER"} <= {each.name for each in sasl.known_mechanisms()}


# --- "module:name"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("throw_away_scripts")
    module.greeting, module.number = greeting, 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "throw_away_scripts", module)
    return module


def test_a_script_may_be_named_and_is_imported_when_it_is_used(add: Add, module: types.ModuleType) -> None:
    add(client="throw_away_scripts:greeting")
    assert sasl.client("X-TEST", Password("joe", "x")).start() == b"hello"
    assert sasl.client("X-TEST", Password("joe", "x"), word="again").start() == b"again"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("throw_away_scripts:missing", "AttributeError"),
        ("throw_away_scripts:", "AttributeError"),
        ("throw_away_scripts:number", "not a function"),
        ("no_such_module_here:greeting", "ModuleNotFoundError"),
        ("", "ValueError"),
        (":greeting", "ValueError"),
        (".relative:greeting", "TypeError"),
    ],
)
def test_a_script_that_cannot_be_imported_is_unavailable_with_the_reason(
    add: Add, module: types.ModuleType, script: str, text: str
) -> None:
    add(client=script, server=script)
    for call in (lambda: sasl.client("X-TEST", Password("joe", "x")), lambda: sasl.server("X-TEST")):
        for _ in range(2):  # a failure is not remembered as a script
            with pytest.raises(sasl.MechanismUnavailable, match=f"cannot be loaded: .*{text}") as caught:
                call()
            assert caught.value.mechanism == "X-TEST"
            assert caught.value.__context__ is None


# --- making an exchange


@pytest.mark.parametrize(
    ("name", "credentials", "text"),
    [
        ("PLAIN", Bearer("joe", "token"), "PLAIN takes Password credentials, not Bearer"),
        ("XOAUTH2", Password("joe", "x"), "XOAUTH2 takes Bearer credentials, not Password"),
        ("PLAIN", sasl.External(), "not External"),
        ("PLAIN", ("joe", "x"), "not tuple"),
        ("PLAIN", None, "not NoneType"),
    ],
)
def test_credentials_of_another_type_are_a_usage_error(name: str, credentials: Any, text: str) -> None:
    with pytest.raises(sasl.UsageError, match=text) as caught:
        sasl.client(name, credentials)
    assert caught.value.mechanism == name


@pytest.mark.parametrize("credentials", [sasl.External("joe"), sasl.Anonymous("trace")], ids=repr)
def test_credentials_without_a_secret_make_an_exchange_without_one(add: Add, credentials: Any) -> None:
    given = []

    def trusting(c: Any, options: sasl.Options) -> sasl.ClientSteps:
        given.append(c)
        yield sasl.Complete(b"")

    add(client=trusting, credentials=type(credentials))
    exchange = sasl.client("X-TEST", credentials)
    exchange.start()
    assert exchange.secret is None
    assert str(exchange.fail("no")) == "no"
    assert given == [credentials]


@pytest.mark.parametrize("name", ["XOAUTH2", "OAUTHBEARER"])
def test_a_token_source_that_was_not_asked_is_a_usage_error(name: str) -> None:
    def source() -> str:
        raise AssertionError

    with pytest.raises(sasl.UsageError, match=r"call resolve\(\) first"):
        sasl.client(name, Bearer("joe@example.com", source))


@pytest.mark.parametrize(
    "options",
    [{"no_such_option": 1}, {"word": "a", "other": "b"}, {"options": 1}, {"c": 1}, {"name": "x"}, {"credentials": 1}],
    ids=str,
)
def test_an_option_that_the_mechanism_does_not_know_is_a_usage_error(add: Add, options: dict[str, Any]) -> None:
    add(client=greeting)
    with pytest.raises(sasl.UsageError, match="does not take these options: " + ", ".join(sorted(options))) as caught:
        sasl.client("X-TEST", Password("joe", "x"), **options)
    assert caught.value.mechanism == "X-TEST"
    with pytest.raises(sasl.UsageError, match="does not take these options"):
        sasl.server("PLAIN", **options)


@pytest.mark.parametrize("wrong", [{"limits": None}, {"limits": 5}, {"channel": "tls"}], ids=str)
def test_limits_and_channel_are_what_they_are(wrong: dict[str, Any]) -> None:
    with pytest.raises(sasl.UsageError, match="channel is a Channel"):
        sasl.client("PLAIN", Password("joe", "x"), **wrong)
    with pytest.raises(sasl.UsageError, match="channel is a Channel"):
        sasl.server("PLAIN", **wrong)


def test_an_option_that_the_mechanism_needs_is_a_usage_error(add: Add) -> None:
    def demanding(options: sasl.Options, *, realm: str) -> sasl.ServerSteps:
        yield sasl.Challenge(realm.encode())
        raise sasl.Rejected

    add(server=demanding)
    with pytest.raises(sasl.UsageError, match="none given"):
        sasl.server("X-TEST")
    assert sasl.server("X-TEST", realm="example").start() == sasl.Challenge(b"example")


def eager_and_broken(c: Password, options: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    raise ValueError(password)


def eager_and_strict(c: Password, options: sasl.Options) -> sasl.ClientSteps:
    password = c.password.reveal()
    try:
        raise ValueError(password)
    except ValueError as error:
        raise sasl.UsageError("not this password") from error


@pytest.mark.parametrize(
    ("script", "text"),
    [(eager_and_broken, "the mechanism failed with ValueError"), (eager_and_strict, "not this password")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_script_that_works_before_it_starts_still_leaves_only_our_errors(
    add: Add, secret: str, leaks: Leaks, script: Any, text: str
) -> None:
    add(client=script)
    with pytest.raises(sasl.UsageError, match=text) as caught:
        sasl.client("X-TEST", Password("joe", secret))
    assert caught.value.mechanism == "X-TEST"
    assert leaks(caught.value) == []


# --- entry points


class Point:
    """An entry point, as importlib.metadata gives them."""

    def __init__(self, name: str, row: object) -> None:
        self.name, self.row, self.value = name, row, f"somebody.elses:{name}"
        self.loaded = 0

    def load(self) -> object:
        self.loaded += 1
        if isinstance(self.row, BaseException):
            raise self.row
        return self.row


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, own_registry: None) -> Iterator[list[Point]]:
    """The entry points that are found; a test may put some in before the first look-up."""
    points: list[Point] = []

    def entry_points(*, group: str) -> list[Point]:
        assert group == "sasl.mechanisms"
        return points

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    registry._entry_points.cache_clear()
    yield points
    registry._entry_points.cache_clear()


@pytest.mark.parametrize("name", ["X-TEST", "x-test"])
def test_an_entry_point_names_a_row(plugged: list[Point], name: str) -> None:
    plugged.append(Point(name, row()))
    assert sasl.lookup("x-test") == row()
    assert row() in sasl.known_mechanisms()
    assert sasl.client("X-TEST", Password("joe", "x")).start() == b"hello"


def test_entry_points_are_looked_at_only_for_names_that_are_not_there(
    plugged: list[Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(*, group: str) -> list[Point]:
        raise AssertionError

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    sasl.register(row())
    assert sasl.lookup("PLAIN").name == "PLAIN"
    assert sasl.lookup("X-TEST") == row()


def test_an_entry_point_never_replaces_a_built_in_mechanism(plugged: list[Point]) -> None:
    thief = Point("PLAIN", row("PLAIN"))
    plugged.append(thief)
    plugged.append(Point("X-OTHER", row("X-OTHER")))
    assert sasl.lookup("PLAIN").client != greeting
    assert [each.client for each in sasl.known_mechanisms() if each.name == "PLAIN"] != [greeting]
    assert sasl.lookup("X-OTHER").name == "X-OTHER"
    assert thief.loaded == 0


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (ImportError("no module named x"), "cannot be loaded: ImportError: no module named x"),
        (SyntaxError("bad"), "cannot be loaded: SyntaxError"),
        (RuntimeError("at import"), "cannot be loaded: RuntimeError"),
        (SystemExit(3), "cannot be loaded: SystemExit: 3"),
        (greeting, "is not the row of that name"),
        (row("X-ANOTHER"), "is not the row of that name"),
        (None, "is not the row of that name"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_plug_in_is_survived_and_explained(plugged: list[Point], broken: object, text: str) -> None:
    plugged += [Point("X-BROKEN", broken), Point("not a name", broken), Point("X-TEST", row())]
    with pytest.raises(
        sasl.MechanismUnavailable, match=f"the plug-in somebody.elses:X-BROKEN for X-BROKEN {text}"
    ) as error:
        sasl.lookup("X-BROKEN")
    assert error.value.__context__ is None
    names = [each.name for each in sasl.known_mechanisms()]
    assert "X-TEST" in names
    assert "X-BROKEN" not in names
    choice = sasl.choose(["X-BROKEN", "X-TEST"], Password("joe", "x"))
    assert choice.name == "X-TEST"
    assert text in choice.passed_over["X-BROKEN"]


def test_a_broken_plug_in_is_loaded_once(plugged: list[Point]) -> None:
    broken = Point("X-BROKEN", ImportError("slowly"))
    plugged.append(broken)
    for _ in range(3):
        with pytest.raises(sasl.MechanismUnavailable, match="slowly"):
            sasl.lookup("X-BROKEN")
    assert broken.loaded == 1


def test_a_plug_in_that_is_interrupted_is_not_taken_for_broken(plugged: list[Point]) -> None:
    plugged.append(Point("X-TEST", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        sasl.lookup("X-TEST")
    plugged[0].row = row()
    assert sasl.lookup("X-TEST") == row()


def test_metadata_that_cannot_be_read_hides_the_plug_ins_and_nothing_else(
    plugged: list[Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(*, group: str) -> list[Point]:
        raise ValueError("somebody's entry_points.txt is broken")

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    with pytest.raises(sasl.MechanismUnavailable):
        sasl.lookup("X-TEST")
    assert "PLAIN" in [each.name for each in sasl.known_mechanisms()]


# --- many threads


def test_the_first_look_up_may_come_from_many_threads_at_once(own_registry: None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    registry._table.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda name: sasl.lookup(name).name, ["PLAIN", "XOAUTH2", "OAUTHBEARER"] * 8))
    assert names == ["PLAIN", "XOAUTH2", "OAUTHBEARER"] * 8
