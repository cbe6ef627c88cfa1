"""Every way in which a credential of a workload, or a bundle of trust, can be wrong: one code each, with its rule."""

from __future__ import annotations

from pdp.tokens.refusals import TOKEN_RULES, Refused, Rule, rules

__all__ = ["REFUSALS", "Refused", "Rule"]

_OWN = rules("""
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
unsupported_name_constraint X-9   an issuing certificate constrains names in a way that cannot be checked, or more than 100
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
too_many_names              X-11  a certificate has more than 100 alternative names
certificate_too_large       X-11  a certificate has more than 16 kB
certificate_revoked         X-13  a certificate of the path is on the revocation list of its issuer
revocation_list_stale       X-13  the revocation list of an issuer is past its next update
issuer_may_not_sign_lists   X-13  an issuer has a revocation list and may not sign any
revocation_list_partial     X-13  all lists of an issuer are deltas, restricted, or critical in something unknown
revocation_list_ahead       X-13  thisUpdate of every whole list of an issuer is still to come
revocation_list_unsigned    X-13  a revocation list is unreadable, weakly signed, or not signed by the issuer that it names

key_id_ambiguous            J-4   there is no kid, and the bundle has not exactly one key
bearer_unbound              J-8   the token is a bearer token, and the channel does not belong to the same ID
workload_api_disagrees      J-10  the Workload API does not confirm the token, or confirms another ID

wit_not_enabled             W-1   WIT-SVIDs are not enabled
wit_audience_present        W-1   a WIT-SVID has an aud
confirmation_missing        W-1   there is no cnf with a jwk
confirmation_malformed      W-1   cnf.jwk is not a public key that can be used, with its alg
confirmation_private        W-1   cnf.jwk has private or symmetric key material
wit_wrong_header            W-2   the token did not come in the header workload-identity-token
critical_not_understood     W-2   the header names something critical
proof_algorithm_differs     W-3   alg of the proof is not that of cnf.jwk
proof_of_other_token        W-3   wth is not the hash of the WIT-SVID
proof_does_not_cover        W-3   a token was presented that the proof does not cover
proof_hash_wrong            W-3   a hash in the proof is not that of the token beside it
proof_covers_unknown        W-3   the proof covers a token that is not there or not understood

bundle_too_large            B-1   the bundle has more than 4 MiB, or more than 1000 certificates and keys
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
bundle_rollback             B-6   spiffe_sequence is lower than that of the bundle before, or no longer there
bundle_older                B-6   the bundle was retrieved before the one that is there
bundle_bad_refresh_hint     B-7   spiffe_refresh_hint is not a number of seconds
bundle_stale                B-7   the bundle was not refreshed within its bound
endpoint_not_https          B-8   the address of a bundle endpoint, or of a redirect, is not a plain https URL
endpoint_left_host          B-8   a redirect of the endpoint leads to another host or port
endpoint_too_many_redirects B-8   the endpoint redirects again and again
endpoint_wrong_server       B-8   the server of the endpoint does not prove to be the configured one
update_incomplete           B-9   a message of the Workload API lacks a field that it must have

domain_not_asserted         E-1   the gate may not show workloads of this trust domain
principal_mismatch          E-2   the gate takes the peer for somebody whom its certificate does not name
path_not_verified           E-3   only the leaf came, it does not verify alone, and the gate may not vouch for its path
""")

_KINDS = ("ID", "X", "J", "W", "B", "E")


def _place(row: tuple[str, Rule]) -> tuple[int, int]:
    kind, number = row[1].number.split("-")
    return _KINDS.index(kind), int(number)


#: Every code, in the order of the rules. The manual lists the same table, and a test compares the two.
REFUSALS: dict[str, Rule] = dict(sorted({**TOKEN_RULES, **_OWN}.items(), key=_place))
