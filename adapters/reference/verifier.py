"""How the reference servers check: users with passwords or stored keys, certificates, and tokens by their state."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from sasl.errors import LimitExceeded, UsageError
from sasl.hashes import HASHES, ITERATIONS, SALT
from sasl.keys import ScramKeys, pick
from sasl.prep import forms_of, prepare_or_keep, prepare_own, prepare_query
from sasl.secret import Secret
from sasl.steps import (
    Accepted,
    Authorize,
    CheckAnonymous,
    CheckCertificate,
    CheckPassword,
    CheckToken,
    FindKeys,
    FindSecret,
    Record,
    Rejected,
)
from sasl.value import value

from ..verifiers.certificate import fold_domain, identities, why_nobody
from .certificates import LOCAL
from .checks import known_options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sasl.registry import Mechanism
    from sasl.steps import Answer, Question

SCOPE: Final = "mail"
"""The scope that an error challenge asks for."""

TokenState: TypeAlias = Literal["good", "expired", "revoked"]
TOKEN_STATES: Final[tuple[TokenState, ...]] = get_args(TokenState)

ANONYMOUS: Final = "anonymous"
"""Who somebody is that logs in without a name."""

Users: TypeAlias = "Mapping[str, str | ScramKeys]"
"""Names to passwords, or to what is kept instead of a password."""


@final
@value
class Token:
    """One token that the servers know: its value, whose it is, and what has become of it."""

    value: Secret
    user: str
    state: TokenState


@final
class Verifier:
    """Answers the questions of the servers' exchanges.

    `users` maps names to passwords; both are prepared by SASLprep, so that all spellings which it makes equal
    are one. A password that it refuses is kept as it is: clients send it with whatever takes passwords as they were
    typed. A user may be given by `ScramKeys` instead: then SCRAM with that hash works, and whatever sends the
    password, but nothing that needs the password here. `anonymous` lets in who has no name; `common_name` believes
    the commonName of a client certificate that names no mailbox. `secret` is what salts are made from: one that is
    given makes the same ones in each run.
    Raises UsageError for a name that cannot be prepared, and for a password that is empty, or of which nothing is left,
    or that holds a control character.

    Attributes:
        hashes: what it has the SCRAM keys of every user for, or can derive them, for `sasl.offer`.
        decoy: what SCRAM makes unknown users of: of each user the iterations and the octets of salt, in pairs, for one
            that no user has would be a stranger's.

    A name that nobody has is checked against a stand-in for one of the users, always the same one: it takes the path
    that the user takes, as long as it takes there, and ends with the same no. For that, the first question for a
    hash of SCRAM derives the keys of all passwords, whoever is asked for: about 1 ms for each.
    """

    def __init__(
        self, users: Users, *, anonymous: bool = False, common_name: bool = False, secret: bytes | None = None
    ) -> None:
        self._users = {prepare_own(name, stored=True): _credential(value) for name, value in users.items()}
        if anonymous and ANONYMOUS in self._users:
            raise UsageError(f"whoever has no name is {ANONYMOUS!r}, which is a user's name here")
        self._anonymous = anonymous
        self._common_name = common_name
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._stand_ins = [_stand_in(credential) for credential in self._users.values()] or [_stand_in(None)]
        self.hashes = frozenset(HASHES.values()).intersection(*map(_hashes, self._users.values()))
        pairs = [_salting(credential) for credential in self._stand_ins]
        self.decoy = self._secret, tuple(pairs[:1] if len(set(pairs)) == 1 else pairs)
        self._derived: dict[str, dict[str, ScramKeys]] = {}
        self._tokens: list[Token] = []
        self._further: dict[type[Question], Callable[[Any], Any]] = {}

    @property
    def answers(self) -> frozenset[type[Question]]:
        """The types of question that it serves, for `sasl.offer`."""
        answers: set[type[Question]] = {CheckPassword, CheckToken, CheckCertificate, FindKeys}
        if any(isinstance(credential, Secret) for credential in self._users.values()):
            answers.add(FindSecret)
        if self._anonymous:
            answers.add(CheckAnonymous)
        return frozenset(answers | self._further.keys())

    def options(self, row: Mechanism) -> Mapping[str, Any]:
        """Return what the server script of a row is told: its decoy, where it has one."""
        return {"decoy": self.decoy} if "decoy" in known_options(row) else {}

    def serve(self, question: type[Question], answer: Callable[[Any], Any]) -> None:
        """Let a function answer a further type of question: that of a plug-in, which has credentials of its own."""
        self._further[question] = answer

    def add_token(self, value: str, user: str, state: TokenState = "good") -> None:
        """Make a token known; one of the same value is replaced.

        Raises UsageError if there is no such user or no such state.
        """
        name = prepare_own(user, stored=True)
        if name not in self._users:
            raise UsageError(f"no such user: {user!r}")
        if state not in TOKEN_STATES:
            raise UsageError(f"a token is one of {', '.join(TOKEN_STATES)}, not {state!r}")
        token = Token(Secret(value), name, state)
        self._tokens = [known for known in self._tokens if known.value != token.value] + [token]

    def __call__(self, question: Question) -> Any:
        """Answer a question; NotImplemented for those that it does not serve."""
        match question:
            case CheckPassword():
                return self._check_password(question.authcid, question.password)
            case CheckToken():
                return self._check_token(question.token)
            case CheckCertificate():
                return self._check_certificate(question.certificate, question.authzid)
            case CheckAnonymous() if self._anonymous:
                return Accepted(ANONYMOUS)
            case FindKeys():
                return self._find_keys(question.authcid, question.hash)
            case FindSecret():
                return self._find_secret(question.authcid)
            case Authorize():
                return _authorize(question)
        answer = self._further.get(type(question))
        return NotImplemented if answer is None else answer(question)

    # --- users

    def _check_password(self, authcid: str, password: Secret) -> Answer:
        """One path, one comparison and one text, whether there is such a user or not."""
        name = _query(authcid) or ""
        credential = self._credential_of(name)
        if isinstance(credential, ScramKeys):
            matches = credential.verifies(password)
        else:
            matches = True in [credential == form for form in forms_of(password)]  # all of them, whichever it is
        return Accepted(name) if matches and name in self._users else Rejected("unknown user or wrong password")

    def _find_keys(self, authcid: str, hash_name: str) -> Answer:
        """Derive nothing for the name that is asked for: it would tell whether somebody has it."""
        name = _query(authcid) or ""
        credential = self._credential_of(name)
        derived = self._keys(hash_name)
        if isinstance(credential, ScramKeys) and credential.hash != hash_name:
            return Rejected(f"the keys that are kept of this user are for {credential.hash}")
        keys = credential if isinstance(credential, ScramKeys) else derived.get(name)
        return Record(name, keys) if name in self._users else None

    def _find_secret(self, authcid: str) -> Answer:
        name = _query(authcid) or ""
        credential = self._credential_of(name)
        if isinstance(credential, ScramKeys):
            return Rejected("the password of this user is not kept")
        return Record(name, credential) if name in self._users else None

    def _credential_of(self, name: str) -> Secret | ScramKeys:
        """Return what a name is checked against: a user's credential or a stand-in for one."""
        stand_in = self._stand_ins[pick(self._secret, name, len(self._stand_ins))]
        return self._users.get(name, stand_in)

    def _keys(self, hash_name: str) -> Mapping[str, ScramKeys]:
        """Return the keys of all users with passwords, derived when the first of them, or a stranger, is asked for."""
        if hash_name not in self._derived:
            keys: dict[str, ScramKeys] = {}
            for name, credential in self._users.items():
                if isinstance(credential, Secret):
                    salt = hmac.digest(self._secret, f"salt {hash_name} {name}".encode(), "sha256")[:SALT]
                    keys[name] = ScramKeys.derive(
                        credential, hash_name, salt=salt, iterations=ITERATIONS, prepare=False
                    )  # it is prepared, if it can be
            self._derived[hash_name] = keys
        return self._derived[hash_name]

    # --- certificates and tokens

    def _check_certificate(self, certificate: bytes | None, authzid: str | None) -> Answer:
        """Say which user the certificate names; of several, the one that the client wants to be."""
        if certificate is None:
            return Rejected("no client certificate")
        try:
            names = identities(certificate, common_name=self._common_name)
        except UsageError as error:
            return Rejected(str(error))
        users = [user for user in map(self._user, names) if user is not None]
        if not users:
            named = f"{', '.join(map(repr, names))}, who is no user here"
            return Rejected(f"the client certificate names {named}" if names else self._why_nobody(certificate))
        wanted = _query(authzid) if authzid else None
        return Accepted(wanted if wanted in users else users[0])

    def _why_nobody(self, certificate: bytes) -> str:
        return why_nobody(certificate, common_name=self._common_name)

    def _user(self, mailbox: str) -> str | None:
        """Return whose mailbox it is: the user's of that name, or else of the only one whose mailbox is the same.

        A name in a certificate is not prepared: its CA vouches for the one that stands there.
        """
        if mailbox in self._users:
            return mailbox
        users = [name for name in self._users if _mailbox(name) == mailbox]
        return users[0] if len(users) == 1 else None

    def _check_token(self, presented: Secret) -> Answer:
        """Say whose the token is. Whether that one may open the mailbox is `Authorize`'s to say."""
        found = None
        for token in self._tokens:  # all of them, whichever it is
            if token.value == presented:
                found = token
        if found is None:
            return Rejected("unknown token", detail={"scope": SCOPE})
        return judge_token(found.user, found.state, SCOPE)


def judge_token(user: str, state: TokenState, scope: str) -> Answer:
    """Answer CheckToken for a token that is known; an error challenge asks for `scope`."""
    detail = {"scope": scope}
    if state == "good":
        return Accepted(user)
    if state == "expired":
        return Rejected("the token has expired", "expired", detail)
    return Rejected("the token was revoked", detail=detail)


def _credential(value: str | ScramKeys) -> Secret | ScramKeys:
    return value if isinstance(value, ScramKeys) else prepare_or_keep(Secret(value))


def _hashes(credential: Secret | ScramKeys) -> Collection[str]:
    return (credential.hash,) if isinstance(credential, ScramKeys) else HASHES.values()


def _salting(credential: Secret | ScramKeys) -> tuple[int, int]:
    """Return the iterations and the octets of salt that SCRAM has for a credential."""
    return (credential.iterations, len(credential.salt)) if isinstance(credential, ScramKeys) else (ITERATIONS, SALT)


def _stand_in(credential: Secret | ScramKeys | None) -> Secret | ScramKeys:
    """Return a credential of the same kind and cost that nobody has."""
    if not isinstance(credential, ScramKeys):
        return Secret(secrets.token_urlsafe())
    keys = (secrets.token_bytes(len(part)) for part in (credential.salt, credential.stored_key, credential.server_key))
    salt, stored_key, server_key = keys
    return ScramKeys(credential.hash, salt, credential.iterations, stored_key, server_key)


def _mailbox(name: str) -> str:
    """Return the mailbox of a user as certificates name it; of one whose name has no domain, at localhost."""
    return fold_domain(name) if "@" in name else f"{name}@{LOCAL}"


def _authorize(question: Authorize) -> Answer:
    """Let users act as themselves, in any spelling of their names."""
    if question.authzid and _query(question.authzid) == question.identity:
        return Accepted(question.identity)
    return question.default()


def _query(text: str) -> str | None:
    """Return the form to compare, None for what cannot be prepared: nobody has that name."""
    try:
        return prepare_query(text)
    except LimitExceeded:
        return None
