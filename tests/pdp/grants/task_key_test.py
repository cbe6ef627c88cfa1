"""What a holder makes is what the decision point accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pdp.errors import PdpError
from pdp.grants.grant import Bindings
from pdp.grants.handle import make_handle, read_handle
from pdp.grants.proof import Asked, ProofRules
from pdp.grants.task_key import TaskKey
from pdp.tokens.compact import digest
from tests.pdp.grants.handles_world import GRANT, KEYS, NAMES, NOW, SECOND, key, prove, refused, sha256

KEY = TaskKey(key())
HANDLE = make_handle(replace(GRANT, binding=Bindings(key=KEY.thumbprint)), NAMES, KEYS, NOW)
TARGET, URL = "spiffe://dev.test/gate", "https://ledger.test/rows"


def made(**changes: object) -> str:
    said = {"target": TARGET, "method": "PUT", "url": URL, "handle": HANDLE, "jti": "j" * 22, "now": NOW, **changes}
    return KEY.prove(**said)  # type: ignore[arg-type]


def test_a_proof_of_a_holder_is_accepted() -> None:
    handle = read_handle(HANDLE, NAMES, KEYS, NOW)
    shown = Asked(TARGET, "PUT", URL, digest(HANDLE), handle.key, sha256(b"x"), body_required=True)
    assert prove(made(body=b"x"), shown=shown).covers_body
    assert prove(made(body=b"x", nonce="n1"), shown=shown, rules=ProofRules(nonces=frozenset({"n1"})))
    refused("proof_without_body", lambda: prove(made(), shown=shown))
    refused("proof_expired", lambda: prove(made(body=b"x", life_us=SECOND), shown=shown, now=NOW + 6 * SECOND))


def test_what_is_not_made() -> None:
    for life in (0, 61 * SECOND):
        with pytest.raises(PdpError):
            made(life_us=life)
    with pytest.raises(PdpError):
        TaskKey(ec.generate_private_key(ec.SECP384R1()))
    assert str(KEY.private.private_numbers().private_value) not in repr(KEY)
