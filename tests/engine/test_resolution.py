"""From a token source to a token: `resolve` and `resolve_async` (contract, "Client")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import sasl
from sasl import AccessToken, Bearer, Secret, TokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    Resolve = Callable[..., Any]
    Leaks = Callable[[BaseException], list[str]]


def resolve_async(credentials: Any, **options: Any) -> Any:
    """Run the asynchronous form to its end."""
    return asyncio.run(sasl.resolve_async(credentials, **options))


both = pytest.mark.parametrize("resolve", [sasl.resolve, resolve_async], ids=["resolve", "resolve_async"])


class Source:
    """A token source that remembers what it was asked."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[str | None] = []

    def token(self, *, stale: str | None = None) -> Any:
        self.asked.append(stale)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class AsyncSource(Source):
    """The same, asynchronous."""

    async def token(self, *, stale: str | None = None) -> Any:
        await asyncio.sleep(0)
        return super().token(stale=stale)


def token_of(bearer: Any) -> str:
    assert isinstance(bearer, Bearer)
    assert bearer.username == "joe"
    assert isinstance(bearer.token, Secret)
    return bearer.token.reveal()


@both
@pytest.mark.parametrize("credentials", [sasl.Password("joe", "x"), sasl.External(), sasl.Anonymous()], ids=repr)
def test_what_holds_no_token_is_returned_as_it_is(resolve: Resolve, credentials: Any) -> None:
    assert resolve(credentials) is credentials
    assert resolve(credentials, stale="x") is credentials


@both
@pytest.mark.parametrize(
    "given", ["token", Secret("token"), AccessToken("token"), AccessToken(Secret("token"))], ids=repr
)
def test_a_source_gives_a_token(resolve: Resolve, given: Any) -> None:
    assert token_of(resolve(Bearer("joe", lambda: given))) == "token"
    assert token_of(resolve(Bearer("joe", Source(given)))) == "token"


@both
def test_a_token_that_is_there_is_taken(resolve: Resolve) -> None:
    assert resolve(Bearer("joe", "token")) == Bearer("joe", "token")
    assert resolve(Bearer("joe", Secret("token")), stale="older") == Bearer("joe", "token")


@both
def test_a_source_is_asked_at_each_login(resolve: Resolve) -> None:
    source = Source("token")
    bearer = Bearer("joe", source)
    resolve(bearer)
    resolve(bearer)
    assert source.asked == [None, None]
    assert bearer.token is source


@pytest.mark.parametrize("given", ["token", AccessToken("token")], ids=repr)
def test_an_asynchronous_source_is_awaited(given: Any) -> None:
    async def source() -> Any:
        return given

    assert token_of(resolve_async(Bearer("joe", source))) == "token"
    assert token_of(resolve_async(Bearer("joe", AsyncSource(given)))) == "token"


def test_an_asynchronous_source_is_a_usage_error_where_nobody_can_await_it() -> None:
    async def source() -> str:
        raise AssertionError  # never awaited, and no warning about it either

    class Later:
        def __await__(self) -> Any:
            raise AssertionError

    for bearer in (Bearer("joe", source), Bearer("joe", AsyncSource("token")), Bearer("joe", Later)):
        with pytest.raises(sasl.UsageError, match="use resolve_async"):
            sasl.resolve(bearer)


def test_a_source_that_is_not_asynchronous_is_asked_in_the_event_loop() -> None:
    asked: list[object] = []

    def source() -> str:
        asked.append(asyncio.get_running_loop())
        return "token"

    async def scenario() -> None:
        await sasl.resolve_async(Bearer("joe", source))
        assert asked == [asyncio.get_running_loop()]

    asyncio.run(scenario())


# --- a token that was refused


@both
@pytest.mark.parametrize("stale", ["refused", Secret("refused")], ids=repr)
def test_a_source_is_told_which_token_was_refused(resolve: Resolve, stale: Any) -> None:
    source = Source("newer")
    assert token_of(resolve(Bearer("joe", source), stale=stale)) == "newer"
    assert source.asked == ["refused"]


@both
@pytest.mark.parametrize("stale", ["refused", Secret("refused")], ids=repr)
@pytest.mark.parametrize("kind", ["text", "callable", "source", "async source"])
def test_the_token_that_was_refused_is_never_returned(resolve: Resolve, stale: Any, kind: str) -> None:
    if kind == "async source" and resolve is sasl.resolve:
        resolve = resolve_async  # the only one that takes it
    tokens: dict[str, Any] = {
        "text": "refused",
        "callable": lambda: "refused",
        "source": Source(AccessToken("refused")),
        "async source": AsyncSource("refused"),
    }
    with pytest.raises(TokenError, match="no newer token") as caught:
        resolve(Bearer("joe", tokens[kind]), stale=stale)
    assert (caught.value.code, caught.value.retryable, caught.value.needs_user) == ("stale_token", False, True)


# --- failures


@both
@pytest.mark.parametrize(
    "given", [None, b"token", 7, True, {"access_token": "x"}], ids=lambda given: type(given).__name__
)
def test_what_is_no_token_is_a_token_error(resolve: Resolve, given: Any) -> None:
    with pytest.raises(TokenError, match=f"gave {type(given).__name__}, not a token") as caught:
        resolve(Bearer("joe", lambda: given))
    assert caught.value.code == "no_token"


@both
@pytest.mark.parametrize("given", ["", AccessToken(""), Secret("")], ids=repr)
def test_an_empty_token_is_a_token_error(resolve: Resolve, given: Any) -> None:
    with pytest.raises(TokenError, match="empty token"):
        resolve(Bearer("joe", lambda: given))


def failing(secret: str) -> Callable[[], str]:
    def source() -> str:
        refresh_token = secret
        try:
            raise KeyError(refresh_token)
        except KeyError as error:
            raise ConnectionError(refresh_token) from error

    return source


@both
@pytest.mark.parametrize("kind", ["callable", "source", "async callable"])
def test_the_failure_of_a_source_is_told_by_its_type_only(
    resolve: Resolve, kind: str, secret: str, leaks: Leaks
) -> None:
    class Broken:
        def token(self, *, stale: str | None = None) -> AccessToken:
            return AccessToken(failing(secret)())

    async def later() -> str:
        return failing(secret)()

    sources: dict[str, Any] = {"callable": failing(secret), "source": Broken(), "async callable": later}
    if kind == "async callable":
        resolve = resolve_async
    with pytest.raises(TokenError, match="the token source failed with ConnectionError") as caught:
        resolve(Bearer("joe", sources[kind]), stale=secret)
    assert caught.value.code == "source_failed"
    assert own_leaks(leaks, caught.value) == []


@both
@pytest.mark.parametrize("kind", [Source, AsyncSource])
def test_a_token_error_of_a_source_keeps_what_it_says_and_loses_where_it_was(
    resolve: Resolve, kind: type[Source], secret: str, leaks: Leaks
) -> None:
    error = TokenError("sign in again", code="invalid_grant", needs_user=True)
    error.__context__ = error.__cause__ = ValueError(secret)
    if kind is AsyncSource:
        resolve = resolve_async
    with pytest.raises(TokenError) as caught:
        resolve(Bearer("joe", kind(error)), stale=secret)
    assert caught.value is error
    assert (str(error), error.code, error.needs_user) == ("sign in again", "invalid_grant", True)
    assert own_leaks(leaks, error) == []


@both
@pytest.mark.parametrize("given", [lambda secret: secret, lambda secret: secret.encode()], ids=["stale", "bytes"])
def test_a_token_that_is_of_no_use_is_not_in_the_error(
    resolve: Resolve, given: Callable[[str], Any], secret: str, leaks: Leaks
) -> None:
    with pytest.raises(TokenError) as caught:
        resolve(Bearer("joe", lambda: given(secret)), stale=secret)
    assert own_leaks(leaks, caught.value) == []


def own_leaks(leaks: Leaks, error: BaseException) -> list[str]:
    """Without the frames of asyncio, which hold no locals of ours."""
    return [leak for leak in leaks(error) if "asyncio" not in leak]


@both
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(resolve: Resolve, interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt):
        resolve(Bearer("joe", Source(interrupt())))


def test_a_cancelled_task_passes_through() -> None:
    async def scenario() -> None:
        async def source() -> str:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await sasl.resolve_async(Bearer("joe", source))

    asyncio.run(scenario())


def test_a_source_is_recognized_by_its_method() -> None:
    assert isinstance(Source("x"), sasl.TokenSource)
    assert isinstance(AsyncSource("x"), sasl.TokenSource)
    assert not isinstance(lambda: "x", sasl.TokenSource)


def test_two_answers_later_is_too_late() -> None:
    async def inner() -> str:
        return "token"

    async def outer() -> Any:
        later = inner()
        later.close()
        return later

    with pytest.raises(TokenError, match="gave coroutine, not a token"):
        resolve_async(Bearer("joe", outer))
