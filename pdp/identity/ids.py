"""SPIFFE IDs as values. `language` holds the one validator; this says in which way a text fails it."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase, digits

from language import ID_BYTES_MAX, spiffe_segments
from pdp.identity.refusals import Refused

_SCHEME = "spiffe://"
_DOMAIN_MAX = 255
_DOMAIN = frozenset(ascii_lowercase + digits + "._-")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload: a trust domain, and at least one segment. Equal only as a whole, never by a prefix of text (ID-5)."""

    trust_domain: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((_SCHEME + self.trust_domain, *self.path))


def parse_workload_id(text: str) -> SpiffeId:
    """The ID of a workload; `Refused` with the first thing that is wrong with it."""
    segments = spiffe_segments(text)
    if segments is None:
        raise Refused(_what_is_wrong(text))
    if len(segments) == 1:
        raise Refused("id_no_path")
    return SpiffeId(segments[0], segments[1:])


def is_trust_domain(name: str) -> bool:
    return spiffe_segments(_SCHEME + name) == (name,)


def trust_domain_of(text: str) -> str | None:
    """The trust domain that a path-less ID names, as the Workload API and CA certificates write it."""
    segments = spiffe_segments(text)
    return segments[0] if segments is not None and len(segments) == 1 else None


def _what_is_wrong(text: str) -> str:
    """The code for a text that the validator refuses. The order is that in which one reads."""
    if not text:
        return "id_empty"
    if len(text) > ID_BYTES_MAX:
        return "id_too_long"
    if spiffe_segments(_lower_case_domain(text)) is not None:
        return "id_not_canonical"
    if not text.startswith(_SCHEME):
        return "id_wrong_scheme"
    domain, *path = text[len(_SCHEME) :].split("/")
    if not domain:
        return "id_no_trust_domain"
    if not _DOMAIN.issuperset(domain):
        return "id_bad_trust_domain"
    if len(domain) > _DOMAIN_MAX:
        return "id_long_trust_domain"
    if path and path[-1] == "":
        return "id_trailing_slash"
    if "" in path:
        return "id_empty_segment"
    if "." in path or ".." in path:
        return "id_dot_segment"
    return "id_bad_path"


def _lower_case_domain(text: str) -> str:
    """With scheme and domain in lower case, letters of ASCII only: the Kelvin sign is no `k` (ID-2)."""
    scheme, separator, rest = text.partition("://")
    domain, slash, path = rest.partition("/")
    if not (scheme + domain).isascii():
        return text
    return scheme.lower() + separator + domain.lower() + slash + path
