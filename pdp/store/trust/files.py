"""Bundles in files: PEM, or a SPIFFE bundle in JSON. Who watches the file calls `read` when it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pdp.errors import PdpError
from pdp.identity import (
    NEVER,
    STRICT,
    Options,
    Origin,
    TrustBundle,
    TrustStore,
    read_bundle_map,
    read_jwks,
    read_pem,
    stale_after_us,
)
from pdp.identity.bundles import BUNDLE_BYTES_MAX
from pdp.store.regular_file import read_regular


@dataclass(frozen=True, slots=True)
class FileSource:
    """The bundle of one domain; or, without a domain, a map of bundles. A file does not go stale: it is
    whoever writes it who keeps it right. With `source` it only starts another source off, an endpoint by its address:
    then it goes stale, unless that source takes over."""

    path: Path
    trust_domain: str | None
    source: str = ""
    options: Options = field(default=STRICT)

    @property
    def name(self) -> str:
        return self.source or str(self.path)

    def read(self, trust: TrustStore, now: int) -> tuple[TrustBundle, ...]:
        raw = self._bytes()
        origin = Origin(self.name, now, now + stale_after_us(None) if self.source else NEVER)
        if self.trust_domain is None:
            return read_bundle_map(raw, origin, self.options)
        if raw.lstrip().startswith(b"{"):
            return (read_jwks(self.trust_domain, raw, origin, self.options),)
        return (read_pem(self.trust_domain, raw, origin),)

    def _bytes(self) -> bytes:
        try:
            return read_regular(self.path, BUNDLE_BYTES_MAX + 1)
        except OSError as error:
            raise PdpError("trust_unavailable", f"`{self.path}` cannot be read: {error.strerror}") from None
