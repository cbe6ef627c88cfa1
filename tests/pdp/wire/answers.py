"""How Envoy takes a CheckResponse, after its ext_authz client: what a test may conclude from bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pdp.wire.messages import ENVOY


@dataclass(frozen=True)
class Taken:
    """What Envoy would do."""

    allowed: bool
    status: int
    headers: dict[str, str]  # set for the back end of an allow, sent to the client of a denial
    removed: tuple[str, ...]
    body: str
    metadata: dict[str, str]
    response: Any


def taken(raw: bytes) -> Taken:
    """An allow is code 0, which is what an empty message has, too."""
    response = ENVOY.CheckResponse.FromString(raw)
    kind = response.WhichOneof("http_response")
    metadata = {k: v.string_value for k, v in response.dynamic_metadata.fields.items()}
    if response.status.code == 0:
        ok = response.ok_response
        return Taken(True, 200, _headers(ok.headers), tuple(ok.headers_to_remove), "", metadata, response)
    denied = getattr(response, kind) if kind in ("denied_response", "error_response") else None
    if denied is None:
        return Taken(False, 403, {}, (), "", metadata, response)
    return Taken(False, denied.status.code or 403, _headers(denied.headers), (), denied.body, metadata, response)


def _headers(options: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        assert option.HasField("append"), "Envoy's default differs between versions: said always"
        assert not option.append.value
        assert option.header.key not in found
        found[option.header.key] = option.header.value
    return found
