"""Verified identity: SPIFFE IDs, X509-SVIDs, JWT-SVIDs, WIT-SVIDs, and the bundles of trust that they are verified against.

Pure: the time is an argument, keys and documents are given, nothing is fetched. Start with `Verifier` and `TrustStore`.
"""

from __future__ import annotations

from pdp.identity.bundles import (
    Origin,
    poll_after_us,
    read_bundle_map,
    read_jwks,
    read_pem,
    read_token_keys,
    split_der,
    stale_after_us,
)
from pdp.identity.ids import SpiffeId, is_trust_domain, parse_workload_id, trust_domain_of
from pdp.identity.jwt_svid import VerifiedToken, refuse_unbound, verify_jwt_svid
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import REFUSALS, Refused, Rule
from pdp.identity.remembered import Remembered, Verifier, digest_of
from pdp.identity.shown import ShownVerifier
from pdp.identity.trust import NEVER, LeftOut, TrustBundle, TrustStore, make_bundle
from pdp.identity.wit_svid import ProvenWorkload, UnprovenWit, read_wit, verify_proof
from pdp.identity.x509_svid import Side, VerifiedWorkload, accept_leaf, split_pem, thumbprint, verify_x509_svid

__all__ = [
    "NEVER",
    "REFUSALS",
    "STRICT",
    "LeftOut",
    "Options",
    "Origin",
    "ProvenWorkload",
    "Refused",
    "Remembered",
    "Rule",
    "ShownVerifier",
    "Side",
    "SpiffeId",
    "TrustBundle",
    "TrustStore",
    "UnprovenWit",
    "VerifiedToken",
    "VerifiedWorkload",
    "Verifier",
    "accept_leaf",
    "digest_of",
    "is_trust_domain",
    "make_bundle",
    "parse_workload_id",
    "poll_after_us",
    "read_bundle_map",
    "read_jwks",
    "read_pem",
    "read_token_keys",
    "read_wit",
    "refuse_unbound",
    "split_der",
    "split_pem",
    "stale_after_us",
    "thumbprint",
    "trust_domain_of",
    "verify_jwt_svid",
    "verify_proof",
    "verify_x509_svid",
]
