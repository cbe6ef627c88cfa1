"""Every way in which a credential, or a bundle of trust, can be wrong: one code each, with its rule.

A refusal carries the code and at most a short detail of ours: a count, a name from this file, a trust domain that was
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
    """A credential or a bundle is not accepted. `code` is stable and stands in `REFUSALS`."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(code, detail)

    @property
    def rule(self) -> Rule:
        return REFUSALS[self.code]

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.code}: {REFUSALS[self.code].says}{detail}"


_TABLE = """
id_empty                    ID-1  the SPIFFE ID is empty
id_too_long                 ID-1  the SPIFFE ID has more than 2048 bytes
id_wrong_scheme             ID-1  the ID does not start with spiffe://
id_no_trust_domain          ID-1  the ID names no trust domain
id_long_trust_domain        ID-1  the trust domain has more than 255 characters
id_bad_trust_domain         ID-1  the trust domain has a character that is not one of a-z 0-9 . _ -
id_trailing_slash           ID-1  the ID ends in a slash
id_empty_segment            ID-1  the path of the ID has an empty segment
id_dot_segment              ID-1  a segment of the ID is nothing but one dot or two
id_bad_path                 ID-1  the path has a character that is not one of A-Z a-z 0-9 . _ -
id_not_canonical            ID-2  the scheme or the trust domain has upper-case letters; nothing is normalised
id_no_path                  ID-4  the ID names a trust domain and no workload

certificate_malformed       X-1   the certificate, or an extension in it, cannot be read
no_uri_name                 X-1   the certificate has no URI among its alternative names
several_uri_names           X-1   the certificate has more than one URI among its alternative names
leaf_is_ca                  X-2   the certificate of a workload says that it is a CA
no_basic_constraints        X-2   the certificate has no basicConstraints, and the options ask for them
no_key_usage                X-3   the certificate has no keyUsage
key_usage_not_critical      X-3   keyUsage is not critical
no_digital_signature        X-3   keyUsage does not include digitalSignature
leaf_signs_certificates     X-3   keyUsage includes keyCertSign
leaf_signs_crls             X-3   keyUsage includes cRLSign
wrong_extended_usage        X-4   extendedKeyUsage is there and does not include what this side needs
name_not_critical           X-5   the subject is empty and the alternative names are not critical
untrusted_issuer            X-6   no path leads from the certificate to an authority of its own trust domain
no_bundle                   X-6   no bundle is configured for the trust domain of the ID
issuer_not_ca               X-7   an issuing certificate is not a CA
issuer_may_not_sign         X-7   an issuing certificate may not sign certificates
path_length_exceeded        X-7   an issuing certificate allows fewer certificates below it
issuer_with_workload_id     X-7   an issuing certificate carries something other than one path-less SPIFFE ID as its URI
issuer_of_other_domain      X-7   an issuing certificate carries the ID of another trust domain
not_an_authority            X-8   a member of a bundle is not a CA that may sign certificates; it is left out
unknown_critical_extension  X-9   a certificate has a critical extension that is not understood
unsupported_name_constraint X-9   an issuing certificate constrains names in a way that cannot be checked
not_yet_valid               X-10  the certificate is not valid yet
expired                     X-10  the certificate has expired
issuer_not_yet_valid        X-10  no issuing certificate is valid yet
issuer_expired              X-10  an issuing certificate has expired
weak_key                    X-11  the key is not RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519
weak_signature              X-11  a certificate is signed with SHA-1, MD5 or something unknown
weak_issuer                 X-11  an issuing certificate has a key or signature that is too weak or cannot be checked
chain_too_long              X-11  the path has more than 4 certificates
no_certificate              X-11  no certificate was presented
too_many_certificates       X-11  more than 8 certificates were presented
certificate_too_large       X-11  a certificate has more than 16 kB
certificate_revoked         X-13  a certificate of the path is on the revocation list of its issuer
revocation_list_stale       X-13  the revocation list of an issuer is past its next update
revocation_list_unsigned    X-13  a revocation list is not signed by the issuer that it names, or cannot be read

token_too_large             J-1   the token has more than 8 kB
token_not_compact           J-1   the token is not three parts of unpadded base64url in their one form
token_not_json              J-1   header or payload is not a JSON object in UTF-8
token_duplicate_name        J-1   a name stands twice in one JSON object
algorithm_missing           J-2   the header has no alg
algorithm_not_allowed       J-2   alg is not one of RS, ES, PS with 256, 384, 512
algorithm_not_of_key        J-2   alg does not fit the type, the curve or the alg of the key
header_not_allowed          J-3   the header has something other than alg, kid, typ
type_not_allowed            J-3   typ is not the one that this kind of token has
key_id_missing              J-4   the header has no kid
key_id_malformed            J-4   kid is not a text of 1 to 256 characters
key_id_ambiguous            J-4   there is no kid, and the bundle has not exactly one key
key_unknown                 J-4   the trust domain has no key with this kid and use
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
bearer_unbound              J-8   the token is a bearer token, and the channel does not belong to the same ID
token_id_malformed          J-9   jti is not a text of 1 to 256 characters
workload_api_disagrees      J-10  the Workload API does not confirm the token, or confirms another ID

wit_not_enabled             W-1   WIT-SVIDs are not enabled
wit_audience_present        W-1   a WIT-SVID has an aud
confirmation_missing        W-1   there is no cnf with a jwk
confirmation_malformed      W-1   cnf.jwk is not a public key that can be used, with its alg
confirmation_private        W-1   cnf.jwk has private or symmetric key material
wit_wrong_header            W-2   the token did not come in the header workload-identity-token
critical_not_understood     W-2   the header names something critical
proof_missing               W-2   there is no proof of possession
proof_several               W-3   there is more than one proof
proof_algorithm_differs     W-3   alg of the proof is not that of cnf.jwk
proof_signature_wrong       W-3   the proof is not signed by the key in cnf
proof_wrong_target          W-3   aud of the proof is not the configured target
proof_expired               W-3   exp of the proof is missing or past
proof_lives_too_long        W-3   exp of the proof is more than 60 s away
proof_of_other_token        W-3   wth is not the hash of the WIT-SVID
proof_does_not_cover        W-3   a token was presented that the proof does not cover
proof_hash_wrong            W-3   a hash in the proof is not that of the token beside it
proof_covers_unknown        W-3   the proof covers a token that is not there or not understood
proof_id_missing            W-3   the proof has no jti
proof_replayed              W-3   the proof was used before

bundle_too_large            B-1   the bundle has more than 4 MiB
bundle_malformed            B-1   the bundle is not a document of its kind
bundle_duplicate_name       B-1   a name, or a trust domain, stands twice in the document
bundle_wrong_domain         B-1   the name of the trust domain is not one
bundle_of_other_source      B-1   another source is configured for this trust domain
bundle_private_key          B-2   the bundle has private key material
bundle_extra_certificates   B-3   an x5c has more than one certificate
bundle_bad_certificate      B-3   an x5c is not a certificate in base64, or not of the key beside it
bundle_key_without_id       B-4   a key for tokens has no kid
bundle_key_id_twice         B-4   two keys for tokens have the same kid
bundle_bad_key              B-4   a key for tokens cannot be used
bundle_revoked              B-5   the bundle of the trust domain is empty: everything of the domain is revoked
bundle_without_keys         B-5   the document has no list of keys; the bundle before it stays
bundle_bad_sequence         B-6   spiffe_sequence is not a 64-bit number
bundle_rollback             B-6   spiffe_sequence is lower than that of the bundle before
bundle_older                B-6   the bundle was retrieved before the one that is there
bundle_bad_refresh_hint     B-7   spiffe_refresh_hint is not a number of seconds
bundle_stale                B-7   the bundle was not refreshed within its bound
endpoint_not_https          B-8   the address of a bundle endpoint, or of a redirect, is not a plain https URL
endpoint_too_many_redirects B-8   the endpoint redirects again and again
endpoint_wrong_server       B-8   the server of the endpoint does not prove to be the configured one
update_incomplete           B-9   a message of the Workload API lacks a field that it must have

domain_not_asserted         E-1   the gate may not show workloads of this trust domain
principal_mismatch          E-2   the gate takes the peer for somebody whom its certificate does not name
path_not_verified           E-3   only the leaf came, it does not verify alone, and the gate may not vouch for its path
"""


def _table() -> dict[str, Rule]:
    rows = [line.split(None, 2) for line in _TABLE.strip().splitlines() if line]
    assert len({code for code, _, _ in rows}) == len(rows)
    return {code: Rule(number, says) for code, number, says in rows}


#: Every code, in the order of the rules. The manual lists the same table, and a test compares the two.
REFUSALS: dict[str, Rule] = _table()
