"""The clauses that say who, for whom, on what and in which task, as typed conditions.

Shared by rules and by the scope of a task, so that "covers" has one meaning.
"""

from __future__ import annotations

from collections.abc import Iterable

from language import typed as t
from language.source import Span
from language.types import EntityType, Trust
from language.vocabulary import PROOF_FACT, PROOFS, WORKLOAD, ScopeDecl, SubjectDecl, TaskDecl, Vocabulary


def either(items: list[t.TypedExpr], span: Span) -> t.TypedExpr:
    """One of several; with one, that one."""
    if len(items) == 1:
        return items[0]
    claimed = frozenset[str]().union(*(i.claimed for i in items))
    return t.Or(tuple(items), span=span, claimed=claimed)


def below(item: t.Root, entity: str, within: tuple[str, str], vocabulary: Vocabulary, span: Span) -> t.Below:
    decl = vocabulary.entity(entity)
    target = t.Constant(within[1], EntityType(within[0]), span=span)
    index = decl.ancestor_indexes.get(within[0])
    claimed = frozenset([item.name]) if decl.trust is Trust.CLAIMED and index is not None else frozenset[str]()
    return t.Below(item, entity, target, index, entity == within[0], span=span, claimed=claimed)


def subject_condition(subjects: Iterable[SubjectDecl], vocabulary: Vocabulary, span: Span) -> t.TypedExpr | None:
    """`who`; None when it says `anyone`."""
    root = t.Root("workload", EntityType(WORKLOAD), span=span)
    found: list[t.TypedExpr] = []
    for subject in subjects:
        if subject.is_anyone:
            return None
        if subject.pattern is not None:
            found.append(t.Matches(root, subject.pattern, span=span))
        elif subject.within is not None:
            found.append(
                t.And((t.HasWorkload(span=span), below(root, WORKLOAD, subject.within, vocabulary, span)), span=span)
            )
    return either(found, span) if found else None


def scope_condition(
    scopes: Iterable[ScopeDecl], root: t.Root, type_name: str, vocabulary: Vocabulary, span: Span
) -> t.TypedExpr | None:
    """`on` or `for`, for one type of entity; None when a scope takes the whole type."""
    found: list[t.TypedExpr] = []
    for scope in scopes:
        if scope.type != type_name:
            continue
        if scope.within is not None:
            found.append(below(root, type_name, scope.within, vocabulary, span))
        elif scope.id is not None:
            own = t.Constant(scope.id, EntityType(type_name), span=span)
            found.append(t.Compare("==", root, own, span=span))
        else:
            return None
    return either(found, span) if found else None


def covering(task: TaskDecl, action: str, resource_type: str, vocabulary: Vocabulary, span: Span) -> t.TypedExpr | None:
    """Whether a task of this kind covers the action and the resource, or None where it never can."""
    root = t.Root("resource", EntityType(resource_type), span=span)
    found: list[t.TypedExpr] = []
    for may in task.may:
        if action not in may.actions or all(s.type != resource_type for s in may.on):
            continue
        condition = scope_condition(may.on, root, resource_type, vocabulary, span)
        if condition is None:
            return t.HasSubject(span=span)
        found.append(condition)
    return either(found, span) if found else None


def proof_condition(fact: str, span: Span) -> t.TypedExpr:
    proven = t.Root("proof", PROOFS, span=span)
    return t.Member(t.Constant(fact, PROOF_FACT, span=span), proven, span=span)
