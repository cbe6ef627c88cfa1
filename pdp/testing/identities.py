"""Names of workloads, without writing the trust domain each time."""

from __future__ import annotations

from language import is_spiffe_id
from pdp.errors import PdpError

TRUST_DOMAIN = "example.org"


def workload(path: str, *, trust_domain: str = TRUST_DOMAIN) -> str:
    """The SPIFFE ID of a path in a trust domain; an ID that is whole stays as it is."""
    spiffe_id = path if path.startswith("spiffe://") else f"spiffe://{trust_domain}/{path}"
    if not is_spiffe_id(spiffe_id):
        raise PdpError("invalid_argument", f"`{spiffe_id}` is not a SPIFFE ID")
    return spiffe_id
