"""What has the shape of a token, key or password, wherever in a text it stands.

Linear in the text: every run of characters that begins like a token and is long enough is one, so none is looked through
twice. Too much is found rather than too little; what stands around a token, such as `Bearer `, stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_B = "[A-Za-z0-9_-]"  # of base64url
_PART = rf"(?:{_B}++|\r?\n[ \t]++(?={_B}))*+"  # of a token, folded or not
_DOT = r"(?:\.|%(?:25)*2[Ee])"
_END = r"[^\s\"',;&<>\\]"  # of a value that nothing else delimits

# JOSE and what is like it. Their first part is base64url of a JSON object: of `{` and a quote, or white space before one.
_OBJECT = r"e(?:yJ|w[ok0][giJKN])"
_JOSE = (
    rf"{_OBJECT}(?:{_B}{{24,}}+|{_B}{{14,23}}(?={_DOT}|\r?\n[ \t])){_PART}(?:{_DOT}{_PART}){{0,4}}+",  # behind anything
    rf"e(?<![A-Za-z0-9_-]e)(?:y[ABIJ]|w[klop01]|30){_B}*+(?:{_DOT}{_PART}){{2,4}}+",  # a shorter one, by itself
    rf"v(?<![A-Za-z0-9]v)[1-4]\.(?:local|public)\.{_B}{{8,}}+",  # PASETO
    rf"\"(?:payload|protected|signature|ciphertext|encrypted_key)\\?\"\s*+:\s*+\\?\"(?P<member>){_B}{{8,}}+",
)
_PEM_WORDS = r"(?:[A-Z0-9 +_]|%20){1,60}"
_PEM = rf"-----BEGIN{_PEM_WORDS}-----(?:.*?-----END{_PEM_WORDS}-----|.*)"

# `Bearer x`, and what an encoding makes of the space.
_SPACE = r"(?:[\s:=+]|%(?:20|09|3[AaDd]))++"
_SCHEMES = (
    rf"[Bb][Ee][Aa][Rr][Ee][Rr]{_SPACE}(?P<bearer>){_END}++",
    rf"[Bb][Aa][Ss][Ii][Cc]{_SPACE}(?P<basic>)[A-Za-z0-9+/=_%-]{{6,}}+",
)
_USERINFO = (
    r"://(?P<userinfo>)[^/\s@\"?#]++(?=@)",
    r"%3[Aa]%2[Ff]%2[Ff](?P<encoded>)(?:(?!%40|%2[Ff])[^/\s@\"?#])++(?=%40|@)",
)

# `password=x`, `"password":"x"`, also in a query or an ini file: what stands before the sign says what comes after it.
_NAMES = (
    "token", "secret", "password", "passwd", "passphrase", "_key", "-key", "apikey", "accountkey", "accesskey", "assertion",
    "signature", "jwt", "&sig", "[?]sig",
)  # fmt: skip


def _assigned(sign: str, before: str, behind: str, group: str) -> str:
    named = "|".join(rf"(?<=(?i:{name}){before})" for name in _NAMES)
    return rf"{sign}(?:{named}){behind}(?P<{group}>){_END}{{4,}}+"


_ASSIGNED = (
    _assigned("=", "=", "[ \"']?", "set"),
    _assigned("=", " =", " ?[\"']?", "spaced"),
    _assigned(":", "\":", r"\s?\"", "json"),
    _assigned("%3[Dd]", "%3[Dd]", "", "percent"),
)  # fmt: skip

#: Keys of well-known services, by how they begin. Those that a word could hold stand at the beginning of one.
_SERVICES = (
    r"A(?:KIA|SIA|BIA|CCA|ROA|IDA)[A-Z0-9]{12,}+",  # AWS
    r"AIza[A-Za-z0-9_-]{16,}+", r"ya29\.[A-Za-z0-9_.-]{10,}+", r"G(?<![A-Za-z0-9]G)OCSPX-[A-Za-z0-9_-]{10,}+",  # Google
    r"g(?:h[oprsu]_|ithub_pat_)[A-Za-z0-9_]{10,}+",  # GitHub
    r"g(?<![A-Za-z0-9]g)l(?:pat|dt|rt|ptt|soat|cbt|ft|imt|agent|oas|ffct|c_|sa_)[-_A-Za-z0-9.]{10,}+",  # GitLab, Grafana
    r"x(?:ox[a-z]-|app-)[A-Za-z0-9-]{10,}+",  # Slack
    r"hooks\.slack\.com/services/(?P<hook>)[A-Za-z0-9/_-]{10,}+",
    r"n(?<![A-Za-z0-9]n)pm_[A-Za-z0-9]{16,}+", r"pypi-[A-Za-z0-9_-]{16,}+",  # registries
    r"d(?<![A-Za-z0-9]d)(?:ckr_(?:pat|oat)_|[op]p?_v1_|o[oprt]_v1_)[A-Za-z0-9_-]{10,}+",  # Docker, DigitalOcean
    r"s(?<![A-Za-z0-9]s)k[-_][A-Za-z0-9_-]{16,}+",  # OpenAI, Anthropic, Stripe
    r"[rp](?<![A-Za-z0-9].)k_(?:live|test)_[A-Za-z0-9]{10,}+", r"whsec_[A-Za-z0-9+/=]{10,}+",  # Stripe
    r"hv[sbr]\.[A-Za-z0-9_-]{10,}+", r"h(?<![A-Za-z0-9]h)f_[A-Za-z0-9]{16,}+",  # Vault, Hugging Face
    r"shp(?:at|ca|pa|ss)_[A-Za-z0-9]{10,}+", r"S(?<![A-Za-z0-9]S)G\.[A-Za-z0-9_-]{10,}+",  # Shopify, SendGrid
    r"ATATT3[A-Za-z0-9_=-]{10,}+", r"sntry[su]_[A-Za-z0-9_=+/-]{10,}+", r"AGE-SECRET-KEY-1[A-Z0-9]{10,}+",
)  # fmt: skip

_TOKEN = re.compile("|".join((*_JOSE, _PEM, *_SCHEMES, *_USERINFO, *_ASSIGNED, *_SERVICES)), re.DOTALL)

#: Without one of these, in lower case, or what stands before an `@` in a URL, no token is there, neither in a text nor
#: in one that JSON has escaped. A look for them spares nearly every text the long search: so `key` alone is none.
HINTS = (
    "eyj", "ew0", "ewo", "ewk", "eya", "eyb", "eyi", "ewl", "ewp", "ew1", "e30", ".local.", ".public.", "payload",
    "protected", "ciphertext", "-----begin", "bearer", "basic", "%3a%2f%2f", "token", "secret", "passw", "passphrase",
    "encrypted_key", "key=", "key =", "key\":", "key\\\":", "key%3d",
    "assertion", "signature", "jwt", "sig=", "sig =", "sig%3d", "akia", "asia", "abia", "acca", "aroa", "aida", "aiza",
    "ya29.", "gocspx", "ghp_", "ghs_", "gho_", "ghu_", "ghr_", "github_pat", "glpat", "gldt", "glrt", "glptt", "glsoat",
    "glcbt", "glft", "glimt", "glagent", "gloas", "glffct", "glc_", "glsa_", "xox", "xapp-", "slack.com", "npm_",
    "pypi-", "ckr_", "_v1_", "sk-", "sk_", "k_live", "k_test", "whsec", "hvs.", "hvb.", "hvr.", "hf_", "shpat", "shpca",
    "shppa", "shpss", "sg.", "atatt3", "sntry",
)  # fmt: skip


def _any_of(words: Iterable[str]) -> str:
    """One expression for all of them, each beginning in it once: a character that begins none is passed over at once."""
    rest: dict[str, list[str]] = {}
    for word in words:
        if not word:
            return ""
        rest.setdefault(word[0], []).append(word[1:])
    return "(?:" + "|".join(re.escape(first) + _any_of(words) for first, words in rest.items()) + ")"


_HINT = re.compile(_any_of(HINTS) + r"|://[^/\s@\"?#]++@")
LONGEST_SOUGHT = 4096  # characters beyond the ones that are to be shown


def may_hold_token(text: str) -> bool:
    """False only if no part of the text has the shape of a token. Says True too often, and is quick."""
    return _HINT.search(text.lower()) is not None


def find_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Where tokens stand, from the first to the last."""
    for match in _TOKEN.finditer(text):
        yield _start(match), match.end()


def first_token(text: str, before: int) -> tuple[int, int] | None:
    """The token that begins before this place. Of a long text only so much is looked at as the answer needs."""
    match = _TOKEN.search(text, 0, before + LONGEST_SOUGHT)
    if match is None or _start(match) >= before:
        return None
    whole = _TOKEN.match(text, match.start()) if match.end() == before + LONGEST_SOUGHT else match
    return (_start(match), match.end()) if whole is None else (_start(whole), whole.end())


def is_token(text: str) -> bool:
    match = _TOKEN.fullmatch(text)
    return match is not None and _start(match) == 0


def _start(match: re.Match[str]) -> int:
    """Where what is to be hidden begins: an empty group stands there if something before it may be read."""
    return match.start() if match.lastgroup is None else match.end(match.lastgroup)
