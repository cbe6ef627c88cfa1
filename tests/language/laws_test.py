"""The laws, over generated policy sets: compiled code against the plain evaluator, and both against what they promise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from language import (
    Bundle,
    Compiler,
    Directory,
    Inputs,
    Refusal,
    RequestData,
    Result,
    Source,
    assemble,
    format_source,
    meaning,
    work,
)
from language.answers import Answer, out_of_steps
from language.compiler import runtime
from language.inputs import FOREVER
from language.syntax.parse import parse
from pdp.engine.cache import DecisionCache
from pdp.engine.ways import through_cache
from tests.language.generated import (
    MINUTE,
    PREFIX,
    START,
    World,
    compile_world,
    make_directory,
    make_request,
    make_world,
)

CASES = int(os.environ.get("PDP_TEST_CASES", "200"))
law = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
randoms = st.integers(0, 2**63).map(Random)
REQUESTS = 8


def inputs_of(bundle: Bundle, directory: Directory, request: RequestData, now: int) -> Inputs | None:
    try:
        return assemble(directory.world, request, now, lambda a, r: bundle.leaves[a, r].footprint)
    except Refusal:
        return None


def questions(random: Random, world: World, bundle: Bundle) -> list[tuple[RequestData, Inputs, Directory]]:
    directory = make_directory(random, world, bundle)
    found = []
    for _ in range(REQUESTS):
        request = make_request(random, world)
        inputs = inputs_of(bundle, directory, request, START + random.randint(0, 20) * MINUTE)
        if inputs is not None:
            found.append((request, inputs, directory))
    return found


def answer_of(bundle: Bundle, request: RequestData, inputs: Inputs) -> Answer:
    return bundle.explain(request.action, request.resource.type, inputs, detail=False)


def said(answer: Answer) -> object:
    return answer.allowed, answer.reason, answer.rules, {e.rule for e in answer.errors}, answer.until


@law
@given(randoms)
def test_compiled_code_says_what_the_oracle_says(random: Random) -> None:
    """P7: answer, reason, rule, error set and interval agree, through a warm cache as well."""
    world = make_world(random)
    bundle = compile_world(world.text())
    cache = DecisionCache()
    for request, inputs, _ in questions(random, world, bundle):
        pair = (request.action, request.resource.type)
        answer = answer_of(bundle, request, inputs)
        leaf = bundle.leaves[pair]
        for result in (bundle.decide(*pair, inputs), bundle.settle(*pair, inputs)):
            assert _found(result) == (answer.allowed, answer.reason, {e.rule for e in answer.errors})
            assert (result.until, result.held_until) == (answer.until, answer.held_until)
            assert result.outcome.rule in answer.rules if answer.rules else result.outcome.rule is None
        for result in (through_cache(cache, bundle, leaf, inputs), through_cache(cache, bundle, leaf, inputs)):
            assert _found(result) == (answer.allowed, answer.reason, {e.rule for e in answer.errors})
            assert result.until <= answer.until  # an earlier moment may have known less about the future
            assert result.outcome.rule in answer.rules if answer.rules else result.outcome.rule is None


@law
@given(randoms)
def test_sets_that_are_too_large_are_so_for_both(random: Random) -> None:
    """P7 where a quantifier may take next to no steps: both ways say of the same ones that they are in error, and of the
    answer the same."""
    world = make_world(random)
    with steps_of_a_quantifier(random.choice([10, 20, 40, 80])):
        bundle = compile_world(world.text())
        for request, inputs, _ in questions(random, world, bundle):
            pair = (request.action, request.resource.type)
            answer, result = answer_of(bundle, request, inputs), bundle.decide(*pair, inputs)
            assert _found(result) == (answer.allowed, answer.reason, {e.rule for e in answer.errors})
            assert (result.until, result.held_until) == (answer.until, answer.held_until)


@law
@given(randoms)
def test_where_the_steps_of_the_plain_evaluator_end_it_denies(random: Random) -> None:
    """P7 as far as the steps go, and L3 where they end: an allow only where it is one, and not for longer."""
    world = make_world(random)
    bundle = compile_world(world.text())
    for request, inputs, _ in questions(random, world, bundle):
        pair = (request.action, request.resource.type)
        whole = bundle.settle(*pair, inputs)
        ended = [steps for steps in range(0, 400, 7) if out_of_steps(bundle.settle(*pair, inputs, steps).errors)]
        assert ended == list(range(0, 400, 7))[: len(ended)]  # more steps never end sooner
        for steps in random.sample(range(400), 5):
            result = bundle.settle(*pair, inputs, steps)
            if out_of_steps(result.errors):
                assert whole.outcome.allowed or not result.outcome.allowed
                if result.outcome.allowed:
                    assert result.until <= whole.until
            else:
                assert result == whole


@law
@given(randoms)
def test_compiled_code_raises_nothing_where_nothing_is_in_error(random: Random) -> None:
    """Review: what is guarded is absent, and no error; then compiled code settles it alone, where no clock is read."""
    world = make_world(random)
    bundle = compile_world(world.text())
    for request, inputs, _ in questions(random, world, bundle):
        met: set[str] = set()
        with pytest.MonkeyPatch.context() as patch:
            plain = meaning.Unanswerable.__init__

            def noting(error: meaning.Unanswerable, code: str, message: str, span: Any) -> None:
                met.add(code)  # noqa: B023
                plain(error, code, message, span)  # noqa: B023

            patch.setattr(meaning.Unanswerable, "__init__", noting)
            answer_of(bundle, request, inputs)
        leaf = bundle.leaves[request.action, request.resource.type]
        if not leaf.timed and met <= {"absent"} and None not in (inputs.resource, inputs.user, inputs.workload):
            leaf.function(*leaf.arguments(inputs))


@contextmanager
def steps_of_a_quantifier(steps: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (work, meaning, runtime):
            patch.setattr(module, "QUANTIFIER_STEPS_MAX", steps)
        yield


def _found(result: Result) -> object:
    return result.outcome.allowed, result.outcome.reason, {e.rule for e in result.errors}


@law
@given(randoms)
def test_an_answer_holds_until_it_says(random: Random) -> None:
    """L8: at every instant inside the interval a fresh evaluation answers the same, and its reason as long as it says."""
    world = make_world(random)
    bundle = compile_world(world.text())
    for request, inputs, directory in questions(random, world, bundle):
        answer = answer_of(bundle, request, inputs)
        assert answer.until > inputs.now
        ends = min(answer.until, inputs.now + 90 * MINUTE)
        for at in {inputs.now, ends - 1, random.randint(inputs.now, ends - 1)}:
            later = inputs_of(bundle, directory, request, at)
            if later is None:
                continue  # the task ended, which bounds the decision from outside
            again = answer_of(bundle, request, later)
            assert again.allowed == answer.allowed
            if at < answer.held_until and not answer.errors:
                assert again.reason == answer.reason
                if answer.rules:
                    assert bundle.decide(request.action, request.resource.type, inputs).outcome.rule in again.rules


@law
@given(randoms)
def test_order_and_files_mean_nothing(random: Random) -> None:
    """L2: shuffled, split over files, and with a rule said twice, every answer is the same."""
    world = make_world(random)
    text = compile_world(world.text()).sources[0].text
    bundle = compile_world(text)
    statements = statements_of(text)
    random.shuffle(statements)
    cut = random.randint(0, len(statements))
    rules = [s for s in statements if "allow r" in s or "deny r" in s]
    twice = [random.choice(rules)] if rules else []
    head = "language 1\npackage generated\n"
    halves = ["\n".join(statements[:cut]), "\n".join(statements[cut:] + twice)]
    split = Compiler().compile([Source(f"{i}.policy", head + half) for i, half in enumerate(halves)])
    for request, inputs, _ in questions(random, world, bundle):
        assert said(answer_of(split, request, inputs)) == said(answer_of(bundle, request, inputs))
        pair = (request.action, request.resource.type)
        ours, theirs = split.decide(*pair, inputs), bundle.decide(*pair, inputs)
        assert (ours.outcome.rule, ours.until) == (theirs.outcome.rule, theirs.until)


def statements_of(text: str) -> list[str]:
    module, _ = parse(Source("x", text))
    return [text[min([s.span.start, *(a.span.start for a in s.annotations)]) : s.span.end] for s in module.statements]


@law
@given(randoms)
def test_a_rule_more_moves_answers_one_way(random: Random) -> None:
    """L1: another allow never takes an allow away; another deny never adds one."""
    world = make_world(random)
    text = compile_world(world.text()).sources[0].text
    statements = statements_of(text)
    rules = [s for s in statements if s.startswith(("allow ", "@escapable"))]
    dropped = random.choice(rules)
    fewer = Compiler().compile([Source("g.policy", PREFIX + "\n".join(s for s in statements[1:] if s != dropped))])
    more = Compiler().compile([Source("g.policy", text)])
    for request, inputs, _ in questions(random, world, more):
        with_rule, without = answer_of(more, request, inputs).allowed, answer_of(fewer, request, inputs).allowed
        if dropped.startswith("allow "):
            assert with_rule or not without
        else:
            assert without or not with_rule


@law
@given(randoms)
def test_formatting_keeps_the_meaning_and_is_done_after_one_time(random: Random) -> None:
    text = make_world(random).text()
    text = text.replace("\n  when", "  # why\n  when").replace("\nallow", "\n\n\n# about it\nallow")
    source = Source("g.policy", text)
    once = format_source(source)
    module, _ = parse(source)
    again, found = parse(Source("g.policy", once))
    assert not found
    assert again.statements == module.statements
    assert [c.text for c in again.comments] == [c.text for c in module.comments]
    assert format_source(Source("g.policy", once)) == once


@law
@given(randoms)
def test_nothing_outside_the_footprint_changes_an_answer(random: Random) -> None:
    """L10: equal keys, equal answers, whatever else differs between two requests."""
    from pdp.engine.key import decision_key

    world = make_world(random)
    bundle = compile_world(world.text())
    seen: dict[object, tuple[object, int]] = {}
    directory = make_directory(random, world, bundle)
    now = START + random.randint(0, 20) * MINUTE
    for _ in range(REQUESTS * 6):
        request = make_request(random, world)
        inputs = inputs_of(bundle, directory, request, now)
        if inputs is None:
            continue
        leaf = bundle.leaves[request.action, request.resource.type]
        answer = said(answer_of(bundle, request, inputs))
        key = decision_key(leaf, inputs)
        before = seen.setdefault(key, (answer, 0))
        assert before[0] == answer


def test_the_generator_covers_sets_that_are_too_large() -> None:
    """Or the law about them would say nothing."""
    for seed in range(600):
        world = make_world(random := Random(seed))
        with steps_of_a_quantifier(10):
            bundle = compile_world(world.text())
            for request, inputs, _ in questions(random, world, bundle):
                if any(e.code == "sets_too_large" for e in answer_of(bundle, request, inputs).errors):
                    return
    pytest.fail("none of them is too large")


@pytest.mark.parametrize("seed", range(5))
def test_the_generator_covers_the_language(seed: int) -> None:
    """The laws say little about what is never generated: over a few worlds every kind of answer and node appears."""
    reasons, texts = set(), ""
    for number in range(60):
        random = Random(seed * 1000 + number)
        world = make_world(random)
        bundle = compile_world(world.text())
        texts += world.text()
        for request, inputs, _ in questions(random, world, bundle):
            answer = answer_of(bundle, request, inputs)
            reasons.add(answer.reason)
            reasons.add("bounded" if answer.until < FOREVER else "unbounded")
    assert reasons >= {"allowed", "denied", "default_deny", "error", "bounded", "unbounded"}
    for word in ("during", "proof", "now within", "claimed", "from gate", "expiring", "any x", "has", "unless", "until"):
        assert word in texts
