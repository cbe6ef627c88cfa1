"""Every way in which a handle, a proof for a task, or the token of a person can be wrong: one code each, with its rule.

What tokens of every kind can be refused for stands in `pdp.tokens.refusals`, and is part of this table. Why a genuine handle
that was proven still gives no task is the business of `redeem.py`.
"""

from __future__ import annotations

from pdp.tokens.refusals import TOKEN_RULES, Refused, Rule, rules

__all__ = ["HANDLE_REFUSALS", "Refused", "Rule"]

_OWN = rules("""
handle_claims_wrong         H-3   a claim of the handle is missing, unknown, or of the wrong type
handle_unconfirmed          H-4   cnf of the handle is not x5t#S256, jkt or both; a handle is no bearer right
handle_wrong_issuer         H-5   iss of the handle is not this decision point

proof_claims_wrong          P-2   a claim of the proof is missing, unknown, or of the wrong type
proof_key_missing           P-3   the header has no jwk, and a thumbprint cannot verify a signature
proof_key_malformed         P-3   jwk of the proof is not a public key that can be used
proof_key_private           P-3   jwk of the proof has private or symmetric key material
proof_wrong_key             P-3   the proof is made with another key than the one in the grant
proof_key_unbound           P-3   the grant is bound to a certificate and names no task key, so no proof can be made for it
proof_wrong_method          P-4   htm of the proof is not the method of the request
proof_wrong_url             P-4   htu of the proof is not the address of the request as configured, without a query
proof_of_other_grant        P-5   gth of the proof is not the hash of the handle beside it
proof_without_body          P-6   the proof does not cover the body, and must
proof_body_wrong            P-6   bdh of the proof is not the hash of the body
proof_body_unseen           P-6   the proof covers a body that the decision point was not shown
proof_issued_ahead          P-7   iat of the proof is still to come
proof_wrong_nonce           P-8   the proof does not carry the nonce that was given out
proof_memory_young          P-9   the proof is older than the memory of used proofs, which cannot know it
proof_memory_full           P-9   too many proofs are remembered for this key, or in all
proof_memory_unreachable    P-9   the memory of used proofs cannot be asked

person_issuer_missing       U-1   there is no iss, or it is not a text
person_issuer_unknown       U-1   iss is not a configured issuer
person_role_not_of_issuer   U-2   the issuer is not configured for people in this role
person_keys_stale           U-3   the keys of the issuer were not refreshed within their bound
person_audiences_several    U-4   the token is for more audiences than one, any of which could show it here
person_subject_malformed    U-5   the claim that names the person is not a text of 1 to 256 characters
person_login_unknown        U-6   the issuer must say when the person logged in, and does not
person_login_old            U-6   the person logged in too long ago, or at a time that is still to come

key_set_too_large           K-1   the set of keys has more than 256 kB
key_set_malformed           K-1   the set of keys is not a JSON object with a list of keys
key_set_private             K-2   a key has private or symmetric key material
key_set_without_id          K-2   a key has no kid
key_set_id_twice            K-2   two keys have the same kid
key_set_bad_key             K-2   a key cannot be used
""")

#: Every code that this package refuses a token, a proof or a set of keys with. The manual lists the same table.
HANDLE_REFUSALS: dict[str, Rule] = {**TOKEN_RULES, **_OWN}

#: Refusals that say: somebody showed what was not made for this call, or not by the key's holder. They are among the
#: `BINDING_REASONS` of the record, where such a denial is a `reuse_attempt`.
BREACH_SIGNS: frozenset[str] = frozenset({
    "proof_missing",
    "proof_replayed",
    "proof_wrong_key",
    "proof_signature_wrong",
    "proof_wrong_target",
    "proof_wrong_method",
    "proof_wrong_url",
    "proof_of_other_grant",
    "proof_body_wrong",
    "proof_wrong_nonce",
    "handle_wrong_issuer",
    "audience_wrong",
})  # fmt: skip
