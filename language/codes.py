"""Every code that a diagnostic or a decision can carry, with why it exists and how to fix it.

Codes are for ever; wording may improve. The manual's page of codes and `pdp explain-code` are made from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    REASON = "reason"  # not about a policy's text: why a decision came out as it did


@dataclass(frozen=True, slots=True)
class Code:
    title: str
    why: str
    fix: str
    severity: Severity


def _codes(severity: Severity, rows: Mapping[str, tuple[str, str, str]]) -> dict[str, Code]:
    return {name: Code(title, why, fix, severity) for name, (title, why, fix) in rows.items()}


_TEXT = _codes(
    Severity.ERROR,
    {
        "bad_encoding": (
            "the file is not UTF-8",
            "Text that two programs could read in two ways has no place in a policy.",
            "Save the file as UTF-8 without a byte order mark.",
        ),
        "unreadable": (
            "a file cannot be read",
            "A policy set is compiled whole or not at all; a file left out could hold a deny.",
            "Check that the path exists, is a file, and may be read.",
        ),
        "file_too_large": (
            "a file is larger than 3 MiB",
            "Bounds on every input keep the compiler quick for everyone.",
            "Split the file. What is many belongs in a relation: data, not text.",
        ),
        "line_too_long": (
            "a line is longer than 64 KiB",
            "Nobody can review such a line, and every tool that shows it suffers.",
            "Break the line; white space means nothing.",
        ),
        "statement_too_large": (
            "one statement is larger than 256 KiB",
            "A statement that large is data.",
            "Split it, or make it rows of a relation.",
        ),
        "nesting_too_deep": (
            "something nests too deeply",
            "Brackets and expressions nest at most 64 deep, quantifiers 2, definitions 32, so that every pass is bounded.",
            "Name parts of it with `define`, or flatten it.",
        ),
        "too_many_elements": (
            "a set or a record is too large",
            "Sets have at most 1,000 elements, records 200 fields: evaluation has a known worst case (law L4).",
            "Make the many things entities below one parent, or rows of a relation.",
        ),
        "forbidden_character": (
            "an invisible, control or direction-changing character",
            "Such characters make a policy look like another one to its reviewer.",
            "Delete it. Inside a string write the escape that the hint shows.",
        ),
        "non_ascii_name": (
            "a name is not ASCII",
            "Letters of other scripts can look the same as ASCII ones and be different names.",
            "Use ASCII letters, digits and `_` in names. Strings may hold any script.",
        ),
        "unterminated_string": (
            "a string has no closing quote",
            "A string ends on its own line, so that one missing quote cannot swallow rules.",
            "Close it. A new line inside a string is written `\\n`.",
        ),
        "unexpected_character": (
            "a character that means nothing here",
            "The grammar has no use for it.",
            "See the hint; operators are words: `and`, `or`, `not`.",
        ),
        "unexpected_word": (
            "a word that cannot stand here",
            "The grammar expected something else; the message lists what.",
            "Often the mistake is just before this word: a missing comma, brace or operand.",
        ),
        "unexpected_end": (
            "the file ends in the middle of something",
            "A brace, bracket or expression is still open.",
            "Close what is open.",
        ),
        "bad_number": (
            "not a number, duration or time",
            "Durations are `90s`, `15m`, `1h30m`, `7d`; numbers are whole and without separators.",
            "Write it in one of these forms. There are no decimals (law L5).",
        ),
        "bad_literal": (
            "a literal with an impossible value",
            "It has the right shape and no meaning: a 13th month, a number beyond 64 bits, an unknown escape.",
            "The message says what is wrong with it.",
        ),
        "dangling_annotation": (
            "an annotation that belongs to nothing",
            "An annotation stands before the statement it is about.",
            "Move it before its statement, or delete it.",
        ),
        "unknown_language": (
            "a version of the language that this compiler does not know",
            "A newer version may mean something else by the same words; guessing would open doors.",
            "Use a compiler that knows it, or write `language 1`.",
        ),
    },
)

_NAMES = _codes(
    Severity.ERROR,
    {
        "unknown_name": (
            "a name that nothing declares",
            "A typo in a policy must never quietly mean nothing.",
            "Declare it or correct it; the hint shows the closest known name.",
        ),
        "unknown_action": (
            "an action that nothing declares",
            "In a policy: a rule about it would never apply. In a request: the answer is a denial with this reason.",
            "Declare it with `action NAME on TYPE`, or correct the name.",
        ),
        "unknown_attribute": (
            "an attribute that the type does not have",
            "Attributes are declared, so that reading one that does not exist is found before any request.",
            "Declare it on the type, or correct the name.",
        ),
        "unknown_method": (
            "an operation that the type does not have",
            "Sets and strings have a few; nothing else has any.",
            "See the list in the reference: `contains`, `contains_all`, `overlaps`, `is_empty`, `starts_with`, …",
        ),
        "unknown_proof": (
            "a fact that cannot be proven",
            "The proven facts are `key`, `request`, `session` and `process`.",
            "Use one of them.",
        ),
        "unknown_rule": (
            "a test names a rule that does not exist",
            "A test that expects a rule which was renamed would fail for the wrong reason.",
            "Correct the name; a rule of another package is `package.rule`.",
        ),
        "unknown_zone": (
            "a time zone that does not exist",
            "Zones are those of the package `tzdata`, for example `Europe/Berlin` or `UTC`.",
            "Correct the name.",
        ),
        "reserved_name": (
            "a name that belongs to the language",
            "Redefining `user`, `task` or `String` would make every rule doubtful.",
            "Choose another name.",
        ),
        "shadowed_name": (
            "a variable with the name of something else",
            "A reader should never have to ask which of two things a name means.",
            "Choose another name for the variable.",
        ),
        "duplicate_declaration": (
            "something is declared twice",
            "Each thing is declared once, in one file; the message says where the other one is.",
            "Delete or rename one.",
        ),
        "duplicate_clause": (
            "a clause stands twice",
            "Two of one clause would need a rule for which one counts.",
            "Join them with `and`, or with a comma where the clause is a list.",
        ),
        "duplicate_rule": (
            "two different rules of one name",
            "Decisions name rules; a name must mean one rule.",
            "Rename one of them.",
        ),
        "bad_rule_name": (
            "a rule's name has a dot",
            "The dot separates a package from its rule.",
            "Use dashes: `billing-reads-its-tenant`.",
        ),
        "recursive_definition": (
            "a definition uses itself",
            "Without recursion every condition ends, and its worst cost is known (law L4).",
            "Break the cycle that the message shows. Hierarchies are entities and `in`.",
        ),
        "cyclic_group": (
            "a group of actions contains itself",
            "Such a group has no meaning.",
            "Break the cycle that the message shows.",
        ),
    },
)

_TYPES = _codes(
    Severity.ERROR,
    {
        "type_mismatch": (
            "a value of the wrong type",
            'Nothing is converted: `1`, `true` and `"1"` are three different values everywhere (law L5).',
            "Compare things of one type; the message says what was found and what was expected.",
        ),
        "bad_type": (
            "not a type that can stand here",
            "Types are Bool, Int, String, Time, Duration, Ip, Cidr, SpiffeId, enums, entities, `Set<T>`, "
            "`Map<String, String>` and records.",
            "Use one of them.",
        ),
        "not_ordered": (
            "a type without an order",
            "Only numbers, times and durations are smaller or greater.",
            "Use `==`, `in`, or an Int attribute that says the order.",
        ),
        "no_attributes": (
            "a value without attributes",
            "Only entities, tasks and records have attributes.",
            "Read the attribute from the entity itself.",
        ),
        "not_a_map": ("not a map", "Keys in quotes are for `Map<String, String>`.", "Use `.name` for records and entities."),
        "not_constant": (
            "a value that is not constant",
            "A test's data is written out, so that a reader sees what is tested.",
            "Write the value itself, or the table's variable.",
        ),
        "wrong_arguments": (
            "the wrong number or kind of arguments",
            "A call matches its declaration exactly.",
            "See the declaration.",
        ),
        "missing_field": (
            "a required field is missing",
            "Only fields declared with `?` may be absent (law L6).",
            "Give it a value, or declare it optional.",
        ),
        "empty_enum": ("an enum without members", "No value could ever be of this type.", "Add members."),
        "empty_set_type": (
            "an empty set of nothing",
            "Nothing tells what the elements of `[]` would be.",
            "Use `.is_empty()`.",
        ),
        "field_source": (
            "a source where none can be given",
            "An entity's attributes and parents come from one source; sources never merge (law L9).",
            "Say it on the entity: `entity T from gate { … }`, `entity T claimed { … }`.",
        ),
        "never_below": (
            "an entity that is never in the other",
            "`in` follows declared parents only; this could never be true.",
            "Declare the parent, or correct the type.",
        ),
        "unguarded_optional": (
            "something optional is read without a guard",
            "Absent is not empty and not false (law L6): what may be absent is read only where it was seen to be there.",
            "Write `x has a and …`.",
        ),
        "unguarded_user": (
            "the user is read where there may be none",
            "A request has a verified workload, a verified user, or both (law L6).",
            "Say `for T`, or guard with `user is T and …`.",
        ),
        "unguarded_task": (
            "the task is read where there may be none",
            "A task exists only where a grant of that kind is presented (law L6).",
            "Say `during K`, or guard with `task is K and …`.",
        ),
        "unguarded_workload": (
            "the workload is read where there may be none",
            "In process a request may carry only a user.",
            "Say `who` with a pattern, or guard with `workload has …`.",
        ),
        "unguarded_gate": (
            "the gate is read where there may be none",
            "In process there is no gate.",
            "Guard with `gate has id and …`.",
        ),
        "not_in_directory": (
            "an attribute of an entity that the directory cannot hold",
            "Entities that are `claimed` or `from gate` come with a request, for its resource and its user; one that "
            "is only referred to has no record, so the condition would always be in error (law L11).",
            "Read it from `resource` or `user`, or let the type come from the directory.",
        ),
        "bare_root": (
            "a part of the request used as a value",
            "`context`, `gate`, `location`, `task` and `workload.process` are looked into and not compared: what a rule "
            "reads must be said (law L10).",
            "Compare the attributes that matter.",
        ),
        "clock_form": (
            "the clock in a form that has no end",
            "An answer must say until when it holds (law L8); that is possible for `now < t`, `now >= t` and windows.",
            "Rewrite it as the hint shows.",
        ),
        "clock_value": (
            "a clock comparison used as a value",
            "It may stand under `and`, `or`, `not`, `any`, `all`, `==` and `!=`; inside sets its life would be lost.",
            "Compare the clock outside and combine the conditions.",
        ),
        "bad_window": (
            "a calendar window that does not end after it starts",
            "A window lies within one day.",
            "Write two windows joined by `or`.",
        ),
        "bad_spiffe_pattern": (
            "not a SPIFFE ID or pattern",
            "Trust domain lower case and literal, segments of `[A-Za-z0-9._-]`, no empty or dot segment. "
            "`*` is one whole segment, `**` the rest, at the end.",
            "Correct it. Patterns are never prefixes of text.",
        ),
        "too_costly": (
            "evaluation could take too long",
            "The worst case of every action and type is computed, and bounded (law L4).",
            "Ask with `contains`, `overlaps`, `in` or a relation instead of a quantifier, or let fewer rules use one.",
        ),
    },
)

_RULES = _codes(
    Severity.ERROR,
    {
        "missing_clause": (
            "an `allow` that does not spell out its breadth",
            "An allow says `do`, `on`, and `who` or `for`. Breadth is written, never left out.",
            "Add the clause; `do any`, `on any`, `who anyone` say everything.",
        ),
        "action_not_on_type": (
            "an action that is none of this type's",
            "The rule or step could never apply.",
            "Correct the action or the type; the message lists what the action is declared on.",
        ),
        "task_never_covers": (
            "a task that covers nothing the rule is about",
            "`during` is true only where the task's `may` covers the action and the resource.",
            "Widen `may`, or correct `do`, `on` or `during`.",
        ),
        "untrusted_claim": (
            "a rule depends on what the caller merely claims",
            "The caller writes it (law L9): by saying something else, an allow is opened and a deny is lifted.",
            "Use a verified value, or add `trusting PATH` where such a caller is believed.",
        ),
        "needless_trust": (
            "`trusting` names something that is not claimed here",
            "The list is exact, so that a reader sees what the rule leans on.",
            "Delete the path from `trusting`.",
        ),
        "location_alone": (
            "an `allow` that rests on network location alone",
            "A shell inside the pod has the pod's address (law L9).",
            "Add who, for whom, in which task, or with which proof.",
        ),
        "escapable_deny": (
            "a deny that is escaped by leaving something out",
            "An attacker withholds it and the deny is false (law L7). `trusting` is about what is said, and no help here.",
            "Write the exemption positively: `unless workload has process and workload.process.kind == service`. "
            "Say what an empty set means, with `.is_empty()`. "
            'Where the escape is meant, say `@escapable("why")`.',
        ),
        "escapable_without_reason": (
            "`@escapable` without a reason",
            "Someone will review this rule in a year.",
            'Write `@escapable("why")`.',
        ),
        "too_many_rules": (
            "more than 20,000 rules",
            "Rules are text that people review; what is more than that is data.",
            "Declare a `relation` and make the many grants its rows.",
        ),
        "task_without_holder": ("a task that nobody may hold", "A grant belongs to a workload.", "Add `who PATTERN`."),
        "task_without_opener": (
            "a task that nobody may open",
            "Who opens a task sets its facts; by default that is never its holder.",
            "Add `opened by PATTERN`, and `or holder` only where the holder may set its own facts.",
        ),
        "bad_route": (
            "a route that is not canonical",
            "What a gate and a back end could read in two ways is not routed.",
            "Paths are literal segments and `{parameters}`; hosts are lower case.",
        ),
        "overlapping_routes": (
            "two routes for the same requests",
            "Order means nothing, so a request must have one meaning.",
            "Make one more specific, or delete one.",
        ),
    },
)

_TESTS = _codes(
    Severity.ERROR,
    {
        "ambiguous_task": (
            "more than one task could be meant",
            "A check carries at most one grant. In a decision: several were found and none was named, so it is a denial.",
            "Name it: `during t1`, or `without task`.",
        ),
        "not_a_test": (
            "a statement that is no test in a file of tests",
            "A decision point serves without these files: a rule there would be tested and never enforced.",
            "Move it to a file whose name does not end in `_test.policy`.",
        ),
        "bad_fixture": (
            "a fixture that cannot be",
            "A test must describe a world that the policy could meet.",
            "See the message.",
        ),
        "empty_table": ("a table without rows", "It tests nothing.", "Add rows."),
        "test_without_check": (
            "a test that checks nothing",
            "It would always pass.",
            'Add a step: `at 0s ACTION on TYPE "id"`.',
        ),
        "time_goes_back": (
            "a step earlier than the one before",
            "A timeline is read from top to bottom.",
            "Sort the steps.",
        ),
    },
)

_WARNINGS = _codes(
    Severity.WARNING,
    {
        "missing_pin": (
            "no file says `language 1`",
            "The pin keeps the policy's meaning when the language grows.",
            "Start each file with `language 1`.",
        ),
        "repeated_rule": ("a rule stands twice, word for word", "It means nothing (law L2), and confuses.", "Delete one."),
        "redundant_rule": ("a rule that changes no answer", "Another rule says the same.", "Delete one of them."),
        "unreachable_rule": (
            "a rule that can never apply",
            "Its conditions are never true together.",
            "Correct or delete it.",
        ),
        "deny_never_matches": (
            "a deny that can never match",
            "A dead deny is a door that everyone believes closed.",
            "Correct it; often a type or an action was renamed.",
        ),
        "unused_declaration": (
            "something that nothing uses",
            "Vocabulary without rules is often a typo.",
            "Use or delete it.",
        ),
        "mixed_script": (
            "a word with letters of two scripts",
            "It may look like a name that it is not.",
            "Write it in one script, or silence the finding with a reason.",
        ),
        "location_as_identity": (
            "one network address stands for an identity",
            "Addresses are shared, reused and reachable for a shell in the pod.",
            "Compare the workload's SPIFFE ID.",
        ),
        "empty_set_passes": (
            "an `allow` narrows a set, and an empty one passes",
            "All elements of an empty set are anything. Many programs read an empty list of columns as every column.",
            "Say `not s.is_empty()` as well, or silence the warning with the reason why an empty set means nothing.",
        ),
        "bearer_accepted": (
            "a grant is accepted from whoever bears it",
            "A stolen grant works until it ends.",
            "Add `proof key`.",
        ),
        "task_without_end": (
            "a task without an end",
            "Rights that outlive the task are what an attacker reuses.",
            "Add `lasts at most DURATION`.",
        ),
        "task_without_scope": ("a task that may do nothing", "`during` it is never true.", "Add `may ACTIONS on TYPE`."),
        "unused_silence": (
            "a comment that silences a warning that is not there",
            "The cause is gone or elsewhere, and the comment would hide the next one that comes.",
            "Delete the comment, or write it on the line of the finding or above it.",
        ),
        "silence_without_effect": (
            "a comment that silences no warning",
            "It names none: errors cannot be silenced, and a typo would leave the finding.",
            "Correct the code, or delete the comment.",
        ),
        "silence_without_reason": (
            "a finding silenced without a reason",
            "Someone will ask why.",
            "Write `# silence code: reason`.",
        ),
    },
)

_REASONS = _codes(
    Severity.REASON,
    {
        "allowed": (
            "a rule allows",
            "An `allow` applies and no `deny` does.",
            "Nothing to fix; `decision.rule` names the rule.",
        ),
        "denied": (
            "a rule denies",
            "A `deny` applies, and a deny beats every allow (law L1).",
            "`decision.rule` names the rule; its `because` says why.",
        ),
        "default_deny": (
            "no rule allows",
            "Nothing is allowed that no rule allows (law L1).",
            "`pdp explain` shows which rule came nearest and what it missed.",
        ),
        "error": (
            "a condition had no value",
            "A deny in error denies; an allow in error does not apply (law L3).",
            "`decision.errors` names rule and cause: an entity without a record, arithmetic beyond 64 bits, sets too large.",
        ),
        "no_subject": (
            "neither a workload nor a user was verified",
            "There is nobody to decide about.",
            "Present a verified identity.",
        ),
        "unknown_type": (
            "the resource's or user's type is not declared",
            "Policy says nothing about it.",
            "Correct the request, or declare the type.",
        ),
        "unknown_entity": (
            "an entity has no record",
            "Its attributes or ancestors were asked for and the directory does not know it (law L11).",
            "Load the entity, or ask about one that exists.",
        ),
        "overflow": ("arithmetic beyond 64 bits", "Numbers never wrap (law L5).", "Correct the data or the rule."),
        "absent": ("something absent was read", "The part that read it has no value.", "Guard the read with `has`."),
        "sets_too_large": (
            "a quantifier would go through too much",
            "A quantifier, with those inside it, may take 100,000 steps: about 100 elements times 100. The sizes of the "
            "sets say beforehand how many it would take (law L4).",
            "Ask with `contains`, `overlaps` or a relation instead, or send and keep smaller sets.",
        ),
        "out_of_steps": (
            "something had no value, and finding out what follows took too long",
            "Then every rule that could apply is read to its end, and the steps for that are bounded (law L4). "
            "On a server `limits.deadline` bounds them. What was not read where they end is an error: an allow that has "
            "none still allows, but where a deny was not read the check is denied.",
            "Mend what has no value, which `pdp explain` shows; use fewer rules on one action and type, or smaller sets.",
        ),
        "task_ended": (
            "the task has ended",
            "Its end was reached, or somebody ended it; ended is for ever.",
            "Open a new task.",
        ),
        "task_suspended": ("the task is suspended", "It may be resumed by who may do so.", "Ask for it to be resumed."),
        "task_not_started": ("the task has not started", "Its start lies ahead.", "Wait, or check the clocks."),
        "task_misheld": (
            "the task belongs to another workload",
            "A grant is of use only to its holder.",
            "Present your own grant. If it was presented by somebody else, this is an attack.",
        ),
        "task_malformed": ("the task lacks what a rule reads", "It cannot be judged.", "Present it whole."),
        "revoked": (
            "something that the request stands on was revoked",
            "A workload, credential, trust domain, gate or opener was taken out of use; `because` says which.",
            "Find out why. If it was lifted since, ask again.",
        ),
        "credential_ended": (
            "the workload's credential has ended",
            "Authority ends with what proves it.",
            "Show a credential that has not ended.",
        ),
        "no_route": (
            "a request that no route gives a meaning",
            "What means nothing is not allowed.",
            "Add a route, or correct the method, host or path.",
        ),
        "connect_with_path": (
            "a CONNECT that names a path",
            "A tunnel goes to a host. The path of an extended CONNECT may never reach the back end, and what follows in the "
            "tunnel is seen by nobody.",
            "Take `CONNECT` out of the gate's `upgrade_configs`; or send one for the host alone, with a route `CONNECT /`.",
        ),
        "malformed_path": ("a path that is none", "It has a fragment, a broken escape, or no leading `/`.", "Send a path."),
        "non_canonical_path": (
            "a path that could be read in two ways",
            "The back end might merge, unescape or resolve what policy saw literally.",
            "Send it canonical: no empty or dot segments, no hidden separators.",
        ),
        "malformed_host": ("a host that is none", "It holds user information or characters of no host.", "Send a host."),
        "malformed_query": ("a query that cannot be read", "A broken escape, not UTF-8, or too many parts.", "Correct it."),
        "missing_value": ("the request lacks what its route needs", "A required value is absent.", "Send it."),
        "ambiguous_value": (
            "the request says something twice that its route reads once",
            "Policy and back end could each take another one.",
            "Send it once, or let the route take a `Set<String>`.",
        ),
        "grant_outdated": (
            "today's policy would not give this grant",
            "The `task` declaration is the ceiling of every grant, at issue and at every check.",
            "Open the task anew.",
        ),
    },
)

CODES: Mapping[str, Code] = {**_TEXT, **_NAMES, **_TYPES, **_RULES, **_TESTS, **_WARNINGS, **_REASONS}
