"""The policy language: from text to decision function.

`Compiler` (or `compile_policies`, once) turns sources into a `Bundle`; a `Directory` holds entities and relations, with a
`World` for those who read; `assemble` makes the `Inputs` of a decision; `Bundle.decide` answers and `Bundle.explain` says
why.
"""

from __future__ import annotations

from language.answers import OUT_OF_STEPS, Answer, ExplainedConjunct, ExplainedRule, RuleError, out_of_steps
from language.asked import Asked, Refusal, RequestData, TaskData, conform_request, task_end
from language.assemble import assemble, may_open, subject_holds
from language.codes import CODES, Code, Severity
from language.compile import Compiler, compile_policies
from language.compiler.effort import Effort
from language.compiler.footprint import Read
from language.compiler.load import Bundle, Leaf, Outcome, Result
from language.diagnostics import Diagnostic, PolicyErrors, did_you_mean, printable, render, sort_diagnostics
from language.directory import Change, Directory, DirectoryError, EntityData, RowData
from language.inputs import FOREVER, NO_SUBJECT, Inputs
from language.routing import NotRouted, Routed, canonical_host, route_http, route_tcp
from language.source import TEST_SUFFIX, Source, Span
from language.spiffe import ID_BYTES_MAX, SpiffePattern, is_spiffe_id, parse_pattern, spiffe_segments
from language.syntax.format import FormatError, format_source
from language.syntax.literals import LATEST, BadLiteral, format_duration, format_instant, parse_duration, parse_instant
from language.testing.cases import PolicyTest
from language.testing.run import (
    WAYS,
    ClauseCoverage,
    Coverage,
    Failure,
    TestResult,
    Way,
    clause_coverage,
    run_test,
)
from language.types import RecordType, Trust
from language.values import BadValue, conform_id, conform_record, describe, refuse_undeclared, shorten
from language.vocabulary import ApprovalDecl, MayDecl, ScopeDecl, TaskDecl, Vocabulary
from language.work import CHECK_STEPS
from language.world import World, changed

__all__ = [
    "CHECK_STEPS",
    "CODES",
    "FOREVER",
    "ID_BYTES_MAX",
    "LATEST",
    "NO_SUBJECT",
    "OUT_OF_STEPS",
    "TEST_SUFFIX",
    "WAYS",
    "Answer",
    "ApprovalDecl",
    "Asked",
    "BadLiteral",
    "BadValue",
    "Bundle",
    "Change",
    "ClauseCoverage",
    "Code",
    "Compiler",
    "Coverage",
    "Diagnostic",
    "Directory",
    "DirectoryError",
    "Effort",
    "EntityData",
    "ExplainedConjunct",
    "ExplainedRule",
    "Failure",
    "FormatError",
    "Inputs",
    "Leaf",
    "MayDecl",
    "NotRouted",
    "Outcome",
    "PolicyErrors",
    "PolicyTest",
    "Read",
    "RecordType",
    "Refusal",
    "RequestData",
    "Result",
    "Routed",
    "RowData",
    "RuleError",
    "ScopeDecl",
    "Severity",
    "Source",
    "Span",
    "SpiffePattern",
    "TaskData",
    "TaskDecl",
    "TestResult",
    "Trust",
    "Vocabulary",
    "Way",
    "World",
    "assemble",
    "canonical_host",
    "changed",
    "clause_coverage",
    "compile_policies",
    "conform_id",
    "conform_record",
    "conform_request",
    "describe",
    "did_you_mean",
    "format_duration",
    "format_instant",
    "format_source",
    "is_spiffe_id",
    "may_open",
    "out_of_steps",
    "parse_duration",
    "parse_instant",
    "parse_pattern",
    "printable",
    "refuse_undeclared",
    "render",
    "route_http",
    "route_tcp",
    "run_test",
    "shorten",
    "sort_diagnostics",
    "spiffe_segments",
    "subject_holds",
    "task_end",
]
