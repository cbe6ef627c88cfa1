"""ID-1 to ID-6: which texts are IDs of workloads, and what is wrong with the others."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from language import is_spiffe_id, parse_pattern
from pdp.identity import REFUSALS, SpiffeId, is_trust_domain, parse_workload_id, trust_domain_of
from tests.pdp.identity.world import outcome, refused

GOOD = [
    "spiffe://a/b",
    "spiffe://a.b-c_d.0/A/b.c/d-e_f",
    "spiffe://1.2.3.4/x",  # ID-3: no special treatment
    "spiffe://-a./x",
    "spiffe://a..b/x",
    "spiffe://a/...",  # ID-4: legal segments
    "spiffe://a/.path/..path/path..",
    "spiffe://" + "a" * 255 + "/x",
    "spiffe://a/" + "b" * (2048 - len("spiffe://a/")),
]

BAD = [
    ("", "id_empty"),
    ("spiffe://a/" + "b" * 2048, "id_too_long"),
    ("https://a/b", "id_wrong_scheme"),
    ("spiffe:/a/b", "id_wrong_scheme"),
    (" spiffe://a/b", "id_wrong_scheme"),
    ("spiffe:///b", "id_no_trust_domain"),
    ("spiffe://" + "a" * 256 + "/x", "id_long_trust_domain"),
    ("spiffe://user@a/b", "id_bad_trust_domain"),
    ("spiffe://a:443/b", "id_bad_trust_domain"),
    ("spiffe://[::1]/b", "id_bad_trust_domain"),
    ("spiffe://a%2e/b", "id_bad_trust_domain"),
    ("spiffe://a\n/b", "id_bad_trust_domain"),
    ("spiffe://\u212aelvin/b", "id_bad_trust_domain"),  # the Kelvin sign is no k
    ("spiffe://a?q/b", "id_bad_trust_domain"),
    ("spiffe://a/b/", "id_trailing_slash"),
    ("spiffe://a/", "id_trailing_slash"),
    ("spiffe://a//b", "id_empty_segment"),
    ("spiffe://a/./b", "id_dot_segment"),
    ("spiffe://a/b/..", "id_dot_segment"),
    ("spiffe://a/b\n", "id_bad_path"),
    ("spiffe://a/b ", "id_bad_path"),
    ("spiffe://a/b?q=1", "id_bad_path"),
    ("spiffe://a/b#f", "id_bad_path"),
    ("spiffe://a/%62", "id_bad_path"),
    ("spiffe://a/b\x00", "id_bad_path"),
    ("spiffe://a/\u00e9", "id_bad_path"),
    ("SPIFFE://a/b", "id_not_canonical"),
    ("spiffe://A/b", "id_not_canonical"),
    ("spiffe://a", "id_no_path"),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_id_is_read_as_it_is_written(text: str) -> None:
    assert str(parse_workload_id(text)) == text
    assert is_spiffe_id(text)


@pytest.mark.parametrize(("text", "code"), BAD)
def test_each_way_of_being_wrong_has_its_code(text: str, code: str) -> None:
    refused(code, lambda: parse_workload_id(text))
    assert not is_spiffe_id(text)


@pytest.mark.parametrize("code_point", range(256))
@pytest.mark.parametrize(
    ("template", "allowed"), [("spiffe://a{}b/c", "[a-z0-9._-]"), ("spiffe://a/b{}c", "[A-Za-z0-9._/-]")]
)
def test_sweep_of_every_byte(code_point: int, template: str, allowed: str) -> None:
    """ID-6. A slash in the domain only moves the boundary, so the domain's sweep takes it as allowed."""
    character = chr(code_point)
    text = template.format(character)
    good = re.fullmatch(allowed, character, re.ASCII) is not None or character == "/"
    assert is_spiffe_id(text) is good
    code, found = outcome(lambda: parse_workload_id(text))
    assert (str(found) == text) is good
    assert good or REFUSALS[code].number in ("ID-1", "ID-2")


@given(st.text(max_size=40) | st.builds("spiffe://{}/{}".format, st.text(max_size=10), st.text(max_size=10)))
def test_any_text_is_an_id_or_has_a_code(text: str) -> None:
    code, found = outcome(lambda: parse_workload_id(text))
    assert is_spiffe_id(text) is (code == "")
    assert str(found) == text if code == "" else REFUSALS[code].number.startswith("ID-")


def test_segments_are_compared_and_never_prefixes() -> None:
    """ID-5."""
    pay, payments = parse_workload_id("spiffe://a/ns/pay"), parse_workload_id("spiffe://a/ns/payments")
    assert pay != payments
    assert pay == SpiffeId("a", ("ns", "pay"))
    below = parse_pattern("spiffe://a/ns/pay/**")
    assert below is not None
    assert below.matches("spiffe://a/ns/pay/x")
    assert not below.matches(str(payments))
    assert parse_workload_id("spiffe://b/ns/pay") != pay


def test_trust_domains() -> None:
    assert is_trust_domain("a.b")
    assert not any(map(is_trust_domain, ["", "a/b", "A", "a:1", "a\n", "a" * 256]))
    assert trust_domain_of("spiffe://a.b") == "a.b"
    assert trust_domain_of("spiffe://a.b/c") is None
    assert trust_domain_of("spiffe://a.b/") is None
