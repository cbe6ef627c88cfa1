"""A credential is refused with one code, and a code has one meaning in the whole program: its rule, as a sentence.

A refusal carries the code and at most a short detail of ours: a count, a name from our own tables, a trust domain that was
already found to be canonical. What was presented is never repeated, since it may be a live token.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code stands for: the number of the rule, and the rule as a sentence about what was presented."""

    number: str
    says: str


class Refused(Exception):
    """A credential, a key or a bundle is not accepted. `code` is stable and stands in a table that `rules` read."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(code, detail)

    @property
    def rule(self) -> Rule:
        return _RULES[self.code]

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.code}: {self.rule.says}{detail}"


#: Every code of every table. Whoever raises a code imports the module whose table has it.
_RULES: dict[str, Rule] = {}


def rules(table: str) -> dict[str, Rule]:
    """A table of lines `code number sentence`. No code of it may stand in another."""
    found: dict[str, Rule] = {}
    for line in filter(None, table.strip().splitlines()):
        code, number, says = line.split(None, 2)
        assert code not in found, code
        assert code not in _RULES, code
        found[code] = Rule(number, says)
    _RULES.update(found)
    return found


#: What tokens of any kind can be refused for, and proofs of possession of any kind.
TOKEN_RULES = rules("""
token_too_large             J-1   the token has more than 8 kB
token_not_compact           J-1   the token is not three parts of unpadded base64url in their one form
token_not_json              J-1   header or payload is not a JSON object in UTF-8
token_duplicate_name        J-1   a name stands twice in one JSON object
algorithm_missing           J-2   the header has no alg
algorithm_not_allowed       J-2   alg is not one that this kind of token may have
algorithm_not_of_key        J-2   alg does not fit the type, the curve or the alg of the key
header_not_allowed          J-3   the header has something that this kind of token may not have
type_not_allowed            J-3   typ is not the one that this kind of token has
key_id_missing              J-4   the header has no kid
key_id_malformed            J-4   kid is not a text of 1 to 256 characters
key_unknown                 J-4   there is no key with this kid, for this use, of this trust domain or issuer
subject_missing             J-5   there is no sub, or it is not a text
signature_wrong             J-5   the signature is not of this key
expiry_missing              J-6   there is no exp
expiry_malformed            J-6   exp is not a number below 2^53
token_expired               J-6   exp is past
not_before_malformed        J-6   nbf is not a number below 2^53
token_not_yet_valid         J-6   nbf is still to come
issued_at_malformed         J-6   iat is not a number below 2^53
lifetime_too_long           J-6   the token lives longer than is allowed
audience_missing            J-7   there is no aud, or it is empty
audience_malformed          J-7   aud is neither a text nor a list of texts
audience_wrong              J-7   aud does not name this decision point
token_id_malformed          J-9   jti is not a text of 1 to 256 characters
proof_missing               W-2   there is no proof of possession
proof_several               W-3   there is more than one proof
proof_signature_wrong       W-3   the proof is not signed by the key that it must prove
proof_wrong_target          W-3   aud of the proof is not the configured target
proof_expired               W-3   exp of the proof is missing or past
proof_lives_too_long        W-3   the proof lives for more than 60 s
proof_id_missing            W-3   the proof has no jti
proof_replayed              W-3   the proof was used before
""")
