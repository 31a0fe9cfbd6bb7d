"""Chromium without a window, told what to do by its DevTools protocol over a pipe: no driver and no port is needed."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..support.servers import program

PATIENCE = 20.0
"""Seconds for whatever has to happen at once."""


class Page:
    """A page that is open.

    Attributes:
        requests: the addresses that it has asked for.
        complaints: what it has logged as an error or a warning: exceptions, and whatever a policy forbade.
    """

    def __init__(self, pipe: Pipe, session: str) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._pipe = pipe
        self._session = session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; return its result."""
        result = self._pipe.call(method, self._session, parameters)
        for event in self._pipe.events(self._session):
            self._note(event)
        return result

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return what an expression comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until an expression comes to something that is true; return it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.run(script)):
            assert time.monotonic() < deadline, f"in vain: {script}: {self.text()}"
            time.sleep(0.02)
        return found

    def text(self) -> str:
        """What a person reads."""
        shown = self.run("document.body.innerText")
        assert isinstance(shown, str)
        return shown

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=codes[key], **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=codes[key])

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def _note(self, event: dict[str, Any]) -> None:
        given = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(given["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(given["exceptionDetails"]))
            case "Log.entryAdded" if given["entry"]["level"] in ("error", "warning"):
                self.complaints.append(given["entry"]["text"])


class Pipe:
    """The two pipes of the protocol: objects of JSON, each with a zero octet behind it."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._buffer = b""
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._writing, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == number:
                assert "error" not in said, (method, said)
                return said["result"]
            if "method" in said:
                self._events.append(said)

    def events(self, session: str) -> list[dict[str, Any]]:
        """Return what has happened since the last call."""
        found = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return found

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            assert select.select([self._reading], [], [], max(0, deadline - time.monotonic()))[0], "Chromium is silent"
            piece = os.read(self._reading, 1_048_576)
            assert piece, "Chromium has gone"
            self._buffer += piece
        octets, _, self._buffer = self._buffer.partition(b"\0")
        said = json.loads(octets)
        assert isinstance(said, dict)
        return said


@contextmanager
def running() -> Iterator[Browser]:
    """Run Chromium until the block ends. Raises CannotStart where there is none."""
    chromium = program("SASLKIT_CHROMIUM", "chromium")
    folder = Path(tempfile.mkdtemp(prefix="saslkit-chromium-"))
    to_it, from_us = os.pipe()
    to_us, from_it = os.pipe()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "--disable-background-networking"]
    to_it, from_it = (_raised(descriptor) for descriptor in (to_it, from_it))
    launch = "import os, sys; read, write, *command = sys.argv[1:]; os.dup2(int(read), 3); os.dup2(int(write), 4); "
    launch += "os.execv(command[0], command)"  # the protocol wants the pipes as 3 and 4
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", launch, str(to_it), str(from_it), chromium, *options, "about:blank"],
            pass_fds=(to_it, from_it),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Browser(Pipe(to_us, from_us))
    finally:
        os.close(from_us)
        os.close(to_us)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _raised(descriptor: int) -> int:
    """The same under a number above those that have a meaning."""
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return high


class Browser:
    """Chromium."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A new page, without what others have left in the browser."""
        context = self._pipe.call("Target.createBrowserContext", None, {})["browserContextId"]
        where = {"url": "about:blank", "browserContextId": context}
        target = self._pipe.call("Target.createTarget", None, where)["targetId"]
        session = self._pipe.call("Target.attachToTarget", None, {"targetId": target, "flatten": True})["sessionId"]
        try:
            yield Page(self._pipe, session)
        finally:
            self._pipe.call("Target.disposeBrowserContext", None, {"browserContextId": context})
