"""The specification as data: test vectors, bad inputs and the class of result that each one has to have.

    for case in sasl.spec.cases("plain_server"):     # what a peer or a caller may do wrong
    for vector in sasl.spec.vectors("plain"):        # exchanges as they ought to be

`index.json` names the files and says what the classes of result mean; `schema/` describes the formats.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final, overload

if TYPE_CHECKING:
    from collections.abc import Mapping

Basis: TypeAlias = Literal["rfc", "policy"]
"""Whether an RFC (or a provider's page) demands a result, or this project decided it."""


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One message of a script.

    Attributes:
        sender: who sends it: "client", "server", "peer", or a word for what happens: "server-success",
            "server-fail", "server-close", "server-bye", "expect" (`data` is the prefix of the client's command
            that a scripted server waits for; empty for any line), "tls", "wait" (nothing is sent), "close".
        data: its octets; None where there is no message, which differs from an empty one. In IMAP, "{tag}"
            stands for the tag of the client's last command.
    """

    sender: str
    data: bytes | None


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One bad (or just good) input, and the result that it has to have.

    Attributes:
        id: unique in the whole corpus.
        family: what it is about; several cases share one.
        mechanism: the mechanism's name, or "*".
        role: the side under test: "client", "server" or "both".
        layer: "framing", "framework", "parser", "mechanism", "adapter" or "behaviour" (what `detail` says in words).
        expect: the class of the result; `expect_classes()` says what each means.
        basis: "rfc", or "policy" where this project decided.
        detail: what goes wrong elsewhere, in words.
        note: why this copy differs from what one would expect; "" mostly.
        params: what is known: user, token, TLS, capabilities, whether a text is to be stored.
        inputs: arguments of the call under test.
        steps: the messages, in order.
        output: the octets that the side under test sends, or None if the case does not say.
        values: what it makes of the input, in octets: what a verifier is asked (None where the message has no
            such part), what an error challenge leaves in `.detail`, a prepared text.
    """

    id: str
    family: str
    mechanism: str
    role: str
    layer: str
    expect: str
    basis: Basis
    detail: str
    note: str
    params: Mapping[str, Any]
    inputs: Mapping[str, bytes | str]
    steps: tuple[Step, ...]
    output: bytes | None
    values: Mapping[str, bytes | None]

    def __str__(self) -> str:
        return self.id


@final
@dataclass(frozen=True, slots=True)
class Vector:
    """One exchange of a mechanism, in SASL octets without the framing of a protocol.

    Attributes:
        name: unique in its file.
        mechanism: the mechanism's name.
        source: where it is published, or "generated".
        messages: in order, from "client" or "server".
        credentials: what either side needs to know.
        options: options of the mechanism that it runs with, on both sides.
        sides: "client" and "server": which of them speaks like this here; the other can only receive it.
        expected: "outcome" ("success" or "failure") and what comes with it.
        derived: keys and the AuthMessage of SCRAM (RFC 5802 section 3), by name; empty elsewhere.
        note: what is wrong with the published form, or why; "" mostly.
        basis: "rfc", or "policy" where this project decided.
    """

    name: str
    mechanism: str
    source: str
    messages: tuple[Step, ...]
    credentials: Mapping[str, Any]
    options: Mapping[str, Any]
    sides: tuple[str, ...]
    expected: Mapping[str, Any]
    derived: Mapping[str, bytes]
    note: str
    basis: Basis

    def __str__(self) -> str:
        return self.name


@final
@dataclass(frozen=True, slots=True)
class ProtocolVector:
    """One exchange of a protocol, line by line.

    Attributes:
        name: unique in its file.
        source: where it is published, or seen.
        lines: in order, from "client" or "server", without CRLF.
        expected: "success", "failure", "second-failure" (the first exchange succeeds, the next one is refused)
            or "closed".
        capabilities: what the client has read before, or None: IMAP4rev1, SASL-IR and the mechanism then.
        response_code: the code in brackets of the last reply (IMAP, POP3), or None.
        reply_code: that of the last reply (SMTP), or None.
        capabilities_after: what the client knows afterwards, or None.
        error: a word for the error, or None.
        note: what to know about it; "" mostly.
        more: everything else that the file says.
        basis: "rfc", or "policy" where this project decided.
    """

    name: str
    source: str
    lines: tuple[Step, ...]
    expected: str
    capabilities: tuple[str, ...] | None
    response_code: str | None
    reply_code: int | None
    capabilities_after: tuple[str, ...] | None
    error: str | None
    note: str
    more: Mapping[str, Any]
    basis: Basis

    def __str__(self) -> str:
        return self.name


@final
@dataclass(frozen=True, slots=True)
class PrepVector:
    """One text and its prepared form.

    Attributes:
        profile: "SASLprep" (RFC 4013) or "OpaqueString" (RFC 8265).
        text: what goes in.
        output: what comes out, or None if it is refused.
        unassigned_allowed: whether it is a query, in which unassigned code points pass, or a stored string.
        source: where it is published, or "generated".
        basis: "rfc", or "policy" where this project decided.
    """

    profile: str
    text: str
    output: str | None
    unassigned_allowed: bool
    source: str
    basis: Basis

    def __str__(self) -> str:
        points = "-".join(f"{ord(char):04X}" for char in self.text[:8])
        return f"{self.profile}-{'query' if self.unassigned_allowed else 'stored'}-{points or 'empty'}"


@final
@dataclass(frozen=True, slots=True)
class Base64Vector:
    """One text on the wire, the octets that it stands for (None if it is refused), and why it is."""

    text: bytes
    octets: bytes | None
    why: str

    def __str__(self) -> str:
        return repr(self.text)


@final
@dataclass(frozen=True, slots=True)
class BindingVector:
    """One certificate, and what a connection under it is bound to by tls-server-end-point (RFC 5929 section 4).

    Attributes:
        name: unique in its file.
        signature_algorithm: as OpenSSL names it.
        certificate: DER.
        hash: hashlib's name of the hash; None where the binding is undefined.
        binding: the channel-binding data, or None.
        source: where it is from.
    """

    name: str
    signature_algorithm: str
    certificate: bytes
    hash: str | None
    binding: bytes | None
    source: str

    def __str__(self) -> str:
        return self.name


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server says to a login, and what the client makes of it.

    Attributes:
        id: unique among them.
        source: where it was seen, or which rule it is of; "" where it varies another one.
        protocol: "imap", "pop", "smtp" or "sieve".
        mechanism: the mechanism or login command.
        initial: whether the client sends an initial response.
        server: what the server says to the command and to each response, without CRLF; "{tag}" is the command's.
            "<end>" is the end of the connection, "<silence>" a time-out, "<cut>" at the end of a line that it has none.
        expect: "error" (the name of its class, None for a login), "kind", "refusal" (the id of the row) and, where they
            matter, "code", "text", "detail", "close", "new_token".
    """

    id: str
    source: str
    protocol: str
    mechanism: str
    initial: bool
    server: tuple[str, ...]
    expect: Mapping[str, Any]

    def __str__(self) -> str:
        return self.id


MechanismFile: TypeAlias = Literal[
    "anonymous", "cram-md5", "digest-md5", "external", "login", "oauthbearer", "plain", "scram", "xoauth2"
]
ProtocolFile: TypeAlias = Literal["protocol-imap", "protocol-pop3", "protocol-smtp"]


def corpus_names() -> tuple[str, ...]:
    """Return the names that `cases` takes."""
    return tuple(sorted(_index()["corpus"]))


def vector_names() -> tuple[str, ...]:
    """Return the names that `vectors` takes."""
    return tuple(sorted(_index()["vectors"]))


def expect_classes() -> Mapping[str, Mapping[str, str]]:
    """Return what each class of result means on the "client" and on the "server" side."""
    classes: Mapping[str, Mapping[str, str]] = _index()["expect"]
    return classes


def invariants() -> tuple[str, ...]:
    """Return what holds for every case, whatever its class."""
    return tuple(_index()["invariants"])


@cache
def cases(name: str) -> tuple[Case, ...]:
    """Return the cases of one corpus file ("plain_server"). Raises FileNotFoundError if there is none."""
    return tuple(map(_case, _load(f"corpus/{name}.json")["cases"]))


@cache
def refusals() -> tuple[Refusal, ...]:
    """Return what servers say to a login, and what is to come of it."""
    return tuple(
        Refusal(
            id=raw["id"],
            source=raw.get("source", ""),
            protocol=raw["protocol"],
            mechanism=raw["mechanism"],
            initial=raw.get("initial", True),
            server=tuple(raw["server"]),
            expect=raw["expect"],
        )
        for raw in _load("refusals.json")
    )


@overload
def vectors(name: MechanismFile) -> tuple[Vector, ...]: ...
@overload
def vectors(name: ProtocolFile) -> tuple[ProtocolVector, ...]: ...
@overload
def vectors(name: Literal["stringprep"]) -> tuple[PrepVector, ...]: ...
@overload
def vectors(name: Literal["base64"]) -> tuple[Base64Vector, ...]: ...
@overload
def vectors(name: Literal["channel-binding"]) -> tuple[BindingVector, ...]: ...
@overload
def vectors(name: str) -> tuple[Any, ...]: ...
def vectors(name: str) -> tuple[Any, ...]:
    """Return the vectors of one file ("plain", "protocol-imap"). Raises FileNotFoundError if there is none."""
    content = _load(f"vectors/{name}.json")
    if name == "base64":
        return _base64_vectors(content)
    if name == "stringprep":
        return tuple(map(_prep_vector, content))
    if name == "channel-binding":
        return tuple(_binding_vector(item, content["source"]) for item in content["vectors"])
    if name.startswith("protocol-"):
        return tuple(map(_protocol_vector, content))
    return tuple(map(_vector, content))


def _case(raw: Mapping[str, Any]) -> Case:
    return Case(
        id=raw["id"],
        family=raw["family"],
        mechanism=raw["mechanism"],
        role=raw["role"],
        layer=raw["layer"],
        expect=raw["expect"],
        basis=raw["basis"],
        detail=raw.get("detail", ""),
        note=raw.get("note", ""),
        params=raw.get("params", {}),
        inputs={name: _argument(value) for name, value in raw.get("inputs", {}).items()},
        steps=tuple(Step(step["from"], _octets(step)) for step in raw.get("steps", ())),
        output=_octets({"b64": raw.get("expect_output_b64")}),
        values={name: _octets(value or {"b64": None}) for name, value in raw.get("expect_values", {}).items()},
    )


def _vector(raw: Mapping[str, Any]) -> Vector:
    return Vector(
        name=raw["name"],
        mechanism=raw["mechanism"],
        source=raw["source"],
        messages=tuple(Step(message["from"], base64.b64decode(message["data_b64"])) for message in raw["messages"]),
        credentials=raw["credentials"],
        options=raw.get("options", {}),
        sides=tuple(raw.get("sides", ("client", "server"))),
        expected=raw["expected"],
        derived={name.removesuffix("_b64"): base64.b64decode(value) for name, value in raw.get("derived", {}).items()},
        note=raw.get("note", ""),
        basis=raw.get("basis", "rfc"),
    )


def _protocol_vector(raw: Mapping[str, Any]) -> ProtocolVector:
    known = {"name", "source", "lines", "expected", "capabilities", "response_code", "reply_code"}
    known |= {"capabilities_after", "error", "note", "basis"}
    before, after = raw.get("capabilities"), raw.get("capabilities_after")
    return ProtocolVector(
        name=raw["name"],
        source=raw["source"],
        lines=tuple(Step(line["from"], line["line"].encode("utf-8")) for line in raw["lines"]),
        expected=raw["expected"],
        capabilities=None if before is None else tuple(before),
        response_code=raw.get("response_code"),
        reply_code=raw.get("reply_code"),
        capabilities_after=None if after is None else tuple(after),
        error=raw.get("error"),
        note=raw.get("note", ""),
        more={key: value for key, value in raw.items() if key not in known},
        basis=raw.get("basis", "rfc"),
    )


def _prep_vector(raw: Mapping[str, Any]) -> PrepVector:
    return PrepVector(
        profile=raw["profile"],
        text=raw["input"],
        output=None if raw["error"] else raw["output"],
        unassigned_allowed=raw["unassigned_allowed"],
        source=raw["source"],
        basis=raw.get("basis", "rfc"),
    )


def _base64_vectors(raw: Mapping[str, Any]) -> tuple[Base64Vector, ...]:
    valid = (Base64Vector(item["text"].encode("utf-8"), bytes.fromhex(item["hex"]), "") for item in raw["valid"])
    invalid = (Base64Vector(item["text"].encode("utf-8"), None, item["why"]) for item in raw["invalid"])
    special = (Base64Vector(text.encode("ascii"), None, why) for text, why in raw["special"].items())
    return (*valid, *invalid, *special)


def _binding_vector(raw: Mapping[str, Any], source: str) -> BindingVector:
    return BindingVector(
        name=raw["name"],
        signature_algorithm=raw["signature_algorithm"],
        certificate=base64.b64decode(raw["cert_der_b64"]),
        hash=raw["hash"],
        binding=_octets({"b64": raw["binding_b64"]}),
        source=source,
    )


def _argument(raw: Mapping[str, Any]) -> bytes | str:
    octets = _octets(raw)
    assert octets is not None  # noqa: S101 -- the schema says so
    return octets if raw["type"] == "bytes" else octets.decode("utf-8", "surrogatepass")


def _octets(raw: Mapping[str, Any]) -> bytes | None:
    if "zlib_b64" in raw:
        return zlib.decompress(base64.b64decode(raw["zlib_b64"]))
    return None if raw["b64"] is None else base64.b64decode(raw["b64"])


@cache
def _index() -> Mapping[str, Any]:
    index: Mapping[str, Any] = _load("index.json")
    return index


def _load(path: str) -> Any:
    return json.loads(files(__name__).joinpath(path).read_text("utf-8"))
