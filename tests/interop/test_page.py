"""The page of the control endpoint in Chromium: live, by keyboard, in dark and light, and from nowhere else."""

from __future__ import annotations

import imaplib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from . import chromium as chromium_module
from . import serve as serve_module
from .chromium import Browser, Page
from .serve import Serve


@pytest.fixture(scope="module")
def browser(start: Callable[..., Iterator[Browser]]) -> Iterator[Browser]:
    yield from start(chromium_module.running)


@pytest.fixture(scope="module")
def server(start: Callable[..., Iterator[Serve]]) -> Iterator[Serve]:
    yield from start(serve_module.running)


@pytest.fixture
def page(browser: Browser, server: Serve) -> Iterator[Page]:
    """The page, with the key, as it is when it is live."""
    with browser.page() as page:
        page.open(server.ready["control"]["page"])
        page.wait("document.getElementById('state')?.textContent === 'Live.'")
        yield page
        page.run("1")
        assert page.complaints == []


def trusting(server: Serve) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ready["ca"])


@contextmanager
def logged_in(server: Serve) -> Iterator[imaplib.IMAP4_SSL]:
    """Alice, until the block ends, whatever the server thinks of it."""
    conn = imaplib.IMAP4_SSL("localhost", server.ready["imap"]["tls_port"], ssl_context=trusting(server))
    try:
        conn.login("alice", "wonderland")
        yield conn
    finally:
        conn.shutdown()


def rows(page: Page, name: str) -> list[list[str]]:
    """The cells of a table."""
    found = page.run(f"Array.from(document.querySelectorAll('#{name} tr'), r => Array.from(r.cells, c => c.innerText))")
    assert isinstance(found, list)
    return found


def wait_for(page: Page, name: str, text: str) -> None:
    page.wait(f"document.getElementById('{name}').innerText.includes({text!r})")


def tab_to(page: Page, what: str) -> None:
    """Go by the keyboard alone to what fulfils a condition."""
    for _ in range(40):
        page.press("Tab")
        if page.run(f"(e => {what})(document.activeElement)"):
            return
    raise AssertionError(f"no way to {what} by Tab")


def test_it_shows_where_the_servers_are(page: Page, server: Serve) -> None:
    shown = {row[0]: [int(row[2]), int(row[3])] for row in rows(page, "servers")}
    names = [name for name in ("imap", "pop", "smtp", "lmtp") if name in server.ready]
    assert shown == {name: [server.ready[name]["port"], server.ready[name]["tls_port"]] for name in names}


def test_a_login_is_there_without_a_reload_and_without_its_secret(page: Page, server: Serve) -> None:
    place = server.ready["imap"]["tls_port"]
    with imaplib.IMAP4_SSL("localhost", place, ssl_context=trusting(server)) as conn:
        with pytest.raises(imaplib.IMAP4.error):
            conn.login("alice", "looking-glass")
        wait_for(page, "attempts", "credentials")
        conn.login("alice", "wonderland")
        wait_for(page, "attempts", "accepted")
        wait_for(page, "sessions", "alice")
    shown = page.run("document.documentElement.outerHTML")
    assert "wonderland" not in shown
    assert "looking-glass" not in shown


def test_what_a_client_says_is_shown_and_never_obeyed(page: Page, server: Serve) -> None:
    with smtplib.SMTP_SSL("localhost", server.ready["smtp"]["tls_port"], context=trusting(server)) as conn:
        conn.login("alice", "wonderland")
        conn.sendmail("alice@example.org", ["bob@example.org"], "Subject: <img src=x onerror=alert(1)>\r\n\r\n")
    wait_for(page, "messages", "<img src=x onerror=alert(1)>")
    assert page.run("document.images.length") == 0


def test_by_the_keyboard_the_clock_is_moved_and_a_session_ended(page: Page, server: Serve) -> None:
    before = page.run("document.getElementById('now').dateTime")
    tab_to(page, "e.dataset.advance === '86400'")
    page.press("Enter")
    page.wait(f"document.getElementById('now').dateTime.slice(0, 10) > {before[:10]!r}")
    with logged_in(server) as conn:
        wait_for(page, "sessions", "alice")
        tab_to(page, "(e.ariaLabel ?? '').startsWith('End session')")
        page.press("Enter")
        page.wait("document.getElementById('sessions').rows.length === 0")
        with pytest.raises(imaplib.IMAP4.error):
            conn.noop()


def test_by_the_keyboard_a_fault_is_added_and_removed(page: Page) -> None:
    tab_to(page, "e.id === 'fault'")
    page.type("imap:FETCH reply NO Later")
    page.press("Enter")
    wait_for(page, "faults", "imap:FETCH")
    page.press("Tab")
    tab_to(page, "(e.ariaLabel ?? '').startsWith('Remove fault')")
    page.press("Enter")
    page.wait("document.getElementById('faults').rows.length === 0")


def test_a_fault_that_is_none_is_explained(page: Page) -> None:
    tab_to(page, "e.id === 'fault'")
    page.type("imap:FETCH juggle")
    page.press("Enter")
    page.wait("!document.getElementById('failure').hidden")
    assert page.run("document.getElementById('failure').getAttribute('role')") == "alert"
    page.run("1")
    assert [each for each in page.complaints if "400" not in each] == []
    page.complaints.clear()


def test_who_stands_on_a_button_stays_there_when_something_happens(page: Page, server: Serve) -> None:
    with logged_in(server):
        wait_for(page, "sessions", "alice")
        tab_to(page, "(e.ariaLabel ?? '').startsWith('End session')")
        label = page.run("document.activeElement.ariaLabel")
        with logged_in(server):
            page.wait("document.getElementById('sessions').rows.length === 2")
        page.wait("document.getElementById('sessions').rows.length === 1")
        assert page.run("document.activeElement.ariaLabel") == label


def test_without_the_key_it_asks_for_it_and_shows_nothing(browser: Browser, server: Serve) -> None:
    control = server.ready["control"]
    with browser.page() as page:
        page.open(control["url"] + "/#wrong")
        page.wait("document.activeElement?.id === 'key'")
        assert "not the key" in page.text()
        assert page.run("document.getElementById('all').hidden")
        page.type(control["key"])
        page.press("Enter")
        page.wait("document.getElementById('state').textContent === 'Live.'")


def test_it_asks_nobody_else_and_never_says_the_key_in_an_address(page: Page, server: Serve) -> None:
    control = server.ready["control"]
    assert page.requests
    assert [url for url in page.requests if not url.startswith((control["url"] + "/", "data:"))] == []
    assert [url for url in page.requests if control["key"] in url.partition("#")[0]] == []


def luminance(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2.2)."""
    shares = [int(share) / 255 for share in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_of_it_can_be_read_in_dark_and_light(page: Page) -> None:
    page.run("""for (const kind of ["good", "bad"]) {
        const row = document.getElementById("verdicts").insertRow(); row.insertCell().className = kind; }""")
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        ground = luminance(page.run("getComputedStyle(document.body).backgroundColor"))
        assert (ground > 0.5) == (scheme == "light")
        colours: list[str] = page.run(
            "Array.from(document.querySelectorAll('h1, #state, #failure, th, td, label, button, input'), "
            "e => getComputedStyle(e).color)"
        )
        for colour in set(colours):
            lighter, darker = sorted((luminance(colour), ground), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (scheme, colour)


def test_what_happens_twice_at_one_moment_stands_there_twice_and_not_more_often(page: Page) -> None:
    twice = "fill('verdicts', [{id: 'x', cells: ['one']}, {id: 'x', cells: ['two']}])"
    page.run(f"{twice}; {twice}; {twice}")
    assert rows(page, "verdicts") == [["one"], ["two"]]
