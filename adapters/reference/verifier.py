"""How the reference servers check: users with passwords or stored keys, certificates, and tokens by their state."""

from __future__ import annotations

import hmac
import itertools
import math
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
from .checks import Standing, known_options
from .signed import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sasl.registry import Mechanism
    from sasl.steps import Answer, Question

    from .grants import TokenEndpoint

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
        self._users: dict[str, Secret | ScramKeys] = {}
        self._stand_ins: dict[str, Secret | ScramKeys] = {}
        self._epochs: dict[str, int] = {}
        self._disabled: set[str] = set()
        self._numbers = itertools.count()
        self._anonymous = anonymous
        self._common_name = common_name
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._derived: dict[str, dict[str, ScramKeys]] = {}
        self._tokens: list[Token] = []
        self._further: dict[type[Question], Callable[[Any], Any]] = {}
        self._authority: TokenEndpoint | None = None
        for name, credential in users.items():
            self._admit(self._prepare_new(name), _credential(credential))
        self._count()

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

    def find_user(self, name: str) -> str | None:
        """Return the user of a name, in whatever spelling, as a login names it; None if there is none."""
        user = _query(name)
        return user if user in self._users else None

    def serve(self, question: type[Question], answer: Callable[[Any], Any]) -> None:
        """Let a function answer a further type of question: that of a plug-in, which has credentials of its own."""
        self._further[question] = answer

    def add_token(self, value: str, user: str, state: TokenState = "good") -> None:
        """Make a token known; one of the same value is replaced.

        Raises UsageError if there is no such user or no such state.
        """
        name = self.known(user)
        if state not in TOKEN_STATES:
            raise UsageError(f"a token is one of {', '.join(TOKEN_STATES)}, not {state!r}")
        token = Token(Secret(value), name, state)
        self._tokens = [known for known in self._tokens if known.value != token.value] + [token]

    def trust(self, authority: TokenEndpoint) -> None:
        """Ask an authority about tokens first."""
        self._authority = authority

    # --- users that come and go

    def add_user(self, name: str, value: str | ScramKeys) -> None:
        """Make a user known. Raises UsageError for one that there is, and for what cannot be used, as in `users`.

        Who a stranger's stand-in is may change then: a name that nobody has is one of another set of users.
        """
        user = self._prepare_new(name)
        if user in self._users:
            raise UsageError(f"there is a user {name!r}")
        self._admit(user, _credential(value))
        self._count()

    def known(self, name: str) -> str:
        """Return the name of a user as it is kept. Raises UsageError if there is none."""
        user = prepare_own(name, stored=True)
        if user not in self._users:
            raise UsageError(f"no such user: {name!r}")
        return user

    def remove_user(self, name: str) -> None:
        """Forget a user, and the tokens. Raises UsageError if there is none."""
        known = self.known(name)
        del self._users[known], self._stand_ins[known], self._epochs[known]
        for keys in self._derived.values():
            keys.pop(known, None)
        self._disabled.discard(known)
        self._tokens = [token for token in self._tokens if token.user != known]
        self._count()

    def set_password(self, name: str, value: str | ScramKeys) -> None:
        """Give a user another password. Raises UsageError if there is no such user, or it cannot be used."""
        known, credential = self.known(name), _credential(value)
        self._keep(known, credential)
        self._count()

    def disable(self, name: str) -> None:
        """Let a user in no more: who has the right password, or a good token, is told so. UsageError if unknown."""
        self._disabled.add(self.known(name))

    def enable(self, name: str) -> None:
        """Let a user in again. Raises UsageError if there is none."""
        self._disabled.discard(self.known(name))

    def is_disabled(self, name: str) -> bool:
        """Whether somebody of that name is let in no more."""
        return _query(name) in self._disabled

    def sign_out(self, name: str) -> None:
        """Let no session go on that a user has. Raises UsageError if there is none."""
        self._epochs[self.known(name)] = next(self._numbers)

    def epoch(self, name: str) -> int | None:
        """Return a number that another one takes the place of when a user is signed out, None for nobody."""
        return self._epochs.get(name)

    def standing(self, hashed: bytes) -> Standing | None:
        """Return how it stands with a token, by its hash; None for one that is not known."""
        found = None if self._authority is None else self._authority.standing(hashed)
        if found is not None:
            return found
        states = [token.state for token in self._tokens if digest(token.value.reveal()) == hashed]
        return Standing(states[0], math.inf) if states else None

    def _prepare_new(self, name: str) -> str:
        user = prepare_own(name, stored=True)
        if self._anonymous and user == ANONYMOUS:
            raise UsageError(f"whoever has no name is {ANONYMOUS!r}, which is a user's name here")
        return user

    def _admit(self, name: str, credential: Secret | ScramKeys) -> None:
        self._keep(name, credential)
        self._epochs[name] = next(self._numbers)

    def _keep(self, name: str, credential: Secret | ScramKeys) -> None:
        """Keep a credential, and the keys for each hash that keys were asked for: nobody's login is to derive them."""
        self._users[name] = credential
        self._stand_ins[name] = _stand_in(credential)
        for hash_name, keys in self._derived.items():
            keys.pop(name, None)
            if isinstance(credential, Secret):
                keys[name] = self._derive(name, credential, hash_name)

    def _count(self) -> None:
        """Take account of who the users are now."""
        self._strangers = list(self._stand_ins.values()) or [_stand_in(None)]
        self.hashes = frozenset(HASHES.values()).intersection(*map(_hashes, self._users.values()))
        pairs = [_salting(credential) for credential in self._strangers]
        self.decoy = self._secret, tuple(pairs[:1] if len(set(pairs)) == 1 else pairs)

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
                return self._authorize(question)
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
        stand_in = self._strangers[pick(self._secret, name, len(self._strangers))]
        return self._users.get(name, stand_in)

    def _keys(self, hash_name: str) -> Mapping[str, ScramKeys]:
        """Return the keys of all users with passwords, derived when the first of them, or a stranger, is asked for."""
        if hash_name not in self._derived:
            self._derived[hash_name] = {
                name: self._derive(name, credential, hash_name)
                for name, credential in self._users.items()
                if isinstance(credential, Secret)
            }
        return self._derived[hash_name]

    def _derive(self, name: str, password: Secret, hash_name: str) -> ScramKeys:
        salt = hmac.digest(self._secret, f"salt {hash_name} {name}".encode(), "sha256")[:SALT]
        # It is prepared already, if it can be.
        return ScramKeys.derive(password, hash_name, salt=salt, iterations=ITERATIONS, prepare=False)

    def _authorize(self, question: Authorize) -> Answer:
        """Let users act as themselves, in any spelling of their names, and none who is disabled."""
        if question.identity in self._disabled:
            return Rejected("the user is disabled", "disabled")
        if question.authzid and _query(question.authzid) == question.identity:
            return Accepted(question.identity)
        return question.default()

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
        verdict = None if self._authority is None else self._authority.verdict(presented)
        if verdict is not None:
            return judge_token(*verdict)
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


def _query(text: str) -> str | None:
    """Return the form to compare, None for what cannot be prepared: nobody has that name."""
    try:
        return prepare_query(text)
    except LimitExceeded:
        return None
