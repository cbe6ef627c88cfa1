"""What must not be read is replaced by a keyed digest before anything is hashed or written.

The digest is HMAC-SHA-256 under a key of the installation, 128 bits of it, over the field and its value: two sightings in
one field match, and so do two of one token wherever they are. Without the key a guess can be checked only by asking with it
in the same field, and destroying the key makes the record forget. Three things are masked: fields that the
installation declares secret, fields whose name says so, and whatever has the shape of a token, wherever it stands.

A masked value is an object `{"$masked": "KEY:DIGEST"}`, which no request can imitate: its own keys never begin with one `$`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pdp.record.token_shapes import find_tokens, first_token, is_token, may_hold_token

#: Names of fields that hold secrets whoever uses them; compared in lower case, with `_` for `-`.
SECRET_NAMES = frozenset({
    "access_token", "api_key", "apikey", "assertion", "authorization", "bearer", "client_secret", "cookie", "credential",
    "credentials", "dpop", "id_token", "jwt", "passphrase", "passwd", "password", "private_key", "proxy_authorization",
    "refresh_token", "secret", "secret_key", "session_token", "set_cookie", "task_grant", "task_proof", "token",
    "x_api_key", "x_auth_token",
})  # fmt: skip

REMEMBERED_MAX, REMEMBERED_CHARS = 8192, 128  # texts that are known to hold no token
TOKEN_MIN = 8  # characters; what is shorter keeps no secret


@dataclass(frozen=True)
class Masking:
    """The key, and which fields are secret: `context.note`, `task.ticket`, `gate.environment`, `Table.tenant`, `User.id`."""

    key: bytes = field(repr=False)
    secrets: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.key) < 32:
            raise ValueError("a masking key has at least 32 bytes")

    @cached_property
    def key_id(self) -> str:
        return hashlib.sha256(b"pdp record masking key\n" + self.key).hexdigest()[:8]

    @cached_property
    def _keyed(self) -> hmac.HMAC:
        return hmac.new(self.key, digestmod="sha256")

    @cached_property
    def _harmless(self) -> set[str]:
        """Texts that were looked through and hold no token: an installation says the same words all day."""
        return set()

    def is_secret(self, owner: str, name: str) -> bool:
        """Whether the field `name` of `owner` is masked: by declaration, or by its name."""
        return name.lower().replace("-", "_") in SECRET_NAMES or f"{owner}.{name}" in self.secrets

    def hide(self, value: str | bytes | Any, field: str = "") -> dict[str, str]:
        """A value as its digest. Two of one field have the same one; two of different fields have not, so that a field
        which a caller may fill says nothing about one that it may not. No field: a token, which is the same everywhere."""
        if isinstance(value, str):
            told = b"s" + value.encode("utf-8", "surrogatepass")
        elif isinstance(value, bytes):
            told = b"b" + value
        else:
            told = b"j" + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        keyed = self._keyed.copy()
        if field and not (isinstance(value, str) and is_token(value)):
            name = field.encode("utf-8", "surrogatepass")
            keyed.update(b"f%d:%b" % (len(name), name))
        keyed.update(told)
        return {"$masked": f"{self.key_id}:{keyed.hexdigest()[:32]}"}

    def parts(self, text: str) -> list[str | dict[str, str]]:
        """A text with its tokens hidden: what stands between them stays readable."""
        found: list[str | dict[str, str]] = []
        shown = 0
        for start, end in find_tokens(text):
            if start > shown:
                found.append(text[shown:start])
            found.append(self.hide(text[start:end]))
            shown = end
        if shown < len(text):
            found.append(text[shown:])
        return found

    def head(self, text: str, length: int) -> str | dict[str, str]:
        """The beginning of a long text, up to a token; the token where it begins with one. The work does not grow with the
        text."""
        start, end = first_token(text, length) or (length, length)
        return text[:start] if start else self.hide(text[start:end])

    def scan(self, value: Any) -> Any:
        """A JSON value in which every token-shaped text, also in keys, is hidden."""
        if isinstance(value, str):
            return self._scan_text(value)
        if isinstance(value, list):
            return [self.scan(v) for v in value]
        if isinstance(value, dict):
            return {self._scan_key(k): v if k == "$masked" else self.scan(v) for k, v in value.items()}
        return value

    def _scan_text(self, text: str) -> Any:
        if len(text) < TOKEN_MIN or text in self._harmless or not may_hold_token(text):
            return text
        parts = self.parts(text)
        if len(parts) != 1:
            return {"$text": parts}
        if parts[0] == text:
            self._remember(text)
        return parts[0]

    def _scan_key(self, key: str) -> str:
        if len(key) < TOKEN_MIN or key in self._harmless:
            return key
        if next(find_tokens(key), None) is not None:
            return f"$masked {self.hide(key)['$masked']}"
        self._remember(key)
        return key

    def _remember(self, text: str) -> None:
        if len(self._harmless) >= REMEMBERED_MAX:
            self._harmless.clear()
        if len(text) <= REMEMBERED_CHARS:
            self._harmless.add(text)
