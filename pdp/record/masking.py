"""What must not be read is replaced by a keyed digest before anything is hashed or written.

The digest is HMAC-SHA-256 under a key of the installation, 128 bits of it: two sightings of one secret match, a guess cannot
be checked without the key, and destroying the key makes the record forget. Three things are masked: fields that the
installation declares secret, fields whose name says so, and whatever has the shape of a token, wherever it stands.

A masked value is an object `{"$masked": "KEY:DIGEST"}`, which no request can imitate: its own keys never begin with one `$`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: Names of fields that hold secrets whoever uses them; compared in lower case, with `_` for `-`.
SECRET_NAMES = frozenset({
    "access_token", "api_key", "apikey", "assertion", "authorization", "bearer", "client_secret", "cookie", "credential",
    "credentials", "dpop", "id_token", "jwt", "passphrase", "passwd", "password", "private_key", "proxy_authorization",
    "refresh_token", "secret", "secret_key", "session_token", "set_cookie", "task_grant", "task_proof", "token",
    "x_api_key", "x_auth_token",
})  # fmt: skip

# A compact JWS or JWE: its first part is base64url of a JSON object, so of `{` and a quote, `}` or white space.
_JOSE = r"(?<![A-Za-z0-9_-])e(?:y[ABIJ]|w[klop01]|30)[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){2,4}"
_TOKEN = re.compile(
    "|".join((
        r"-----BEGIN [A-Z0-9 ]{1,40}-----(?:.*?-----END [A-Z0-9 ]{1,40}-----|.*)",
        _JOSE,
        r"(?<=[Bb]earer )[^\s\"',;]+|(?<=BEARER )[^\s\"',;]+",
        r"(?<=[Bb]asic )[A-Za-z0-9+/=_-]{6,}|(?<=BASIC )[A-Za-z0-9+/=_-]{6,}",
        r"(?<=://)[^/\s@:\"]*:[^/\s@\"]+(?=@)",
        r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AKIA|ASIA|hvs\.)[A-Za-z0-9_-]{10,}",
    )),
    re.DOTALL,
)  # fmt: skip
#: Texts without which no token is there: one quick look for them spares nearly every text the long one.
_HINT = re.compile(
    r"e(?:y[ABIJ]|w[klop01]|30)|-----BEGIN|earer |EARER |asic |ASIC |@|gh[oprsu]_|github_pat_|glpat-|xox|A[KS]IA|hvs\."
)
TOKEN_MIN = 8  # characters; what is shorter keeps no secret


def may_hold_token(text: str) -> bool:
    """False only if no part of the text has the shape of a token. Says True too often, and is quick."""
    return _HINT.search(text) is not None


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

    def is_secret(self, owner: str, name: str) -> bool:
        """Whether the field `name` of `owner` is masked: by declaration, or by its name."""
        return name.lower().replace("-", "_") in SECRET_NAMES or f"{owner}.{name}" in self.secrets

    def hide(self, value: str | bytes | Any) -> dict[str, str]:
        """A value as its digest. A text has the same one wherever it stands."""
        if isinstance(value, str):
            told = b"s" + value.encode("utf-8", "surrogatepass")
        elif isinstance(value, bytes):
            told = b"b" + value
        else:
            told = b"j" + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        keyed = self._keyed.copy()
        keyed.update(told)
        return {"$masked": f"{self.key_id}:{keyed.hexdigest()[:32]}"}

    def parts(self, text: str) -> list[str | dict[str, str]]:
        """A text with its tokens hidden: what stands between them stays readable."""
        found: list[str | dict[str, str]] = []
        end = 0
        for match in _TOKEN.finditer(text):
            if match.start() > end:
                found.append(text[end : match.start()])
            found.append(self.hide(match[0]))
            end = match.end()
        if end < len(text):
            found.append(text[end:])
        return found

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
        if len(text) < TOKEN_MIN or not may_hold_token(text):
            return text
        parts = self.parts(text)
        if len(parts) == 1:
            return parts[0]
        return {"$text": parts} if parts else text

    def _scan_key(self, key: str) -> str:
        return key if len(key) < TOKEN_MIN or _TOKEN.search(key) is None else f"$masked {self.hide(key)['$masked']}"
