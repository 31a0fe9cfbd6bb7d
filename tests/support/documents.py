"""What the project's pages of Markdown hold, and how their examples run: at servers of this machine.

An example names imap.example.com, pop.example.com and smtp.example.com, with the ports that everybody uses; in their
place stand the reference servers. It finds `user`, `password` and `token`.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sasl.adapters.reference import Servers

ROOT: Final = Path(__file__).parents[2]
USER, PASSWORD = "user@example.com", "correct horse battery staple"

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_HOST: Final = re.compile(
    r'(?P<keyword>[\w"]+ ?[=:] ?)?"(?P<protocol>imap|pop|smtp)\.(?:example|gmail|office365)\.com"'
    r'(?:(?P<between>,?\s*(?:"?\w*(?i:port)"? ?[=:] ?)?)(?P<port>\d+)\b)?'
)
"""A host, perhaps with the keyword that it is given by, and the port behind it, perhaps with its own."""
_NAMED_HOST: Final = re.compile(r"(?<=\bhost, )\d+\b")
"""The port behind a host that has been given a name: `host = "imap.example.com"`."""

_WITHOUT_PORT: Final = re.compile(r"server_hostname=|\w+ = ")
"""What stands before a host alone: TLS looks for its name only, and a name of a script is used later."""

_PORTS: Final = {
    "143": ("imap", "port"),
    "993": ("imap", "tls_port"),
    "110": ("pop", "port"),
    "995": ("pop", "tls_port"),
    "25": ("smtp", "port"),
    "587": ("smtp", "port"),
    "465": ("smtp", "tls_port"),
}
_USUAL: Final = {"imap": "993", "pop": "995", "smtp": "587"}
"""The port of an example that names none."""


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code of a page that are in a language."""
    return [code for found, code in _FENCE.findall(text) if found == language]


def languages(text: str) -> set[str]:
    """The languages of all blocks of a page; "" for one that says none."""
    return {language for language, _ in _FENCE.findall(text)}


def only_code(text: str, language: str) -> str:
    """A page without all that is not in a language: each line of code stands where it stood."""
    found = ["\n"] * text.count("\n")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            first = text.count("\n", 0, match.start(2))
            code = match[2].splitlines(keepends=True)
            found[first : first + len(code)] = code
    return "".join(found)


def at_servers(script: str, servers: Servers) -> str:
    """A script with the reference servers in place of those of example.com."""

    def port_for(number: str) -> str:
        protocol, kind = _PORTS[number]
        return str(getattr(getattr(servers, protocol), kind))

    def replace(match: re.Match[str]) -> str:
        keyword, port = match["keyword"] or "", match["port"] or _USUAL[match["protocol"]]
        if match["port"] is None and _WITHOUT_PORT.fullmatch(keyword):
            return f'{keyword}"localhost"'
        between = match["between"] or (", port=" if keyword else ", ")
        return f'{keyword}"localhost"{between}{port_for(port)}'

    return _NAMED_HOST.sub(lambda match: port_for(match[0]), _HOST.sub(replace, script))


def protocols(script: str) -> set[str]:
    """The protocols whose servers a script connects to."""
    return {match["protocol"] for match in _HOST.finditer(script)}


def outcomes(servers: Servers) -> list[tuple[str, str]]:
    """Who tried to log in where, and what became of it."""
    endpoints = (servers.imap, servers.pop, servers.smtp)
    return [(end.protocol, at.outcome) for end in endpoints for session in end.sessions for at in session.attempts]


def printed_otherwise(text: str, name: str) -> tuple[int, str]:
    """Run the interactive examples of a page; return their number, and what they print that the page does not show."""
    example = doctest.DocTestParser().get_doctest("\n".join(blocks(text, "pycon")), {}, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    return len(example.examples), "".join(said)


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere: to a file that is not there, or to a heading that the file has not."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link and not _leads(page, link)]


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in _anchors(target.read_text("utf-8"))


def _anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
