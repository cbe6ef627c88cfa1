"""Users and approvers: who a person is, from a JWT of a configured issuer, or one reason why nobody is (U-1 to U-6).

The token is a bearer token: whoever has it can show it. So it authenticates a person to the decision point, for the
operation that it comes with, and nothing is kept of it that could be shown again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from enum import StrEnum

from pdp.errors import PdpError
from pdp.grants.refusals import Refused
from pdp.tokens.claims import SECOND_US, TEXT_MAX, count_audiences, holds_until, key_id, number_us, refuse_header
from pdp.tokens.compact import Compact, content_digest, is_signed_by, read_compact
from pdp.tokens.keys import ALGORITHMS, TokenKey

LEEWAY_US_MAX = 30 * SECOND_US
TYPES = frozenset({"JWT", "at+jwt"})
#: Headers that name a certificate of the key and change nothing: some issuers cannot leave them out.
HARMLESS_HEADERS = frozenset({"x5t", "x5t#S256"})
_HEADERS = frozenset({"alg", "kid", "typ"})
_SEAL = object()


class Role(StrEnum):
    USER = "user"  # a person in whose name a workload acts
    APPROVER = "approver"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose word is taken for which people. A field that differs from its default is a rule that is relaxed or tightened."""

    name: str  # compared with iss, exactly
    audience: str  # our own name at this issuer
    entity: str  # the type of its people in the directory
    roles: frozenset[Role]
    keys: Mapping[str, TokenKey] = field(repr=False)  # by kid; see `read_key_set`
    keys_until_us: int  # when the keys are stale, if nobody refreshes them
    algorithms: frozenset[str] = frozenset({"ES256", "RS256", "PS256"})
    types: frozenset[str] = frozenset({"JWT"})  # of a typ that is there
    require_type: bool = False
    subject: str = "sub"  # the claim that names the person; one that its owner could change names anybody
    other_headers: frozenset[str] = frozenset()  # of HARMLESS_HEADERS
    audiences_max: int = 1
    leeway_us: int = 0
    life_us_max: int = 3600 * SECOND_US
    login_age_us_max: int | None = None  # auth_time must be there, and not further back than this

    def __post_init__(self) -> None:
        if not (self.name and self.audience and self.entity and self.roles and self.subject):
            raise PdpError("invalid_argument", "an issuer of people: name, audience, entity, roles, subject must be given")
        if not self.algorithms or not self.algorithms <= ALGORITHMS.keys():
            raise PdpError("invalid_argument", f"an issuer of people: algorithms are some of {', '.join(ALGORITHMS)}")
        if not self.types <= TYPES or not self.other_headers <= HARMLESS_HEADERS:
            raise PdpError("invalid_argument", "an issuer of people: a type or a header that cannot be accepted")
        if not 0 <= self.leeway_us <= LEEWAY_US_MAX or self.life_us_max <= 0 or self.audiences_max < 1:
            raise PdpError("invalid_argument", "an issuer of people: leeway 0 to 30 seconds, a life, and an audience")


@dataclass(frozen=True, slots=True)
class Person:
    """Who authenticated, by the word of an issuer. Nothing but this file makes one."""

    role: Role
    entity: str
    id: str
    issuer: str
    ends_us: int
    logged_in_us: int | None
    digest: str = field(repr=False)  # of the content of the token: for the record, and for lists of what is refused
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a person comes from verify_person")

    @property
    def reference(self) -> tuple[str, str]:
        return self.entity, self.id


def verify_person(token: str, role: Role, issuers: Mapping[str, Issuer], now: int) -> Person:
    """The person that a token speaks for, in this role. `issuers` by name."""
    read = read_compact(token)
    issuer = _issuer(read, issuers)
    if role not in issuer.roles:
        raise Refused("person_role_not_of_issuer")
    if read.algorithm not in issuer.algorithms:
        raise Refused("algorithm_not_allowed")
    refuse_header(read, _HEADERS | issuer.other_headers, issuer.types, typed=issuer.require_type)
    kid = key_id(read)
    if kid is None:
        raise Refused("key_id_missing")
    ends = holds_until(read, now, issuer.leeway_us, issuer.life_us_max)
    if count_audiences(read, issuer.audience) > issuer.audiences_max:
        raise Refused("person_audiences_several")
    subject = _subject(read, issuer)
    logged_in = _login(read, issuer, now)
    key = _key(kid, issuer, now)
    if not key.fits(read.algorithm):
        raise Refused("algorithm_not_of_key")
    if not is_signed_by(read, key):
        raise Refused("signature_wrong")
    return Person(role, issuer.entity, subject, issuer.name, ends, logged_in, content_digest(read), _SEAL)


def _issuer(read: Compact, issuers: Mapping[str, Issuer]) -> Issuer:
    """U-1: compared as a whole, and only ever looked up."""
    name = read.claims.get("iss")
    if not isinstance(name, str):
        raise Refused("person_issuer_missing")
    found = issuers.get(name)
    if found is None or found.name != name:
        raise Refused("person_issuer_unknown")
    return found


def _subject(read: Compact, issuer: Issuer) -> str:
    """U-5."""
    if not isinstance(read.claims.get("sub"), str):
        raise Refused("subject_missing")
    found = read.claims.get(issuer.subject)
    if not isinstance(found, str) or not 0 < len(found) <= TEXT_MAX:
        raise Refused("person_subject_malformed")
    return found


def _login(read: Compact, issuer: Issuer, now: int) -> int | None:
    """U-6: a token can be fresh where the person behind it logged in last week."""
    found = number_us(read.claims, "auth_time", "person_login_unknown")
    if issuer.login_age_us_max is None:
        return found
    if found is None:
        raise Refused("person_login_unknown")
    if found + issuer.login_age_us_max + issuer.leeway_us <= now or found > now + issuer.leeway_us:
        raise Refused("person_login_old")
    return found


def _key(kid: str, issuer: Issuer, now: int) -> TokenKey:
    if now >= issuer.keys_until_us:
        raise Refused("person_keys_stale")
    key = issuer.keys.get(kid)
    if key is None:
        raise Refused("key_unknown")
    return key
