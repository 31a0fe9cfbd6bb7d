"""An access token that a command prints: gcloud, az, oama, pizauth, `sasl token get`, or a script of one's own.

    token = sasl.adapters.tokens.command.CommandTokens(["pizauth", "show", "work"])
    sasl.adapters.imaplib.authenticate(conn, sasl.Bearer("me@example.com", token))

The command prints the token on its first line, or an object of JSON: {"access_token": ..., "expires_in": ...}. Its
exit codes are those of sysexits.h: 75 says that it may work later, 77 that somebody has to sign in, 78 that it is not
set up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING, Final, final

from sasl.errors import TokenError, UsageError, hide_frames
from sasl.secret import Secret, scrubbed
from sasl.text import printable
from sasl.value import value

from ..deadline import Deadline
from ._anew import Anew, with_lifetime
from ._text import LARGEST, mask_tokens, parse_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sasl.credentials import AccessToken

    from .kept import Need

TIMEOUT: Final = 10.0
"""Seconds for a command, unless the caller says otherwise."""

_TRY_LATER: Final = 75
_NOT_SET_UP: Final = 78
_LONGEST_NAME: Final = 100  # characters of a program's name
_LONGEST_LINE: Final = 200  # characters of what it says on stderr
_MANY: Final = 8  # words that it printed
_TAIL: Final = 4_096  # octets of stderr
_ROOM: Final = 65_536  # octets that are read at once


@final
class CommandTokens:
    """Gives the tokens that a command prints.

    `argv` is the program and its arguments; no shell comes between. The command runs again at each call, unless it says
    when its token ends, by JSON, or `lifetime` does, in seconds: then that token is given until five minutes before
    its end. Threads that ask at once share a run.

    A command has `timeout` seconds, or what a callable gives when it starts; then it is killed, and whatever it has
    started in its process group with it. `env` is its whole environment, ours by default. It has no terminal and an
    empty stdin; with `interactive` it has both, and our stderr, and may ask for a passphrase. `name` is what errors
    call it. `clock` returns the time in seconds since 1970.
    Raises UsageError if `argv` is no sequence of texts, or empty.
    """

    __slots__ = ("_anew", "_argv", "_clock", "_env", "_interactive", "_lifetime", "_name", "_timeout")

    def __init__(
        self,
        argv: Sequence[str],
        *,
        timeout: float | Callable[[], float] = TIMEOUT,
        lifetime: float | None = None,
        env: Mapping[str, str] | None = None,
        interactive: bool = False,
        name: str = "the command",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(argv, str | bytes) or not argv or not all(isinstance(word, str) for word in argv):
            del self, argv, env  # somebody's secret may be in there
            raise UsageError("a command is a sequence of texts, the program and its arguments; nothing splits one text")
        self._argv = tuple(argv)
        self._timeout = timeout
        self._lifetime = lifetime
        self._env = None if env is None else dict(env)
        self._interactive = interactive
        self._name = called(self._argv, name)
        self._clock = clock
        self._anew = Anew(self._fetch, clock=clock)

    def __repr__(self) -> str:
        return "<CommandTokens>"

    def held(self) -> AccessToken | None:
        """Return the token at hand if the command need not run, else None."""
        return self._anew.held()

    @hide_frames
    def token(self, *, stale: str | None = None) -> AccessToken:
        """Return a token that is good now, and not the one in `stale`, which a server has just refused.

        Raises TokenError: command_timeout and, for exit code 75, try_later, both retryable; command_failed for other
        exit codes, which needs the user except for 78; command_not_run; no_token where it prints something else;
        stale_token, which needs the user, where it prints the token in `stale` again.
        """
        return self._anew.token(stale)

    def _fetch(self, need: Need) -> AccessToken:
        began = self._clock()
        seconds = self._timeout() if callable(self._timeout) else self._timeout
        known = [] if need.stale is None else [need.stale]
        octets = run(self._argv, seconds, name=self._name, env=self._env, interactive=self._interactive, secrets=known)
        return with_lifetime(parse_token(octets, f"what {self._name} printed", now=began), self._lifetime, began)


def called(words: Sequence[str], name: str) -> str:
    """Return how errors call a command. One word that is no path may be the secret itself."""
    named = len(words) > 1 or "/" in words[0]
    return f"{name} ({printable(words[0], limit=_LONGEST_NAME)})" if named else name


@hide_frames
def run(
    words: Sequence[str],
    seconds: float,
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    interactive: bool = False,
    secrets: Sequence[Secret] = (),
) -> bytes:
    """Run a command without a shell and return what it prints, at most 65,537 octets, with a first line in UTF-8.

    `name` is what errors call it; what it says on stderr stands in them, unless one of the `secrets` is in it or what
    it has printed. The other arguments are those of `CommandTokens`.
    Raises TokenError.
    """
    try:
        done = _run(words, seconds, env, interactive=interactive)
    except (TimeoutError, subprocess.TimeoutExpired):
        failure = TokenError(f"{name} took too long", code="command_timeout", retryable=True)
    except (OSError, ValueError) as error:
        failure = TokenError(f"{name} cannot run: {_why(error)}", code="command_not_run")
    else:
        if not done.status and _is_text(done.printed.partition(b"\n")[0]):
            return done.printed
        failure = TokenError(f"{name} printed no text in UTF-8 on its first line", code="no_token")
        if done.status:
            failure = _failure(name, done, secrets)
    raise failure


@final
@value
class _Done:
    """How a command ended: its exit code, what it printed, and the end of what it said on stderr."""

    status: int
    printed: bytes
    said: bytes


def _run(words: Sequence[str], seconds: float, env: Mapping[str, str] | None, *, interactive: bool) -> _Done:
    """Run a command. Raises OSError or ValueError if it cannot run, TimeoutError or TimeoutExpired if it is killed."""
    deadline = Deadline(seconds)
    deadline.wait()
    # In a session of its own it has no terminal: who asks there for a passphrase fails at once, instead of never.
    process = subprocess.Popen(  # noqa: S603 -- the user's own command
        words,
        bufsize=0,
        env=env,
        stdin=None if interactive else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if interactive else subprocess.PIPE,
        start_new_session=not interactive,
    )
    printed, said = bytearray(), bytearray()
    pipes = [(process.stdout, _keep_first, printed), (process.stderr, _keep_last, said)]
    readers: list[threading.Thread] = []
    try:
        while pipes:
            pipe, keep, kept = pipes[0]
            if pipe is not None:
                readers.append(_start(keep, pipe, kept))
            pipes.pop(0)
        for reader in readers:
            reader.join(deadline.wait())
            if reader.is_alive():
                raise TimeoutError
        return _Done(process.wait(deadline.wait()), bytes(printed), bytes(said))
    except BaseException:
        _kill(process, group=not interactive)
        for pipe, _, _ in pipes:  # the others are closed by their readers
            if pipe is not None:
                pipe.close()
        raise


def _start(keep: Callable[[IO[bytes], bytearray], None], pipe: IO[bytes], kept: bytearray) -> threading.Thread:
    """Have a thread read a pipe to its end: who prints more than is kept would wait for ever otherwise."""
    reader = threading.Thread(target=keep, args=(pipe, kept), daemon=True)
    reader.start()
    return reader


def _keep_first(pipe: IO[bytes], kept: bytearray) -> None:
    with pipe:
        while octets := pipe.read(_ROOM):
            kept += octets[: LARGEST + 1 - len(kept)]


def _keep_last(pipe: IO[bytes], kept: bytearray) -> None:
    with pipe:
        while octets := pipe.read(_ROOM):
            kept[:] = (kept + octets)[-_TAIL:]


def _kill(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End a command, and what it has started: that may hold the pipe, and would go on for nobody."""
    if group and hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    process.kill()
    process.wait()


def _failure(name: str, done: _Done, secrets: Sequence[Secret]) -> TokenError:
    later, configuration = done.status == _TRY_LATER, done.status == _NOT_SET_UP
    text = f"{name} failed with exit code {done.status}"
    line = _last_line(done, secrets)
    hint = "Run the command in a terminal: it may say what it needs."
    return TokenError(
        f"{text}: {line}" if line else text,
        code="try_later" if later else "command_failed",
        retryable=later,
        needs_user=not later and not configuration,
        hint="" if later else hint,
    )


def _last_line(done: _Done, secrets: Sequence[Secret]) -> str:
    """Return the last line that a command said on stderr; "" where it shows what nobody may see."""
    said = done.said.decode("utf-8", "replace").rstrip().rpartition("\n")[2].strip()
    printed = done.printed.decode("utf-8", "replace").split()
    for secret in (*secrets, *map(Secret, printed[:_MANY])):
        if scrubbed(said, secret) != said:
            return ""
    return printable(mask_tokens(said), limit=_LONGEST_LINE)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such program"
    return str(error.strerror) if isinstance(error, OSError) else "it holds a NUL"


def _is_text(line: bytes) -> bool:
    """Whether a line is in UTF-8, and not empty."""
    try:
        return bool(line.decode("utf-8").rstrip("\r\n"))
    except UnicodeError:
        return False
