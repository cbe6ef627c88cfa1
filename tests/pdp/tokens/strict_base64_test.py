"""Finding F13: one text for each sequence of bytes."""

from __future__ import annotations

import contextlib
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.tokens.strict_base64 import NotBase64, read_base64, read_base64url


@pytest.mark.parametrize(
    "text",
    [
        "QUJD=",
        "QUJD====",
        "QUJDRA",
        "QUJDRA=",
        "QUJDRA===",
        "QUJDRB==",
        "QUJ=",
        "=QUJD",
        "QU=I",
        "QUJD\n",
        "QU JD",
        "QUI-",
        "QUÄJ",
    ],
)
def test_other_spellings(text: str) -> None:
    with pytest.raises(NotBase64):
        read_base64(text)


@pytest.mark.parametrize("text", ["", "Q", "QUJDRA==", "QUJDRB", "QUJ", "QU+/", "QU I", "QUJDR", "QUJD\n"])
def test_other_spellings_for_addresses(text: str) -> None:
    with pytest.raises(NotBase64):
        read_base64url(text.encode())


@given(st.binary(max_size=100), st.text("ABQUJDgw048+/-_=\n ", max_size=12))
def test_what_is_read_has_one_text(raw: bytes, text: str) -> None:
    assert read_base64(b64encode(raw).decode()) == raw
    assert not raw or read_base64url(urlsafe_b64encode(raw).rstrip(b"=")) == raw
    with contextlib.suppress(NotBase64):
        assert b64encode(read_base64(text)).decode() == text
    with contextlib.suppress(NotBase64):
        assert urlsafe_b64encode(read_base64url(text.encode())).rstrip(b"=").decode() == text
