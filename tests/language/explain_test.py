"""What explanations say, as sentences: `SOURCE is VALUE` reads as English for every reading (finding D12)."""

from __future__ import annotations

import pytest

from language import Answer, Compiler, Directory, EntityData, RequestData, Source, TaskData, assemble

POLICY = """\
language 1
entity Doc { next: Doc?, n: Int }
action read on Doc
workload { tier: Int }
task job { opened by spiffe://a.b/ci who spiffe://a.b/** may read on Doc lasts at most 1h }
allow jobs { who spiffe://a.b/** do read on Doc during job when resource.n == 2 }
allow chains { who spiffe://a.b/** do read on Doc when resource has next and resource.next.n == 2 }
allow tiers { who spiffe://a.b/** do read on Doc when workload.tier > 2 }
deny none { who spiffe://a.b/** do read on Doc when resource.n == 3 }
"""
CI, HOLDER = "spiffe://a.b/ci", "spiffe://a.b/w"


def explained(task: TaskData | None) -> Answer:
    bundle = Compiler().compile([Source("a.policy", POLICY)])
    directory = Directory(bundle.vocabulary)
    directory.upsert([EntityData("Doc", "d", {"n": 1, "next": ("Doc", "gone")}, ())])
    request = RequestData("read", EntityData("Doc", "d", {}, ()), workload=HOLDER, task=task)
    inputs = assemble(directory.world, request, 5, lambda a, r: bundle.leaves[a, r].footprint)
    return bundle.explain("read", "Doc", inputs)


def sentences(answer: Answer) -> set[str]:
    readings = [r for rule in answer.considered for c in rule.conjuncts for r in c.readings]
    return {f"{r.source} is {r.value}" for r in readings}


@pytest.mark.parametrize(
    ("covers", "says"),
    [(True, "the grant is for this"), (False, "the grant is not for this"), (None, "the grant is absent")],
)
def test_the_readings_are_sentences(covers: bool | None, says: str) -> None:
    task = None if covers is None else TaskData("job", "t", {}, 0, 10, frozenset(), CI, HOLDER, covers=covers)
    told = sentences(explained(task))
    assert told >= {
        says,
        "resource.n is 1",
        'resource.next.n is unknown: there is no record of Doc "gone"',
        f"workload.tier is unknown: there is no record of {HOLDER}",
    }
    assert not any("there is" in sentence.partition(": ")[0] for sentence in told)


def test_what_denied_stands_first() -> None:
    order = [(r.truth, r.effect) for r in explained(None).considered]
    assert order == [("error", "allow"), ("error", "allow"), ("false", "allow"), ("false", "deny")]
