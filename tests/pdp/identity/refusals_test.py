"""The table of refusals: every rule has rows, every code is given by some test, and none repeats what was presented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.identity import REFUSALS, Refused
from pdp.identity.dev.malformed_svids import MALFORMED_SVIDS
from pdp.identity.dev.malformed_tokens import MALFORMED_TOKENS
from tests.pdp.identity import bundles_test, jwt_test, wit_test, x509_test
from tests.pdp.identity.world import AUDIENCE, HOUR, ID, KEY, NOW, TRUST, WEAK_KEY, WORLD

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent

RULES = (
    [f"ID-{n}" for n in (1, 2, 4)]
    + [f"X-{n}" for n in range(1, 14) if n != 12]
    + [f"J-{n}" for n in range(1, 11)]
    + [f"W-{n}" for n in (1, 2, 3)]
    + [f"B-{n}" for n in range(1, 10)]
    + ["E-1", "E-2", "E-3"]  # the others of E are about messages: tests/pdp/wire
)

#: Rules that no credential can break by itself, and the test that holds them.
HELD_BY = {
    "ID-3": ("ids_test", "GOOD"),
    "ID-5": ("ids_test", "test_segments_are_compared_and_never_prefixes"),
    "ID-6": ("ids_test", "test_sweep_of_every_byte"),
    "X-12": ("remembered_test", "test_remembered_is_fresh"),
    "W-4": ("wit_test", "test_the_same_wit_serves_several_instances"),
    "B-10": ("bundles_test", "test_one_swap_for_a_whole_source"),
}


def test_every_rule_has_a_row() -> None:
    assert sorted({r.number for r in REFUSALS.values()}) == sorted(RULES)
    for module, name in HELD_BY.values():
        assert re.search(rf"^(def )?{name}\b", (HERE / f"{module}.py").read_text("utf-8"), re.MULTILINE)


def test_every_code_is_given_by_a_test() -> None:
    text = "".join(p.read_text("utf-8") for p in HERE.glob("*_test.py") if p.name != "refusals_test.py")
    text += "".join(f'"{m.code}"' for table in (MALFORMED_SVIDS, MALFORMED_TOKENS) for m in table.values())
    assert [code for code in REFUSALS if f'"{code}' not in text and f"{code}:" not in text] == []


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised: set[str] = set()
    sources = [p for area in ("tokens", "identity", "store/trust") for p in (ROOT / "pdp" / area).rglob("*.py")]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    raised.add(first.value)
    assert raised <= REFUSALS.keys()
    assert len(raised) > 80


def test_explanations_are_sentences_of_ours() -> None:
    for code, rule in REFUSALS.items():
        assert re.fullmatch(r"[a-z0-9_]+", code)
        assert len(rule.says) > 10
        assert not rule.says.endswith(".")


@pytest.mark.parametrize("kind", ["VerifiedWorkload", "VerifiedToken", "ProvenWorkload", "TrustBundle"])
def test_what_means_verified_has_one_maker(kind: str) -> None:
    """In the whole tree it is constructed in one file, and, but for the leaf that a gate vouches for, in one place."""
    places = []
    for path in (ROOT / "pdp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
                places.append(path.name)
    assert len(set(places)) == 1
    assert len(places) == (2 if kind == "VerifiedWorkload" else 1)


# ---- nothing of what was presented


def refusals() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Each with what must not show."""
    for name in MALFORMED_TOKENS:
        token = WORLD.token(ID, AUDIENCE, NOW, HOUR, name)
        yield f"token {name}", token, lambda t=token: jwt_test.verify(t)
    for name in MALFORMED_SVIDS:
        used = WEAK_KEY if name == "weak-key" else KEY
        chain = WORLD.certificates(ID, used.public_key(), NOW, HOUR, name)
        yield f"certificate {name}", chain[0].hex(), lambda c=chain: x509_test.verify(c)
    for name, (_, call) in [*jwt_test.CASES.items(), *wit_test.WITS.items(), *wit_test.PROOFS.items()]:
        yield name, jwt_test.GOOD, call
    for name, (_, call) in bundles_test.REFUSED.items():
        yield name, bundles_test.TOKEN["x"], call


@pytest.mark.parametrize(
    ("name", "secret", "call"), list(refusals()), ids=lambda v: v if isinstance(v, str) and len(v) < 40 else ""
)
def test_no_refusal_shows_what_was_presented(name: str, secret: str, call: Callable[[], Any]) -> None:
    with pytest.raises(Refused) as caught:
        call()
    shown: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        shown += [str(error), repr(error), *map(repr, error.args), repr(vars(error))]
        shown += traceback.format_exception_only(error)
        error = error.__context__ or error.__cause__
    text = "\n".join(shown)
    for part in canaries(secret):
        assert part not in text


def canaries(secret: str) -> list[str]:
    """Every stretch of twelve letters."""
    return [secret[i : i + 12] for i in range(0, max(1, len(secret) - 12), 6)] if len(secret) >= 12 else [secret]


def test_no_repr_shows_a_token_or_a_key() -> None:
    token, chain = jwt_test.GOOD, x509_test.GOOD
    things = [
        jwt_test.verify(),
        x509_test.verify(),
        wit_test.read(wit_test.GOOD),
        TRUST,
        TRUST.bundles,
        WORLD,
        WORLD.root,
    ]
    from pdp.tokens.compact import read_compact

    things.append(read_compact(token))  # type: ignore[arg-type]  # any thing with a repr
    text = "\n".join(map(repr, things))
    for part in [*canaries(token.rpartition(".")[2]), *canaries(chain[0].hex()), *canaries(wit_test.GOOD)]:
        assert part not in text


def test_what_needs_no_credentials_imports_no_cryptography() -> None:
    """`import pdp` and `pdp check` start in a fraction of a second."""
    script = (
        "import sys, pdp, pdp.cli.main as m; m._add_verbs(['check']); "
        "print([n for n in ('cryptography', 'joserfc', 'grpc', 'spiffe', 'ssl') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
