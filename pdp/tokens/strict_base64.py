"""Base64 that can be read in only one way: one text for each sequence of bytes. `base64` takes padding that is too long, and
bits left over at the end that say nothing."""

from __future__ import annotations

import binascii
from base64 import b64encode

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD = bytes.maketrans(b"-_", b"+/")
#: The last letters that leave no bits over, by the letters that stand in the last group of four; one alone is nothing.
_LAST = {1: b"", 2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


class NotBase64(ValueError):
    """The text is none, or not in its one form. It says nothing of the text."""


def read_base64(text: str) -> bytes:
    """Standard base64, padded."""
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raw = None
    if raw is None or b64encode(raw) != text.encode():
        raise NotBase64("not base64 in its one form")
    return raw


def read_base64url(text: bytes) -> bytes:
    """Base64url without padding. Of nothing it is no text."""
    left = len(text) % 4
    if not text or text.translate(None, _ALPHABET) or (left and text[-1] not in _LAST[left]):
        raise NotBase64("not base64url in its one form")
    return binascii.a2b_base64(text.translate(_STANDARD) + b"===="[left or 4 :])
