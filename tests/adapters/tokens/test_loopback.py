"""The listener on this machine: which request it takes, and what the others can do to it."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import sasl
from sasl.adapters.tokens import _loopback
from sasl.adapters.tokens._loopback import Listener

from .signing_in import get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENDLESS = 30.0
GOOD = b"GET /?right HTTP/1.1\r\nHost: %s\r\n\r\n"


class Waiting:
    """A listener that waits in a thread for the query "right".

    Attributes:
        taken: what came of it.
    """

    def __init__(self, listener: Listener, seconds: float) -> None:
        self.listener = listener
        self.url = listener.redirect_uri
        self.host = urlsplit(self.url).netloc.encode()
        self.taken: Any = None
        self.asked: list[str] = []
        self.rung: list[str] = []
        self._seconds = seconds
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _take(self, query: str) -> str | None:
        self.asked.append(query)
        return query if query == "right" else None

    def _run(self) -> None:
        try:
            self.taken = self.listener.wait(self._take, self._seconds, lambda: self.rung.append("rung"))
        except BaseException as error:
            self.taken = error
        self.listener.answer("Done <1>", "All & well")

    def result(self) -> Any:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.taken

    def send(self, octets: bytes) -> socket.socket:
        parts = urlsplit(self.url)
        sock = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10)
        sock.sendall(octets)
        return sock


@pytest.fixture
def waiting() -> Iterator[Callable[..., Waiting]]:
    with contextlib.ExitStack() as stack:

        def start(uri: str = "http://127.0.0.1/", *, seconds: float = ENDLESS, **settings: Any) -> Waiting:
            return Waiting(stack.enter_context(Listener(uri, **settings)), seconds)

        yield start


def answer_of(sock: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    with sock:
        answer = b""
        with contextlib.suppress(ConnectionError):
            while octets := sock.recv(65_536):
                answer += octets
        return answer


def is_over(url: str) -> bool:
    try:
        get(url)
    except OSError:
        return True
    return False


# --- where


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1/", "http://127.0.0.1", "http://localhost", "http://localhost/a/b", "http://[::1]/"]
)
def test_the_redirect_uri_is_the_registered_one_with_a_port(waiting: Callable[..., Waiting], uri: str) -> None:
    try:
        here = waiting(uri)
    except OSError:
        pytest.skip("this machine has no IPv6")
    parts, registered = urlsplit(here.url), urlsplit(uri)
    assert (parts.scheme, parts.hostname, parts.path) == ("http", registered.hostname, registered.path)
    assert parts.port
    status, page = get(here.url + "?right")
    assert (status, here.result()) == (200, "right")
    assert "All &amp; well" in page


def test_localhost_is_both_of_its_addresses(waiting: Callable[..., Waiting]) -> None:
    here = waiting("http://localhost/")
    try:
        sock = socket.create_connection(("::1", urlsplit(here.url).port), timeout=10)
    except OSError:
        pytest.skip("this machine has no IPv6")
    sock.sendall(GOOD % here.host)
    assert b"200 OK" in answer_of(sock)
    assert here.result() == "right"


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "https://127.0.0.1/",
            "http://127.0.0.1:80/",
            "http://0.0.0.0/",
            "http://mail.example/",
            "http://127.0.0.1/?a",
        ),
        *("http://127.0.0.1/#a", "http://a@127.0.0.1/", "http://127.0.0.1/ a", "http:/", "http://LOCALHOST/"),
    ],
)
def test_another_uri_is_refused(uri: str) -> None:
    with pytest.raises(sasl.UsageError):
        Listener(uri)


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError):
        Listener("http://127.0.0.1/", other.getsockname()[1])


def test_localhost_is_not_shared_with_somebody_else() -> None:
    """Whoever has the port at the other address would get the answer of some browsers."""
    try:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with other, pytest.raises(OSError):
        Listener("http://localhost/", other.getsockname()[1])


def test_localhost_is_its_one_address_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def create_server(address: Any, *, family: int = socket.AF_INET) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no such address")
        return create(address)

    monkeypatch.setattr(socket, "create_server", create_server)
    with Listener("http://localhost/") as listener:
        assert len(listener._listening) == 1


def test_a_given_port_is_used() -> None:
    with Listener("http://localhost/") as free:
        port = urlsplit(free.redirect_uri).port
    with Listener("http://localhost/", int(port or 0)) as listener:
        assert listener.redirect_uri == f"http://localhost:{port}/"
        assert repr(listener) == f"<Listener at http://localhost:{port}/>"


# --- what is taken


def test_one_request_is_taken_and_then_nobody_listens(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    status, page = get(here.url + "?right")
    assert (status, here.result(), here.asked) == (200, "right", ["right"])
    assert "Done &lt;1&gt;" in page
    assert is_over(here.url + "?right")


def test_the_page_loads_nothing_and_is_kept_nowhere(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    head, _, page = answer_of(here.send(GOOD % here.host)).partition(b"\r\n\r\n")
    assert b"\r\nCache-Control: no-store\r\n" in head
    assert b"\r\nContent-Security-Policy: default-src 'none'\r\n" in head
    assert b"\r\nReferrer-Policy: no-referrer\r\n" in head
    assert not any(word in page for word in (b"right", b"src", b"href", b"script", b"http"))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /favicon.ico HTTP/1.1\r\nHost: %s\r\n\r\n", b"404"),
        (b"GET /other?right HTTP/1.1\r\nHost: %s\r\n\r\n", b"404"),
        (b"GET /?wrong HTTP/1.1\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n", b"400"),
        (b"POST /?right HTTP/1.1\r\nHost: %s\r\n\r\n", b"405"),
        (b"HEAD /?right HTTP/1.1\r\nHost: %s\r\n\r\n", b"405"),
        (b"GET /?right HTTP/1.1\r\nHost: rebound.example\r\nX: %s\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nHost: %s\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nX: %s\r\n\r\n", b"400"),
        (b"GET http://%s/?right HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nHost : %s\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nHost: %s\r\n folded: line\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nHost: %s\nEvil: line\r\n\r\n", b"400"),
        (b"GET /?right HTTP/2.0\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET  /?right HTTP/1.1\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET /?right\r\nHost: %s\r\n\r\n", b"400"),
        (b"get /?right HTTP/1.1\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET /?right\xff HTTP/1.1\r\nHost: %s\r\n\r\n", b"400"),
        (b"GET /?right HTTP/1.1\r\nHost: %s\r\nCookie: " + b"c" * 70_000 + b"\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%s", b""),
    ],
)
def test_another_request_is_refused_and_does_not_end_the_wait(
    waiting: Callable[..., Waiting], request_: bytes, status: bytes
) -> None:
    here = waiting(patience=ENDLESS)
    answer = answer_of(here.send(request_.replace(b"%s", here.host)))
    assert answer[9:12] == status
    assert b"<script" not in answer
    assert get(here.url + "?right")[0] == 200
    assert here.result() == "right"


def test_a_head_that_is_large_for_its_cookies_is_taken(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    assert get(here.url + "?right", {"Cookie": "c" * 30_000})[0] == 200


def test_a_host_in_capitals_is_the_same(waiting: Callable[..., Waiting]) -> None:
    here = waiting("http://localhost/")
    assert get(here.url + "?right", {"Host": here.host.decode().upper()})[0] == 200


def test_the_request_may_come_octet_by_octet(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    sock = here.send(b"")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in GOOD % here.host:
        sock.sendall(bytes([octet]))
    assert b"200 OK" in answer_of(sock)
    assert here.result() == "right"


# --- who is in the way


def test_clients_that_say_nothing_or_half_of_it_keep_nobody_out(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    others = [here.send(half) for half in (b"", b"GET /?right HTTP/1.1\r\nHost: ", b"GET", b"POST / HTTP/1.1\r\n")]
    assert get(here.url + "?right")[0] == 200
    assert here.result() == "right"
    assert [answer_of(sock) for sock in others] == [b"", b"", b"", b""]


def test_more_clients_than_are_kept_cost_the_oldest_its_place(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    others = [here.send(b"GET") for _ in range(3 * _loopback._MOST)]
    assert answer_of(others.pop(0)) == b""  # while the others wait
    assert get(here.url + "?right")[0] == 200
    assert here.result() == "right"
    assert len(here.listener._connections) == 0
    for sock in others:
        assert answer_of(sock) == b""


def test_what_a_client_said_when_it_lost_its_place_is_not_read() -> None:
    """The system may tell of both at the same time: of a new client, and of words of the oldest."""
    with Listener("http://127.0.0.1/") as listener:
        sock = socket.create_connection(("127.0.0.1", urlsplit(listener.redirect_uri).port), timeout=10)
        sock.sendall(GOOD % listener.redirect_uri[7:-1].encode())
        listener._accept(listener._listening[0])
        oldest = listener._connections[0]
        listener._drop(oldest)
        assert listener._read(oldest) is None
        assert answer_of(sock) == b""


def test_a_client_has_its_time_and_no_more(waiting: Callable[..., Waiting]) -> None:
    here = waiting(patience=0.05)
    slow = here.send(b"GET /?right HTTP/1.1\r\n")
    assert answer_of(slow) == b""
    assert here.listener._connections == []
    assert here.asked == []


def test_a_client_that_goes_away_is_forgotten(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    here.send(b"GET /").close()
    here.send(b"").close()
    assert get(here.url + "?right")[0] == 200
    assert here.result() == "right"


def test_the_browser_may_be_gone_before_its_page(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    here.send(GOOD % here.host).close()
    assert here.result() == "right"


def test_the_wait_ends(waiting: Callable[..., Waiting]) -> None:
    here = waiting(seconds=0.02)
    assert isinstance(here.result(), TimeoutError)
    assert is_over(here.url + "?right")


def test_clients_that_keep_coming_do_not_make_the_wait_longer() -> None:
    with Listener("http://127.0.0.1/") as listener:
        port = urlsplit(listener.redirect_uri).port
        opened: list[socket.socket] = []

        def take(_query: str) -> None:
            opened.append(socket.create_connection(("127.0.0.1", port)))
            opened[-1].sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)

        take("")
        with pytest.raises(TimeoutError):
            listener.wait(take, 0.05, lambda: None)
        for sock in opened:
            sock.close()


def test_a_bell_calls_the_one_who_waits(waiting: Callable[..., Waiting]) -> None:
    here = waiting()
    here.listener.ring()
    assert get(here.url + "?right")[0] == 200
    assert (here.result(), here.rung) == ("right", ["rung"])
    here.listener.ring()  # nobody is there any more


def test_what_is_raised_for_a_request_ends_the_wait_and_can_be_answered() -> None:
    with Listener("http://127.0.0.1/") as listener:
        sock = socket.create_connection(("127.0.0.1", urlsplit(listener.redirect_uri).port), timeout=10)
        sock.sendall(GOOD % listener.redirect_uri[7:-1].encode())

        def take(_query: str) -> None:
            raise sasl.TokenError("no")

        with pytest.raises(sasl.TokenError):
            listener.wait(take, ENDLESS, lambda: None)
        listener.answer("Not signed in", "no")
        assert b"<h1>Not signed in</h1>" in answer_of(sock)


def test_closing_leaves_nothing_open() -> None:
    with Listener("http://localhost/") as listener:
        sockets = [*listener._listening, listener._bell, listener._ring]
        sock = socket.create_connection(("127.0.0.1", urlsplit(listener.redirect_uri).port), timeout=10)
    assert [each.fileno() for each in sockets] == [-1] * len(sockets)
    assert answer_of(sock) == b""
