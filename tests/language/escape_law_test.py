"""Laws L7 and L9, over generated policy sets: no deny is lifted by what is left out, and by no lie that it does not trust.

Every denial is asked again without each piece of its evidence, and with each claim said otherwise; every condition is
written again in an equal form. The sets are those that compile, with the denies that are refused as escapable left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given

from language import Bundle, Compiler, Diagnostic, Directory, EntityData, RequestData, Source, TaskData
from language.answers import Answer
from tests.language.equal_forms import Form, restated, text_of
from tests.language.generated import MINUTE, START
from tests.language.laws_test import answer_of, inputs_of, law, randoms

HEAD = """language 1
entity Team
entity Folder in Folder { names: Set<String>, alias: String? }
entity User in Team { level: Int, email: String? }
entity Guest in Folder, Team claimed { level: Int?, tags: Set<String> }
entity Doc in Folder { secret: Bool, note: String? }
entity Draft in Folder claimed { words: Int, kind: String?, tags: Set<String>? }
workload in Team { tier: String? }
action read on Doc, Draft {
  reason: String, approved: String?, urgent: Bool, count: Int, cols: Set<String>, more: Set<String>?,
  map: Map<String, String>, seen: String? from gate, refs: Set<Folder>, must: Folder
}
task job {
  carries memo: String from holder, tenant: String?
  opened by spiffe://t.d/ci
  who spiffe://t.d/**
  may read on Doc, Draft in Folder "a"
  lasts at most 20m
}
define same(left: String, right: String) = left == right
define listed(word: String, words: Set<String>) = words.contains(word)
"""
TEXTS = ("a", "b")
FACTS = ("key", "request", "session")
REQUESTS = 10
Request = RequestData


# ---- policies


class Maker:
    """Rules about one vocabulary. A condition is a tree, so that it can be written in several ways."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.resource = random.choice(["Doc", "Draft"])  # all rules of a set are about one, so that they meet
        self.user = ""
        self.task = self.workload = False

    def text(self) -> str:
        return f'"{self.random.choice(TEXTS)}"'

    def rule(self, effect: str, name: str) -> tuple[str, str, Form]:
        """The head, the word of the condition, and the condition."""
        r = self.random
        self.user = r.choice(["", "User", "Guest", "Guest"])
        self.workload, self.task = r.random() < 0.3, r.random() < 0.2
        lines = [f"do read on {self.resource}" + (f" in Folder {self.text()}" if r.random() < 0.15 else "")]
        if self.workload or (effect == "allow" and not self.user):
            self.workload = True
            pattern = r.choice(["spiffe://t.d/a", "spiffe://t.d/b", "spiffe://t.d/**"])
            lines.append(r.choice([f"who {pattern}", f"who {pattern}", f"who workload in Team {self.text()}"]))
        if self.user:
            above = r.choice(
                ["", "", f" in Team {self.text()}", f" in Folder {self.text()}" if self.user == "Guest" else ""]
            )
            lines.append(f"for {self.user}{above}")
        if self.task:
            lines.append("during job")
        if r.random() < 0.15:
            lines.append(f"proof {r.choice(FACTS)}")
        if r.random() < 0.4:  # the head alone
            return f"{effect} {name} {{\n  " + "\n  ".join(lines), "when", ("atom", "true")
        condition = self.condition(1 if effect == "allow" else 2)
        return f"{effect} {name} {{\n  " + "\n  ".join(lines), r.choice(["when", "unless"]), condition

    def condition(self, depth: int) -> Form:
        r = self.random
        if depth and r.random() < 0.5:
            word = r.choice(["and", "or", "not"])
            if word == "not":
                return "not", self.condition(depth - 1)
            return word, self.condition(depth - 1), self.condition(depth - 1)
        return self.leaf()

    def leaf(self) -> Form:
        r = self.random
        owners = [
            self.of_context,
            self.of_context,
            self.of_resource,
            self.of_user,
            self.of_workload,
            self.of_task,
            self.of_proof,
            self.of_many,
            self.of_many,
            self.of_many,
        ]
        return r.choice(owners)()

    def set(self, path: str) -> Form:
        constant = ("set", f"[{self.text()}]")
        item = ("value", self.text())
        return self.random.choice(
            [
                ("contains", ("set", path), item),
                ("contains_all", constant, ("set", path)),
                ("contains_all", ("set", path), constant),
                ("overlaps", ("set", path), constant),
                ("and", ("not", ("is_empty", ("set", path))), ("contains_all", constant, ("set", path))),
                ("or", ("is_empty", ("set", path)), ("contains", ("set", path), item)),
                ("is_empty", ("set", path)),
            ]
        )

    def equals(self, path: str) -> Form:
        return self.random.choice(["==", "!="]), ("value", path), ("value", self.text())

    def optional(self, owner: str, name: str, test: Form) -> Form:
        return self.guarded(False, f"{owner} has {name}", test)

    def of_context(self) -> Form:
        number = ("value", str(self.random.randint(0, 2)))
        return self.random.choice(
            [
                self.equals("context.reason"),
                ("atom", "context.urgent"),
                (self.random.choice(["<", "<=", ">", ">="]), ("value", "context.count"), number),
                self.optional("context", "approved", self.equals("context.approved")),
                self.set("context.cols"),
                self.optional("context", "more", self.set("context.more")),
                self.optional("context.map", '"k"', self.equals('context.map["k"]')),
                self.optional("context", "seen", self.equals("context.seen")),
            ]
        )

    def of_resource(self) -> Form:
        below = ("atom", f"resource in Folder {self.text()}")
        if self.resource == "Doc":
            return self.random.choice([below, ("atom", "resource.secret"), ("atom", "resource has note")])
        words = (">", ("value", "resource.words"), ("value", "1"))
        kind = self.optional("resource", "kind", self.equals("resource.kind"))
        return self.random.choice([below, words, kind, self.optional("resource", "tags", self.set("resource.tags"))])

    def of_user(self) -> Form:
        kind = self.user or self.random.choice(["User", "Guest"])
        tests: list[Form] = [("atom", f"user in Team {self.text()}")]
        if kind == "Guest":
            level = ("==", ("value", "user.level"), ("value", "1"))
            tests += [
                ("atom", f"user in Folder {self.text()}"),
                self.set("user.tags"),
                self.optional("user", "level", level),
            ]
        else:
            tests += [
                (">", ("value", "user.level"), ("value", "1")),
                self.optional("user", "email", self.equals("user.email")),
            ]
        return self.guarded(bool(self.user), f"user is {kind}", self.random.choice(tests))

    def of_workload(self) -> Form:
        test = self.random.choice([("atom", "workload.id in spiffe://t.d/a"), ("atom", f"workload in Team {self.text()}")])
        tier = self.optional("workload", "tier", self.equals("workload.tier"))
        process = self.optional("workload", "process", ("atom", "workload.process.kind == service"))
        return self.random.choice([self.guarded(self.workload, "workload has id", test), tier, process])

    def of_task(self) -> Form:
        tenant = self.optional("task", "tenant", self.equals("task.tenant"))
        return self.guarded(self.task, "task is job", self.random.choice([self.equals("task.memo"), tenant]))

    def of_proof(self) -> Form:
        return "contains", ("set", "proof"), ("value", self.random.choice(FACTS))

    def of_many(self) -> Form:
        """Quantifiers, references, and comparisons of conditions."""
        text, whole = self.text(), self.guarded(self.workload, "workload has id", ("atom", "workload.id in spiffe://t.d/a"))
        options: list[Form] = [
            ("atom", f"(all it in context.must.names: {text_of(whole)})"),
            ("atom", f"(any it in context.must.names: {text_of(whole)})"),
            ("atom", "(all it in context.must.names: workload has id)"),
            ("atom", "(all it in context.cols: task is job)"),
            ("atom", f"(any it in context.cols: it == {text} or context.urgent)"),
            ("atom", f"(any it in [{text}]: context has approved and context.approved == it)"),
            ("atom", f"(any it in context.refs: it == Folder {text})"),
            ("atom", f"(any it in context.refs: not (it has alias) or it.alias == {text})"),
            ("atom", f"(all it in context.refs: it has alias and it.alias == {text})"),
            ("atom", f"context.must.names.contains({text})"),
            ("atom", "(context has approved) == (context has more)"),
            ("atom", f"(context.cols.contains({text})) == context.urgent"),
            ("atom", "(user is User) == (workload has id)"),
            ("atom", f"context.cols != [{text}]"),
            ("atom", "proof.overlaps([session, request])"),
            ("atom", "proof.contains_all([session, key])"),
            ("atom", "proof == [key]"),
        ]
        return self.random.choice(options)

    def guarded(self, known: bool, guard: str, test: Form) -> Form:
        if known:
            return test
        seen = ("guard", guard)
        return self.random.choice([("and", seen, test), ("or", ("not", seen), test), ("atom", guard)])


def rule_text(head: str, word: str, condition: Form, trusting: AbstractSet[str] = frozenset()) -> str:
    trust = f"\n  trusting {', '.join(sorted(trusting))}" if trusting else ""
    return f"{head}\n  {word} {text_of(condition)}{trust}\n}}\n"


COMPILER = Compiler()  # parses and checks again what is new


def sources_of(rules: dict[str, str]) -> list[Source]:
    """Each rule in a file of its own."""
    return [Source("vocabulary.policy", HEAD), *[Source(f"{name}.policy", text) for name, text in rules.items()]]


def diagnose(rules: dict[str, str]) -> list[Diagnostic]:
    return [d for d in COMPILER.check(sources_of(rules))[1] if d.is_error]


_CLAIM = re.compile(r"`([^`]+)` is only claimed")


def compile_fit(rules: dict[str, tuple[str, str, Form]]) -> tuple[Bundle, dict[str, set[str]]]:
    """The set without the denies that are refused, with `trusting` where that is asked for; and by rule what it trusts."""
    trusts: dict[str, set[str]] = {name: set() for name in rules}
    for _ in range(8):
        texts = {name: rule_text(*rules[name], trusts[name]) for name in trusts}
        found = diagnose(texts)
        if not found:
            return COMPILER.compile(sources_of(texts)), trusts
        for d in found:
            assert d.code in ("untrusted_claim", "escapable_deny"), d
            assert d.span is not None
            name = d.span.source.path.removesuffix(".policy")
            if claim := _CLAIM.match(d.message):
                trusts.get(name, set()).add(claim[1])
            else:
                trusts.pop(name, None)
    raise AssertionError("claims keep coming")


def make_set(random: Random) -> tuple[Bundle, dict[str, set[str]]]:
    maker = Maker(random)
    names = [f"a{i}" for i in range(3)] + [f"d{i}" for i in range(6)]
    bundle, trusts = compile_fit({name: maker.rule("allow" if name[0] == "a" else "deny", name) for name in names})
    return bundle, trusts, [make_request(random, maker.resource) for _ in range(REQUESTS)]


# ---- requests


def make_request(r: Random, kind: str) -> Request:
    def some(p: float = 0.8) -> bool:
        return r.random() < p

    def parents() -> tuple[tuple[str, str], ...]:
        return tuple(("Folder", x) for x in TEXTS if some(0.5))

    def words() -> list[str]:
        return [x for x in TEXTS if some(0.5)]

    context = {"reason": r.choice(TEXTS), "urgent": some(0.5), "count": r.randint(0, 2), "cols": words(), "map": {}}
    context |= {n: r.choice(TEXTS) for n in ("approved", "seen") if some()} | ({"more": words()} if some() else {})
    context |= {"refs": [["Folder", x] for x in words()], "must": ["Folder", r.choice(TEXTS)]}
    if some():
        context["map"] = {"k": r.choice(TEXTS)}
    resource = EntityData("Doc", r.choice(TEXTS), {}, ())
    if kind == "Draft":
        told: dict[str, Any] = {"words": r.randint(0, 3)}
        told |= ({"kind": r.choice(TEXTS)} if some() else {}) | ({"tags": words()} if some() else {})
        resource = EntityData("Draft", "x", told, parents())
    user = None
    if some():
        user = EntityData("User", r.choice(TEXTS), {}, ())
        if some(0.5):
            guest = {"tags": words()} | ({"level": 1} if some() else {})
            user = EntityData("Guest", "g", guest, (*parents(), *[("Team", x) for x in TEXTS if some(0.5)]))
    workload = f"spiffe://t.d/{r.choice(TEXTS)}" if user is None or some() else None
    proof = frozenset(f for f in FACTS if some(0.5))
    task = None
    if workload and some(0.5):
        facts = {"memo": r.choice(TEXTS)} | ({"tenant": r.choice(TEXTS)} if some() else {})
        task = TaskData("job", "t1", facts, START, START + 20 * MINUTE, proof, "spiffe://t.d/ci", workload)
    process = {"kind": r.choice(["service", "shell"])} if workload and some() else None
    request = Request("read", resource, resource.type == "Draft", workload, process, user)
    told_user = user is not None and user.type == "Guest"
    return request._replace(user_told=told_user, task=task, context=context, proof=proof)


def make_directory(r: Random, bundle: Bundle) -> Directory:
    directory = Directory(bundle.vocabulary)
    for x in TEXTS:
        names = [name for name in TEXTS if r.random() < 0.5]
        directory.upsert([EntityData("Folder", x, {"names": names} | ({"alias": x} if r.random() < 0.5 else {}), ())])
    for x in TEXTS:
        team, folder = (("Team", r.choice(TEXTS)),), (("Folder", r.choice(TEXTS)),)
        directory.upsert(
            [
                EntityData("User", x, {"level": r.randint(0, 2)} | ({"email": x} if r.random() < 0.5 else {}), team),
                EntityData("Doc", x, {"secret": r.random() < 0.5} | ({"note": x} if r.random() < 0.5 else {}), folder),
                EntityData("workload", f"spiffe://t.d/{x}", {"tier": x} if r.random() < 0.5 else {}, team),
            ]
        )
    return directory


def without_each(request: Request) -> Iterator[tuple[str, Request]]:
    """The request without each thing that a caller can leave out, and what that is."""
    if request.workload and request.user:
        yield "the user", request._replace(user=None, user_told=False)
        yield "the workload", request._replace(workload=None, process=None, task=None)
    yield "the task", request._replace(task=None)
    yield "the process", request._replace(process=None)
    for fact in FACTS:
        left = frozenset() if fact == "key" else request.proof - {fact}
        yield fact, request._replace(proof=left, task=request.task and replace(request.task, proof=left))
    for name in ("approved", "seen", "more"):
        yield f"context.{name}", request._replace(context={k: v for k, v in request.context.items() if k != name})
    for name, nothing in (("cols", []), ("more", []), ("map", {}), ("refs", [])):
        if name in request.context:
            yield f"all of context.{name}", request._replace(context={**request.context, name: nothing})
    if request.task:
        facts = {k: v for k, v in request.task.attributes.items() if k != "tenant"}
        yield "task.tenant", request._replace(task=replace(request.task, attributes=facts))
    for root, entity in (("resource", request.resource), ("user", request.user)):
        if entity is not None and entity.type in ("Draft", "Guest"):
            yield f"the parents of {root}", request._replace(**{root: entity._replace(parents=())})
            for name in ("kind", "tags", "level"):
                kept = {k: v for k, v in entity.attributes.items() if k != name}
                if name == "tags" and entity.type == "Guest":
                    kept["tags"] = []
                yield f"{root}.{name}", request._replace(**{root: entity._replace(attributes=kept)})


def said_otherwise(request: Request, r: Random) -> Iterator[tuple[str, Request]]:
    """The request with each claim said otherwise, and the path of the claim."""
    other = make_request(r, request.resource.type)
    for name in ("reason", "approved", "urgent", "count", "cols", "more", "map", "refs", "must"):
        kept = {k: v for k, v in request.context.items() if k != name}
        told = {name: other.context[name]} if name in other.context else {}
        yield f"context.{name}", request._replace(context=kept | told)
    if request.task:
        yield (
            "task.memo",
            request._replace(task=replace(request.task, attributes={**request.task.attributes, "memo": r.choice(TEXTS)})),
        )
    for root, entity in (("resource", request.resource), ("user", request.user)):
        if entity is not None and entity.type in ("Draft", "Guest"):
            above = tuple(p for p in (("Folder", "a"), ("Folder", "b"), ("Team", "a"), ("Team", "b")) if r.random() < 0.5)
            above = tuple(p for p in above if entity.type == "Guest" or p[0] == "Folder")
            yield root, request._replace(**{root: entity._replace(parents=above)})
            told = {"words": r.randint(0, 3)} if entity.type == "Draft" else {"level": r.randint(0, 2)}
            yield (
                f"{root}.{next(iter(told))}",
                request._replace(**{root: entity._replace(attributes={**entity.attributes, **told})}),
            )
            tags = {**entity.attributes, "tags": [x for x in TEXTS if r.random() < 0.5]}
            yield f"{root}.tags", request._replace(**{root: entity._replace(attributes=tags)})


def written(bundle: Bundle) -> str:
    return "".join(s.text for s in bundle.sources if s.text != HEAD)


def answer(bundle: Bundle, directory: Directory, request: Request) -> Answer | None:
    inputs = inputs_of(bundle, directory, request, START + MINUTE)
    return None if inputs is None else answer_of(bundle, request, inputs)


# ---- the laws


@law
@given(randoms)
def test_no_denial_is_lifted_by_what_is_left_out(random: Random) -> None:
    """L7 (findings D3 and D4): a request that a deny denies is not allowed without any piece of its evidence."""
    bundle, _, requests = make_set(random)
    directory = make_directory(random, bundle)
    for request in requests:
        before = answer(bundle, directory, request)
        if before is None or before.reason != "denied":
            continue
        for left_out, fewer in without_each(request):
            after = answer(bundle, directory, fewer)
            assert after is None or not after.allowed, (left_out, before.rules, after.rules, written(bundle), request)


@law
@given(randoms)
def test_no_answer_turns_on_a_claim_that_no_rule_trusts(random: Random) -> None:
    """L9 (finding D2): whatever a claim opens or lifts, the rules that opened or were lifted say `trusting` of it."""
    bundle, trusts, requests = make_set(random)
    directory = make_directory(random, bundle)
    for request in requests:
        before = answer(bundle, directory, request)
        for claim, otherwise in said_otherwise(request, random):
            after = answer(bundle, directory, otherwise)
            if before is None or after is None or before.allowed or not after.allowed:
                continue
            turned = before.rules if before.reason == "denied" else after.rules
            for rule in turned:
                assert claim in trusts[rule], (claim, rule, written(bundle), request, otherwise)


@law
@given(randoms)
def test_equal_forms_get_equal_verdicts(random: Random) -> None:
    """L7 and L9 (findings D2 and D6): what is said of a deny does not depend on how its condition is written."""
    maker = Maker(random)
    bundle, _ = compile_fit({f"a{i}": maker.rule("allow", f"a{i}") for i in range(2)})
    allows = {s.path.removesuffix(".policy"): s.text for s in bundle.sources[:2]}
    head, word, condition = maker.rule("deny", "d")
    first = verdict({**allows, "d": rule_text(head, word, condition)})
    assert len(set(first)) == len(first)  # one cause, one error
    for _ in range(3):
        equal = restated(random, condition)
        opposite = {"when": "unless", "unless": "when"}[word], ("not", equal)
        text = rule_text(head, *random.choice([(word, equal), opposite]))
        assert verdict({**allows, "d": text}) == first, (rule_text(head, word, condition), text)


def verdict(rules: dict[str, str]) -> list[tuple[str, str]]:
    """What is said of the deny, without where."""
    found = [(d.code, d.message) for d in diagnose(rules)]
    assert {code for code, _ in found} <= {"untrusted_claim", "escapable_deny"}, (found, rules)
    assert not any("leaving out `context.reason`" in message for _, message in found)  # what must be there is not left out
    return sorted(found)
