"""What a persona says, as values and pure functions: how a provider's servers greet, offer, refuse and end."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final, Literal, final

from sasl.registry import canonical
from sasl.text import printable
from sasl.value import KW_ONLY, field, value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ...providers import Profile

PLACEHOLDERS: Final = frozenset(
    {
        "tag",
        "user",
        "id",
        "ip",
        "date",
        "time",
        "command",
        "mid",
        "client",
        "title",
        "host",
        "host64",
        "capabilities",
        "goodbye",
    }
)
_PLACE: Final = re.compile(r"\{([a-z0-9]+)\}")
_ALL: Final = "*"
_OF_MECHANISMS: Final = ("AUTH=", "AUTH ", "SASL ")
_PARAMETER: Final = re.compile(r"(?:=[0-9]+| .*)\Z")


@final
@value
class Folder:
    r"""A mailbox that every account has.

    Attributes:
        name: its name, as people read it.
        use: what it is for, as RFC 6154 calls it ("\Sent"); "" for nothing special.
        selectable: whether it can hold messages.
    """

    name: str
    use: str = ""
    selectable: bool = True


@final
@value
class Refusal:
    """What is said to a refused login or command.

    Attributes:
        lines: what to say, without line ends.
        close: whether the connection ends then.
    """

    lines: tuple[str, ...]
    close: bool = False


@final
@value
class Goodbye:
    """How a session ends.

    Attributes:
        lines: what to say; nothing may be said.
        at_once: whether it is said when the time has come; else as the answer to the next command, whatever it is.
    """

    lines: tuple[str, ...]
    at_once: bool = True


@final
@value
class Half:
    """A login that is told yes and opens nothing: what each command that needs a mailbox is told.

    Attributes:
        first: what the first one is told.
        further: what each one after it is told.
    """

    first: Refusal
    further: Refusal


@final
@value
class Service:
    """What a persona says in one protocol. Texts stand here with their placeholders.

    Attributes:
        host: the name of the server.
        greeting: the lines to begin with.
        capabilities: what is told in the "clear", under "tls" and when "authenticated"; "*" stands for the rest.
        commands: the login commands that are taken; None for all.
        passwords: whether a right password is taken.
        prompt: what an empty challenge looks like; "" for what the protocol says.
        accepted: the lines after a login.
        refusals: by kind.
        half: the kinds that are a yes which opens nothing, and what commands are told then.
        goodbyes: by why the session ends.
        replies: texts of a server's own, by name.
        limits: numbers, by name.
        words: whether a search for text finds whole words only.
    """

    _: KW_ONLY
    host: str = "localhost"
    greeting: tuple[str, ...] = ()
    capabilities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    commands: tuple[str, ...] | None = None
    passwords: bool = True
    prompt: str = ""
    accepted: tuple[str, ...] = ()
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    half: Mapping[str, Half] = field(default_factory=dict)
    goodbyes: Mapping[str, Goodbye] = field(default_factory=dict)
    replies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    words: bool = False


@final
@value
class Persona:
    """How the servers of a provider behave. Services are "imap", "pop" and "smtp".

    In all texts {tag}, {user}, {id}, {ip}, {date}, {time}, {command}, {title}, {client} and {mid} stand for what the
    `fields` of a method say, "" where they do not; {host} is the server's name, {host64} that as Exchange greets with
    it, {goodbye} what the provider's profile knows its servers to say at the end.

    Attributes:
        name: as people know it.
        id: the name of its file, without ".json".
        provider: the file of `sasl.adapters.providers` that it builds on; "" for none.
        profile: what that says, or None.
        sources: where each fact comes from, by its name in the file.
        services: what it says, by service; a provider may have no POP.
        folders: the mailboxes that every account has.
        challenges: what an error challenge says (RFC 7628 section 3.2.2), by mechanism and kind; "*" is any kind.
        password_ends: what ends when a user gets another password: "renewals", no refresh token from before is good;
            "sessions", no access token and no session either; "" for nothing.
    """

    name: str
    _: KW_ONLY
    id: str = ""
    provider: str = ""
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    folders: tuple[Folder, ...] = ()
    challenges: Mapping[str, Mapping[str, Mapping[str, str] | None]] = field(default_factory=dict)
    password_ends: Literal["", "renewals", "sessions"] = ""
    profile: Profile | None = field(default=None, hidden=True)

    # --- what is offered

    def greeting(self, service: str, fields: Mapping[str, str], capabilities: Iterable[str] = ()) -> list[str]:
        """Return the lines to begin with; `capabilities` stand in them where the provider tells them there."""
        return self._filled(service, self._of(service).greeting, {**fields, "capabilities": " ".join(capabilities)})

    def mechanisms(self, service: str, offered: Sequence[str], *, tls: bool) -> list[str]:
        """Return which of the mechanisms that may be offered the provider offers, in its order."""
        named = _mechanisms(self._listed(service, tls=tls, authenticated=False))
        return list(offered) if _ALL in named else [name for name in named if name in offered]

    def takes(self, service: str, command: str) -> bool:
        """Whether the provider has a login command: "IMAP-LOGIN", "POP-USER", "POP-APOP"."""
        commands = self._of(service).commands
        return commands is None or command in commands

    def takes_passwords(self, service: str) -> bool:
        """Whether a right password is taken; else it is refused by a rule ("policy")."""
        return self._of(service).passwords

    def capabilities(
        self,
        service: str,
        *,
        tls: bool,
        authenticated: bool,
        served: Collection[str],
        mechanisms: Collection[str],
        further: Collection[str] = (),
    ) -> list[str]:
        """Return what the provider tells that it can, in its order, of what is served here and nothing else.

        IMAP's names, the lines of POP3's CAPA and of SMTP's EHLO. An entry with a parameter ("SIZE 35882577",
        "APPENDLIMIT=1000") is told if `served` has the name before it. `mechanisms` are those that are offered.
        `further` is what is served as well, but told only where it is named.
        """
        listed = self._listed(service, tls=tls, authenticated=authenticated)
        named, known, here = _mechanisms(listed), set(map(_name, listed)), set(map(_name, [*served, *further]))
        ordered = sorted(mechanisms, key=lambda name: named.index(name) if name in named else len(named))
        told: list[str] = []
        for entry in listed:
            if entry == _ALL:
                told += [name for name in served if _name(name) not in known]
            elif entry[:5] in _OF_MECHANISMS:
                told += _mechanism_entries(entry[:5], ordered)
                ordered = []  # those of one list stand together
            elif _name(entry) in here:
                told.append(entry)
        return told

    def prompt(self, service: str) -> str:
        """Return what an empty challenge looks like, "" for what the protocol says."""
        return self._of(service).prompt

    def initial_response(self, service: str) -> bool:
        """Whether a response may come with the command that begins an exchange."""
        profile = self.profile
        return profile is None or profile.initial_response.get(service, True)

    def line_limit(self, service: str) -> int | None:
        """Return how many octets a command line may have, where that is less than the protocol allows."""
        profile = self.profile
        return None if profile is None else profile.line_limits.get(service)

    # --- what a login comes to

    def accepted(self, service: str, fields: Mapping[str, str], capabilities: Iterable[str] = ()) -> list[str]:
        """Return the lines after a login; none where the protocol's own are said."""
        return self._filled(service, self._of(service).accepted, {**fields, "capabilities": " ".join(capabilities)})

    def refusal(self, service: str, kind: str, fields: Mapping[str, str]) -> Refusal | None:
        """Return what is said to a refusal of a kind (`sasl.KINDS`, and those of the files); None: nothing special."""
        found = self._of(service).refusals.get(kind)
        return None if found is None else self._said(service, found, fields)

    def challenge(self, mechanism: str, kind: str) -> Mapping[str, str] | None:
        """Return what an error challenge says for a refusal of a kind; empty for the mechanism's own; None: no such."""
        kinds = self.challenges.get(mechanism, {})
        return kinds.get(kind, kinds.get(_ALL, {}))

    def half(self, service: str, kind: str, fields: Mapping[str, str]) -> Half | None:
        """Return what commands are told after a login of that kind, which is told yes and opens nothing; or None."""
        found = self._of(service).half.get(kind)
        if found is None:
            return None
        return Half(self._said(service, found.first, fields), self._said(service, found.further, fields))

    # --- what follows

    def goodbye(self, service: str, why: str, fields: Mapping[str, str]) -> Goodbye | None:
        """Return how a session ends: "expired", "session", "revoked", "idle", "late", ...; None: nothing special."""
        found = self._of(service).goodbyes.get(why)
        if found is None:
            return None
        return Goodbye(tuple(self._filled(service, found.lines, fields)), found.at_once)

    def replies(self, service: str, name: str, fields: Mapping[str, str]) -> list[str]:
        """Return the lines of a text that the server has of its own; none for what our server says."""
        return self._filled(service, self._of(service).replies.get(name, ()), fields)

    def reply(self, service: str, name: str, fields: Mapping[str, str]) -> str | None:
        """Return the same where it is one line, else None."""
        lines = self.replies(service, name, fields)
        return lines[0] if lines else None

    def limit(self, service: str, what: str) -> float | None:
        """Return a limit, or None if none is known: seconds of "idle", octets of a "message", how many "connections".

        "password" and "token" are the seconds of a session after a login by one; a token's may be None where the
        session lasts as long as the token.
        """
        if what not in ("password", "token"):
            return self._of(service).limits.get(what)
        profile = self.profile
        found = None if profile is None else profile.session_limits.get(service, {}).get(what)
        return None if found is None or isinstance(found, str) else float(found)

    def ends_with_token(self, service: str) -> bool:
        """Whether a session that began with a token ends about when the token does."""
        profile = self.profile
        return profile is not None and profile.session_limits.get(service, {}).get("token") == "token"

    def whole_words(self, service: str = "imap") -> bool:
        """Whether a search for text finds whole words only."""
        return self._of(service).words

    def host(self, service: str) -> str:
        """Return the name of the server."""
        return self._of(service).host

    # --- helpers

    def _of(self, service: str) -> Service:
        return self.services.get(service, _NO_SERVICE)

    def _listed(self, service: str, *, tls: bool, authenticated: bool) -> tuple[str, ...]:
        listed = self._of(service).capabilities
        under = "tls" if tls and "tls" in listed else "clear"
        return listed.get("authenticated" if authenticated and "authenticated" in listed else under, ())

    def _said(self, service: str, refusal: Refusal, fields: Mapping[str, str]) -> Refusal:
        return Refusal(tuple(self._filled(service, refusal.lines, fields)), refusal.close)

    def _filled(self, service: str, lines: Iterable[str], fields: Mapping[str, str]) -> list[str]:
        return [_PLACE.sub(lambda match: self._place(service, match[1], fields), line) for line in lines]

    def _place(self, service: str, name: str, fields: Mapping[str, str]) -> str:
        if name == "host":
            return self.host(service)
        if name == "host64":
            return b64encode(self.host(service).encode("utf-16-le")).decode("ascii")
        if name == "goodbye":
            return self.profile.goodbyes[service][0] if self.profile is not None else ""
        return printable(fields.get(name, ""), instead="?")


_NO_SERVICE: Final = Service(capabilities={"clear": (_ALL, "AUTH *")})
"""LMTP, of which no persona knows anything."""


def _name(entry: str) -> str:
    """Return the name of a capability without a parameter: "SIZE 1000", "APPENDLIMIT=1000"; "UTF8=ACCEPT" is one."""
    return _PARAMETER.sub("", entry)


def _mechanisms(listed: Iterable[str]) -> list[str]:
    """Return the mechanisms that a list of capabilities names."""
    entries = [entry for entry in listed if entry[:5] in _OF_MECHANISMS]
    return [name if name == _ALL else canonical(name) for entry in entries for name in entry[5:].split()]


def _mechanism_entries(word: str, mechanisms: Sequence[str]) -> list[str]:
    if word == "AUTH=":
        return [word + name for name in mechanisms]
    return [word + " ".join(mechanisms)] if mechanisms else []
