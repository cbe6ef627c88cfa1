"""Each choice that is not forced, with its strict value as the default: `Options()` is the strictest that is useful."""

from __future__ import annotations

from dataclasses import dataclass

from pdp.tokens.claims import SECOND_US

NOT_BEFORE_LEEWAY_US_MAX = 60 * SECOND_US
TOKEN_LEEWAY_US_MAX = 30 * SECOND_US


@dataclass(frozen=True, slots=True)
class Options:
    """A field that is changed is a rule that is relaxed (or, where the rule leaves it open, tightened) by name."""

    #: X-2: a leaf without basicConstraints counts as no CA, as in Go and Envoy. True demands the extension.
    require_basic_constraints: bool = False
    #: X-3: keyUsage present, critical, with digitalSignature. False checks only that it may not sign certificates or CRLs.
    require_critical_key_usage: bool = True
    #: X-7: a CA with an ID has one of the workload's own trust domain.
    require_issuer_in_domain: bool = True
    #: X-10: how far a notBefore may lie ahead, for clocks that differ; at most 60 s. A notAfter has no leeway.
    not_before_leeway_us: int = 0
    #: X-13: a revocation list past its next update refuses what its issuer signed. False goes on with the old list.
    require_fresh_revocation_list: bool = True
    #: J-4: False accepts a token without kid where the trust domain has exactly one key for tokens.
    require_key_id: bool = True
    #: J-6: how far exp may lie behind and nbf ahead; at most 30 s.
    token_leeway_us: int = 0
    #: J-6: the longest life of a token, from nbf (or iat), and at the latest from now, to exp.
    token_lifetime_us_max: int = 3600 * SECOND_US
    #: W-1: WIT-SVIDs are an incubating standard, and off.
    accept_wit: bool = False
    #: B-3: False takes the first certificate of an x5c and ignores the others, as the standard says.
    refuse_extra_certificates: bool = True
    #: B-4: False leaves a key without kid out; True refuses the bundle.
    refuse_key_without_id: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.not_before_leeway_us <= NOT_BEFORE_LEEWAY_US_MAX:
            raise ValueError("not_before_leeway_us: 0 to 60 seconds")
        if not 0 <= self.token_leeway_us <= TOKEN_LEEWAY_US_MAX:
            raise ValueError("token_leeway_us: 0 to 30 seconds")
        if self.token_lifetime_us_max <= 0:
            raise ValueError("token_lifetime_us_max: more than nothing")


STRICT = Options()
