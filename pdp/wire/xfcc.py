"""`x-forwarded-client-cert`: read strictly, and only from gates that are known to set it themselves (E-4).

    element , element          each   Key=value;Key=value          a value may be "quoted"

Whatever does not fit is as good as not there: the certificate itself came on another way, and this only adds its path.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import unquote

from pdp.identity import Refused, split_pem
from pdp.wire.refusals import Unfit

VALUE_BYTES_MAX = 131_072
REMEMBERED_BYTES_MAX, CHAINS_REMEMBERED = 16_384, 2_048  # 32 MiB at the most
_KEYS = frozenset({"By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"})
_PAIR = re.compile(r'([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^";,]*))', re.ASCII)

Pairs = tuple[tuple[str, str], ...]


def chain_in(value: str, leaf: bytes, destination: str | None) -> tuple[bytes, ...] | None:
    """The certificates that the peer presented, its own first, or None when the header does not say so about this leaf.

    A gate says the same with every request of a connection, so it is read once: it takes longer than the whole check.
    """
    read = _remembered if len(value) <= REMEMBERED_BYTES_MAX else _read
    return read(value, leaf, destination)


def _read(value: str, leaf: bytes, destination: str | None) -> tuple[bytes, ...] | None:
    elements = parse(value)
    if elements is None or len(elements) != 1:
        return None
    told: dict[str, list[str]] = {}
    for key, text in elements[0]:
        told.setdefault(key, []).append(text)
    if len(told.get("URI", ())) > 1:
        raise Unfit("xfcc_several_ids")
    if told.get("Hash") != [hashlib.sha256(leaf).hexdigest()]:
        return None
    if destination is None or told.get("By") != [destination]:
        return None
    chain = told.get("Chain")
    if chain is None or len(chain) != 1:
        return None
    try:
        certificates = split_pem(unquote(chain[0], errors="strict").encode())
    except (Refused, ValueError):
        return None
    return certificates if certificates and certificates[0] == leaf else None


_remembered = lru_cache(maxsize=CHAINS_REMEMBERED)(_read)


def parse(value: str) -> tuple[Pairs, ...] | None:
    """The elements, each with its pairs in order; None when it is not of this form."""
    if not value or len(value) > VALUE_BYTES_MAX:
        return None
    elements: list[Pairs] = []
    pairs: list[tuple[str, str]] = []
    at = 0
    while True:
        found = _PAIR.match(value, at)
        if found is None or found[1] not in _KEYS:
            return None
        quoted = found[2]
        pairs.append((found[1], found[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)))
        at = found.end()
        ending = value[at : at + 1]
        if ending in ("", ","):
            elements.append(tuple(pairs))
            pairs = []
        if ending == "":
            return tuple(elements)
        if ending not in (";", ","):
            return None
        at += 1
